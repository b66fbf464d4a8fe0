"""What happens when a model server misbehaves: every fault of the mock, wherever in an answer it can strike.

`headrace serve` stands before `headrace mock`. Each row says in literals how the stream ends and what the mock saw; it
is asked in three shapes. The mock knows by the prompt what to do, so nothing but a question is sent.
"""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import yaml

from headrace.mock import answer_text
from headrace.mock.faults import KINDS
from tests.e2e.processes import HEADRACE, PATIENCE_S, Server, eventually, running, serving
from tests.e2e.raw import get
from tests.e2e.shapes import SHAPES, Seen


class End(NamedTuple):
    """How a stream ends."""

    state: str
    word: str
    """The code of a failure, the reason of a finish."""
    status: int = 200
    """Of an HTTP answer that has not begun."""
    retryable: bool | None = None
    advice: str = ""
    """The headers of such an answer that a client's retry logic reads."""
    type: str = ""
    """In OpenAI's shape."""


def retry(status: int, code: str, advice: str = "", type: str = "server_error") -> End:
    """A failure that may be over when the client asks again."""
    return End("failed", code, status, True, advice, type)


def never(status: int, code: str, advice: str = "x-should-retry: false", type: str = "server_error") -> End:
    return End("failed", code, status, False, advice, type)


HANG = "hang-between-tokens"
FINISHED, CALLED = End("finished", "stop"), End("finished", "tool_calls")
DOWN = retry(503, "upstream_unavailable")
DOWN_1 = retry(503, "upstream_unavailable", "retry-after: 1")
FAILED = retry(502, "upstream_unavailable")
LIMITED_2 = retry(429, "upstream_rate_limited", "retry-after: 2", "rate_limit_error")
LIMITED_61 = retry(429, "upstream_rate_limited", "retry-after: 61", "rate_limit_error")
AUTH = never(502, "upstream_auth")
UNKNOWN = never(502, "upstream_model_not_found")
REJECTED = never(422, "mock_error", "", "invalid_request_error")
NO_STREAM = never(502, "upstream_protocol")
GARBAGE = retry(502, "upstream_protocol")
CUT = retry(502, "upstream_incomplete")
ERROR = retry(502, "upstream_error")
TTFT = retry(504, "upstream_ttft_timeout")
IDLE = retry(504, "upstream_idle_timeout")
TOTAL = never(504, "upstream_total_timeout")


class Said(NamedTuple):
    """How much of an answer has come."""

    words: int
    fragments: int
    """Of a tool call's arguments, 12 characters each; 5 are all of them."""
    frames: int
    """In OpenAI's shape, those of the role, the tool's name and the finish too; 0 where the body has not begun."""


class Section(NamedTuple):
    """Faults that have the same in common."""

    model: str
    settings: dict[str, Any]
    """Of the mock's answer."""
    said: Said
    rows: dict[str, tuple[str, End, str]]
    """The fault as the mock understands it, how the stream ends, and how each answer of the mock ended: by which fault,
    `completed`, or `left` by Headrace after so many tokens."""


# fmt: off
TEXT = {"tokens": 8}
LONG = {"tokens": 12}
CALL = {"tokens": 2, "tool-calls": 1}

