"""Random inputs for property tests: whole streams as records, and chat completion chunks as model servers send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from headrace.events import (
    ArgsDelta,
    Attrs,
    Cancelled,
    ChoiceEnd,
    Event,
    Failed,
    Finished,
    ItemEnd,
    ItemKind,
    ItemStart,
    ObjectValue,
    Record,
    Signature,
    Status,
    StepEnd,
    StepStart,
    StreamStart,
    Terminal,
    TextDelta,
    ToolResult,
    Usage,
)

CREATED = 1_700_000_000
UPSTREAM = "openai.chat"

texts = st.sampled_from(
    [
        "",
        "a",
        " word",
        "é",
        "€uro",
        "😀",
        "👩‍👧",
        "\u2028",
        "\x85",
        '"\\',
        "\r\n",
        "\n",
        "\x00",
        "data: x",
        "[DONE]",
        "{}",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
"""Short pieces with everything that could hurt: multi-byte, line ends, quotes, control characters, our own markers."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

_entries = st.lists(st.builds(lambda text: {"token": text, "logprob": -0.5, "top_logprobs": []}, texts), max_size=2)
logprobs = st.none() | st.builds(
    lambda content, refusal: {"content": content, "refusal": refusal}, _entries, st.none() | _entries
)


class Op(NamedTuple):
    """One step of a random stream; what the numbers mean depends on what is possible at that point."""

    what: str
    choice: int
    pick: int
    text: str
    logprobs: dict[str, Any] | None
    cut: bool
    """Whether the record ends after it."""


_WHAT = ["text", "text", "text", "reasoning", "refusal", "call", "args", "args", "attrs", "usage", "end", "choice_end"]
_FOREIGN = ["status", "signature", "source", "object", "tool_result"]
_REASONING_NAMES = [None, "reasoning_content", "reasoning"]

starts = st.builds(
    StreamStart,
    id=st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}"),
    owner=st.just("someone"),
    created=st.just(CREATED),
    model=st.sampled_from(["demo", 'a "quoted"/model']),
    dialect=st.sampled_from(["openai.chat", "native"]),
    params=st.sampled_from(["", "u"]),
    input_tokens=st.integers(0, 9),
    meta=st.sampled_from([{}, {"k": "v"}]),
)

terminals: SearchStrategy[Terminal] = st.one_of(
    st.builds(Finished, st.sampled_from(["stop", "length", "tool_calls", "content_filter"])),
    st.builds(Failed, st.just("upstream_incomplete"), texts, st.booleans(), st.sampled_from([502, 429, 504])),
    st.builds(Cancelled, st.sampled_from(["client", "disconnect", "shutdown"])),
)


_names = st.none() | texts
_counts = st.integers(0, 2**63 - 1)
_frames = json_values.map(lambda value: msgspec.Raw(msgspec.json.encode(value)))
raws = st.none() | _frames

odd_values = st.recursive(
    json_values | st.floats() | st.just("\ud800") | _frames | st.binary(max_size=3) | st.integers(-(2**200), 2**200),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.integers(0, 3), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=6,
)
"""What an event of type `Any` may hold as well, if a provider in this process puts it there."""

usages = st.builds(
    Usage,
    input=_counts,
    output=_counts,
    cached=_counts,
    reasoning=_counts,
    source=st.sampled_from(["provider", "estimated", "partial"]),
)


def events(values: SearchStrategy[Any] = json_values) -> SearchStrategy[Event]:
    """Any event with any fields, whether or not it makes sense; `values` where its type is `Any`."""
    return st.one_of(
        starts,
        st.builds(
            ItemStart,
            item=_counts,
            kind=st.sampled_from(["text", "reasoning", "refusal", "tool_call", "source", "file", "data"]),
            choice=_counts,
            name=_names,
            call_id=_names,
        ),
        st.builds(ItemEnd, _counts),
        st.builds(TextDelta, _counts, texts, raws),
        st.builds(ArgsDelta, _counts, texts),
        st.builds(Signature, _counts, texts),
        st.builds(ToolResult, texts, values, st.booleans()),
        st.builds(ObjectValue, _counts, values, st.lists(texts, max_size=2).map(tuple)),
        usages,
        st.builds(StepStart, texts, texts, texts, texts, st.none() | usages),
        st.builds(StepEnd, texts, st.none() | usages),
        st.builds(ChoiceEnd, _counts, texts),
        st.builds(Attrs, st.dictionaries(texts, values, max_size=2)),
        st.builds(Status, texts, texts),
        terminals,
        st.builds(
            Failed,
            *(texts, texts, st.booleans(), st.integers(400, 599)),
            retry_after=st.none() | st.floats(0, allow_infinity=False),
            param=_names,
        ),
    )


def records_of(seq: int, values: SearchStrategy[Any] = json_values) -> SearchStrategy[Record]:
    """One record with any events."""
    return st.builds(Record, st.just(seq), _counts, st.lists(events(values), max_size=3).map(tuple), raws)


