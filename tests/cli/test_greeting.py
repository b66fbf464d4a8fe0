import json
import shlex

import pytest

from headrace.cli.greeting import greeting
from headrace.config import load


def curl(text: str) -> list[str]:
    return shlex.split(next(line for line in text.splitlines() if line.strip().startswith("curl")))


def asked_model(text: str) -> str:
    words = curl(text)
    return json.loads(words[words.index("-d") + 1])["model"]


def test_the_embedded_model_is_called_what_it_is():
    text = greeting(load(None, {}), 8123)
    assert "listens on http://127.0.0.1:8123\n" in text
    assert "smollm2-135m (135M demo model, facts are often wrong)" in text
    assert "Keys: none needed, only this machine can connect" in text
    assert curl(text)[:3] == ["curl", "-N", "http://127.0.0.1:8123/v1/chat/completions"]
    assert asked_model(text) == "smollm2-135m"


@pytest.mark.promise("P36")
def test_keys_are_counted_and_not_shown():
    config = load(
        None, {"HEADRACE_API_KEYS": "alice=sesame,bob=tahini", "OPENAI_API_KEY": "sk-123"}, {"host": "0.0.0.0"}
    )
    text = greeting(config, 8000)
    assert "required, 2 configured" in text
    assert "Authorization: Bearer $HEADRACE_API_KEY" in curl(text)
    assert "(all addresses)" in text
    assert curl(text)[2].startswith("http://127.0.0.1:8000/")
    assert not any(secret in text for secret in ("sesame", "tahini", "sk-123"))


def test_a_server_that_is_open_to_all_says_so():
    assert "EVERYBODY" in greeting(load(None, {}, {"host": "::", "no_auth": True}), 8000)


@pytest.mark.parametrize(
    ("host", "url"),
    [("::1", "http://[::1]:1/"), ("::", "http://[::1]:1/"), ("localhost", "http://localhost:1/")],
)
def test_the_address_to_try_is_one_that_can_be_reached(host, url):
    assert curl(greeting(load(None, {}, {"host": host, "no_auth": True}), 1))[2].startswith(url)


def test_where_any_model_of_a_vendor_is_served_one_of_openai_is_tried():
    text = greeting(load(None, {"OPENAI_API_KEY": "sk-123"}), 8000)
    assert "  * (any model of openai)" in text
    assert asked_model(text) == "gpt-4o-mini"


def test_a_name_with_a_quote_stays_one_argument(tmp_path):
    path = tmp_path / "headrace.yaml"
    path.write_text('model_list:\n  - {model_name: "it\'s $HOME", params: {model: local/smollm2-135m}}\n')
    assert asked_model(greeting(load(path, {}), 8000)) == "it's $HOME"


def test_a_long_list_is_cut(tmp_path):
    path = tmp_path / "headrace.yaml"
    entries = [f"  - {{model_name: m{n}, params: {{model: ollama/m}}}}\n" for n in range(20)]
    path.write_text("model_list:\n" + "".join(entries))
    text = greeting(load(path, {}), 8000)
    assert "  m7 (ollama)\n  and 12 more" in text


def test_the_page_is_named_unless_there_is_none():
    assert "Playground: http://127.0.0.1:8000/\n" in greeting(
        load(None, {}, {"host": "0.0.0.0", "no_auth": True}), 8000
    )
    assert "Playground" not in greeting(load(None, {}, {"playground": False}), 8000)


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({"HEADRACE_WORKERS": "3"}, "in memory, until the server ends"),
        ({"HEADRACE_WORKERS": "3", "REDIS_URL": "redis://:hunter2@localhost"}, "where redis_url says"),
        ({"HEADRACE_WORKERS": "3", "HEADRACE_DATA": "/var/lib/headrace"}, "in /var/lib/headrace, also over a restart"),
    ],
)
def test_several_processes_are_counted_and_their_streams_are_somewhere(environ: dict[str, str], kept: str):
    text = greeting(load(None, environ), 8000)
    assert f"Workers: 3\nStreams: {kept}\n" in text
    assert "hunter2" not in text


def test_one_process_needs_no_word_about_that():
    assert "Workers" not in greeting(load(None, {"HEADRACE_WORKERS": "1"}), 8000)
