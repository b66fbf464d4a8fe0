"""How what is not in the project's environment is installed: as packages of Debian, or into a directory of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.gateways.servers.base import TOOLS


def debian(package: str) -> Callable[[], None]:
    """As a package of Debian, without its service; only root can."""

    def install() -> None:
        if os.geteuid() != 0:
            raise PermissionError(f"only root can: apt-get install {package}")
        # A package that brings a service would start it.
        policy = Path("/usr/sbin/policy-rc.d")
        ours = not policy.exists()
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        try:
            _run("apt-get", "update", "-q")
            _run("apt-get", "install", "-qy", "--no-install-recommends", package)
        finally:
            if ours:
                policy.unlink()

    return install


def venv(name: str, *requirements: str) -> Callable[[], None]:
    """In an environment of its own: `.gateways/NAME`."""

    def install() -> None:
        _run(sys.executable, "-m", "venv", str(TOOLS / name))
        _run(str(TOOLS / name / "bin" / "pip"), "install", "-q", *requirements)

    return install


def npm(name: str, package: str, overrides: Mapping[str, str]) -> Callable[[], None]:
    """In a directory of its own: `.gateways/NAME`; `overrides` are versions of what the package itself needs."""

    def install() -> None:
        directory = TOOLS / name
        directory.mkdir(parents=True, exist_ok=True)
        manifest = {"dependencies": {package: "*"}, "overrides": overrides}
        (directory / "package.json").write_text(json.dumps(manifest), encoding="utf-8")
        _run("npm", "install", "--prefix", str(directory), "--no-audit", "--no-fund")

    return install


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=900)