def streams(*, foreign: bool = True, raw: bool = True, with_logprobs: bool = True) -> SearchStrategy[list[Record]]:
    """Well-formed logs: record 0 with `StreamStart` first, one terminal record last.

    `foreign` adds events that chat completions have no word for, `raw` records that keep an upstream's own frame.
    """
    what = _WHAT + (_FOREIGN if foreign else []) + (["raw"] if raw else [])
    ops = st.builds(
        Op,
        what=st.sampled_from(what),
        choice=st.integers(0, 2),
        pick=st.integers(0, 5),
        text=texts,
        logprobs=logprobs if with_logprobs else st.none(),
        cut=st.booleans(),
    )
    return st.builds(_records, starts, st.integers(1, 3), st.lists(ops, max_size=20), terminals)


def _records(start: StreamStart, choices: int, ops: list[Op], terminal: Terminal) -> list[Record]:
    writer = _Writer(start, choices)
    for op in ops:
        writer.apply(op)
    return writer.close(terminal)


@dataclass
class _Writer:
    """Turns ops into records, skipping what is not possible where it stands."""

    start: StreamStart
    choices: int
    records: list[Record] = field(default_factory=list[Record])
    events: list[Event] = field(default_factory=list[Event])
    kinds: list[ItemStart] = field(default_factory=list[ItemStart])
    open_text: dict[int, int] = field(default_factory=dict[int, int])
    open_calls: list[int] = field(default_factory=list[int])
    ended: set[int] = field(default_factory=set[int])
    usage: Usage | None = None
    started: bool = False

    def __post_init__(self) -> None:
        self.events.append(self.start)
        self.cut()

    def cut(self, raw: msgspec.Raw | None = None) -> None:
        if self.events or raw is not None:
            seq = len(self.records)
            self.records.append(Record(seq, CREATED * 1000 + seq, tuple(self.events), raw))
            self.events.clear()

    def apply(self, op: Op) -> None:
        if op.what == "status":
            self.events.append(Status("retrying", op.text))
        else:
            self.step()
            choice = op.choice % self.choices
            if choice not in self.ended:
                getattr(self, f"on_{op.what}")(op, choice)
        if op.cut:
            self.cut()

    def step(self) -> None:
        if not self.started:
            self.started = True
            self.events.append(StepStart("server", "upstream-model", UPSTREAM, "up-1"))

    def begin(self, kind: ItemKind, choice: int, name: str | None = None, call_id: str | None = None) -> int:
        item = ItemStart(len(self.kinds), kind, choice, name, call_id)
        self.kinds.append(item)
        self.events.append(item)
        return item.item

    def say(self, kind: ItemKind, choice: int, name: str | None, op: Op) -> None:
        item = self.open_text.get(choice)
        if item is None or (self.kinds[item].kind, self.kinds[item].name) != (kind, name):
            self.end_text(choice)
            item = self.open_text[choice] = self.begin(kind, choice, name)
        pieces = None if kind == "reasoning" or op.logprobs is None else msgspec.Raw(msgspec.json.encode(op.logprobs))
        if op.text or pieces is not None:
            self.events.append(TextDelta(item, op.text, pieces))

    def end_text(self, choice: int) -> None:
        item = self.open_text.pop(choice, None)
        if item is not None:
            self.events.append(ItemEnd(item))

    def on_text(self, op: Op, choice: int) -> None:
        self.say("text", choice, None, op)

    def on_reasoning(self, op: Op, choice: int) -> None:
        self.say("reasoning", choice, _REASONING_NAMES[op.pick % 3], op)

    def on_refusal(self, op: Op, choice: int) -> None:
        self.say("refusal", choice, None, op)

    def on_call(self, op: Op, choice: int) -> None:
        self.open_calls.append(self.begin("tool_call", choice, f"tool_{op.pick}", f"call_{len(self.kinds)}"))

    def on_args(self, op: Op, choice: int) -> None:
        calls = [item for item in self.open_calls if self.kinds[item].choice == choice]
        if calls and op.text:
            self.events.append(ArgsDelta(calls[op.pick % len(calls)], op.text))

    def on_attrs(self, op: Op, choice: int) -> None:
        name = ("system_fingerprint", "service_tier")[op.pick % 2]
        self.events.append(Attrs({name: op.text or None}))

    def on_usage(self, op: Op, choice: int) -> None:
        self.usage = Usage(len(self.records), op.pick, op.pick % 2, op.pick % 3)
        self.events.append(self.usage)

    def on_end(self, op: Op, choice: int) -> None:
        self.end_text(choice)

    def on_choice_end(self, op: Op, choice: int) -> None:
        self.end_choice(choice, "length")

    def on_signature(self, op: Op, choice: int) -> None:
        reasoning = [item.item for item in self.kinds if item.kind == "reasoning"]
        if reasoning:
            self.events.append(Signature(reasoning[op.pick % len(reasoning)], op.text))

    def on_source(self, op: Op, choice: int) -> None:
        item = self.begin("source", choice)
        self.events += [TextDelta(item, op.text), ItemEnd(item)]

    def on_object(self, op: Op, choice: int) -> None:
        item = self.begin("data", choice)
        self.events += [ObjectValue(item, {"value": op.text}, ("/value",)), ItemEnd(item)]

    def on_tool_result(self, op: Op, choice: int) -> None:
        self.events.append(ToolResult("call_0", {"output": op.text}))

    def on_raw(self, op: Op, choice: int) -> None:
        """A record of its own, as a decoder makes it from a chunk with a vendor's field."""
        self.cut()
        self.say("text", choice, None, op._replace(logprobs=None))
        delta: dict[str, Any] = {"content": op.text, "vendor": op.pick}
        if op.pick % 2:
            delta["role"] = "assistant"
        frame = {"id": "up-1", "choices": [{"index": choice, "delta": delta, "finish_reason": None}], "top": op.text}
        self.cut(msgspec.Raw(msgspec.json.encode(frame)))

    def end_choice(self, choice: int, reason: str) -> None:
        self.ended.add(choice)
        self.end_text(choice)
        calls = [item for item in self.open_calls if self.kinds[item].choice == choice]
        self.open_calls = [item for item in self.open_calls if item not in calls]
        self.events += [ItemEnd(item) for item in calls]
        self.events.append(ChoiceEnd(choice, reason))

    def close(self, terminal: Terminal) -> list[Record]:
        if isinstance(terminal, Finished):
            self.step()
            for choice in range(self.choices):
                if choice not in self.ended:
                    self.end_choice(choice, terminal.reason)
            self.events.append(StepEnd(terminal.reason, self.usage))
        self.cut()
        if self.usage is None:
            source = "estimated" if isinstance(terminal, Finished) else "partial"
            self.events.append(Usage(self.start.input_tokens, len(self.kinds), source=source))
        self.events.append(terminal)
        self.cut()
        return self.records


