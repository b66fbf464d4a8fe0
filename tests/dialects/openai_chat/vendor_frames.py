"""Chunks as model servers document and send them, without the terminal `[DONE]`; ids and prompts are made up."""

from typing import Any

Frame = dict[str, Any]


def chunks(head: Frame, *rest: Frame) -> list[Frame]:
    return [{**head, **fields} for fields in rest]


def one(delta: Frame, finish: str | None = None, /, **fields: Any) -> Frame:
    """A frame with one choice; `fields` stand beside the delta."""
    return {"choices": [{"index": 0, "delta": delta, **fields, "finish_reason": finish}]}


def _head(identifier: str, model: str, **fields: Any) -> Frame:
    return {"id": identifier, "object": "chat.completion.chunk", "created": 1732190000, "model": model, **fields}


_ROLE: Frame = {"role": "assistant", "content": ""}
_OPENAI = _head("chatcmpl-Abc", "gpt-4o-2024-08-06", service_tier="default", system_fingerprint="fp_07871e2ad8")
_OPENAI_USAGE: Frame = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
_LOGPROBS: Frame = {
    "content": [
        {"token": "Hello", "logprob": -0.31725305, "bytes": [72, 101], "top_logprobs": []},
    ],
    "refusal": None,
}


def _call(index: int, arguments: str, **fields: Any) -> Frame:
    name = fields.pop("name", None)
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return {"index": index, **fields, "function": function}


