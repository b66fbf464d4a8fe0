import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import ApiKey, Config, Disconnect, Secret, from_env, load
from headrace.config.conversion import scalar_types
from headrace.errors import ConfigError

SOURCES = Path(__file__).parents[2] / "src" / "headrace"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "headrace.yaml"


def loaded(file: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    file.write_text(text)
    return load(file, environ or {})


def problem(file: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(file, text, environ)
    return str(caught.value).replace(f"{file}:", "")


def environment_problem(environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(None, environ, overrides)
    return str(caught.value)


def served(config: Config) -> list[tuple[str, str, str]]:
    return [(model.name, model.provider, model.upstream_model) for model in config.models]


def test_without_file_and_key_the_embedded_model_is_served():
    assert served(load(None, {})) == [("smollm2-135m", "local", "smollm2-135m")]


def test_with_openais_variables_any_model_there_is_served():
    config = load(None, {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://h:1/v1/"})
    model = config.resolve("openai/gpt-4o")
    assert model is not None
    assert (model.upstream_model, model.base_url, model.api_key) == ("gpt-4o", "http://h:1/v1", Secret("sk-1"))
    assert served(load(None, {"OPENAI_BASE_URL": "http://h/v1"})) == [("*", "openai", "*")]


def test_with_anthropics_variables_any_model_there_is_served():
    (model,) = load(None, {"ANTHROPIC_API_KEY": "sk-ant", "ANTHROPIC_BASE_URL": "http://h:1"}).models
    assert (model.name, model.provider, model.upstream_model) == ("*", "anthropic", "*")
    assert (model.base_url, model.protocol) == ("http://h:1", "anthropic")


def test_with_both_vendors_variables_claude_is_asked_at_anthropic():
    config = load(None, {"ANTHROPIC_API_KEY": "sk-ant", "OPENAI_API_KEY": "sk-1"})
    assert served(config) == [("claude-*", "anthropic", "claude-*"), ("*", "openai", "*")]


def test_empty_openai_variables_count_as_unset():
    assert served(load(None, {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": " "})) == served(load(None, {}))


def test_a_file_without_models_serves_what_no_file_would(file: Path):
    assert served(loaded(file, "port: 9000\n")) == served(load(None, {}))
    assert loaded(file, "") == load(None, {})


def test_the_environment_beats_the_file_and_the_command_line_beats_both(file: Path):
    file.write_text("port: 1\nhost: localhost\nlog_level: error\n")
    config = load(file, {"HEADRACE_PORT": "2", "HEADRACE_HOST": "::1"}, {"port": 3, "log_level": None})
    assert (config.port, config.host, config.log_level) == (3, "::1", "error")


def test_the_file_may_be_named_by_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text("port: 7\n")
    assert load(None, {"HEADRACE_CONFIG": str(file)}).port == 7
    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    monkeypatch.setenv("HEADRACE_HOST", "localhost")
    config = from_env(overrides={"log_level": "debug"})
    assert (config.port, config.host, config.log_level) == (7, "localhost", "debug")


def test_every_scalar_key_is_read_from_its_variable():
    environ = {
        "HEADRACE_STREAM_IDLE_TIMEOUT": "5m",
        "HEADRACE_KEEPALIVE_SECONDS": "50ms",
        "HEADRACE_HEADER_HOLD": "0",
        "HEADRACE_RETRIES": " 0 ",
        "HEADRACE_MAX_REQUEST_BYTES": "8MB",
        "HEADRACE_LOG_CONTENT": "yes",
        "HEADRACE_LOG_LEVEL": "WARNING",
        "HEADRACE_ON_DISCONNECT": "grace=30",
        "HEADRACE_MAX_LOG_BYTES": "",
        "PATH": "ignored",
    }
    config = load(None, environ)
    assert (config.stream_idle_timeout, config.keepalive_seconds, config.header_hold, config.retries) == (
        300,
        0.05,
        0,
        0,
    )
    assert (config.max_request_bytes, config.log_content, config.log_level) == (8_000_000, True, "warning")
    assert (config.on_disconnect, config.max_log_bytes) == (Disconnect("grace", 30), 2**30)


def as_written(value: object) -> str:
    return str(value)


@pytest.mark.parametrize("key", scalar_types(Config))
def test_the_default_of_every_key_is_a_value_that_may_be_set(key: str, file: Path):
    default = getattr(Config(), key)
    if default is None:
        return
    assert getattr(load(None, {f"HEADRACE_{key.upper()}": as_written(default)}), key) == default
    assert getattr(loaded(file, yaml.safe_dump({key: default})), key) == default


def test_numbers_from_variables_in_the_file_are_numbers(file: Path):
    text = "port: ${PORT:-8001}\nlog_content: ${LOG:-true}\nheader_hold: ${HOLD}\n"
    config = loaded(file, text, {"HOLD": "2s"})
    assert (config.port, config.log_content, config.header_hold) == (8001, True, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stream_idle_timeot: 3", "1:1: stream_idle_timeot: unknown key; did you mean stream_idle_timeout?"),
        ("zzz: 3", "1:1: zzz: unknown key; docs/configuration.md has all of them"),
        ("models: []", "1:1: models: unknown key; did you mean model_list?"),
        ("general_settings: {}", "1:1: general_settings: unknown key; Headrace's settings stand at the top level, and"),
        ("port: '8000'", '1:7: port: expected a whole number from 0 to 65535, got "8000"'),
        ("port: 8000.5", "1:7: port: expected a whole number from 0 to 65535, got 8000.5"),
        ("port: true", "1:7: port: expected a whole number from 0 to 65535, got true"),
        ("port: 65536", "1:7: port: expected a whole number from 0 to 65535, got 65536"),
        ("port:", "1:6: port: expected a whole number from 0 to 65535, got nothing"),
        ("host: 1", "1:7: host: expected a string, got 1"),
        ("host: ''", '1:7: host: expected a string, got ""'),
        ("log_content: 1", "1:14: log_content: expected true or false, got 1"),
        ("log_level: loud", '1:12: log_level: expected one of debug, info, warning, error, got "loud"'),
        ("ttft_timeout: 0", "1:15: ttft_timeout: expected a duration above 0, such as 30, 30s, 5m or 1h, got 0"),
        ("ttft_timeout: -1", "1:15: ttft_timeout: expected a duration above 0, such as 30, 30s, 5m or 1h, got -1"),
        ("ttft_timeout: .inf", "1:15: ttft_timeout: expected a duration above 0, such as 30, 30s, 5m or 1h, got inf"),
        ("ttft_timeout: .nan", "1:15: ttft_timeout: expected a duration above 0, such as 30, 30s, 5m or 1h, got nan"),
        ("ttft_timeout: soon", '1:15: ttft_timeout: expected a duration such as 30, 30s, 5m or 1h, got "soon"'),
        ("max_log_bytes: 8M", '1:16: max_log_bytes: expected a size such as 8388608, 8MB or 32MiB, got "8M"'),
        (
            "max_log_bytes: [1]",
            "1:16: max_log_bytes: expected a size above 0, such as 8388608, 8MB or 32MiB, got a list",
        ),
        ("on_disconnect: {mode: cancel}", "1:16: on_disconnect: expected cancel, continue or grace(seconds), got a"),
        ("on_disconnect: grace", "1:16: on_disconnect: expected cancel, continue or grace(seconds), such as grace(30)"),
        ("local_context: 9000", "1:16: local_context: expected a whole number from 256 to 8192, got 9000"),
        ("retry_backoff: 9", "1:16: retry_backoff: retry_backoff (9.0) must not be over retry_backoff_max (8.0)"),
        ("max_log_bytes: 1MiB", "1:16: max_log_bytes: max_stream_log_bytes (67108864) must not be over max_log_bytes"),
        ("cors_origins: ['http://[a']", "1:16: cors_origins[0]: expected an origin such as"),
        ("cors_origins: x", "1:15: cors_origins: expected a list: one `- …` line each"),
        (
            "cors_origins: [https://a/b]",
            '1:16: cors_origins[0]: expected an origin such as "https://app.example.com", or',
        ),
        (
            "cors_origins: [3]",
            '1:16: cors_origins[0]: expected an origin such as "https://app.example.com", or "*", got 3',
        ),
        ("allowed_hosts: [a, 'b:80']", "1:20: allowed_hosts[1]: expected a host name without scheme and port, such as"),
        ("- a", "1:1: expected a mapping with keys such as model_list, "),
        ("port", '1:1: expected a mapping with keys such as model_list, connect_timeout, got "port"'),
        (
            "port: ${MISSING}",
            "1:7: port: the environment variable MISSING is not set: set it, or write ${MISSING:-default}",
        ),
        ("port: 1\nport: 2", "2:1: port: the key is already in line 1: keep one of them"),
    ],
)
def test_a_wrong_setting_is_an_error_with_line_and_remedy(file: Path, text: str, expected: str):
    message = problem(file, text + "\n")
    assert message.startswith(expected)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HEADRACE_PORT": "abc"}, 'HEADRACE_PORT: expected a whole number from 0 to 65535, got "abc"'),
        ({"HEADRACE_PROT": "1"}, "HEADRACE_PROT: unknown environment variable; did you mean HEADRACE_PORT?"),
        ({"HEADRACE_Port": "1"}, "HEADRACE_Port: unknown environment variable; did you mean HEADRACE_PORT?"),
        ({"HEADRACE_MODEL_LIST": "1"}, "HEADRACE_MODEL_LIST: unknown environment variable; "),
        ({"HEADRACE_NO_AUTH": "maybe"}, 'HEADRACE_NO_AUTH: expected true or false, got "maybe"'),
        (
            {"HEADRACE_TTFT_TIMEOUT": "0"},
            "HEADRACE_TTFT_TIMEOUT: expected a duration above 0, such as 30, 30s, 5m or 1h",
        ),
        ({"HEADRACE_RETRY_BACKOFF": "9"}, "HEADRACE_RETRY_BACKOFF: retry_backoff (9.0) must not be over"),
        ({"HEADRACE_CORS_ORIGINS": "https://a, x"}, "HEADRACE_CORS_ORIGINS (entry 2): expected an origin such as"),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it(environ: Mapping[str, str], expected: str):
    assert environment_problem(environ).startswith(expected)


def test_a_wrong_option_is_an_error_that_names_it():
    assert environment_problem({}, {"log_level": "loud"}).startswith("--log-level: expected one of debug, info")
    assert environment_problem({}, {"prot": 1}).startswith("--prot: unknown setting; did you mean port?")


def test_variables_of_the_client_commands_and_of_kubernetes_are_no_settings():
    environ = {
        "HEADRACE_URL": "http://h",
        "HEADRACE_API_KEY": "sk",
        "HEADRACE_SERVICE_HOST": "10.0.0.1",
        "HEADRACE_SERVICE_PORT_HTTP": "8000",
        "HEADRACE_PORT": "tcp://10.0.0.1:8000",
        "HEADRACE_PORT_8000_TCP_ADDR": "10.0.0.1",
        "HEADRACE_METRICS_PORT": "tcp://10.0.0.2:9000",
        "HEADRACE_METRICS_PORT_9000_TCP": "tcp://10.0.0.2:9000",
    }
    assert load(None, environ) == load(None, {})


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(file: Path):
    text = "ttft_timeout: soon\nprot: 1\nmodel_list:\n  - model_name: a\n    params: {model: x/y}\nport: -1\n"
    lines = problem(file, text, {"HEADRACE_HOSTT": "a"}).splitlines()
    assert [line.split(":")[0] for line in lines] == ["1", "2", "5", "6", "HEADRACE_HOSTT"]


def test_keys_are_read_from_the_file(file: Path):
    text = "api_keys:\n  - sk-one\n  - {name: bob, key: '${BOB}'}\n  - carol=sk-three\n"
    one, *others = loaded(file, text, {"BOB": "sk-two"}).api_keys
    assert re.fullmatch("key-[0-9a-f]{12}", one.name)
    assert one.key == Secret("sk-one")
    assert others == [ApiKey("bob", Secret("sk-two")), ApiKey("carol", Secret("sk-three"))]


def test_keys_are_read_from_the_environment_and_beat_the_file(file: Path):
    config = loaded(file, "api_keys: [sk-file]\n", {"HEADRACE_API_KEYS": "alice=sk-1, bob=sk-2=,"})
    assert config.api_keys == (ApiKey("alice", Secret("sk-1")), ApiKey("bob", Secret("sk-2=")))


def test_the_end_of_a_base64_key_is_no_name():
    (key,) = load(None, {"HEADRACE_API_KEYS": "c2VjcmV0cw=="}).api_keys
    assert key.key == Secret("c2VjcmV0cw==")


def test_the_name_of_an_unnamed_key_does_not_depend_on_its_place():
    first = load(None, {"HEADRACE_API_KEYS": "sk-1,sk-2"}).api_keys
    second = load(None, {"HEADRACE_API_KEYS": "sk-2,sk-1"}).api_keys
    assert set(first) == set(second)


@pytest.mark.promise("P36")
@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("hidden: alice", "expected a key in quotes, or {name: …, key: …}"),
        ("{name: alice, kye: hidden}", "expected a key in quotes, or {name: …, key: …}"),
        ("{name: 3, key: hidden}", "expected a key in quotes, or {name: …, key: …}"),
        ("12345", "expected a key in quotes, or {name: …, key: …}"),
        ("'hidden key'", "a key must be visible ASCII characters without spaces, and not empty"),
        ("'hiddén'", "a key must be visible ASCII characters without spaces, and not empty"),
        ("''", "a key must be visible ASCII characters without spaces, and not empty"),
        ("{name: 'a b', key: hidden}", "a name must match [A-Za-z0-9._:-]{1,128}"),
        ("x=first", "this key is already in the list: each caller needs its own"),
        ("alice=hidden", "the name alice is already taken: give each key its own"),
    ],
)
def test_a_wrong_caller_key_is_an_error_that_does_not_show_it(file: Path, item: str, expected: str):
    text = problem(file, f"api_keys:\n  - alice=first\n  - {item}\n")
    assert text == f"3:5: api_keys[1]: {expected}"


@pytest.mark.promise("P36")
def test_a_wrong_caller_key_in_the_environment_is_not_shown():
    assert environment_problem({"HEADRACE_API_KEYS": "ok,hidden key"}) == (
        "HEADRACE_API_KEYS (entry 2): a key must be visible ASCII characters without spaces, and not empty"
    )


@pytest.mark.promise("P36")
def test_what_a_variable_holds_is_not_shown_when_it_is_in_the_wrong_place(file: Path):
    text = problem(file, "port: ${TOKEN}\n", {"TOKEN": "hidden"})
    assert text == "1:7: port: expected a whole number from 0 to 65535, got something else from the environment"


def test_origins_and_hosts_are_brought_to_the_form_that_browsers_send():
    environ = {
        "HEADRACE_CORS_ORIGINS": "https://App.Example.com/,http://[::1]:3000,*",
        "HEADRACE_ALLOWED_HOSTS": "Box.lan",
    }
    config = load(None, environ)
    assert config.cors_origins == ("https://app.example.com", "http://[::1]:3000", "*")
    assert config.allowed_hosts == ("box.lan",)


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_any_text_in_a_variable_is_a_config_or_a_config_error(text: str):
    for name in (
        "HEADRACE_PORT",
        "HEADRACE_API_KEYS",
        "HEADRACE_CORS_ORIGINS",
        "HEADRACE_ON_DISCONNECT",
        "OPENAI_BASE_URL",
    ):
        try:
            assert load(None, {name: text}).models
        except ConfigError as error:
            assert str(error).startswith(name)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.text(max_size=5))
KEYS = st.sampled_from([*scalar_types(Config), "model_list", "api_keys", "cors_origins", "allowed_hosts"])


@given(st.dictionaries(KEYS | st.text(max_size=10), VALUES | st.dictionaries(st.text(max_size=5), VALUES)))
def test_any_file_is_a_config_or_a_config_error_with_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(yaml.safe_dump(content))
    try:
        load(file, {})
    except ConfigError as error:
        assert all(re.match(rf"{re.escape(str(file))}:\d+:\d+: ", line) for line in str(error).split("\n"))


def test_nothing_else_reads_the_environment():
    readers = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if re.search(r"\bos\.environ\b(?!/)|\bgetenv\(|\bimport environ\b", path.read_text(encoding="utf-8"))
    }
    assert readers == {"config/loader.py"}


def test_workers_are_a_number_or_one_for_each_core(tmp_path: Path):
    assert load(None, {"HEADRACE_WORKERS": "auto"}).workers >= 1
    assert load(None, {"HEADRACE_WORKERS": "1"}, {"workers": "3"}).workers == 3
    for wrong in ("0", "257", "many", "2.5"):
        with pytest.raises(
            ConfigError, match=f'^--workers: expected a whole number from 1 to 256, or auto, got "{wrong}"'
        ):
            load(None, {}, {"workers": wrong})


def test_data_makes_it_several_processes_and_is_not_for_a_store_of_ones_own():
    assert not load(None, {}).supervised
    assert load(None, {"HEADRACE_WORKERS": "2"}).supervised
    config = load(None, {"HEADRACE_DATA": "~/streams"})
    assert config.supervised and config.data is not None and not config.data.startswith("~")
    with pytest.raises(ConfigError, match=r"^HEADRACE_DATA: contradicts redis_url"):
        load(None, {"HEADRACE_DATA": "streams", "REDIS_URL": "redis://localhost"})
    with pytest.raises(ConfigError, match=r"^--data: expected a path"):
        load(None, {}, {"data": " "})
