"""The `headrace` command.

Exit codes of all commands: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted; `tail` adds 3 for a
stream that was cancelled, `bench` 3 for a regression. What was asked for goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException
from typer.main import get_command, get_group

from headrace import __version__
from headrace.errors import ConfigError, HeadraceError

__all__ = ["main"]

# Each name is also that of the command's module.
_COMMANDS: Final = {
    "serve": "Serve the configured models, or the embedded one.",
    "tail": "Print a stream as it is written, from any position.",
    "cancel": "Stop a stream.",
    "export": "Write the whole log of a stream into a file.",
    "mock": "Serve a model that answers as fast, as slowly or as badly as it is told.",
    "bench": "Put a load on streaming endpoints and say how they did.",
}

_app = typer.Typer(
    add_completion=False,
    help="Headrace, the streaming layer between language models and the people who read them.",
    epilog=(
        "[bold]Examples[/]\n"
        "headrace serve                    with the embedded model, without any key\n"
        "OPENAI_API_KEY=… headrace serve   with every model of OpenAI\n"
        "headrace tail chatcmpl-4f2c…      read a stream along, or again\n"
        "headrace cancel chatcmpl-4f2c…    stop it"
    ),
)


class _Command(TyperCommand):
    """A command whose module is imported when it is called: the server's takes a second, `--version` needs none."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Load the real command and let it read its arguments."""
        module = importlib.import_module(f"{__name__}.{self.name}")
        return get_command(module.app).make_context(info_name, args, parent, **extra)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


@_app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default that of this process, and return its exit code."""
    group = get_group(_app)
    for name, summary in _COMMANDS.items():
        group.add_command(_Command(name, help=summary))
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = group.main(given or ["--help"], prog_name="headrace", standalone_mode=False)
    except TyperException as error:
        return _refuse(error)
    except HeadraceError as error:
        for line in error.message.splitlines():
            typer.echo(f"headrace: {line}", err=True)
        return 2 if isinstance(error, ConfigError) else 1
    return code if isinstance(code, int) else 0


def _refuse(error: TyperException) -> int:
    """Say what is wrong with the arguments, and where the right ones are described."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "headrace"
    typer.echo(f"{command}: {error.format_message()}", err=True)
    typer.echo(f"Try '{command} --help'.", err=True)
    return error.exit_code
