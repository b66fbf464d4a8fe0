"""Realistic inputs: what both engines begin with. The numbers that a target reads first stand before each."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from headrace.events import Record
from headrace.mock.faults import KINDS
from tests.dialects.openai_chat.vendor_frames import VENDORS
from tests.dialects.openai_responses.wire import FULL
from tests.dialects.rendering import decoded, records_of
from tests.fuzz.application import NEXT

_ROOT = Path(__file__).parents[2]
_FIXTURES = _ROOT / "tests" / "fixtures"
_encode = msgspec.json.encode


def _sse(frames: Iterable[bytes]) -> bytes:
    return b"".join(b"data: " + frame + b"\n\n" for frame in frames)


def _file(name: str) -> bytes:
    return (_FIXTURES / name).read_bytes()


def _first(number: int, inputs: Iterable[bytes]) -> list[bytes]:
    """Each with so many numbers before it."""
    return [bytes((7 * place + index) % 256 for index in range(number)) + data for place, data in enumerate(inputs)]


def _vectors() -> list[bytes]:
    cases: list[dict[str, Any]] = []
    for path in sorted((_ROOT / "conformance" / "sse").glob("*.json")):
        cases += json.loads(path.read_text(encoding="utf-8"))
    return [
        base64.b64decode(case["input_base64"]) if "input_base64" in case else case["input"].encode() for case in cases
    ]


ERRORS = [
    b'{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
    b'{"error":{"message":"The key sk-the-operators-own-key is wrong","type":"invalid_request_error","code":401}}',
    b'{"object":"error","message":"too long","type":"BadRequestError","param":"max_tokens","code":400}',
    b'{"error":"model not found"}',
    b'{"detail":[{"loc":["body","messages"],"msg":"field required","type":"value_error.missing"}]}',
    b'{"detail":"Not Found"}',
    b'[{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}]',
    b'{"errors":["a","b"]}',
    b'{"error":{"message":"m","retryable":false,"code":"log_full"}}',
    b"upstream connect error or disconnect/reset before headers",
    b"<html><body>502 Bad Gateway</body></html>",
]
CHUNKS = [[_encode(frame) for frame in frames] for frames in VENDORS.values()]
_TEXTS = [
    [b'{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"Hi"}]}}]}'],
    [b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":{}}}]}}]}'],
    [
        b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}',
    ],
]
_BODIES = [
    *(_sse([*frames, b"[DONE]"]) for frames in [*CHUNKS, *_TEXTS]),
    *(_sse([*CHUNKS[0][:2], error]) for error in ERRORS[:9]),
    *map(_file, ("text.sse", "tools.sse", "vendor.sse")),
]
_LOGS: list[list[Record]] = [records_of(decoded([*frames, b"[DONE]"])) for frames in CHUNKS]


def _ndjson(records: Iterable[Record]) -> bytes:
    return b"".join(_encode(record) + b"\n" for record in records)


RARE = [
    b'{"type":"item.start","item":0,"kind":"text"}',
    b'{"type":"tool.result","call_id":"c","output":{"a":[1,2]},"is_error":true}',
    b'{"type":"object","item":0,"value":{"a":1},"complete":["/a"]}',
    b'{"type":"signature","item":0,"data":"EqRk=="}',
    b'{"type":"status","code":"retrying","message":"again"}',
    b'{"type":"attrs","values":{"system_fingerprint":"fp"}}',
    b'{"type":"usage","input":1,"output":2,"cached":1,"reasoning":1,"source":"estimated"}',
    b'{"type":"failed","code":"upstream_incomplete","message":"m","retryable":true,"status":502,"retry_after":1.5}',
    b'{"type":"cancelled","by":"client"}',
]
_RARE = b"".join(b'{"seq":%d,"at_ms":1000,"events":[%b]}\n' % (seq, event) for seq, event in enumerate(RARE))
_RECORDS = [_ndjson(records) for records in _LOGS] + [_file("water.ndjson"), _RARE]


def _response(stream: bytes) -> bytes:
    """What the last frame of a Responses stream says of the whole."""
    last = msgspec.json.decode(stream.rsplit(b"data: ", 1)[1], type=dict[str, msgspec.Raw])
    return bytes(last.get("response", b"{}"))


def _completion(frames: list[dict[str, Any]]) -> bytes:
    """A vendor's chunks as an answer that is not streamed."""
    choices = [
        {**{name: value for name, value in choice.items() if name != "delta"}, "message": choice["delta"]}
        for frame in frames[:3]
        for choice in frame["choices"]
        if "delta" in choice
    ]
    return _encode({**frames[-1], "object": "chat.completion", "choices": choices})


