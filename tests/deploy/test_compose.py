"""deploy/compose.yaml: what can be said of it without running it."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from headrace.config import load
from tests.deploy.files import DEPLOY, LAST_READS_S, compose, seconds, variables, wanted
from tests.e2e.processes import PROGRAMS, command

VALUES = {"REDIS_PASSWORD": "secret", "OPENAI_API_KEY": "sk-test", "HEADRACE_API_KEYS": "app=key"}
NODES = ("headrace-1", "headrace-2")


def test_it_is_what_the_specification_of_compose_files_allows() -> None:
    checker = str(PROGRAMS / "check-jsonschema")
    done = command(checker, "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))
    assert done.returncode == 0, done.stdout


def test_the_example_of_the_environment_names_every_variable_that_it_wants() -> None:
    assert wanted() <= set(variables()) == set(VALUES)


def test_files_that_it_mounts_are_there() -> None:
    for name, service in compose(VALUES)["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_file(), name


@pytest.mark.promise("P33")
@pytest.mark.parametrize("node", NODES)
def test_the_configuration_of_its_nodes_is_one_that_headrace_takes_for_any_host(node: str) -> None:
    service = compose(VALUES)["services"][node]
    config = load(DEPLOY / "headrace.yaml", {**VALUES, **service["environment"], "HEADRACE_HOST": "0.0.0.0"})
    config.check_access()
    assert str(config.drain_timeout) == "300.0"
    assert config.redis_url is not None
    target = PurePosixPath(service["command"][-1])
    assert f"./{target.name}:{target}:ro" in service["volumes"]


@pytest.mark.promise("P11")
@pytest.mark.parametrize("name", [*NODES, "nginx"])
def test_whoever_has_streams_gets_longer_to_stop_than_they_may_run(name: str) -> None:
    service = compose(VALUES)["services"][name]
    config = load(DEPLOY / "headrace.yaml", {"REDIS_URL": "redis://valkey"})
    assert seconds(service["stop_grace_period"]) > config.drain_timeout + LAST_READS_S


def test_its_store_keeps_all_or_says_no() -> None:
    words = compose(VALUES)["services"]["valkey"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"
    assert options["--requirepass"] == VALUES["REDIS_PASSWORD"]


def test_nginx_takes_as_long_a_request_as_headrace_and_waits_as_long_for_its_answer() -> None:
    config = load(None, {})
    text = (DEPLOY / "nginx.conf").read_text()
    (size,) = (line.split()[1] for line in text.splitlines() if "client_max_body_size" in line)
    (wait,) = (line.split()[1] for line in text.splitlines() if "proxy_read_timeout" in line)
    assert size == f"{config.max_request_bytes // 2**20}m;"
    assert seconds(wait) > max(model.total_timeout for model in config.models)
