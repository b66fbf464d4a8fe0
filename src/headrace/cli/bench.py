"""`headrace bench`: put a load on streaming endpoints and say how they did."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec
import typer
from rich.console import Console

from headrace.bench import options
from headrace.bench.compare import Comparison, compare, read_document
from headrace.bench.plan import Load, labels
from headrace.bench.preparation import Asked, prepare
from headrace.bench.progress import Progress
from headrace.bench.prompts import Prompts, RandomPrompts, read_prompts
from headrace.bench.report import page
from headrace.bench.result import Document, Selection, document
from headrace.bench.run import Run
from headrace.bench.shapes import SHAPES
from headrace.bench.shapes.base import Ask, Shape
from headrace.bench.shapes.sse import AnySSE, Description, parse_path
from headrace.bench.table import comparison_table, summary
from headrace.bench.target import parse_target
from headrace.cli import bench_options as given
from headrace.cli.connection import DEFAULT_URL
from headrace.config.quantities import parse_seconds
from headrace.errors import ConfigError

try:
    import uvloop
except ImportError:  # pragma: no cover - Windows
    uvloop = None
try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None

app = typer.Typer(add_completion=False)

_EXAMPLES: Final = """[bold]Examples[/]
headrace bench
headrace bench --url https://api.openai.com --model gpt-4o --num-prompts 20
headrace bench --max-concurrency 1,10,50 --duration 30 --html report.html
headrace bench --request-rate 20 --goodput ttft:200 tpot:50 e2el:2000
headrace bench --target old=http://a:81 --target new=http://b:82 --rounds 5
headrace bench --json new.json --compare old.json --fail-on-regression
headrace bench --shape sse --url 'http://h/ask?q={{prompt}}' --text-path text"""

_REGRESSED: Final = 3


@app.command(epilog=_EXAMPLES, context_settings={"allow_extra_args": True})
def bench(  # noqa: PLR0913 - an option each
    context: typer.Context,
    url: given.UrlOption = DEFAULT_URL,
    target: given.TargetOption = None,
    endpoint: given.EndpointOption = None,
    shape: given.ShapeOption = "openai.chat",
    model: given.ModelOption = None,
    api_key: given.KeyOption = None,
    openai_key: given.OpenAIKeyOption = "",
    anthropic_key: given.AnthropicKeyOption = "",
    headrace_key: given.HeadraceKeyOption = "",
    header: given.HeaderOption = None,
    dataset_path: given.DatasetOption = None,
    random_input_len: given.InputLenOption = 128,
    output_len: given.OutputLenOption = 128,
    temperature: given.TemperatureOption = None,
    ignore_eos: given.IgnoreEosOption = False,
    extra_body: given.ExtraBodyOption = "{}",
    text_path: given.TextPathOption = "",
    body: given.BodyOption = None,
    method: given.MethodOption = None,
    end_marker: given.EndMarkerOption = "",
    max_concurrency: given.ConcurrencyOption = None,
    request_rate: given.RateOption = "inf",
    burstiness: given.BurstinessOption = "1",
    ramp_up: given.RampUpOption = "0",
    ramp_up_strategy: given.RampUpStrategyOption = "linear",
    num_prompts: given.NumPromptsOption = None,
    duration: given.DurationOption = None,
    warmup: given.WarmupOption = 0,
    rounds: given.RoundsOption = 1,
    timeout: given.TimeoutOption = "10m",
    seed: given.SeedOption = 0,
    keep_alive: given.KeepAliveOption = True,
    insecure: given.InsecureOption = False,
    goodput: given.GoodputOption = None,
    percentile_metrics: given.MetricsOption = None,
    metric_percentiles: given.PercentilesOption = "50,90,95,99",
    json: given.JsonOption = None,
    save_result: given.SaveOption = False,
    result_dir: given.ResultDirOption = Path("."),
    result_filename: given.ResultFilenameOption = None,
    html: given.HtmlOption = None,
    compare_with: given.CompareOption = None,
    regression_threshold: given.ThresholdOption = 5.0,
    fail_on_regression: given.FailOption = False,
) -> None:
    """Put a load on one or more streaming endpoints and measure what their readers see.

    Every target, model and concurrency is a series with figures of its own. Ctrl-C stops, and reports what there is.
    What each figure means is in docs/bench.md.

    Exit code: 0 measured, 1 a series without one success, 3 worse than before (--fail-on-regression), 130 interrupted.
    """
    spoken = _shape(shape, Description(parse_path(text_path), end_marker.encode(), method or "", _read(body)))
    own_key = {"openai": openai_key, "anthropic": anthropic_key, "headrace": headrace_key}.get(spoken.vendor, "")
    addresses = [parse_target(each, endpoint or spoken.endpoint, whole=shape == "sse") for each in target or [url]]
    rate = options.parse_rate(request_rate)
    load = Load(
        request_rate=rate,
        burstiness=options.parse_burstiness(burstiness),
        ramp_up=_seconds("--ramp-up", ramp_up),
        ramp_up_strategy=ramp_up_strategy,
        num_prompts=num_prompts or (None if duration else 100),
        duration=_seconds("--duration", duration) if duration else None,
        warmup=warmup,
        rounds=rounds,
        timeout=_seconds("--timeout", timeout),
        seed=seed,
        keep_alive=keep_alive,
        insecure=insecure,
    )
    asked = Asked(
        shape=spoken,
        targets=addresses,
        headers=options.parse_headers(header or ()),
        keys=options.parse_keys(api_key or [own_key], [each.name for each in addresses]),
        models=model or (),
        concurrency=_concurrency(max_concurrency, rate),
        ask=Ask("", output_len or None, temperature, ignore_eos, options.parse_body(extra_body)),
        load=load,
        prompts=_prompts(dataset_path, random_input_len, seed),
        goodput=_goodput(goodput, context.args),
    )
    selection = Selection(_metrics(percentile_metrics, rate), options.parse_percentiles(metric_percentiles))
    old = read_document(compare_with) if compare_with else None
    found = run(asked, selection)
    comparison = compare(old, found, regression_threshold / 100) if old else None
    name = result_filename or _filename(found)
    _save(found, comparison, json=json, saved=result_dir / name if save_result else None, html=html)
    _show(found, comparison, to_stderr=json == "-")
    raise typer.Exit(_exit_code(found, comparison if fail_on_regression else None))


def run(asked: Asked, selection: Selection) -> Document:
    """Carry out the plan, on uvloop where there is one, and return everything that was seen.

    Raises:
        HeadraceError: a server cannot be reached, or does not say what it serves.
    """
    _allow_connections()
    gc.collect()
    gc.freeze()
    factory = None if uvloop is None else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_run(asked, selection))


async def _run(asked: Asked, selection: Selection) -> Document:
    plan = await prepare(asked)
    begun = datetime.now(UTC)
    with Progress(labels(plan.series), plan.load, Console(stderr=True)) as progress, _stopped_by_signals():
        run = Run(plan, progress)
        await run.go()
    return document(plan, run, selection, begun)


@contextlib.contextmanager
def _stopped_by_signals() -> Generator[None]:
    """SIGINT and SIGTERM cancel the task that this is in."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    assert task is not None

    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(task.cancel)

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _allow_connections() -> None:
    """As many open files as this user may have at all; the usual 1,024 are soon too few."""
    if resource is not None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _shape(name: str, description: Description) -> Shape:
    if name == "sse":
        return AnySSE(description)
    if description != Description():
        raise ConfigError("--text-path, --body, --method and --end-marker go with --shape sse")
    return SHAPES[name]