_QUESTIONS: list[dict[str, Any]] = [
    {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]},
    {
        "model": "demo",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "42"},
            {"role": "assistant", "reasoning_content": "Hm", "content": None, "refusal": "No."},
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
                ],
            },
        ],
        "stream": True,
        "stream_options": {"include_usage": True, "x": 1e3},
        "max_completion_tokens": 9,
        "stop": ["\n"],
        "x_vendor": {"deep": [1.0, 10, None]},
    },
    {
        "model": "demo",
        "messages": [{"role": "user", "content": "Hi", "name": "n"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"$defs": {"a": {}}, "$ref": "#"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "temperature": 0.5,
        "top_p": 1,
        "seed": 7,
        "n": 1,
        "stop": "x",
        "metadata": {"k": "v"},
    },
]
_OURS: list[dict[str, Any]] = [
    {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]},
    {
        "model": "demo",
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "x"}}],
            },
            {"role": "assistant", "tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}]},
            {"role": "tool", "call_id": "c", "content": "42", "is_error": True},
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "text": "Hm", "signature": "s"},
                    {"type": "image", "data": "AA", "media_type": "image/png"},
                    {"type": "file", "url": "data:application/pdf;base64,AA"},
                ],
            },
        ],
        "settings": {"temperature": 0.5, "max_tokens": 9, "stop": ["x"], "seed": 1, "tool_choice": "required", "n": 1},
        "tools": [
            {"name": "f", "description": "d", "parameters": {"$defs": {"a": {}}, "properties": {}}, "strict": True}
        ],
        "metadata": {"k": "v"},
        "stream": True,
    },
    {
        "model": "demo",
        "messages": [{"role": "user", "content": "Hi"}],
        "settings": {"tool_choice": {"name": "f"}, "response_format": {"type": "json_object"}},
        "tools": [{"name": "f", "parameters": {"definitions": {}}}, {"name": "g"}],
    },
]
_HEADS = [
    b"/v1/streams/50d5c4193cafaa854f7a03b73289bde8/events?format=openai.chat&skip=3&include_usage=1\n"
    b"accept: text/event-stream;q=0.9, */*\nauthorization: Bearer alice-key\nhost: localhost:8000\n"
    b"origin: http://localhost:8000\nidempotency-key: a.b:c_d-1\nheadrace-on-disconnect: grace=30\ncontent-length: 5\n"
    b"content-type: application/json; charset=utf-8\n\n",
    b"/v1/streams?limit=10&state=running&last_event_id=c1u.57\nlast-event-id: n1.5\nx-api-key: bob=key\n"
    b"accept: application/x-ndjson\nhost: headrace.lan\norigin: https://app.example.com\n"
    b"headrace-on-disconnect: continue\ntransfer-encoding: chunked\ncontent-encoding: gzip\n\n",
    b"/v1/chat/completions/chatcmpl-50d5c4193cafaa854f7a03b73289bde8?format=text\nhost: [::1]:80\naccept: text/plain\n"
    b"sec-fetch-site: cross-site\nauthorization: Basic YTpi\n\n",
]
_MOCKED = [
    {**_QUESTIONS[0], "stream": True, "mock": {"fault": "cut-frames:2; crlf", "tokens": 9, "gap": "20ms", "ttft": 0.1}},
    {
        **_QUESTIONS[1],
        "mock": {"fault": ["gzip", "slow-drip:1,2ms"], "tool-calls": 2, "reasoning": 3, "chunk-words": 2},
    },
    {**_QUESTIONS[2], "stream": True, "mock": {"fault": "long-line:1KB,after=1; garbage:0; bom", "gap": "exp:1"}},
]
_OTHER_SHAPES = [
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1"}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens"}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n'
    b'event: response.incomplete\ndata: {"type":"response.incomplete","response":{"output":[{"type":"function_call"}],'
    b'"incomplete_details":{"reason":"max_output_tokens"}}}\n\n',
]
_MOCKED_RESPONSES = [
    {"model": "m", "input": "hi", "stream": True, "mock": {"fault": "error-frame:2", "reasoning": 2, "tool-calls": 1}},
    {
        "model": "m",
        "instructions": "be brief",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}],
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 3,
    },
]
_MOCKED_MESSAGES: list[dict[str, Any]] = [
    {
        "model": "m",
        "max_tokens": 3,
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "1"}]},
        ],
        "tools": [{"name": "f", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
        "stream": True,
        "mock": {"fault": "long-line:1KB,after=1; garbage:0", "reasoning": 2, "tool-calls": 1},
    },
    {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
]
_MOCK_REQUESTS = [
    b"POST /v1/chat/completions\nx-mock-fault: status:429,retry-after=2\nx-mock-tokens: 4\nx-mock-gap: 1ms\n\n"
    + _encode(_QUESTIONS[0]),
    *(b"POST /v1/chat/completions\n\n" + _encode(body) for body in _MOCKED),
    *(b"POST /v1/responses\n\n" + _encode(body) for body in _MOCKED_RESPONSES),
    *(b"POST /v1/messages\n\n" + _encode(body) for body in _MOCKED_MESSAGES),
    b"POST /v1/messages/count_tokens\n\n" + _encode(_MOCKED_MESSAGES[0]),
    b"GET /v1/models\n\n",
    b"POST /stats/reset\n\n",
    b"HEAD /\n\n",
]


def _on_wire(request: bytes) -> bytes:
    """The same as HTTP/1.1."""
    head, _, body = request.partition(b"\n\n")
    first, *fields = head.split(b"\n")
    fields += [b"host: mock", b"content-length: %d" % len(body)]
    return b"\r\n".join([first + b" HTTP/1.1", *fields, b"", b""]) + body


_ASKED = b"POST /v1/streams\nidempotency-key: k1\n\n" + _encode(_OURS[0])
_REQUESTS = [
    b"POST /v1/chat/completions\nidempotency-key: k1\n\n" + _encode(_QUESTIONS[0]),
    b"POST /v1/chat/completions?ids=1\nheadrace-on-disconnect: cancel\n\n" + _encode(_QUESTIONS[1]),
    NEXT.join(
        [_ASKED, b"GET /v1/streams/ID\n\n", b"GET /v1/streams/ID/events?format=text\naccept: application/x-ndjson\n\n"]
    ),
    NEXT.join([_ASKED, b"GET /v1/chat/completions/chatcmpl-ID\naccept: text/event-stream\nlast-event-id: c1.2\n\n"]),
    NEXT.join([_ASKED, b"POST /v1/streams/ID/cancel\n\n", b"DELETE /v1/streams/ID\n\n", b"GET /v1/streams/ID\n\n"]),
    NEXT.join(
        [_ASKED, b'POST /v1/streams/cancel\n\n{"idempotency_key":"k1","route":"/v1/streams"}', b"GET /v1/streams\n\n"]
    ),
    NEXT.join([b"GET /stream?prompt=Hi&model=demo\n\n", b"GET /stream?last_event_id=ID:c1.1&format=openai.chat\n\n"]),
    NEXT.join([_ASKED, b"GET /v1/streams?limit=1&state=finished&before=ID\n\n", b"GET /v1/models/demo\n\n"]),
    b"GET /health/ready\n\n",
    b"GET /openapi.json\norigin: http://evil.example\n\n",
]
_FILES = [
    b'model_list:\n- model_name: m\n  params: {model: openai/x, api_key: "${OPENAI_API_KEY}", headers: {X-A: b}}\n'
    b'- model_name: "groq/*"\n  litellm_params: {model: groq/*, api_key: "${NO:-none}", timeout: 3}\n'
    b'api_keys:\n- {name: alice, key: "${ALICE_KEY}"}\n- bob=s3cret\ncors_origins: [https://app.example.com]\n',
    b"base: &a {ttft_timeout: 2m, retries: 1}\nhost: 0.0.0.0\nport: ${PORT:-8000}\nno_auth: yes\nmax_log_bytes: 1GiB\n"
    b"on_disconnect: grace(30)\nlog_level: debug\nkeepalive_seconds: 15s\n",
    b"model_list:\n- model_name: a\n  params: &p {model: vllm/x, base_url: 'http://localhost:1/v1', stream: force}\n"
    b"- model_name: b\n  params: {<<: *p, speed: instant}\nallowed_hosts: [headrace.lan, '[::1]']\n",
    b"- !!int '1'\n- !!float ''\n- 2001-12-14t21:59:43.10-05:00\n- 0o17\n- 1_000\n- 1:30\n- ~\n",
    b"? [a, b]\n: |\n  text\n--- \n...\n",
]
_VARIABLES = [
    b"HEADRACE_PORT=8001\nHEADRACE_API_KEYS=alice=k1,k2\nHEADRACE_ON_DISCONNECT=grace=5\nOPENAI_API_KEY=sk-1\n",
    b"HEADRACE_HOST=0.0.0.0\nHEADRACE_NO_AUTH=1\nHEADRACE_CORS_ORIGINS=https://a.example,*\nHEADRACE_PORT_80_TCP=tcp://x\n",
    b"OPENAI_BASE_URL=http://localhost:1/v1\nHEADRACE_MAX_LOG_BYTES=1KB\nHEADRACE_RETRIES=3\nHEADRACE_ALLOWED_HOSTS=a.lan\n",
]
_WORDS = [b"30", b"0.5s", b"50ms", b"7d", b"8MiB", b"1.5KB", b"yes", b"grace(30)", b"grace=1h", b"continue"]
_FORMULAS = [b"a ${OPENAI_API_KEY} b", b"${X:-${Y}}", b"$${x}", b"os.environ/ALICE_KEY", b"${EMPTY:-d}"]
_GAPS = [b"20ms", b"exp:0.02", b"normal:20ms,5ms", b"lognormal:0.02,0.5", b"uniform:0,1", b"lognormal:1,999999999"]
_RULES = [
    b"rules:\n- match: {model: '^gpt', prompt: '(?i)weather', request: 2-30}\n"
    b"  fault: [status:401, 'slow-drip:1,2ms']\n  first: 3\n  probability: 0.5\n"
    b"  settings: {tokens: 2, gap: 20ms, chunk-words: 3}\n",
    b"- {fault: no-done, probability: 0.5}\n- {match: {request: 7}, fault: 'cut-frames:1; crlf'}\n",
]
_LLAMA = [
    b'{"id":"x","choices":[],"prompt_progress":{"total":9,"cache":3}}\n{"choices":[{"delta":{"content":"Hi"}}]}\n'
    b'{"choices":[{"delta":{},"finish_reason":"stop"}]}\n{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
    b'{"choices":[{"delta":{"content":"{\\"name\\": \\"f\\", \\"argu"}}]}\n'
    b'{"choices":[{"delta":{"content":"ments\\": {\\"a\\": \\"}\\"}} "},"finish_reason":"stop"}]}\n',
    b'{"error":{"message":"no","code":400,"type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":5}}',
]
_TYPED = [
    b'{"id":"a","state":"finished","position":7}',
    b'{"error":{"code":"not_found","message":"There is no stream."}}',
    b"chatcmpl-50d5c4193cafaa854f7a03b73289bde8",
    b"http://127.0.0.1:8000/v1",
    b"n1.57",
]
_WRONG = [
    b"429\nretry-after: 3\ncontent-type: application/json\nx-should-retry: true\n\n",
    b"200\nretry-after: Wed, 21 Oct 2026 07:28:00 GMT\ncontent-type: text/html\n\n",
    b"503\nretry-after-ms: 1500\n\n",
]
_RESPONSES = [path.read_bytes() for path in sorted((_FIXTURES / "responses").glob("*.sse"))]
_STREAMS = [b"".join(_vectors()[start : start + 3]) for start in range(0, 60, 3)]

_MESSAGES = [path.read_bytes() for path in sorted((_FIXTURES / "anthropic").glob("*.sse"))]
_BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "x"},
    {"type": "text", "text": "Hi", "citations": [{"type": "char_location"}]},
    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1.50]}},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
]
_MESSAGE = _encode(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": _BLOCKS,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
)
_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "18"}], "is_error": True}
_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
_PAPER = {"type": "document", "source": {"type": "text", "data": "Once."}, "title": "Tale"}
_ASKED_OF_CLAUDE: list[dict[str, Any]] = [
    {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "system": "Be brief."},
    {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "assistant", "content": _BLOCKS}, {"role": "user", "content": [_RESULT, _IMAGE, _PAPER]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "w"}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    },
]

