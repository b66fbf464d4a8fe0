"""deploy/kubernetes*.yaml: what can be said of them without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.codecs import from_dict

from headrace.config import load
from headrace.endpoints.health import PATHS
from tests.deploy.files import DEPLOY, LAST_READS_S, kubernetes, the


@pytest.mark.parametrize("document", kubernetes(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_every_field_is_one_that_kubernetes_knows(document: dict[str, Any]) -> None:
    """The types refuse what is of another type or lacks, and drop what they do not know."""
    assert from_dict(document).to_dict() == document


def test_the_nodes_have_the_configuration_that_compose_gives_them() -> None:
    assert the("ConfigMap")["data"]["headrace.yaml"] == (DEPLOY / "headrace.yaml").read_text()


def test_the_secret_is_all_that_the_configuration_wants() -> None:
    secret = the("Secret")["stringData"]
    load(DEPLOY / "headrace.yaml", {**secret, "HEADRACE_HOST": "0.0.0.0"}).check_access()
    assert the("Secret", "headrace-valkey")["stringData"]["password"] in secret["REDIS_URL"]


@pytest.mark.promise("P11")
def test_a_pod_gets_longer_to_stop_than_its_streams_may_run() -> None:
    pod = the("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    drain = load(DEPLOY / "headrace.yaml", {"REDIS_URL": "redis://valkey"}).drain_timeout
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > before + drain + LAST_READS_S


def test_an_update_takes_no_node_away_before_another_is_there() -> None:
    spec = the("Deployment")["spec"]
    assert spec["replicas"] > 1
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_its_probes_ask_what_headrace_answers() -> None:
    (container,) = the("Deployment")["spec"]["template"]["spec"]["containers"]
    asked = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/health", "readiness": "/health/ready", "liveness": "/health"}
    assert set(asked.values()) == PATHS


@pytest.mark.parametrize("name", ["headrace", "headrace-valkey"])
def test_what_selects_pods_selects_those_that_are_made(name: str) -> None:
    maker = the("Deployment" if name == "headrace" else "StatefulSet", name)["spec"]
    labels = maker["template"]["metadata"]["labels"]
    assert maker["selector"]["matchLabels"] == labels
    assert the("Service", name)["spec"]["selector"] == labels
    guard = the("PodDisruptionBudget")["spec"] if name == "headrace" else None
    assert guard is None or guard["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_no_container_can_become_root_or_write_to_its_image(kind: str) -> None:
    (maker,) = (each for each in kubernetes() if each["kind"] == kind)
    pod = maker["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