def _read(path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--body: {path} cannot be read: {error}") from None


def _seconds(option: str, text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}, got {text!r}") from None


def _concurrency(text: str | None, rate: float) -> Sequence[int | None]:
    if text:
        return options.parse_concurrency(text)
    return [10 if rate == math.inf else None]


def _prompts(path: Path | None, length: int, seed: int) -> Callable[[int], Prompts]:
    """A file's prompts are the same for every series; made-up ones are not, so that no cache helps the later ones."""
    if path is not None:
        read = read_prompts(path)
        return lambda _number: read
    return lambda number: RandomPrompts(length, seed=f"{seed}.{number}")


def _goodput(texts: Sequence[str] | None, more: Sequence[str]) -> dict[str, float]:
    """As with vLLM, one `--goodput` takes several values: the others arrive as arguments without an option."""
    if more and not texts:
        raise ConfigError(f"unexpected argument {more[0]!r}")
    return options.parse_goodput([*(texts or ()), *more])


def _metrics(text: str | None, rate: float) -> Sequence[str]:
    if text:
        return options.parse_metrics(text)
    usual = Selection().metrics
    return usual if rate == math.inf else (*usual, "client_queue_time")


def _filename(found: Document) -> str:
    """As vLLM names it, without what a file's name cannot have."""
    model = found["results"][0]["model_id"] or found["results"][0]["target"]
    date = found["date"][:19].replace("-", "").replace(":", "").replace("T", "-")
    return f"{found['backend']}-{found['load']['request_rate']}qps-{model}-{date}.json".replace("/", "_")


def _save(
    found: Document, comparison: Comparison | None, *, json: str | None, saved: Path | None, html: Path | None
) -> None:
    """Write what was asked for; a place that cannot be written to loses nothing of the others."""
    whole = {**found, "comparison": msgspec.to_builtins(comparison)} if comparison else found
    data = msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"
    if json == "-":
        # Not sys.stdout: without a buffer (PYTHONUNBUFFERED) it drops what a pipe does not take at once.
        with open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
            stdout.write(data)
    outputs = {Path(json) if json and json != "-" else None: data, saved: data}
    if html is not None:
        outputs[html] = page(found, comparison).encode()
    for path, content in outputs.items():
        if path is not None:
            try:
                path.write_bytes(content)
                typer.echo(f"headrace: wrote {path}", err=True)
            except OSError as error:
                typer.echo(f"headrace: {path} cannot be written: {error.strerror}", err=True)


def _show(found: Document, comparison: Comparison | None, *, to_stderr: bool) -> None:
    console = Console(stderr=to_stderr, highlight=False)
    console.print(summary(found))
    if comparison is not None:
        console.print(comparison_table(comparison))


def _exit_code(found: Document, comparison: Comparison | None) -> int:
    if found["interrupted"]:
        return 130
    if not all(result["completed"] for result in found["results"]):
        return 1
    return _REGRESSED if comparison is not None and comparison.regressed else 0