VENDORS: dict[str, list[Frame]] = {
    "openai": chunks(
        _OPENAI,
        {
            **one({"role": "assistant", "content": "", "refusal": None}, logprobs=None),
            "usage": None,
            "obfuscation": "Ys",
        },
        {**one({"content": "Hello"}, logprobs=None), "usage": None, "obfuscation": "pQ7"},
        {**one({"content": " there"}, logprobs=None), "usage": None, "obfuscation": "a"},
        {**one({}, "stop", logprobs=None), "usage": None, "obfuscation": ""},
        {"choices": [], "usage": _OPENAI_USAGE, "obfuscation": "Yw"},
    ),
    "openai_logprobs": chunks(
        {**_OPENAI, "system_fingerprint": None},
        one({"role": "assistant", "content": "", "refusal": None}, logprobs={"content": [], "refusal": None}),
        one({"content": "Hello"}, logprobs=_LOGPROBS),
        one({}, "stop", logprobs=None),
    ),
    "openai_refusal": chunks(
        _OPENAI,
        one({"role": "assistant", "content": None, "refusal": ""}),
        one({"refusal": "I cannot"}),
        one({"refusal": " do that."}),
        one({}, "stop"),
    ),
    "openai_two_choices": chunks(
        _OPENAI,
        {"choices": [{"index": 0, "delta": _ROLE, "logprobs": None, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "Yes"}, "logprobs": None, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": _ROLE, "logprobs": None, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": {"content": "No"}, "logprobs": None, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": {"content": "."}, "logprobs": None, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]},
        {"choices": [{"index": 1, "delta": {}, "logprobs": None, "finish_reason": "length"}]},
    ),
    "openai_parallel_tools": chunks(
        _OPENAI,
        one({"role": "assistant", "content": None}),
        one({"tool_calls": [_call(0, "", id="call_a", type="function", name="get_weather")]}),
        one({"tool_calls": [_call(0, '{"ci')]}),
        one({"tool_calls": [_call(0, 'ty": "Paris"}')]}),
        one({"tool_calls": [_call(1, "", id="call_b", type="function", name="get_weather")]}),
        one({"tool_calls": [_call(1, '{"city": "Rome"}')]}),
        one({}, "tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": 50, "total_tokens": 120}},
    ),
    "azure": [
        {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": [
                {"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
            ],
        },
        *chunks(
            _head("chatcmpl-Az", "gpt-4o", system_fingerprint="fp_ded0d14823"),
            {
                "choices": [
                    {
                        "content_filter_results": {},
                        "delta": {"content": "", "refusal": None, "role": "assistant"},
                        "finish_reason": None,
                        "index": 0,
                        "logprobs": None,
                    }
                ]
            },
            one({"content": "Hi"}, content_filter_results={"hate": {"filtered": False, "severity": "safe"}}),
            one({}, "stop", content_filter_results={}),
        ),
    ],
    "azure_asynchronous_filter": [
        {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": []},
        *chunks(
            _head("chatcmpl-Az", "gpt-4o", system_fingerprint="fp_1"),
            one(_ROLE),
            one({"content": "Hi"}),
            one({}, "stop"),
        ),
        {
            "id": "",
            "object": "",
            "created": 0,
            "model": "",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": None,
                    "content_filter_results": {"hate": {"filtered": False}},
                    "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
                }
            ],
        },
    ],
    "openrouter": chunks(
        {**_head("gen-1732-x", "anthropic/claude-sonnet"), "provider": "Anthropic"},
        one(
            {
                "role": "assistant",
                "content": "",
                "reasoning": "Let me",
                "reasoning_details": [{"type": "reasoning.text", "text": "Let me", "format": "anthropic", "index": 0}],
            },
            native_finish_reason=None,
            logprobs=None,
        ),
        one(
            {
                "role": "assistant",
                "content": "",
                "reasoning": None,
                "reasoning_details": [{"type": "reasoning.text", "signature": "EqRkLm==", "index": 0}],
            },
            native_finish_reason=None,
            logprobs=None,
        ),
        one({"role": "assistant", "content": "Hello"}, native_finish_reason=None, logprobs=None),
        one({"role": "assistant", "content": ""}, "stop", native_finish_reason="end_turn", logprobs=None),
        {
            **one({"role": "assistant", "content": ""}, native_finish_reason=None, logprobs=None),
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "total_tokens": 17,
                "cost": 0.00014,
                "is_byok": False,
                "cost_details": {"upstream_inference_cost": None},
            },
        },
    ),
    "vllm": chunks(
        _head("chatcmpl-v", "Qwen/Qwen3-8B"),
        one({"role": "assistant", "content": ""}, logprobs=None),
        one({"reasoning_content": "Okay"}, logprobs=None),
        one({"reasoning_content": ", so"}, logprobs=None),
        one({"content": "\n\nHi"}, logprobs=None),
        one({"content": ""}, "stop", logprobs=None, stop_reason=None),
        {"choices": [], "usage": {"prompt_tokens": 9, "total_tokens": 14, "completion_tokens": 5}},
    ),
    "vllm_both_names": chunks(
        _head("chatcmpl-v", "Qwen/Qwen3-8B"),
        one({"role": "assistant", "content": ""}, logprobs=None),
        one({"reasoning": "Okay", "reasoning_content": "Okay"}, logprobs=None),
        one({"reasoning": ", so", "reasoning_content": ", so"}, logprobs=None),
        one({"content": "Hi"}, logprobs=None),
        one({}, "stop", logprobs=None),
    ),
    "vllm_continuous_usage": chunks(
        _head("chatcmpl-v", "m"),
        {**one(_ROLE), "usage": {"prompt_tokens": 9, "total_tokens": 9, "completion_tokens": 0}},
        {**one({"content": "Hi"}), "usage": {"prompt_tokens": 9, "total_tokens": 10, "completion_tokens": 1}},
        {**one({}, "stop"), "usage": {"prompt_tokens": 9, "total_tokens": 11, "completion_tokens": 2}},
        {"choices": [], "usage": {"prompt_tokens": 9, "total_tokens": 11, "completion_tokens": 2}},
    ),
    "deepseek": chunks(
        _head("1f633d8b", "deepseek-reasoner", system_fingerprint="fp_a5"),
        one({"role": "assistant", "content": None, "reasoning_content": ""}, logprobs=None),
        one({"content": None, "reasoning_content": "First"}, logprobs=None),
        one({"content": None, "reasoning_content": ", 9.11"}, logprobs=None),
        one({"content": "9.9", "reasoning_content": None}, logprobs=None),
        {
            **one({"content": "", "reasoning_content": None}, "stop", logprobs=None),
            "usage": {
                "prompt_tokens": 15,
                "completion_tokens": 40,
                "total_tokens": 55,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 30},
                "prompt_cache_hit_tokens": 0,
                "prompt_cache_miss_tokens": 15,
            },
        },
    ),
    "groq": chunks(
        _head("chatcmpl-f51b", "llama-3.3-70b", system_fingerprint="fp_179b0f92c9"),
        {**one({"role": "assistant", "content": ""}, logprobs=None), "x_groq": {"id": "req_01jbd6g2"}},
        one({"content": "Fast"}, logprobs=None),
        {
            **one({}, "stop", logprobs=None),
            "x_groq": {
                "id": "req_01jbd6g2",
                "usage": {
                    "queue_time": 0.037,
                    "prompt_tokens": 18,
                    "completion_tokens": 556,
                    "total_tokens": 574,
                    "total_time": 0.464,
                },
            },
        },
        {
            "choices": [],
            "usage": {"queue_time": 0.037, "prompt_tokens": 18, "completion_tokens": 556, "total_tokens": 574},
        },
    ),
    "mistral": chunks(
        _head("cmpl-e5cc", "mistral-small-latest"),
        one(_ROLE),
        one({"content": "Bonjour"}),
        {
            **one({"content": ""}, "stop"),
            "usage": {"prompt_tokens": 16, "total_tokens": 50, "completion_tokens": 34},
        },
    ),
    "llama_cpp": chunks(
        _head("chatcmpl-l", "smollm2", system_fingerprint="b6000-abc"),
        one({"role": "assistant", "content": None}),
        one({"content": "Once"}),
        {
            **one({}, "stop"),
            "timings": {"prompt_n": 10, "prompt_ms": 40.162, "predicted_n": 2, "predicted_per_second": 131.5},
        },
        {
            "choices": [],
            "usage": {"completion_tokens": 2, "prompt_tokens": 10, "total_tokens": 12},
            "timings": {"prompt_n": 10},
        },
    ),
    "sglang": chunks(
        _head("c0ffee", "m"),
        one(
            {"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None},
            logprobs=None,
            matched_stop=None,
        ),
        one(
            {"role": None, "content": "Hi", "reasoning_content": None, "tool_calls": None},
            logprobs=None,
            matched_stop=None,
        ),
        one(
            {"role": None, "content": None, "reasoning_content": None, "tool_calls": None},
            "stop",
            logprobs=None,
            matched_stop=151645,
        ),
    ),
    "gemini_signature": chunks(
        _head("aJc", "gemini-3-pro"),
        one(
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "extra_content": {"google": {"thought_signature": "CmUBvj72+/=="}},
                        "function": {"arguments": '{"q":"x"}', "name": "search"},
                        "id": "function-call-1",
                        "index": 0,
                        "type": "function",
                    }
                ],
            }
        ),
        {
            **one({"role": "assistant"}, "tool_calls"),
            "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 9},
        },
    ),
}

PLAIN: dict[str, list[int]] = {
    "openai": [1, 2, 3],
    "openai_logprobs": [0, 1, 2],
    "openai_refusal": [1, 2, 3],
    "openai_two_choices": [1, 3, 4, 5, 6],
    "openai_parallel_tools": list(range(8)),
    "azure": [],
    "azure_asynchronous_filter": [2, 3],
    "openrouter": [],
    "vllm": [1, 2, 3, 5],
    "vllm_both_names": [3, 4],
    "vllm_continuous_usage": [],
    "deepseek": [1, 2, 3],
    "groq": [1],
    "mistral": [1],
    "llama_cpp": [0, 1],
    "sglang": [],
    "gemini_signature": [],
}
"""The frames of each vendor that need no raw copy."""
