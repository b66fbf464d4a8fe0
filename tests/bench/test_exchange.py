import errno
import socket
import ssl

import pytest

from headrace.bench.exchange import Live, connection_failure
from headrace.bench.shapes.sse import AnySSE, Description
from tests.bench.wire import HEAD, LAST_CHUNK, chat, chunked, delta, event, exchange, outcome, read

WIRE = HEAD + chunked(chat())
WORDS = 3


def whole(found):
    return found.failure, found.chunks, found.input_tokens, found.output_tokens


def test_every_split_gives_the_same_events():
    for at in range(1, len(WIRE)):
        assert whole(outcome([WIRE[:at], WIRE[at:]])) == ("", WORDS, 7, 3)


def test_one_byte_at_a_time_gives_the_same_events_and_a_time_for_each():
    found = outcome([WIRE[at : at + 1] for at in range(len(WIRE))])
    assert whole(found) == ("", WORDS, 7, 3)
    assert (len(found.gaps), found.together) == (WORDS - 1, 0)
    first_word = WIRE.index(b"Hel")
    assert found.ttft == WIRE.index(b"\n\n", first_word) + 2
    assert found.e2el == WIRE.index(b"\n\n", WIRE.index(b"[DONE]")) + 2


def test_times_are_those_of_the_reads():
    opening, first, second, third, *rest = chat()
    pieces = [HEAD, chunked([opening])[:-5], chunked([first])[:-5], chunked([second, third])[:-5], chunked(rest)]
    found = outcome(pieces)
    assert found.ttft == 3
    assert list(found.gaps) == [1]
    assert found.together == 1
    assert found.e2el == 5
    assert found.tpot == (5 - 3) / 2


def test_an_opening_without_content_is_no_first_token():
    found = outcome([HEAD + chunked([chat()[0]])[:-5], chunked(chat()[1:])])
    assert found.ttft == 2


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
def test_text_of_every_kind_is_content(field):
    found = outcome([HEAD + chunked([delta("a", field), delta("", field), event("[DONE]")])])
    assert (found.failure, found.chunks) == ("", 1)


def test_what_can_be_seen_meanwhile_is_counted():
    live = Live()
    found = exchange(live=live)
    for piece in (HEAD, chunked([delta("a"), delta("b")])[:-5], chunked([delta("c")])[:-5]):
        found.take(1.0, piece)
    assert (live.chunks, live.reads) == (3, 2)
    assert found.outcome is None


def test_the_outcome_is_known_at_the_terminal_event_and_the_connection_free_at_the_end_of_the_body():
    found = read([WIRE.removesuffix(LAST_CHUNK)])
    assert found.outcome is not None and found.outcome.e2el == 1
    assert not found.over and not found.reusable
    found.take(9.0, LAST_CHUNK)
    assert found.over and found.reusable
    assert found.outcome.e2el == 1


def test_a_cut_after_the_terminal_event_changes_nothing():
    found = read([WIRE.removesuffix(LAST_CHUNK)])
    found.closed(9.0, ConnectionResetError())
    assert found.outcome is not None and not found.outcome.failure


def failure(*pieces):
    found = outcome(pieces)
    return found.failure, found.message


def test_a_clean_end_without_the_terminal_event_is_incomplete():
    kind, message = failure(HEAD + chunked(chat()[:-1]))
    assert kind == "incomplete"
    assert "cleanly" in message


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_every_cut_before_the_terminal_event_is_a_failure(error):
    end = WIRE.index(b"[DONE]") + len(b"[DONE]\n")
    for at in range(1, end):
        found = read([WIRE[:at]])
        found.closed(2.0, error)
        assert found.outcome is not None
        in_headers = at < len(HEAD)
        expected = ("reset" if error else "closed") if in_headers else "incomplete"
        assert found.outcome.failure == expected


def test_a_body_without_length_may_end_with_its_connection():
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    found = read([head, b"".join(chat())])
    assert found.outcome is not None and not found.outcome.failure
    cut = read([head, b"".join(chat()[:-1])])
    cut.closed(3.0, None)
    assert cut.outcome is not None
    assert (cut.outcome.failure, "terminal" in cut.outcome.message) == ("incomplete", True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b'{"error": {"message": "Slow down.", "type": "requests", "code": "rate_limited"}}',
            "rate_limited: Slow down.",
        ),
        (b'{"error": {"message": "Slow down.", "type": "requests"}}', "requests: Slow down."),
        (b'{"error": "overloaded"}', "overloaded"),
        (b'{"error": {"status": "BUSY"}}', '{"status": "BUSY"}'),
        (b'{"detail": "no"}', '{"detail": "no"}'),
        (b"too many\nrequests", "too many"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_a_status_is_a_failure_with_what_the_server_says(body, message):
    wire = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    assert failure(wire) == ("http_429", message)
    assert failure(*(wire[at : at + 1] for at in range(len(wire)))) == ("http_429", message)


def test_a_redirect_says_where_to_and_is_not_followed():
    kind, message = failure(b"HTTP/1.1 307 X\r\nlocation: https://h/v1\r\ncontent-length: 0\r\n\r\n")
    assert (kind, "ask https://h/v1 itself" in message) == ("http_307", True)


def test_an_endless_error_is_not_kept_whole():
    found = read([b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n", b"100000\r\n" + b"x" * (1 << 20)])
    assert found.outcome is None
    found.closed(3.0, None)
    assert found.outcome is not None and found.outcome.failure == "closed"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"error": {"message": "Boom.", "code": "server_error"}}, "server_error: Boom."),
        ({"error": {"message": "Boom.", "code": 500, "type": "internal"}, "choices": []}, "internal: Boom."),
        ({"error": "Boom."}, "Boom."),
        ({"error": {}}, "{}"),
    ],
)
def test_an_error_in_the_stream_is_a_failure_and_ends_it(error, message):
    assert failure(HEAD + chunked([delta("a"), event(error), event("[DONE]")])) == ("error_event", message)


