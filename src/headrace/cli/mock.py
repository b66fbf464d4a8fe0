"""`headrace mock`: a model server for tests, demonstrations and load."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, TypeVar

import typer

from headrace.cli.listening import bind
from headrace.config.quantities import parse_seconds
from headrace.errors import BadRequest
from headrace.mock import MockServer, Settings, parse_faults, read_scenario
from headrace.mock.faults import KINDS, Fault
from headrace.mock.pacing import Gap, parse_gap
from headrace.mock.recording import read_recording

try:
    import uvloop
except ImportError:  # pragma: no cover - Windows
    uvloop = None

app = typer.Typer(add_completion=False)
T = TypeVar("T")

_NAME_WIDTH = max(map(len, KINDS))
_EPILOG = "\n".join(
    [
        "[bold]Faults[/]",
        *(f"{name:<{_NAME_WIDTH}}  {kind.summary}".replace("[", "\\[") for name, kind in KINDS.items()),
        "",
        "[bold]Examples[/]",
        "headrace mock --tokens 200 --ttft 300ms --gap 20ms",
        "headrace mock --gap-dist lognormal:20ms,0.5 --seed 7",
        "headrace mock --fault status:429,retry-after=2,first=3",
        "headrace mock --fault 'cut-in-character:10; slow-drip' --port 9000",
        "headrace mock --scenario faults.yaml --replay answer.ndjson",
    ]
)


@app.command(epilog=_EPILOG)
def mock(  # noqa: PLR0913 - an option each
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", show_default="mock", help="What /v1/models lists; repeatable.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=0, max=10_000_000, help="Words of text.")] = 50,
    ttft: Annotated[str, typer.Option(metavar="SECONDS", help="Time to the first token.")] = "0",
    gap: Annotated[str, typer.Option(metavar="SECONDS", help="Time between two tokens.")] = "0",
    gap_dist: Annotated[
        str | None,
        typer.Option(
            metavar="DIST",
            show_default=False,
            help="Draw it: exp:MEAN, normal:MEAN,SD, lognormal:MEDIAN,SIGMA or uniform:LOW,HIGH.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the text, the gaps and all chances.")] = 0,
    tool_calls: Annotated[int, typer.Option(min=0, max=1000, help="Tool calls after the text.")] = 0,
    reasoning: Annotated[int, typer.Option(min=0, max=10_000_000, help="Words of reasoning before the text.")] = 0,
    chunk_words: Annotated[int, typer.Option(min=1, max=10_000, help="Words in one frame.")] = 1,
    stamp: Annotated[bool, typer.Option("--stamp", help="Say the number and time of each token, no words.")] = False,
    usage: Annotated[
        bool | None, typer.Option("--usage/--no-usage", show_default="as asked", help="Send usage always, or never.")
    ] = None,
    replay: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", show_default=False, help="Give a recording: .ndjson or .sse; repeatable."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:ARGUMENT,…]", show_default=False, help="Go wrong, see below; repeatable."),
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="YAML rules: which request meets what.")
    ] = None,
) -> None:
    """Serve a model that makes up its answers, in OpenAI's and Anthropic's shapes, and goes wrong as it is told.

    POST /v1/chat/completions, /v1/responses and /v1/messages give the same words: the text depends on the seed and the
    prompt alone; x-mock-sha256 is its hash. A request can ask for itself with X-Mock-Tokens, -Ttft, -Gap and -Fault,
    or with {"mock": {"fault": …}} in its body. GET /stats tells what happened. Ctrl-C or SIGTERM stops at once. All of
    it is in docs/mock.md.
    """
    settings = Settings(
        tokens=tokens,
        ttft=_read(parse_seconds, ttft, "--ttft"),
        gap=_gap(gap, gap_dist),
        seed=seed,
        tool_calls=tool_calls,
        reasoning=reasoning,
        chunk_words=chunk_words,
        stamp=stamp,
        usage=usage,
        models=tuple(model or ("mock",)),
    )
    rules = read_scenario(scenario) if scenario else ()
    recordings = [read_recording(path) for path in replay or ()]
    server = MockServer(settings, _faults(fault or ()), rules, recordings)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in bind(host, port)]
        run(server, sockets)


def run(server: MockServer, sockets: list[socket.socket]) -> None:
    """Serve on bound sockets until a signal, on uvloop where there is one."""
    gc.collect()
    gc.freeze()
    factory = None if uvloop is None else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(server, sockets))


async def _serve(server: MockServer, sockets: list[socket.socket]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopped.set)

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        await server.listen(sockets)
        typer.echo(
            f"The mock listens on {server.url}\nOPENAI_BASE_URL={server.url}/v1\nANTHROPIC_BASE_URL={server.url}"
        )
        await stopped.wait()
    finally:
        server.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _gap(gap: str, distribution: str | None) -> Gap:
    if distribution is None:
        return Gap(a=_read(parse_seconds, gap, "--gap"))
    if gap != "0":
        raise typer.BadParameter("give --gap or --gap-dist, one of the two", param_hint="--gap-dist")
    return _read(parse_gap, distribution, "--gap-dist")


def _read(parse: Callable[[str], T], text: str, option: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, got {text!r}", param_hint=option) from None


def _faults(texts: Sequence[str]) -> list[Fault]:
    try:
        return [fault for text in texts for fault in parse_faults(text)]
    except BadRequest as error:
        raise typer.BadParameter(error.message, param_hint="--fault") from None