SECTIONS = [
    # Nothing of an answer comes.
    Section("plain", TEXT, Said(0, 0, 0), {
        "refuse":                   ("refuse",                              DOWN,       "refuse"),
        # A server may close a connection of the pool at the very moment at which it is used again.
        "refuse-in-pool":           ("refuse",                              DOWN,       "refuse, refuse"),
        "status-401":               ("status:401",                          AUTH,       "status"),
        "status-403":               ("status:403",                          AUTH,       "status"),
        "status-404":               ("status:404",                          UNKNOWN,    "status"),
        "status-422":               ("status:422",                          REJECTED,   "status"),
        "status-429":               ("status:429,retry-after=2",            LIMITED_2,  "status"),
        "status-500":               ("status:500",                          FAILED,     "status"),
        "status-503":               ("status:503",                          DOWN,       "status"),
        "status-529":               ("status:529,retry-after=1",            DOWN_1,     "status"),
        "html":                     ("wrong-content-type",                  NO_STREAM,  "completed"),
        "json":                     ("wrong-content-type:application/json", NO_STREAM,  "completed"),
        "cut-after-headers":        ("cut-bytes:0",                         CUT,        "cut-bytes"),
        "reset-after-headers":      ("cut-bytes:0,how=reset",               CUT,        "cut-bytes"),
        "cut-in-first-frame":       ("cut-bytes:100",                       CUT,        "cut-bytes"),
        "reset-in-first-frame":     ("cut-bytes:100,how=reset",             CUT,        "cut-bytes"),
    }),
    Section("nobody", TEXT, Said(0, 0, 0), {
        "nobody-listens":           ("none",                                DOWN,       ""),
    }),
    Section("ttft", TEXT, Said(0, 0, 0), {
        "hang-before-headers":      ("hang-before-headers",                 TTFT,       "left after 0"),
        "hang-after-headers":       ("hang-before-first-token",             TTFT,       "left after 0"),
    }),
    # Where it may be tried again, twice: what helps, and what is not tried.
    Section("again", TEXT, Said(8, 0, 10), {
        "again-refuse":             ("refuse:first=2",                      FINISHED,   "refuse, refuse, completed"),
        "again-status-429":         ("status:429,retry-after=0,first=1",    FINISHED,   "status, completed"),
        "again-status-503":         ("status:503,first=2",                  FINISHED,   "status, status, completed"),
        "again-cut-after-headers":  ("cut-bytes:0,first=1",                 FINISHED,   "cut-bytes, completed"),
        "again-cut-in-first-frame": ("cut-bytes:50,first=1",                FINISHED,   "cut-bytes, completed"),
    }),
    Section("again", TEXT, Said(0, 0, 0), {
        "again-in-vain":            ("status:503",                          DOWN,       "status, status, status"),
        "not-again-status-401":     ("status:401,first=1",                  AUTH,       "status"),
        "not-again-status-422":     ("status:422,first=1",                  REJECTED,   "status"),
        "not-again-html":           ("wrong-content-type:first=1",          NO_STREAM,  "completed"),
        "not-again-in-a-minute":    ("status:429,retry-after=61,first=1",   LIMITED_61, "status"),
    }),
    Section("again", TEXT, Said(0, 0, 1), {
        "not-again-after-role":     ("cut-frames:0,first=1",                CUT,        "cut-frames"),
    }),
    Section("again", TEXT, Said(3, 0, 4), {
        "not-again-in-text":        ("cut-frames:3,first=1",                CUT,        "cut-frames"),
    }),
    # The answer stops, or goes wrong.
    *(Section("plain", settings, said, {
        f"end-{phase}":             (f"no-terminal:{n}",                    CUT,        "no-terminal"),
        f"cut-{phase}":             (f"cut-frames:{n}",                     CUT,        "cut-frames"),
        f"reset-{phase}":           (f"cut-frames:{n},how=reset",           CUT,        "cut-frames"),
        f"cut-frame-{phase}":       (f"cut-in-frame:{n}",                   CUT,        "cut-in-frame"),
        f"reset-frame-{phase}":     (f"cut-in-frame:{n},how=reset",         CUT,        "cut-in-frame"),
        f"error-{phase}":           (f"error-frame:{n}",                    ERROR,      "error-frame"),
        f"garbage-{phase}":         (f"garbage:{n};{HANG}:{n}",             GARBAGE,    f"left after {n}"),
        f"10-MB-line-{phase}":      (f"long-line:10MB,after={n};{HANG}:{n}", GARBAGE,   f"left after {n}"),
    }) for phase, n, settings, said in (
        ("after-role",    0, TEXT, Said(0, 0, 1)),
        ("in-text",       3, TEXT, Said(3, 0, 4)),
        ("in-tool-call",  4, CALL, Said(2, 2, 6)),
        ("before-finish", 8, TEXT, Said(8, 0, 9)),
    )),
    # In the tenth word: the next after the third that is not ASCII.
    Section("plain", LONG, Said(9, 0, 10), {
        "cut-character-in-text":    ("cut-in-character:3",                  CUT,        "cut-in-character"),
    }),
    Section("plain", CALL, Said(2, 1, 5), {
        "cut-character-in-tool-call": ("cut-in-character:2",                CUT,        "cut-in-character"),
    }),
    Section("plain", TEXT, Said(8, 0, 10), {
        "no-done":                  ("no-done",                             CUT,        "no-done"),
    }),
    Section("plain", CALL, Said(2, 5, 10), {
        "no-done-after-tool-call":  ("no-done",                             CUT,        "no-done"),
    }),
    Section("slow", TEXT, Said(0, 0, 1), {
        "hang-after-role":          (f"{HANG}:0",                           TTFT,       "left after 0"),
    }),
    Section("idle", TEXT, Said(3, 0, 4), {
        "hang-in-text":             (f"{HANG}:3",                           IDLE,       "left after 3"),
    }),
    Section("idle", CALL, Said(2, 2, 6), {
        "hang-in-tool-call":        (f"{HANG}:4",                           IDLE,       "left after 4"),
    }),
    Section("idle", TEXT, Said(8, 0, 9), {
        "hang-before-finish":       (f"{HANG}:8",                           IDLE,       "left after 8"),
    }),
    Section("total", TEXT, Said(3, 0, 4), {
        "hang-for-good-in-text":    (f"{HANG}:3",                           TOTAL,      "left after 3"),
    }),
    # The answer is whole, and only looks strange.
    Section("plain", TEXT, Said(8, 0, 10), {
        "nothing":                  ("none",                                FINISHED,   "completed"),
        "crlf":                     ("crlf",                                FINISHED,   "completed"),
        "cr":                       ("cr",                                  FINISHED,   "completed"),
        "bom":                      ("bom",                                 FINISHED,   "completed"),
        "comments":                 ("comments",                            FINISHED,   "completed"),
        "gzip":                     ("gzip",                                FINISHED,   "completed"),
        "slow-drip":                ("slow-drip:50,1ms",                    FINISHED,   "completed"),
        "keep-open":                ("keep-open",                           FINISHED,   "keep-open"),
    }),
    Section("plain", TEXT, Said(8, 0, 11), {
        "8-MB-line":                ("long-line:8MB,after=3",               FINISHED,   "completed"),
    }),
    Section("plain", TEXT, Said(8, 0, 20), {
        "duplicate-frames":         ("duplicate-frames",                    FINISHED,   "completed"),
    }),
    Section("plain", CALL, Said(2, 5, 10), {
        "nothing-in-tool-call":     ("none",                                CALLED,     "completed"),
        "slow-drip-in-tool-call":   ("slow-drip:50,1ms",                    CALLED,     "completed"),
    }),
    # A model server that cannot stream is asked for the whole answer.
    Section("forced", TEXT, Said(8, 0, 1), {
        "forced-nothing":           ("none",                                FINISHED,   "completed"),
        "forced-gzip":              ("gzip",                                FINISHED,   "completed"),
        "forced-slow-drip":         ("slow-drip:50,1ms",                    FINISHED,   "completed"),
    }),
    Section("forced", TEXT, Said(0, 0, 0), {
        "forced-status-500":        ("status:500",                          FAILED,     "status"),
        "forced-html":              ("wrong-content-type",                  NO_STREAM,  "completed"),
        "forced-cut-after-headers": ("cut-bytes:0",                         CUT,        "cut-bytes"),
        "forced-cut":               ("cut-bytes:200",                       CUT,        "cut-bytes"),
        "forced-reset":             ("cut-bytes:200,how=reset",             CUT,        "cut-bytes"),
    }),
    Section("forced-ttft", TEXT, Said(0, 0, 0), {
        "forced-hang":              ("hang-before-first-token",             TTFT,       "left after 0"),
    }),
]
# fmt: on
BEFORE = {"refuse": "refuse", "again-refuse": "refuse", "refuse-in-pool": "none"}
"""Where the connection matters: what the mock does before, so that there is none in the pool, or one."""
ONCE = {"retries": 0}
MODELS: dict[str, dict[str, Any]] = {
    "plain": ONCE,
    "nobody": ONCE,
    "again": {"retries": 2, "retry_backoff": 0, "retry_backoff_max": 0},
    "ttft": ONCE | {"ttft_timeout": 0.3},
    "slow": ONCE | {"ttft_timeout": 1},  # the role must come within it
    "idle": ONCE | {"stream_idle_timeout": 0.3},
    "total": ONCE | {"total_timeout": 1},  # the text must come within it
    "forced": ONCE | {"stream": "force"},
    "forced-ttft": ONCE | {"stream": "force", "ttft_timeout": 0.3},
}