def test_an_error_of_null_is_none():
    frames = [event({"choices": [{"delta": {"content": "a"}}], "error": None}), event("[DONE]")]
    assert failure(HEAD + chunked(frames)) == ("", "")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (event("not json"), "not of this shape"),
        (event({"choices": [{"delta": {"content": 5}}]}), "not of this shape"),
        (b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', "not of this shape"),
        (b"data: " + b"x" * (9 << 20), "line is longer"),
    ],
)
def test_what_is_not_of_the_shape_is_a_failure(frame, words):
    kind, message = failure(HEAD + chunked([frame]))
    assert (kind, words in message) == ("protocol", True)


def test_what_is_not_http_is_a_failure():
    assert failure(b"SSH-2.0-OpenSSH_9.2\r\n")[0] == "protocol"


def test_a_compressed_stream_is_a_failure():
    head = HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    kind, message = failure(head + chunked([b"\x1f\x8b"]))
    assert (kind, "compressed (gzip)" in message) == ("protocol", True)


@pytest.mark.parametrize("declared", ["application/json", "text/html; charset=utf-8", "Application/JSON"])
def test_an_answer_that_is_declared_as_something_else_is_no_stream(declared):
    head = HEAD.replace(b"text/event-stream", declared.encode())
    assert failure(head + chunked([b"{}"]))[0] == "not_a_stream"


def test_a_stream_that_is_declared_as_text_is_read():
    assert failure(WIRE.replace(b"text/event-stream", b"text/plain"))[0] == ""


def test_a_stream_without_content_is_a_failure():
    assert failure(HEAD + chunked([chat()[0], event("[DONE]")]))[0] == "empty"


def test_no_usage_means_no_time_per_token():
    found = outcome([HEAD + chunked([delta("a"), delta("b"), event("[DONE]")])])
    assert (found.output_tokens, found.tpot) == (None, None)


def test_one_token_has_no_time_per_token():
    assert outcome([HEAD + chunked(chat(("a",)))]).tpot is None


@pytest.mark.parametrize(
    ("sent", "pieces", "kind"),
    [
        (False, [], "timeout_connect"),
        (True, [], "timeout_headers"),
        (True, [HEAD], "timeout_first_token"),
        (True, [HEAD + chunked([chat()[0]])[:-5]], "timeout_first_token"),
        (True, [HEAD + chunked([delta("a")])[:-5]], "timeout_stream"),
    ],
)
def test_a_timeout_is_told_by_how_far_it_came(sent, pieces, kind):
    found = read(pieces)
    found.sent = sent
    found.time_is_up(5.0)
    assert found.outcome is not None
    assert (found.outcome.failure, "5.0 s" in found.outcome.message) == (kind, True)
    assert found.over and not found.reusable


def test_time_that_is_up_after_the_terminal_event_changes_nothing():
    found = read([WIRE.removesuffix(LAST_CHUNK)])
    found.time_is_up(9.0)
    assert found.outcome is not None and not found.outcome.failure


def test_a_stream_that_needs_no_terminal_event_ends_with_its_body():
    wire = HEAD + chunked([b"data: a\n\n", b"data: b\n\n"])
    found = outcome([wire], AnySSE(Description()).start())
    assert (found.failure, found.chunks) == ("", 2)
    cut = read([wire[:-5]], AnySSE(Description()).start())
    cut.closed(2.0, None)
    assert cut.outcome is not None and cut.outcome.failure == "incomplete"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "refused"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "reset"),
        (ssl.SSLError(1, "wrong version number"), "tls"),
        (ssl.SSLCertVerificationError(1, "self-signed"), "tls"),
        (OSError(errno.EMFILE, "Too many open files"), "files"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (socket.gaierror(-2, "Name or service not known"), "unreachable"),
    ],
)
def test_connection_errors_are_told_apart(error, kind):
    found, message = connection_failure(error)
    assert found == kind
    assert message
    failed = exchange()
    failed.no_connection(1.0, error)
    assert failed.over and failed.outcome is not None and failed.outcome.failure == kind
