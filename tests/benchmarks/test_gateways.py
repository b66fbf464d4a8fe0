from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import msgspec
import pytest

from benchmarks.gateways import loads
from benchmarks.gateways.chart import chart
from benchmarks.gateways.client import Job, carry_out
from benchmarks.gateways.figures import Measured
from benchmarks.gateways.loads import Load
from benchmarks.gateways.meters import Machine, Reading, Used, between, cpu_ns, tree
from benchmarks.gateways.resuming import Original
from benchmarks.gateways.rounds import LOADS, Plan, Run, schedule
from benchmarks.gateways.servers import SERVERS
from benchmarks.gateways.summary import rows
from benchmarks.gateways.table import page, tables, unmeasured
from benchmarks.gateways.transcript import Record, read
from headrace.mock import MockServer, Settings
from headrace.mock.pacing import Gap, parse_gap

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nlocation: /streams/s\r\n\r\n"


def event(text: str) -> bytes:
    return b"data: " + msgspec.json.encode({"choices": [{"delta": {"content": text}}]}) + b"\n\n"


def texts(tokens: int = 3) -> list[str]:
    said = [f"{number}:{1000 + number} " for number in range(tokens)]
    return [*said, f"sha256:{hashlib.sha256(''.join(said).encode()).hexdigest()}"]


def answer(pieces: list[bytes], *, whole: bool = True) -> Record:
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    reads = [HEAD, *chunks, *([b"0\r\n\r\n"] if whole else [])]
    return Record(10, [20 + place for place in range(len(reads))], reads)


def good() -> list[bytes]:
    return [*map(event, texts()), b"data: [DONE]\n\n"]


def test_an_answer_that_is_right_has_a_stamp_and_an_arrival_for_each_token():
    found = read(answer(good()), 3)
    assert found.problem == ""
    assert found.stamps == [1000, 1001, 1002]
    assert found.arrivals == [21, 22, 23]


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_where_the_bytes_are_split_does_not_matter(size):
    wire = b"".join(answer(good()).reads)
    reads = [wire[start : start + size] for start in range(0, len(wire), size)]
    found = read(Record(0, list(range(len(reads))), reads), 3)
    assert found.problem == ""
    assert len(found.arrivals) == 3


def test_ids_heartbeats_and_crlf_are_no_fault():
    first, *others = good()
    pieces = [b":\n" + b"id: c1.1\n" + first, b": ping\n\n", *(each.replace(b"\n", b"\r\n") for each in others)]
    assert read(answer(pieces), 3).problem == ""


def wrong(change) -> list[bytes]:
    pieces = good()
    change(pieces)
    return pieces


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (wrong(lambda each: each.pop(1)), "event 1 of 3"),
        (wrong(lambda each: each.insert(1, each[0])), "event 1 of 5"),
        (wrong(lambda each: each.insert(0, each.pop(1))), "event 0 of 4"),
        (wrong(lambda each: each.__setitem__(slice(0, 2), [event("0:1000 1:1001 ")])), "event 0 of 3"),
        (wrong(lambda each: each.__setitem__(1, event("1:1002 "))), "the hash"),
        (wrong(lambda each: each.__setitem__(3, event("sha256:0"))), "the hash"),
        (wrong(lambda each: each.__delitem__(slice(2, 4))), "1 tokens, not 3"),
        (wrong(lambda each: each.pop()), "does not end"),
        (wrong(lambda each: each.append(event("more"))), "after the end"),
        (wrong(lambda each: each.insert(0, b"data: {no\n\n")), "DecodeError"),
        (wrong(lambda each: each.insert(0, b"data: 1\ndata: 2\n\n")), "several lines"),
    ],
)
def test_an_answer_that_lost_doubled_swapped_or_joined_an_event_is_wrong(pieces, words):
    assert words in read(answer(pieces), 3).problem


def test_fewer_tokens_than_were_asked_for_are_wrong_though_their_hash_is_right():
    assert read(answer(good()), 4).problem == "3 tokens, not 4"


