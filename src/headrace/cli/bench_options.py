"""The options of `headrace bench`; where `vllm bench serve` has the same, it has the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from headrace.bench.arrivals import Ramp

_ASKED = "What is asked"
_ANY = "Any other SSE endpoint (--shape sse)"
_LOAD = "Load"
_REPORT = "Report"

ShapeName = Literal["openai.chat", "openai.responses", "anthropic.messages", "native", "sse"]

UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        "--base-url",
        envvar="HEADRACE_URL",
        metavar="URL",
        rich_help_panel=_ASKED,
        help="Address of the server, with or without /v1.",
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=URL",
        show_default=False,
        rich_help_panel=_ASKED,
        help="Instead of --url: a server to compare; repeatable.",
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH", show_default="of the shape", rich_help_panel=_ASKED, help="Path under the server's address."
    ),
]
ShapeOption = Annotated[ShapeName, typer.Option("--shape", rich_help_panel=_ASKED, help="API shape.")]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", show_default="the server's first", rich_help_panel=_ASKED, help="Model; repeatable."),
]
KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[TARGET=]KEY",
        show_default=False,
        rich_help_panel=_ASKED,
        help="API key; else $OPENAI_API_KEY, for anthropic.messages $ANTHROPIC_API_KEY, for native $HEADRACE_API_KEY.",
    ),
]
# Only Typer and the configuration read the environment; these three have no other use.
OpenAIKeyOption = Annotated[str, typer.Option(envvar="OPENAI_API_KEY", hidden=True)]
AnthropicKeyOption = Annotated[str, typer.Option(envvar="ANTHROPIC_API_KEY", hidden=True)]
HeadraceKeyOption = Annotated[str, typer.Option(envvar="HEADRACE_API_KEY", hidden=True)]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:VALUE", show_default=False, rich_help_panel=_ASKED, help="Header of every request; repeatable."
    ),
]
DatasetOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        rich_help_panel=_ASKED,
        help='Prompts: JSONL with {"prompt"} or {"messages"}, or a text on each line.',
    ),
]
InputLenOption = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=_ASKED,
        help="Without a file: words of a made-up prompt.",
    ),
]
OutputLenOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        rich_help_panel=_ASKED,
        help="max_tokens; 0 leaves it to the server.",
    ),
]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0, metavar="T", show_default="the server's", rich_help_panel=_ASKED)
]
IgnoreEosOption = Annotated[
    bool, typer.Option("--ignore-eos", rich_help_panel=_ASKED, help="Answers of full length (vLLM, SGLang).")
]
ExtraBodyOption = Annotated[
    str,
    typer.Option(
        metavar="JSON", show_default=False, rich_help_panel=_ASKED, help="More fields of the body; null removes one."
    ),
]

TextPathOption = Annotated[
    str,
    typer.Option(
        metavar="PATH",
        show_default="all data is text",
        rich_help_panel=_ANY,
        help="Where an event's JSON has its text: choices.0.delta.content.",
    ),
]
BodyOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        rich_help_panel=_ANY,
        help="Body, with {{prompt}}, {{model}}, {{max_tokens}}; {{prompt}} may also be in the address.",
    ),
]
MethodOption = Annotated[
    Literal["POST", "GET", "PUT"] | None, typer.Option(show_default="POST with --body, else GET", rich_help_panel=_ANY)
]
EndMarkerOption = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        show_default="the body's clean end",
        rich_help_panel=_ANY,
        help="Data or name of the terminal event, such as [DONE].",
    ),
]

ConcurrencyOption = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N…]",
        show_default="10, with a rate unlimited",
        rich_help_panel=_LOAD,
        help="Requests at the same time; several: a sweep.",
    ),
]
RateOption = Annotated[
    str,
    typer.Option(metavar="R|inf", rich_help_panel=_LOAD, help="Requests per second; inf: whenever a place is free."),
]
BurstinessOption = Annotated[
    str,
    typer.Option(
        metavar="B", rich_help_panel=_LOAD, help="Of arrivals: 1 Poisson, below in bursts, above more even (gamma)."
    ),
]
RampUpOption = Annotated[
    str,
    typer.Option(
        metavar="SECONDS", rich_help_panel=_LOAD, help="Time until the full rate, or until all places are open."
    ),
]
RampUpStrategyOption = Annotated[Ramp, typer.Option(rich_help_panel=_LOAD, help="How it grows until then.")]
NumPromptsOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", show_default="100 without --duration", rich_help_panel=_LOAD, help="Requests per series."
    ),
]
DurationOption = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS", show_default=False, rich_help_panel=_LOAD, help="Time in which requests begin, per series."
    ),
]
WarmupOption = Annotated[
    int,
    typer.Option(
        "--warmup", "--num-warmups", min=0, metavar="N", rich_help_panel=_LOAD, help="Requests before, not counted."
    ),
]
RoundsOption = Annotated[
    int,
    typer.Option(
        min=1, max=1000, metavar="N", rich_help_panel=_LOAD, help="Series take turns so often, a part in each; fairer."
    ),
]
TimeoutOption = Annotated[str, typer.Option(metavar="SECONDS", rich_help_panel=_LOAD, help="For one request.")]
SeedOption = Annotated[int, typer.Option(rich_help_panel=_LOAD, help="Decides prompts and arrivals.")]
KeepAliveOption = Annotated[
    bool, typer.Option("--keep-alive/--no-keep-alive", rich_help_panel=_LOAD, help="Use connections again, or never.")
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", rich_help_panel=_LOAD, help="Trust any certificate of the server.")
]

GoodputOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC:MS…",
        show_default=False,
        rich_help_panel=_REPORT,
        help="Count requests within limits: ttft:200 tpot:50 e2el:2000.",
    ),
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        show_default="ttft,tpot,itl,e2el,tps",
        rich_help_panel=_REPORT,
        help="What is shown; also client_queue_time.",
    ),
]
PercentilesOption = Annotated[str, typer.Option(metavar="NUMBERS", rich_help_panel=_REPORT, help="Which percentiles.")]
JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", show_default=False, rich_help_panel=_REPORT, help="Save it; - is stdout."),
]
SaveOption = Annotated[
    bool, typer.Option("--save-result", rich_help_panel=_REPORT, help="Save it under a name with the date.")
]
ResultDirOption = Annotated[
    Path, typer.Option(metavar="DIR", rich_help_panel=_REPORT, help="Where --save-result saves.")
]
ResultFilenameOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default="with the date", rich_help_panel=_REPORT, help="Under which name."),
]
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", show_default=False, rich_help_panel=_REPORT, help="A page with charts."),
]
CompareOption = Annotated[
    Path | None,
    typer.Option(
        "--compare", metavar="FILE", show_default=False, rich_help_panel=_REPORT, help="What changed since this --json."
    ),
]
ThresholdOption = Annotated[
    float, typer.Option(min=0, metavar="PERCENT", rich_help_panel=_REPORT, help="Smaller changes are none.")
]
FailOption = Annotated[
    bool, typer.Option("--fail-on-regression", rich_help_panel=_REPORT, help="Exit code 3 if anything is worse.")
]
