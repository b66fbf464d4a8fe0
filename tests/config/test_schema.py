import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import PROVIDERS, ApiKey, Config, Model, Secret, is_loopback
from headrace.errors import ConfigError

KEY = ApiKey("alice", Secret("sk-alice"))


def openai(name: str, upstream: str, provider: str = "openai") -> Model:
    return Model(name=name, upstream_model=upstream, provider=provider, base_url="http://h/v1")


def resolved(config: Config, name: str) -> str | None:
    model = config.resolve(name)
    return model.upstream_model if model else None


def test_an_exact_name_beats_a_wildcard():
    config = Config(models=(openai("*", "*"), openai("fast", "gpt-4o-mini")))
    assert resolved(config, "fast") == "gpt-4o-mini"
    assert resolved(config, "other") == "other"


def test_any_name_is_served_with_or_without_the_provider():
    config = Config(models=(openai("*", "*"),))
    assert resolved(config, "gpt-4o") == "gpt-4o"
    assert resolved(config, "openai/gpt-4o") == "gpt-4o"
    assert resolved(config, "groq/llama") == "groq/llama"
    model = config.resolve("openai/gpt-4o")
    assert model is not None
    assert model.name == "openai/gpt-4o"


def test_the_longest_wildcard_wins():
    config = Config(models=(openai("*", "*"), openai("groq/*", "*", "groq"), openai("groq/llama-*", "small")))
    assert resolved(config, "groq/openai/gpt-oss") == "openai/gpt-oss"
    assert resolved(config, "groq/llama-3") == "small"


def test_only_a_bare_wildcard_takes_the_provider_away():
    config = Config(models=(openai("openrouter/*", "*", "openrouter"),))
    assert resolved(config, "openrouter/openrouter/auto") == "openrouter/auto"


def test_a_prefix_before_both_stars_is_kept():
    assert resolved(Config(models=(openai("gpt-*", "gpt-*"),)), "gpt-4o") == "gpt-4o"


@pytest.mark.parametrize("name", ["", "*", "openai/*", "openai/"])
def test_a_pattern_or_nothing_is_no_model(name: str):
    assert Config(models=(openai("*", "*"),)).resolve(name) is None


def test_an_unknown_name_is_none_without_a_wildcard():
    config = Config(models=(openai("a", "b"), openai("groq/*", "*", "groq")))
    assert config.resolve("b") is None
    assert config.resolve("groq") is None


def test_names_and_wildcards_are_listed_apart():
    config = Config(models=(openai("a", "b"), openai("*", "*"), openai("c", "d")))
    assert config.model_names == ("a", "c")
    assert config.wildcards == ("*",)


@given(st.text(min_size=1).filter(lambda text: "*" not in text and not text.startswith("openai/")))
def test_a_bare_wildcard_gives_every_name_to_the_model_server_unchanged(name: str):
    assert resolved(Config(models=(openai("*", "*"),)), name) == name


@pytest.mark.promise("P36")
def test_no_repr_shows_a_key():
    model = Model(name="a", upstream_model="b", api_key=Secret("sk-up"), headers=(("X-Key", Secret("sk-head")),))
    config = Config(models=(model,), api_keys=(KEY,))
    for text in (repr(config), str(config), f"{config!r} {KEY} {KEY.key}", str(ConfigError(str(config)))):
        assert "sk-" not in text
    assert "Secret(***)" in repr(config)


@pytest.mark.promise("P36")
def test_a_key_cannot_be_serialised_by_accident():
    with pytest.raises(TypeError):
        msgspec.json.encode(KEY)


def test_a_secret_gives_its_text_back_and_equals_its_like():
    secret = Secret("sk-1")
    assert secret.reveal() == "sk-1"
    assert secret.matches("sk-1")
    assert not secret.matches("sk-2")
    assert not secret.matches("\ud800é")
    assert secret == Secret("sk-1")
    assert secret != Secret("sk-2")
    assert secret != "sk-1"
    assert len({secret, Secret("sk-1")}) == 1
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_a_config_cannot_be_changed():
    with pytest.raises(AttributeError):
        Config().port = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.promise("P33")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.com", "", "127.0.0.1.example.com"])
def test_another_host_without_keys_is_refused_with_the_three_ways_out(host: str):
    with pytest.raises(ConfigError) as caught:
        Config(host=host).check_access()
    for way in ("HEADRACE_API_KEYS", "127.0.0.1", "--no-auth"):
        assert way in str(caught.value)


@pytest.mark.promise("P33")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_keys(host: str):
    assert is_loopback(host)
    Config(host=host).check_access()


@pytest.mark.promise("P33")
def test_another_host_is_allowed_with_keys_or_on_demand():
    Config(host="0.0.0.0", api_keys=(KEY,)).check_access()
    Config(host="0.0.0.0", no_auth=True).check_access()


@pytest.mark.promise("P33")
def test_keys_and_no_auth_contradict_each_other():
    with pytest.raises(ConfigError, match="api_keys and no_auth contradict each other: remove one"):
        Config(api_keys=(KEY,), no_auth=True).check_access()


@pytest.mark.promise("P33")
@pytest.mark.parametrize("no_auth", [True, False])
def test_every_origin_needs_keys(no_auth: bool):
    with pytest.raises(ConfigError, match="name the origins, or set api_keys"):
        Config(cors_origins=("*",), no_auth=no_auth).check_access()
    Config(cors_origins=("*",), api_keys=(KEY,)).check_access()


def test_every_preset_address_is_complete():
    for name, row in PROVIDERS.items():
        assert row.protocol == (name if name in ("anthropic", "local", "replay") else "openai")
        if row.base_url is not None:
            assert row.base_url.startswith(("https://", "http://localhost"))
            assert not row.base_url.endswith("/")
        assert row.key_variable in (None, f"{name.upper()}_API_KEY")
