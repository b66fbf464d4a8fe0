from pathlib import Path

import pytest

from headrace.cli.supervisor import directories
from headrace.cli.supervisor.directories import data_directory, run_directory
from headrace.errors import ConfigError, HeadraceError


def test_a_run_directory_is_private_and_goes():
    with run_directory() as path:
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "worker-0.sock").touch()
    assert not path.exists()


def test_a_data_directory_is_made_private_and_is_one_servers_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(directories, "_PATIENCE_S", 0.0)
    path = tmp_path / "a" / "b"
    with data_directory(path):
        assert path.stat().st_mode & 0o777 == 0o700
        with pytest.raises(HeadraceError, match="another server keeps its streams in"), data_directory(path):
            pass
    with data_directory(path):
        pass


def test_a_data_directory_that_cannot_be_is_the_operators_mistake(tmp_path: Path):
    (tmp_path / "file").touch()
    expected = r"data: .*/file/x cannot be used: Not a directory"
    with pytest.raises(ConfigError, match=expected), data_directory(tmp_path / "file" / "x"):
        pass
