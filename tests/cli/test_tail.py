import json

import msgspec
import pytest

from headrace.cli import main
from headrace.codecs.sse import HEARTBEAT
from headrace.dialects import OPENAI_CHAT
from headrace.events import (
    Cancelled,
    ChoiceEnd,
    Failed,
    Finished,
    ItemEnd,
    ItemStart,
    Record,
    StepStart,
    StreamStart,
    TextDelta,
    Usage,
)
from tests.cli.scripted import ScriptedServer, answer, chunked, frames, log

ID = "4f2c0000000000000000000000000001"
START = StreamStart(ID, "local", 1000, "m", "openai.chat", "u")
OPENING = [
    (START,),
    (StepStart("replay", "m"), ItemStart(0, "reasoning", name="reasoning_content"), TextDelta(0, "Hm. ")),
    (ItemEnd(0), ItemStart(1, "text"), TextDelta(1, "Grüße, ")),
    (TextDelta(1, "Wörld"),),
    (TextDelta(1, "!\n🌊"),),
]
TEXT = "Grüße, Wörld!\n🌊"
WHOLE = log(*OPENING, (ItemEnd(1), ChoiceEnd(0, "stop")), (Usage(7, 3),), (Finished("stop"),))


def tail(server: ScriptedServer, *options: str) -> int:
    return main(["tail", ID, "--url", server.url, *options])


def chat_lines(records: list[Record], params: str = "u") -> list[str]:
    view = OPENAI_CHAT.view(params)
    return [view.encode(frame).decode() for record in records for frame in view.fold(record)]


def test_a_finished_stream_is_printed_to_the_byte(capsys):
    with ScriptedServer([chunked(b"".join(frames(WHOLE)))]) as server:
        assert tail(server) == 0
    assert capsys.readouterr() == (TEXT, "")
    assert server.requests[0].line == f"GET /v1/streams/{ID}/events?format=native HTTP/1.1"
    assert server.requests[0].headers["accept"] == "text/event-stream"
    assert "last-event-id" not in server.requests[0].headers


def test_the_id_may_have_the_prefix_of_a_shape(capsys):
    with ScriptedServer([chunked(b"".join(frames(WHOLE)))]) as server:
        assert main(["tail", f"chatcmpl-{ID}", "--url", server.url + "/v1/"]) == 0
    assert server.requests[0].line.startswith(f"GET /v1/streams/{ID}/events")


@pytest.mark.parametrize("ended", [True, False], ids=["clean end", "aborted body"])
@pytest.mark.parametrize("form", ["text", "native", "openai.chat"])
def test_a_cut_anywhere_loses_nothing_and_repeats_nothing(capsys, form, ended):
    whole = frames(WHOLE)
    body = b"".join(whole)
    with ScriptedServer([chunked(body)]) as server:
        tail(server, "--format", form)
    expected = capsys.readouterr().out
    for cut in range(len(b"retry: 1\n"), len(body), 7):
        received = body[:cut].count(b"\n\n")
        rest = b"".join(whole[received:])
        with ScriptedServer([chunked(body[:cut], ended=ended), chunked(rest)]) as server:
            # The terminal record came although its connection was cut: nothing is left to ask for.
            assert tail(server, "--format", form) == 0
        assert capsys.readouterr().out == expected
        resumed = server.requests[1].headers.get("last-event-id")
        assert resumed == (f"n1.{received}" if received else None)


def test_many_cuts_with_resets_and_heartbeats_are_survived(capsys):
    answers = [chunked(frame + HEARTBEAT, ended=False) for frame in frames(WHOLE)]
    with ScriptedServer(answers, reset=True) as server:
        code = tail(server)
    out, err = capsys.readouterr()
    assert (code, out) == (0, TEXT)
    assert "trying again after record" in err


def test_records_that_come_twice_are_printed_once(capsys):
    whole = frames(WHOLE)
    with ScriptedServer([chunked(b"".join(whole[:4])), chunked(b"".join(whole))]) as server:
        assert tail(server) == 0
    assert capsys.readouterr().out == TEXT


def test_a_gap_is_an_error_and_not_a_shorter_text(capsys):
    whole = frames(WHOLE)
    with ScriptedServer([chunked(b"".join(whole[:3] + whole[4:]))]) as server:
        assert tail(server) == 1
    assert "left out records 3 to 3" in capsys.readouterr().err


