"""How what is not in the project's environment is installed: as packages of Debian, or into a directory of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
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


def npm(name: str, *packages: str) -> Callable[[], None]:
    """In a directory of its own: `.gateways/NAME`."""
    return lambda: _run("npm", "install", "--prefix", str(TOOLS / name), "--no-audit", "--no-fund", *packages)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=900)