class ChunkOp(NamedTuple):
    """One random chunk."""

    what: str
    choice: int
    text: str
    logprobs: dict[str, Any] | None
    vendor: dict[str, Any]
    """Unknown fields by where they stand: `top`, `choice`, `delta`, `call`."""


_vendor = st.dictionaries(st.sampled_from(["top", "choice", "delta", "call"]), json_values, max_size=2)
_plain = st.just(dict[str, Any]())


def chat_chunks() -> SearchStrategy[list[dict[str, Any]]]:
    """Chunks of one answer as a careful model server sends them: no `[DONE]`, usage last, some vendor fields."""
    ops = st.builds(
        ChunkOp,
        what=st.sampled_from(["content", "content", "reasoning_content", "reasoning", "refusal", "call", "args"]),
        choice=st.integers(0, 2),
        text=texts,
        logprobs=logprobs,
        vendor=_plain | _vendor,
    )
    usages = st.none() | st.builds(
        lambda prompt, completion, extra: {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion + extra,
        },
        st.integers(0, 9),
        st.integers(0, 9),
        st.sampled_from([0, 0, 3]),
    )
    constants = st.dictionaries(st.sampled_from(["system_fingerprint", "service_tier"]), st.none() | texts, max_size=2)
    return st.builds(_chunks, constants, st.integers(1, 3), st.lists(ops, max_size=10), usages)


def _chunks(
    constants: dict[str, Any], choices: int, ops: list[ChunkOp], usage: dict[str, Any] | None
) -> list[dict[str, Any]]:
    head = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "upstream", **constants}
    calls = [0] * choices
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
        for index in range(choices)
    ]
    chunks += [{**head, **_chunk(op, op.choice % choices, calls)} for op in ops]
    chunks += [
        {**head, "choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]} for index in range(choices)
    ]
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": usage})
    return chunks


def _chunk(op: ChunkOp, index: int, calls: list[int]) -> dict[str, Any]:
    delta: dict[str, Any] = {}
    if op.what in ("call", "args"):
        delta["tool_calls"] = [_fragment(op, index, calls)]
    else:
        delta[op.what] = op.text
    if "delta" in op.vendor:
        delta["x_delta"] = op.vendor["delta"]
    choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": None}
    if op.logprobs is not None:
        choice["logprobs"] = op.logprobs
    if "choice" in op.vendor:
        choice["x_choice"] = op.vendor["choice"]
    top = {"x_top": op.vendor["top"]} if "top" in op.vendor else {}
    return {"choices": [choice], **top}


def _fragment(op: ChunkOp, index: int, calls: list[int]) -> dict[str, Any]:
    if op.what == "call" or not calls[index]:
        calls[index] += 1
        function = {"name": "lookup", "arguments": op.text}
        fragment = {"index": calls[index] - 1, "id": f"call_{index}_{calls[index]}", "type": "function"}
    else:
        function = {"arguments": op.text}
        fragment: dict[str, Any] = {"index": (len(op.text) * 7) % calls[index]}
    if "call" in op.vendor:
        fragment["x_call"] = op.vendor["call"]
    return {**fragment, "function": function}