def test_an_answer_that_was_cut_is_wrong():
    assert "does not end" in read(answer(good(), whole=False), 3).problem
    assert read(Record(0, [], []), 3).problem == "no answer"


def test_a_refusal_is_told_with_its_words():
    refusal = b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy"
    assert "status 503" in (problem := read(Record(0, [1], [refusal]), 3).problem)
    assert "busy" in problem


def test_a_resumed_answer_must_be_the_rest_of_the_original():
    pieces = [
        b"id: c1.%d\n" % number + each for number, each in enumerate([*map(event, texts(6)), b"data: [DONE]\n\n"])
    ]
    original = Original(answer(pieces))
    assert original.path == "/streams/s"
    place = int(original.somewhere().partition(".")[2])
    assert original.wrong([answer([b"retry: 1\n" + pieces[place + 1], *pieces[place + 2 :]])]) == []
    assert original.wrong([answer(pieces[place + 2 :])]) != []


def test_the_tree_of_a_process_has_its_children_and_what_they_used():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in tree(os.getpid())
    finally:
        child.communicate(b"\n")
    assert cpu_ns([os.getpid()]) > 0
    assert cpu_ns([child.pid]) == 0


def reading(at: int, ours: int, busy: int) -> Reading:
    return Reading(at, ours, 0, ours, Machine(busy, 0))


def test_what_others_use_is_what_the_machine_used_and_we_did_not():
    used = between(reading(0, 0, 0), reading(2_000_000_000, 500_000_000, 1_500_000_000))
    assert used == Used(wall_s=2.0, server_s=0.5, foreign_s=1.0)


def plan(*names: str, runs: int = 1) -> Plan:
    return Plan(names, runs, seconds=1.0, patience=0.0)


def test_servers_take_turns_and_each_is_first_in_its_turn():
    servers = [SERVERS["headrace"], SERVERS["nginx"]]
    order = [(number, server.name, load.name) for number, server, load in schedule(servers, plan("paced", runs=2))]
    assert order == [
        (0, "headrace", "paced/5000"),
        (0, "nginx", "paced/5000"),
        (0, "headrace", "paced/25000"),
        (0, "nginx", "paced/25000"),
        (1, "nginx", "paced/5000"),
        (1, "headrace", "paced/5000"),
        (1, "nginx", "paced/25000"),
        (1, "headrace", "paced/25000"),
    ]


def test_memory_is_measured_in_the_first_round_only():
    order = [(number, load.name) for number, _, load in schedule([SERVERS["nginx"]], plan("rss", "ttft", runs=2))]
    assert order == [(0, "rss/1000"), (0, "rss/5000"), (0, "ttft"), (1, "ttft")]


def test_the_mock_alone_is_asked_what_the_servers_are_asked():
    servers = [SERVERS["direct"], SERVERS["tutorial"]]
    order = [(server.name, load.name) for _, server, load in schedule(servers, plan("paced", "rss"))]
    assert order[:2] == [("direct", "paced/700"), ("tutorial", "paced/700")]
    assert ("direct", "rss/1000") not in order


def test_only_a_server_with_durable_streams_is_asked_to_resume_them():
    asked = {server.name for _, server, _ in schedule(list(SERVERS.values()), plan("fanout", "resume", "flat"))}
    assert asked == {"headrace"}


@pytest.mark.parametrize("name", LOADS)
def test_every_load_is_one_that_the_client_and_the_mock_know(name):
    for server in SERVERS.values():
        for load in LOADS[name](server, plan(name)):
            assert msgspec.json.decode(msgspec.json.encode(load), type=Load) == load
            assert Settings(tokens=load.tokens, gap=parse_gap(load.mock_options[-1])).gap.a == pytest.approx(
                load.gap, abs=1e-6
            )


def test_a_held_stream_lives_longer_than_its_window():
    load = loads.paced(25_000, 8.0)
    assert load.rate == 25_000
    assert load.tokens * load.gap > load.ramp + load.settle + load.window