def asking(model: str, prompt: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}]}


def rule(prompt: str, fault: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What the mock does when it reads the prompt."""
    return {"match": {"prompt": f"^{re.escape(prompt)}$"}, "fault": fault, "settings": settings}


class Row(NamedTuple):
    """One fault in one phase, asked in one shape."""

    id: str
    shape: str
    section: Section

    @property
    def prompt(self) -> str:
        return f"{self.id} as {self.shape}"

    @property
    def question(self) -> dict[str, Any]:
        return asking(self.section.model, self.prompt)

    @property
    def rule(self) -> dict[str, Any]:
        return rule(self.prompt, self.section.rows[self.id][0], self.section.settings)

    @property
    def text(self) -> str:
        words = [""] + [answer_text(0, self.prompt, count) for count in range(1, self.section.said.words + 1)]
        times = 2 if self.id == "duplicate-frames" else 1  # nothing tells a copy from a word that is said twice
        return "".join(times * after.removeprefix(before) for before, after in pairwise(words))

    @property
    def arguments(self) -> str:
        """The first fragments of the mock's tool call."""
        query = answer_text(0, f"{self.prompt}\0{0}", 6)
        whole = json.dumps({"query": query, "index": 0}, ensure_ascii=False, separators=(",", ":"))
        return whole[: 12 * self.section.said.fragments]

    @property
    def seen(self) -> Seen:
        """What the client gets, in its shape's own words."""
        _, end, _ = self.section.rows[self.id]
        frames = self.section.said.frames
        begun: dict[str, Any] = {"text": self.text, "arguments": self.arguments}
        error = Seen(end.status, f"error {end.word}", type=end.type, retryable=end.retryable, advice=end.advice)
        match self.shape, end.state:
            case "native", _:
                return Seen(200, f"{end.state} {end.word}", retryable=end.retryable, **begun)
            case "whole", "finished":
                return Seen(200, "answer", **begun)
            case "whole", _:
                return error._replace(text=self.text or None)
            case _, "finished":
                return Seen(200, "[DONE]", frames=frames, **begun)
            case _:
                return error._replace(status=200, clean=False, advice="", frames=frames, **begun) if frames else error


ROWS = [Row(id, shape, section) for section in SECTIONS for id in section.rows for shape in SHAPES]


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a mock that knows all rows."""
    scenario = tmp_path_factory.mktemp("mock") / "scenario.yaml"
    before = [rule(f"before: {fault}", fault, {}) for fault in set(BEFORE.values())]
    scenario.write_text(yaml.safe_dump({"rules": [*before, *(row.rule for row in ROWS)]}))
    with running([HEADRACE, "mock", "--scenario", str(scenario)], stderr=None) as process:
        yield process.stdout.readline().decode().split()[-1]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def before_mock(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace with all models, each of them with connections of its own."""
    directory = tmp_path_factory.mktemp("before")
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        addresses = {"nobody": f"http://127.0.0.1:{bound.getsockname()[1]}"}
        models = [
            {
                "model_name": name,
                "params": {"model": "vllm/mock", "base_url": addresses.get(name, mock) + "/v1", **params},
            }
            for name, params in MODELS.items()
        ]
        (directory / "headrace.yaml").write_text(yaml.safe_dump({"model_list": models}))
        with serving(directory, "--config", str(directory / "headrace.yaml")) as server:
            yield server


def ask(address: str, data: bytes | None = None) -> Any:
    with urllib.request.urlopen(address, data, timeout=PATIENCE_S) as response:
        return json.load(response)


def answers(mock: str) -> str:
    """How each answer of the mock has ended, when all have."""
    eventually(lambda: ask(f"{mock}/stats")["streams"]["now"] == 0)
    stats = ask(f"{mock}/stats")
    ended = stats["ended"]
    found = [name for name, times in ended["by_fault"].items() for _ in range(times)]
    found += ["completed"] * ended["completed"]
    found += [f"left after {tokens}" for tokens in stats["client_closed_after_tokens"]]
    assert stats["requests"] == len(found)
    return ", ".join(found)


@pytest.mark.promise("P3", "P5", "P6", "P12", "P13", "P15", "P19", "P20", "P21", "P27")
@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.id}-{row.shape}") for row in ROWS])
def test_what_happens(row: Row, mock: str, before_mock: Server):
    _, end, ended = row.section.rows[row.id]
    if before := BEFORE.get(row.id):
        SHAPES["whole"](before_mock.api, asking(row.section.model, f"before: {before}"))
    ask(f"{mock}/stats/reset", b"")
    stream_id, seen = SHAPES[row.shape](before_mock.api, row.question)
    assert seen == row.seen
    assert answers(mock) == ended
    log = get(f"{before_mock.api}/streams/{stream_id}")
    calls = [item["text"] for choice in log["choices"] for item in choice["items"] if item["kind"] == "tool_call"]
    assert (log["state"], log["text"], "".join(calls)) == (end.state, row.text, row.arguments)
    if end.state == "finished":
        assert (log["finish_reason"], log["usage"]["source"]) == (end.word, "provider")
    else:
        assert (log["error"]["code"], log["error"]["retryable"]) == (end.word, end.retryable)
        assert log["usage"]["source"] == "partial"


def test_every_fault_of_the_mock_is_in_the_table():
    faults = "; ".join(fault for section in SECTIONS for fault, _, _ in section.rows.values())
    assert set(KINDS) == {fault.strip().partition(":")[0] for fault in faults.split(";")}
