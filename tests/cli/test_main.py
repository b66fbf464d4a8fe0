import subprocess
import sys

import pytest

from headrace import __version__
from headrace.cli import main


def test_the_version_is_printed_without_the_server_or_the_client(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"headrace {__version__}\n"
    program = "import sys; from headrace.cli import main; main(['--version']); main(['--help']); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    loaded = set(found.stdout.split())
    assert not {"uvicorn", "fastapi", "aiohttp", "msgspec"} & loaded


def test_no_arguments_give_the_help(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["headrace"])
    assert main() == 0
    assert "tail" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["tail", "cancel"])
def test_every_command_has_a_help_with_examples(capsys, command):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Examples" in out
    assert f"headrace {command} " in out
    assert "\x1b" not in out


def test_the_help_fits_a_terminal_of_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (["--help"], ["tail", "--help"], ["cancel", "--help"]):
        main(arguments)
        examples = capsys.readouterr().out.partition("Examples")[2].strip().splitlines()
        assert all("headrace" in line for line in examples)  # none is broken in two


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tial"], "Did you mean 'tail'?"),
        (["tail"], "Missing argument"),
        (["tail", "x", "--colour"], "No such option"),
        (["tail", "x", "--format", "yaml"], "'openai.chat'"),
        (["cancel", "a", "b"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_two_lines_and_2(capsys, arguments, words):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    assert words in err
    assert "--help" in err