def test_a_server_in_trouble_is_asked_again_once_it_was_there(capsys):
    whole = frames(WHOLE)
    busy = answer("503 Service Unavailable", b'{"error":{"code":"overloaded","message":"Full.","retryable":true}}')
    with ScriptedServer([chunked(b"".join(whole[:4])), busy, chunked(b"".join(whole[4:]))]) as server:
        assert tail(server) == 0
    out, err = capsys.readouterr()
    assert out == TEXT
    assert "Full" in err


def test_a_stream_that_vanished_meanwhile_ends_the_tail(capsys):
    gone = answer("404 Not Found", b'{"error":{"code":"not_found","message":"No stream has this id."}}')
    with ScriptedServer([chunked(frames(WHOLE)[0]), gone]) as server:
        assert tail(server) == 1
    assert "No stream has this id" in capsys.readouterr().err


def test_a_failed_stream_gives_its_text_its_reason_and_1(capsys):
    records = log(*OPENING, (Failed("upstream_incomplete", "It closed\x1b[2J early."),))
    with ScriptedServer([chunked(b"".join(frames(records)))]) as server:
        assert tail(server) == 1
    out, err = capsys.readouterr()
    assert out == TEXT
    assert err == "headrace: the stream failed: It closed�[2J early.\n"


def test_a_cancelled_stream_gives_its_text_and_3(capsys):
    records = log(*OPENING, (Usage(7, 2, source="partial"),), (Cancelled("client"),))
    with ScriptedServer([chunked(b"".join(frames(records)))]) as server:
        assert tail(server, "-v") == 3
    out, err = capsys.readouterr()
    assert out == TEXT
    assert err == "headrace: cancelled (by client), 2 tokens after a prompt of 7, 0.6 s\n"


def test_the_native_format_is_one_record_a_line(capsys):
    with ScriptedServer([chunked(b"".join(frames(WHOLE)))]) as server:
        tail(server, "--format", "native")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(len(WHOLE)))


def test_the_chat_format_is_the_shape_as_it_was_created(capsys):
    with ScriptedServer([chunked(b"".join(frames(WHOLE)))]) as server:
        tail(server, "--format", "openai.chat")
    lines = capsys.readouterr().out.splitlines()
    assert lines == chat_lines(WHOLE)
    assert lines[-1] == "[DONE]"
    assert any('"usage"' in line for line in lines)


@pytest.mark.parametrize("position", range(len(WHOLE) + 1))
def test_from_a_record_gives_what_comes_after_it(capsys, position):
    expected = "".join(
        event.text for record in WHOLE[max(position, 2) :] for event in record.events if isinstance(event, TextDelta)
    )
    with ScriptedServer([chunked(b"".join(frames(WHOLE)))]) as server:
        assert tail(server, "--from", f"n1.{position}") == 0
    assert capsys.readouterr().out == expected


def test_from_a_byte_of_the_text_gives_the_rest(capsysbinary):
    data = TEXT.encode()
    for position in range(len(data) + 1):
        with ScriptedServer([chunked(b"".join(frames(WHOLE)))]) as server:
            assert tail(server, "--from", f"t1.{position}") == 0
        assert capsysbinary.readouterr().out == data[position:]


def test_from_a_chat_cursor_keeps_its_view(capsys):
    lines = chat_lines(WHOLE, "")
    with ScriptedServer([chunked(b"".join(frames(WHOLE)))]) as server:
        tail(server, "--format", "openai.chat", "--from", "c1.2")
    assert capsys.readouterr().out.splitlines() == lines[2:]


@pytest.mark.parametrize("wrong", ["", "57", "n2.1", "x1.1", "c1u.3", "n1u.3", "n1.-1"])
def test_a_foreign_cursor_is_wrong_usage(capsys, wrong):
    assert main(["tail", ID, "--from", wrong]) == 2
    assert "--from" in capsys.readouterr().err


def status(state: str, position: int) -> bytes:
    return answer("200 OK", json.dumps({"id": ID, "state": state, "position": position, "text": "…"}).encode())


