"""Each fault, as the bytes that a client gets."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from headrace.errors import BadRequest
from headrace.mock import MockServer, Settings, answer_text, parse_faults
from headrace.mock.faults import KINDS
from tests.mock.client import Client, Reply, ask, comes_true, question, raw_request, stats, text_of

pytestmark = pytest.mark.anyio

TOKENS = 12
FULL = answer_text(0, "hi", TOKENS)
DONE = b"data: [DONE]\n\n"


def said(tokens: int) -> str:
    return answer_text(0, "hi", tokens)


async def faulty(fault: str, until=None, settings: Settings | None = None, **fields) -> Reply:
    """The answer with a fault, and that it was counted."""
    async with MockServer(settings or Settings(tokens=TOKENS), parse_faults(fault)) as server:
        reply = await ask(server, question(**fields), until=until)
        names = [part.partition(":")[0].strip() for part in fault.split(";")]
        assert dict(server.stats.faults) == dict.fromkeys(names, 1)
        await comes_true(lambda: server.stats.streams_now == 0)
        return reply


async def test_a_refused_connection_is_reset_without_a_byte():
    reply = await faulty("refuse")
    assert (reply.wire, reply.reset) == (b"", True)


async def test_a_request_can_be_refused_by_itself():
    async with MockServer() as server:
        reply = await ask(server, question(mock={"fault": "refuse"}))
        assert (reply.wire, reply.reset) == (b"", True)
        assert server.stats.by_fault == {"refuse": 1}


@pytest.mark.parametrize("status", [401, 429, 500, 503, 529])
async def test_a_status_is_an_error_in_openais_shape(status):
    reply = await faulty(f"status:{status}")
    assert reply.status == status
    assert reply.json()["error"]["code"] == "mock_error"
    assert "retry-after" not in reply.headers


async def test_a_status_with_retry_after_ends_after_the_first_k():
    async with MockServer(Settings(), parse_faults("status:429,retry-after=2,first=2")) as server:
        replies = [await ask(server, question()) for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    assert replies[0].headers["retry-after"] == "2"


async def test_hanging_before_the_headers_sends_nothing():
    async with MockServer(Settings(), parse_faults("hang-before-headers")) as server:
        async with Client(server) as client:
            client.send(raw_request(question()))
            await comes_true(lambda: server.stats.faults.total() == 1)
            assert await client.waiting() == b""
        await comes_true(lambda: server.stats.client_closed == 1)


async def test_hanging_before_the_first_token_sends_the_headers_only():
    reply = await faulty("hang-before-first-token", until=lambda reply: reply.wire.endswith(b"\r\n\r\n"))
    assert reply.status == 200
    assert reply.body == b""


async def test_hanging_between_tokens_sends_so_many_and_stays_open():
    reply = await faulty("hang-between-tokens:4", until=lambda reply: len(reply.frames) == 5)
    assert reply.text == said(4)
    assert not reply.closed


@pytest.mark.parametrize("count", [0, 1, 100, 1000])
async def test_a_cut_after_bytes_is_exact(count):
    whole = await faulty("slow-drip:100,0s")
    reply = await faulty(f"cut-bytes:{count}")
    # The id has the same number of digits, so the length is the same.
    assert len(reply.body) == count
    assert reply.body[:40] == whole.body[:40][:count]
    assert reply.closed and not reply.whole and not reply.reset


async def test_a_cut_can_be_a_reset_after_everything_before_it_was_received():
    reply = await faulty("cut-frames:4,how=reset")
    assert reply.reset
    assert reply.text == said(4)


async def test_a_cut_after_frames_leaves_whole_frames():
    reply = await faulty("cut-frames:5")
    assert reply.closed and not reply.whole
    assert reply.body.endswith(b"\n\n")
    assert reply.text == said(5)


async def test_a_cut_beyond_the_end_comes_before_the_finish():
    reply = await faulty("cut-frames:5000")
    assert reply.text == FULL
    assert b'"stop"' not in reply.body
    assert not reply.whole


async def test_a_cut_in_a_frame_leaves_half_a_line():
    reply = await faulty("cut-in-frame:2")
    assert reply.text == said(2)
    assert reply.body.split(b"\n\n")[-1].startswith(b'data: {"id"')


async def test_a_cut_in_a_character_leaves_bytes_that_are_no_utf8():
    reply = await faulty("cut-in-character:4")
    assert reply.text.startswith(said(4))
    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        reply.body.decode()


async def test_without_its_terminal_the_body_still_ends_cleanly():
    reply = await faulty("no-terminal:4")
    assert reply.whole
    assert reply.text == said(4)
    assert b"stop" not in reply.body and b"DONE" not in reply.body


async def test_without_done_the_finish_is_there():
    reply = await faulty("no-done")
    assert reply.whole
    assert b'"stop"' in reply.frames[-1]


async def test_kept_open_after_done_the_body_never_ends():
    async with MockServer(Settings(tokens=TOKENS), parse_faults("keep-open")) as server:
        reply = await ask(server, question(), until=lambda reply: reply.body.endswith(DONE))
        assert not reply.whole and not reply.closed
        await comes_true(lambda: server.stats.by_fault["keep-open"] == 1)
        assert server.stats.client_closed == 0


async def test_garbage_is_one_frame_that_is_not_json():
    reply = await faulty("garbage:2")
    with pytest.raises(ValueError):
        json.loads(reply.frames[3])
    assert text_of(reply.frames[:3]) == said(2)
    assert reply.body.endswith(DONE)


async def test_an_error_in_the_stream_is_the_last_frame():
    reply = await faulty("error-frame:2")
    assert json.loads(reply.frames[-1])["error"]["code"] == "mock_error"
    assert reply.text == said(2)
    assert reply.whole


async def test_a_long_line_has_the_size_that_was_asked_for():
    reply = await faulty("long-line:10MB,after=1")
    assert max(map(len, reply.body.split(b"\n"))) == 10_000_000
    assert reply.text == FULL


async def test_lines_can_end_with_crlf_or_cr():
    reply = await faulty("crlf")
    assert reply.body.count(b"\r\n") == reply.body.count(b"\n") == reply.body.count(b"\r")
    reply = await faulty("cr")
    assert b"\n" not in reply.body
    assert reply.body.endswith(b"data: [DONE]\r\r")


async def test_a_byte_order_mark_comes_first_and_once():
    reply = await faulty("bom")
    assert reply.body.startswith(b"\xef\xbb\xbfdata: ")
    assert reply.body.count(b"\xef\xbb\xbf") == 1


async def test_comments_stand_before_every_frame():
    reply = await faulty("comments")
    assert reply.body.count(b": a comment\ndata: ") == reply.body.count(b"data: ")


async def test_a_slow_drip_sends_few_bytes_in_a_chunk():
    reply = await faulty("slow-drip:3,1ms", settings=Settings(tokens=1))
    assert reply.wire.partition(b"\r\n\r\n")[2].startswith(b"3\r\ndat\r\n3\r\na: \r\n")
    assert reply.body.endswith(DONE)


async def test_every_nth_frame_is_sent_twice():
    once, twice = await faulty("comments"), await faulty("duplicate-frames")
    assert len(twice.frames) == 2 * len(once.frames)
    assert twice.frames[0::2] == twice.frames[1::2]
    some = await faulty("duplicate-frames:4")
    assert some.frames[3] == some.frames[4]
    assert some.frames[2] != some.frames[3]


async def test_a_wrong_content_type_is_declared():
    reply = await faulty("wrong-content-type:text/plain")
    assert reply.headers["content-type"] == "text/plain"
    assert reply.body.endswith(DONE)


async def test_gzip_comes_though_nobody_asked():
    reply = await faulty("gzip")
    assert reply.headers["content-encoding"] == "gzip"
    assert gzip.decompress(reply.body).endswith(DONE)


async def test_gzip_can_be_read_frame_by_frame():
    reply = await faulty("gzip; cut-frames:4")
    plain = zlib.decompressobj(31).decompress(reply.body)
    assert text_of([piece[6:] for piece in plain.split(b"\n\n")]) == said(4)


async def test_faults_add_up():
    reply = await faulty("crlf; bom; no-done; comments")
    assert reply.body.startswith(b"\xef\xbb\xbf: a comment\r\ndata: ")
    assert b"DONE" not in reply.body


async def test_none_switches_off_the_servers_faults():
    async with MockServer(Settings(tokens=3), parse_faults("cut-bytes:5")) as server:
        reply = await ask(server, question(), X_Mock_Fault="none")
        assert reply.whole
        assert (await stats(server))["faults"] == {}


async def test_an_answer_that_is_not_streamed_meets_the_faults_that_can_be():
    reply = await faulty("cut-bytes:20", stream=False)
    assert len(reply.body) == 20
    assert int(reply.headers.get("content-length", "0")) != 20
    async with MockServer(Settings(), parse_faults("no-done")) as server:
        assert (await ask(server, question(stream=False))).json()["choices"]
        assert not server.stats.faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cut-byte:3", "did you mean cut-bytes?"),
        ("qqq", "known are refuse, status"),
        ("cut-bytes:x", "cut-bytes: bytes: expected a size"),
        ("cut-bytes:1,close,2", "takes 2 arguments"),
        ("status:200", "from 400 to 599"),
        ("status:429,retry=2", "did you mean retry-after?"),
        ("garbage:1,probability=2", "from 0 to 1"),
        ("garbage:first=0", "above zero"),
        ("cut-frames:1,how=burn", "expected close or reset"),
        ("long-line:2GiB", "at most 1GiB"),
    ],
)
def test_what_is_wrong_with_a_fault_is_said(text, message):
    with pytest.raises(BadRequest, match=message.replace("?", r"\?")):
        parse_faults(text)


@pytest.mark.parametrize("name", list(KINDS))
def test_every_example_is_right(name):
    assert parse_faults(KINDS[name].example)[0].name == name