def done(server: str, number: int, cpu: float, p99: float, disturbed: float = 0.0, load: str = "paced/5000") -> Run:
    figures = {"latency_p50_ms": p99 / 2, "latency_p99_ms": p99, "together": 0.0, "rss_kb": 1.0, "rss_mb": 1.0}
    measured = Measured([], 10, Used(1.0, 0.1, 0.0), 5000.0, cpu_us=cpu, figures=figures)
    return Run(server, load, number, measured, disturbed=disturbed)


RUNS = [
    *(done("direct", number, 0.0, 1.0 + number) for number in range(3)),
    *(done("nginx", number, 10.0, 3.0) for number in range(3)),
    *(
        done("headrace", number, cpu, 2.0 + number, noise)
        for number, (cpu, noise) in enumerate([(20, 0), (22, 0), (90, 1)])
    ),
    done("headrace", 0, 25.0, 3.0, 1.0, "paced/25000"),
    Run("litellm", "paced/700", 0, None, "it did not start"),
]


def test_runs_that_others_disturbed_count_only_where_there_are_no_better_ones():
    found = {(row.server, row.load): row for row in rows(RUNS)}
    quiet, disturbed = found["headrace", "paced/5000"], found["headrace", "paced/25000"]
    assert (quiet.runs, quiet.quiet, quiet.figures["cpu_us"].high) == (2, True, 22)
    assert (disturbed.runs, disturbed.quiet) == (1, False)


def test_what_a_server_adds_is_counted_against_the_same_round():
    found = {(row.server, row.load): row for row in rows(RUNS)}
    added = found["headrace", "paced/5000"].figures["added_latency_p99_ms"]
    assert (added.low, added.high) == (1.0, 1.0)


def test_the_table_has_ratios_and_marks():
    text = tables(rows(RUNS))
    line = next(line for line in text.splitlines() if "headrace" in line and "paced/5000" in line)
    assert "21.0 (20.0 to 22.0)" in line
    assert "| 2.10" in line
    assert "disturbed" in next(line for line in text.splitlines() if "paced/25000" in line)


def test_a_server_without_figures_is_named_with_its_reason():
    servers = [SERVERS["headrace"], SERVERS["litellm"], SERVERS["envoy"]]
    missing = unmeasured(servers, RUNS)
    assert missing == {"litellm": "it did not start", "envoy": "it is not installed: --install"}
    text = page(rows(RUNS), {"headrace": {"version": "1", "how": "so"}}, {"cpu": "a"}, missing)
    assert "Not measured: litellm: it did not start" in text


def test_the_chart_has_bars_for_each_server_and_none_for_going_without():
    root = ElementTree.fromstring(chart(rows(RUNS)))
    texts = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("headrace") == texts.count("nginx") == 2
    assert "direct" not in texts
    assert "21.0 µs at 5,000/s" in texts


def job(load: Load, server: MockServer) -> Job:
    return Job(load, int(server.url.rpartition(":")[2]), "/v1/chat/completions", [], 0, [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "load",
    [
        Load("held", "hold", 5, 60, 0.005, ramp=0.01, settle=0.0, window=0.05),
        Load("rushed", "rush", 5, 100),
        Load("cycled", "cycle", 2, 5, 0.001, settle=0.0, window=0.05),
    ],
)
async def test_the_client_reads_what_the_mock_writes_and_finds_it_right(load):
    async with MockServer(Settings(tokens=load.tokens, stamp=True, gap=Gap(a=load.gap))) as server:
        measured = await carry_out(job(load, server))
    assert measured.problems == []
    assert measured.events > 0


@pytest.mark.anyio
async def test_the_client_says_what_is_wrong():
    load = Load("rushed", "rush", 2, 50)
    async with MockServer(Settings(tokens=40, stamp=True)) as server:
        measured = await carry_out(job(load, server))
    assert measured.problems[:2] == ["2 of 2 answers are wrong", "40 tokens, not 50"]
