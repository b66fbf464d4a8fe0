"""Every place that reads foreign bytes, as a function that raises only for a defect.

A target takes any bytes, catches the errors that are documented, and checks what must hold of the result. Two engines
drive them: hypothesis in `test_targets.py`, with every run of the tests, and libFuzzer in `scripts/fuzz`.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz import application, asking, configuring, messages, mocking, records, upstream

Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        upstream.sse,
        upstream.lines,
        upstream.chat_stream,
        upstream.chat_answer,
        upstream.responses_stream,
        upstream.responses_answer,
        messages.messages_stream,
        messages.messages_answer,
        messages.messages_request,
        upstream.refusal,
        upstream.local_answer,
        records.recording,
        records.mock_recording,
        records.tailed,
        records.tail_answers,
        asking.chat_request,
        asking.native_request,
        asking.responses_request,
        asking.headers,
        asking.cursors,
        asking.cancel_body,
        configuring.config_file,
        configuring.environment,
        configuring.quantities,
        configuring.faults,
        configuring.scenario,
        mocking.mock_request,
        mocking.mock_connection,
        application.application,
    )
}