def test_no_follow_ends_at_what_is_there(capsys):
    with ScriptedServer([status("running", 4), chunked(b"".join(frames(WHOLE)[:4]))]) as server:
        assert tail(server, "--no-follow", "-v") == 0
    out, err = capsys.readouterr()
    assert out == "Grüße, Wörld"
    assert err.startswith("headrace: running")


def test_no_follow_too_goes_through_a_cut(capsys):
    whole = frames(WHOLE)
    answers = [status("running", 5), chunked(b"".join(whole[:3]), ended=False), chunked(b"".join(whole[3:5]))]
    with ScriptedServer(answers) as server:
        assert tail(server, "--no-follow") == 0
    assert capsys.readouterr().out == TEXT


def test_no_follow_before_the_first_record_prints_nothing(capsys):
    with ScriptedServer([status("running", 0)]) as server:
        assert tail(server, "--no-follow") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("failed", 1), ("cancelled", 3)])
def test_nothing_more_to_read_is_answered_with_the_state(capsys, state, code):
    with ScriptedServer([answer("204 No Content"), status(state, 4)]) as server:
        assert tail(server) == code
    assert capsys.readouterr().out == ""


def test_a_server_that_is_not_there_is_said_in_one_line(capsys):
    with ScriptedServer([]) as server:
        pass
    assert tail(server) == 1
    assert capsys.readouterr().err == (
        f"headrace: cannot connect to {server.url} (Connection refused): is `headrace serve` running there?\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"no json",
        b'{"seq":0,"at_ms":1,"events":[{"type":"new"}]}',
        b'{"seq":0,"at_ms":1,"events":[{"type":"item.start","item":0,"kind":"text"}]}',
        b'{"seq":0,"at_ms":1,"events":[],"raw":' + b"[" * 5000,
        frames(WHOLE)[0].partition(b"data: ")[2].strip() + b"\nid: n1.\x01",
    ],
    ids=["empty", "no JSON", "unknown event", "no beginning", "nested", "strange id"],
)
def test_what_is_no_record_is_said_in_one_line(capsys, data):
    with ScriptedServer([chunked(b"data: " + data + b"\n\n")]) as server:
        assert tail(server) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_raw_frame_that_is_none_is_said_in_one_line(capsys):
    raw = Record(2, 1000, (), msgspec.Raw(b'{"choices":7}'))
    step = StepStart("replay", "m", "openai.chat")
    records = [*log((START,), (step,)), raw]
    with ScriptedServer([chunked(b"".join(frames(records)))]) as server:
        assert tail(server, "--format", "openai.chat") == 1
    assert "cannot read" in capsys.readouterr().err


def test_redirects_are_not_followed(capsys):
    elsewhere = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with ScriptedServer([elsewhere]) as server:
        assert tail(server, "--api-key", "secret") == 1
    assert "answered 307" in capsys.readouterr().err


@pytest.mark.promise("P36")
def test_the_key_is_sent_and_never_shown(capsys, monkeypatch):
    wrong = answer("401 Unauthorized", b'{"error":{"code":"invalid_api_key","message":"Wrong key."}}')
    with ScriptedServer([wrong]) as server:
        monkeypatch.setenv("HEADRACE_URL", server.url)
        monkeypatch.setenv("HEADRACE_API_KEY", "sesame-123")
        assert main(["tail", ID]) == 1
        assert main(["tail", "--help"]) == 0
    out, err = capsys.readouterr()
    assert server.requests[0].headers["authorization"] == "Bearer sesame-123"
    assert "HEADRACE_API_KEY" in err
    assert "sesame" not in out + err


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "ü"])
def test_a_key_that_cannot_be_sent_is_wrong_usage(capsys, key):
    assert main(["tail", ID, "--api-key", key]) == 2
    assert key not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x/?a=b", "http://x:99999", "http://a b"]
)
def test_an_address_that_is_none_is_wrong_usage(capsys, url):
    assert main(["tail", ID, "--url", url]) == 2
    assert "--url" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["..", "a/b", "%2e", "", "chatcmpl-", "ä"])
def test_an_id_that_is_none_is_wrong_usage(capsys, wrong):
    assert main(["tail", wrong]) == 2
    assert "no stream id" in capsys.readouterr().err
