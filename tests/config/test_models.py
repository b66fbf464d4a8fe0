from collections.abc import Mapping
from pathlib import Path

import pytest

from headrace.config import Config, Disconnect, Model, Secret, load
from headrace.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "headrace.yaml"


def loaded(file: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    file.write_text(text)
    return load(file, environ or {})


def only(file: Path, params: str, environ: Mapping[str, str] | None = None, name: str = "m") -> Model:
    (model,) = loaded(file, f'model_list:\n  - model_name: "{name}"\n    params: {params}\n', environ).models
    return model


def problem(file: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(file, text, environ)
    return str(caught.value).replace(f"{file}:", "")


def params_problem(file: Path, params: str, environ: Mapping[str, str] | None = None) -> str:
    return problem(file, f"model_list:\n- model_name: m\n  params:\n    {params}\n", environ)


def test_an_entry_as_litellm_writes_it_is_read(file: Path):
    text = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params:
      model: openai/gpt-4o-mini
      api_key: os.environ/MY_KEY
      api_base: http://localhost:9/v1/
"""
    (model,) = loaded(file, text, {"MY_KEY": "sk-1\n"}).models
    assert (model.name, model.provider, model.protocol) == ("gpt-4o-mini", "openai", "openai")
    assert (model.upstream_model, model.base_url, model.api_key) == (
        "gpt-4o-mini",
        "http://localhost:9/v1",
        Secret("sk-1"),
    )


def test_provider_and_model_part_at_the_first_slash(file: Path):
    model = only(file, "{model: groq/openai/gpt-oss-120b}", {"GROQ_API_KEY": "gsk"})
    assert (model.provider, model.upstream_model) == ("groq", "openai/gpt-oss-120b")


@pytest.mark.parametrize(
    ("provider", "base_url", "variable"),
    [
        ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
        ("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        ("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        ("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    ],
)
def test_a_known_provider_presets_address_and_key(file: Path, provider: str, base_url: str, variable: str):
    model = only(file, f"{{model: {provider}/m}}", {variable: "key-1"})
    assert (model.base_url, model.api_key) == (base_url, Secret("key-1"))


@pytest.mark.parametrize("address", ["http://h:1", "http://h:1/v1", "http://h:1/v1/"])
def test_anthropics_address_is_read_with_and_without_its_version(file: Path, address: str):
    params = f"{{model: anthropic/claude-x, base_url: {address}}}"
    model = only(file, params, {"ANTHROPIC_API_KEY": "sk-ant"})
    assert (model.protocol, model.base_url, model.api_key) == ("anthropic", "http://h:1", Secret("sk-ant"))
    assert only(file, "{model: anthropic/m}", {"ANTHROPIC_BASE_URL": address}).base_url == "http://h:1"


def test_ollama_needs_neither_address_nor_key(file: Path):
    model = only(file, "{model: ollama/llama3}", {"OPENAI_API_KEY": "sk"})
    assert (model.base_url, model.api_key) == ("http://localhost:11434/v1", None)


def test_the_entry_beats_the_providers_variables(file: Path):
    environ = {"OPENAI_API_KEY": "sk-env", "OPENAI_BASE_URL": "http://env/v1"}
    assert only(file, "{model: openai/m}", environ).base_url == "http://env/v1"
    model = only(file, "{model: openai/m, api_key: sk-own, base_url: 'http://own/v1'}", environ)
    assert (model.base_url, model.api_key) == ("http://own/v1", Secret("sk-own"))


def test_openais_base_url_is_not_used_for_other_providers(file: Path):
    environ = {"GROQ_API_KEY": "gsk", "OPENAI_BASE_URL": "http://env/v1"}
    assert only(file, "{model: groq/m}", environ).base_url == "https://api.groq.com/openai/v1"


def test_global_call_settings_reach_every_model_and_its_own_win(file: Path):
    text = """
ttft_timeout: 1m
on_disconnect: cancel
model_list:
  - {model_name: a, params: {model: local/smollm2-135m}}
  - model_name: b
    params: {model: ollama/b, ttft_timeout: 2m, total_timeout: 1h, on_disconnect: grace(5), stream: force, retries: 0}
"""
    config = loaded(file, text, {"HEADRACE_RETRIES": "5"})
    a, b = config.models
    assert (a.ttft_timeout, a.on_disconnect, a.retries, a.stream) == (60, Disconnect("cancel"), 5, "native")
    assert (b.ttft_timeout, b.total_timeout, b.on_disconnect) == (120, 3600, Disconnect("grace", 5))
    assert (b.retries, b.stream) == (0, "force")
    assert (config.ttft_timeout, config.retries) == (60, 5)


def test_headers_are_secrets_and_keep_their_order(file: Path):
    model = only(file, "{model: ollama/m, headers: {X-B: one two, X-A: '${TOKEN}'}}", {"TOKEN": "t"})
    assert model.headers == (("X-B", Secret("one two")), ("X-A", Secret("t")))


def test_an_authorization_header_stands_for_the_key(file: Path):
    model = only(file, "{model: openai/m, headers: {authorization: Basic eA}}", {"OPENAI_API_KEY": "sk"})
    assert model.api_key is None


def test_a_recording_is_found_beside_the_file(file: Path):
    (file.parent / "rec").mkdir()
    (file.parent / "rec" / "hello.jsonl").touch()
    model = only(file, "{model: replay/rec/hello.jsonl, speed: instant}")
    assert (model.protocol, model.speed, model.base_url) == ("replay", "instant", "")
    assert model.upstream_model == str(file.parent / "rec" / "hello.jsonl")


def test_a_wildcard_and_a_named_model_stand_side_by_side(file: Path):
    text = """
model_list:
  - {model_name: "*", params: {model: openai/*}}
  - {model_name: smollm2-135m, params: {model: local/smollm2-135m}}
"""
    config = loaded(file, text, {"OPENAI_API_KEY": "sk"})
    for name, protocol in (("smollm2-135m", "local"), ("gpt-4o", "openai")):
        model = config.resolve(name)
        assert model is not None
        assert model.protocol == protocol


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("modle: x", "4:5: model_list[0].params.modle: unknown key; did you mean model?"),
        ("model: opnai/x", '4:12: model_list[0].params.model: unknown provider "opnai"; did you mean openai?'),
        (
            "model: together_ai/x",
            '4:12: model_list[0].params.model: unknown provider "together_ai"; did you mean together?',
        ),
        ("model: gpt-4o", '4:12: model_list[0].params.model: expected a provider and a model, got "gpt-4o": write'),
        ("model: openai/", '4:12: model_list[0].params.model: expected a provider and a model, got "openai/"'),
        ("model: 3", "4:12: model_list[0].params.model: expected a string, got 3: write provider/model, such as"),
        ("model: local/smol", '4:12: model_list[0].params.model: there is no embedded model "smol"; known are'),
        ("model: ollama/*", "4:12: model_list[0].params.model: the * is what matched the one in model_name: write"),
        ("model: ollama/a*b", "4:12: model_list[0].params.model: a * may stand at the end only"),
        (
            "model: local/*",
            "4:12: model_list[0].params.model: a * may stand at the end only, and only for a model server",
        ),
        ("model: replay/none.jsonl", "4:12: model_list[0].params.model: there is no recording at "),
        ("{model: vllm/x}", "4:5: model_list[0].params.base_url: missing: vllm/… needs one, such as http://localhost"),
        ("{model: llamacpp/x}", "4:5: model_list[0].params.base_url: missing: llamacpp/… needs one"),
        (
            "{model: xai/x}",
            "4:5: model_list[0].params.api_key: missing: set it, or the environment variable XAI_API_KEY",
        ),
        (
            "{stream: force}",
            "4:5: model_list[0].params.model: missing: write provider/model, such as openai/gpt-4o-mini",
        ),
        (
            "{model: ollama/x, stream: off}",
            "4:31: model_list[0].params.stream: expected one of native, force, got false",
        ),
        ("{model: ollama/x, retries: -1}", "4:32: model_list[0].params.retries: expected a whole number from 0 to 100"),
        (
            "{model: ollama/x, on_disconnect: stop}",
            "4:38: model_list[0].params.on_disconnect: expected cancel, continue",
        ),
        (
            "{model: ollama/x, timeout: 3}",
            "4:23: model_list[0].params.timeout: unknown key; did you mean total_timeout?",
        ),
        (
            "{model: ollama/x, speed: instant}",
            "4:23: model_list[0].params.speed: ollama/… has no use for it: remove it",
        ),
        ("{model: local/smollm2-135m, api_key: x}", "4:33: model_list[0].params.api_key: local/… has no use for it"),
        ("{model: ollama/x, base_url: a, api_base: b}", "4:36: model_list[0].params.api_base: is the same as base_url"),
        (
            "{model: ollama/x, headers: [a]}",
            "4:32: model_list[0].params.headers: expected a mapping of names to values",
        ),
        ("{model: ollama/x, headers: {Host: a}}", "4:39: model_list[0].params.headers.Host: this header is set by the"),
        ("{model: ollama/x, headers: {'a b': c}}", "4:40: model_list[0].params.headers.a b: this is no header name"),
        (
            "{model: ollama/x, retry_backoff: 9}",
            "4:38: model_list[0].params.retry_backoff: retry_backoff must not be over",
        ),
        ("[]", "4:5: model_list[0].params: expected a mapping with keys such as model, api_key, got a list"),
    ],
)
def test_a_wrong_parameter_is_an_error_with_line_and_remedy(file: Path, params: str, expected: str):
    text = params_problem(file, params)
    assert any(line.startswith(expected) for line in text.splitlines()), text


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("3", "2:3: model_list[0]: expected a mapping with keys such as model_name, params, got 3"),
        ("{params: {model: ollama/x}}", "2:3: model_list[0].model_name: missing: the name that clients ask for"),
        ("{model_name: x}", "2:3: model_list[0].params: missing: a mapping with model: provider/model"),
        (
            "{model_name: 1.5, params: {}}",
            "2:16: model_list[0].model_name: expected a string, got 1.5: put it in quotes",
        ),
        ("{model_name: '', params: {}}", "2:16: model_list[0].model_name: expected a name without control characters"),
        ("{model_name: 'a*b', params: {}}", "2:16: model_list[0].model_name: a * may stand at the end only"),
        ("{model_name: x, model: ollama/x}", "2:19: model_list[0].model: unknown key; it belongs under params"),
        ("{model_name: x, prams: {}}", "2:19: model_list[0].prams: unknown key; did you mean params?"),
        (
            "{model_name: x, params: {}, litellm_params: {}}",
            "2:31: model_list[0].litellm_params: is the same as params",
        ),
    ],
)
def test_a_wrong_entry_is_an_error_with_line_and_remedy(file: Path, entry: str, expected: str):
    text = problem(file, f"model_list:\n- {entry}\n")
    assert any(line.startswith(expected) for line in text.splitlines()), text


@pytest.mark.parametrize("value", ["", "[]", "{}", "x"])
def test_a_list_without_models_is_an_error(file: Path, value: str):
    expected = "model_list: expected a list of models: add one, or remove the key"
    assert problem(file, f"model_list: {value}\n").endswith(expected)


def test_a_name_that_is_there_twice_is_an_error(file: Path):
    entry = "  - model_name: a\n    params: {model: ollama/x}\n"
    expected = "4:17: model_list[1].model_name: a is already model_list[0]: each name can be there once"
    assert problem(file, f"model_list:\n{entry}{entry}") == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("localhost:8000/v1", "expected an address such as https://"),
        ("ftp://h/v1", "expected an address such as https://"),
        ("http:///v1", "expected an address such as https://"),
        ("http://h:99999/v1", "expected an address such as https://"),
        ("http://[h/v1", "expected an address such as https://"),
        ("http://h/a b", "expected an address such as https://"),
        ("http://me:hidden@h/v1", "put credentials into api_key or headers"),
        ("http://h/v1?key=hidden", "the address ends before ? and #"),
        ("http://h/v1/chat/completions", "remove /chat/completions: "),
        ("3", "expected an address such as https://"),
    ],
)
@pytest.mark.promise("P36")
def test_a_wrong_address_is_an_error_that_does_not_show_it(file: Path, url: str, expected: str):
    text = params_problem(file, f"{{model: openai/x, api_key: k, base_url: {url if url == '3' else repr(url)}}}")
    assert text.startswith(f"4:45: model_list[0].params.base_url: {expected}")
    assert "hidden" not in text


@pytest.mark.promise("P36")
@pytest.mark.parametrize(
    "key", ["12345", "'hidden key'", "''", "'hidden\\nX-Evil: 1'", '"hidden\\nX-Evil: 1"', "[hidden]"]
)
def test_a_wrong_key_is_an_error_that_does_not_show_it(file: Path, key: str):
    text = params_problem(file, f"{{model: openai/x, api_key: {key}}}")
    assert text.startswith("4:32: model_list[0].params.api_key: ")
    assert "hidden" not in text
    assert "12345" not in text


@pytest.mark.promise("P36")
def test_a_wrong_header_value_is_an_error_that_does_not_show_it(file: Path):
    text = params_problem(file, '{model: ollama/x, headers: {X-Key: "hidden\\r\\nX-Evil: 1", X-N: 12345}}')
    assert text.count("expected a string of visible ASCII characters in one line; put it in quotes") == 2
    assert "hidden" not in text
    assert "12345" not in text


def test_wrong_openai_variables_are_named_instead_of_a_line(file: Path):
    assert problem(file, "", {"OPENAI_BASE_URL": "x"}).startswith(
        "OPENAI_BASE_URL: expected an address such as https://"
    )
    assert problem(file, "", {"OPENAI_API_KEY": "a b"}).startswith("OPENAI_API_KEY: a key must be visible ASCII")