SEEDS: dict[str, list[bytes]] = {
    "sse": _first(2, [*_vectors(), *_STREAMS, *_BODIES[:3]]),
    "lines": _first(2, [*_RECORDS[:4], b"a\r\n\r\n\nb\rc\n"]),
    "chat_stream": _first(2, _BODIES),
    "chat_answer": _first(1, [*map(_completion, VENDORS.values()), *ERRORS]),
    "responses_stream": _first(1, _RESPONSES),
    "responses_answer": _first(1, [*map(_response, _RESPONSES), *ERRORS]),
    "messages_stream": _first(1, _MESSAGES),
    "messages_answer": _first(1, [_MESSAGE, *ERRORS]),
    "messages_request": [_encode(body) for body in _ASKED_OF_CLAUDE],
    "refusal": [head + body for head in _WRONG for body in ERRORS],
    "local_answer": _LLAMA,
    "recording": [bytes((0, 5)) + data for data in _RECORDS] + [bytes((1, 5)) + data for data in _BODIES[-3:]],
    "mock_recording": [
        *(b"\0" + data for data in _RECORDS),
        *(b"\1" + data for data in (*_BODIES[-3:], *_OTHER_SHAPES)),
    ],
    "tailed": [bytes((place, 3)) + _sse(data.splitlines()) for data in _RECORDS for place in range(3)],
    "tail_answers": _first(1, _TYPED),
    "chat_request": [_encode(body) for body in _QUESTIONS],
    "responses_request": [_encode(FULL), b'{"model":"demo","input":"Hi","instructions":"Be brief."}'],
    "native_request": [_encode(body) for body in _OURS],
    "headers": _HEADS,
    "cursors": [b"c1u.57", b"n1.0", b"t1.999999999999", b"c9999abcdefgh.1"],
    "cancel_body": [b'{"idempotency_key":"k","route":"/v1/streams"}'],
    "config_file": _FILES,
    "environment": _VARIABLES,
    "quantities": [*_WORDS, *_FORMULAS],
    "faults": [
        *(kind.example.encode() for kind in KINDS.values()),
        b"cut-frames:10,how=reset; crlf;comments:first=2",
        *_GAPS,
    ],
    "scenario": _RULES,
    "mock_request": _MOCK_REQUESTS,
    "mock_connection": [
        b"\5" + b"".join(map(_on_wire, _MOCK_REQUESTS[place:])) for place in range(len(_MOCK_REQUESTS))
    ],
    "application": _first(1, _REQUESTS),
}
