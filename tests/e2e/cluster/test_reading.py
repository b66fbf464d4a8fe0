"""What one node produces is read on another as if it were there: in every form, from any position, live and late."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.e2e.cluster.forms import FORMS, Form
from tests.e2e.cluster.nodes import SSE, Nodes, ask, reading
from tests.e2e.processes import Server
from tests.e2e.raw import events
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, Step, chunk, delta, head

WORDS = ("Die ", "Schleuse ", "öffnet ", "sich: ", "水路 ", "🌊", " und", " schließt.")
BEFORE = 5
"""So many words come before the gate."""
LAST = "水路"

forms = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


def script(gate: Step) -> tuple[Step, ...]:
    first, second = ([chunk(delta(content=word)) for word in part] for part in (WORDS[:BEFORE], WORDS[BEFORE:]))
    return (head(), *first, gate, *second, chunk(delta("stop"), DONE), END)


def got(form: Form, server: Server, stream_id: str, query: str = "", **headers: str) -> tuple[object, bytes]:
    """What a late reader receives, as units and as it is; it must end well."""
    with reading(server, stream_id, f"{form.query}{query}", form.accept, **headers) as reader:
        body = reader.rest()
        assert reader.status == 204 or (reader.status == 200 and reader.clean), body
        return form.units(body), body


@forms
@pytest.mark.promise("P4", "P9")
def test_a_reader_on_another_node_goes_on_live_from_every_position(form: Form, nodes: Nodes, upstream: Upstream):
    gate = upstream.gate()
    upstream.play(*script(gate.wait))
    stream_id = ask(nodes.a)["id"]
    with ExitStack() as stack:
        uninterrupted = stack.enter_context(reading(nodes.a, stream_id, form.query, form.accept))
        cuts = form.cuts(form.units(uninterrupted.until(lambda body: has(form, body))))
        readers = [
            stack.enter_context(reading(nodes.b, stream_id, f"{form.query}&skip={skip}", form.accept)) for skip in cuts
        ]
        assert [reader.status for reader in readers] == [200] * len(readers)
        gate.open()
        whole = form.units(uninterrupted.rest())
        rests = [form.units(reader.rest()) for reader in readers]
        assert uninterrupted.clean and all(reader.clean for reader in readers)
    assert rests == [whole[skip:] for skip in cuts]
    assert len(whole) > max(cuts) >= BEFORE


def has(form: Form, body: bytes) -> bool:
    """Whether everything before the gate has come."""
    units = form.units(body)
    return LAST.encode() in (units if isinstance(units, bytes) else b"".join(units))


@forms
@pytest.mark.promise("P4", "P9")
def test_a_late_reader_on_another_node_goes_on_from_every_position(form: Form, nodes: Nodes, upstream: Upstream):
    gate = upstream.gate()
    gate.open()
    upstream.play(*script(gate.wait))
    stream_id = ask(nodes.a)["id"]
    with reading(nodes.a, stream_id, form.query, form.accept) as live:
        body = live.rest()
        assert live.clean
    whole = form.units(body)
    for skip in form.cuts(whole):
        assert got(form, nodes.b, stream_id, f"&skip={skip}")[0] == whole[skip:]
    if form.accept == SSE:
        for received, last in form.ids(body):
            assert got(form, nodes.c, stream_id, Last_Event_ID=last)[0] == whole[received:]
    assert got(form, nodes.c, stream_id)[0] == whole


@pytest.mark.promise("P2", "P4")
def test_a_reader_that_changes_nodes_at_every_frame_gets_each_frame_once(nodes: Nodes, upstream: Upstream):
    gates = [upstream.gate() for _ in WORDS]
    steps = [step for gate, word in zip(gates, WORDS, strict=True) for step in (gate.wait, chunk(delta(content=word)))]
    upstream.play(head(), *steps, chunk(delta("stop"), DONE), END)
    stream_id = ask(nodes.a)["id"]
    received: list[bytes] = []
    last: dict[str, str] = {}
    for number, gate in enumerate(gates):
        with reading(nodes[number % 3], stream_id, "format=openai.chat", **last) as reader:
            assert reader.status == 200
            gate.open()
            found = list(events(reader.until(lambda body: b'"content"' in body and body.endswith(b"\n\n"))))
            reader.reset()
        received += [event.data for event in found]
        last = {"Last_Event_ID": found[-1].id}
    with reading(nodes.c, stream_id, "format=openai.chat", **last) as reader:
        received += reader.frames()
    with reading(nodes.b, stream_id, "format=openai.chat") as whole:
        assert received == whole.frames()
    assert len(received) >= len(WORDS)
