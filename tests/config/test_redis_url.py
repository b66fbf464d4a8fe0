"""The shared store's address: what is read, what is refused, and that no password is shown."""

from pathlib import Path

import pytest

from headrace.config import Config, Secret, load
from headrace.config.redis_url import RedisAddress, parse_redis_url
from headrace.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache", RedisAddress(host="cache")),
        (" redis://cache:7000/3\n", RedisAddress(host="cache", port=7000, db=3)),
        ("redis://cache?db=4", RedisAddress(host="cache", db=4)),
        ("redis://[::1]:7000", RedisAddress(host="::1", port=7000)),
        ("redis://:p%40ss@cache", RedisAddress(host="cache", password=Secret("p@ss"))),
        ("rediss://me:pass@cache/", RedisAddress(host="cache", username="me", password=Secret("pass"), tls=True)),
        ("rediss://cache?ssl_cert_reqs=none", RedisAddress(host="cache", tls=True, verify=False)),
        (
            "rediss://cache?ssl_ca_certs=/a&ssl_certfile=/b&ssl_keyfile=/c&ssl_cert_reqs=required",
            RedisAddress(host="cache", tls=True, ca_file="/a", cert_file="/b", key_file="/c"),
        ),
        ("unix:///run/my%20redis.sock?db=2", RedisAddress(path="/run/my redis.sock", db=2)),
        ("unix://:pass@/run/redis.sock", RedisAddress(path="/run/redis.sock", password=Secret("pass"))),
    ],
)
def test_an_address_is_read(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


@pytest.mark.promise("P36")
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "expected an address"),
        ("cache:6379", "expected an address"),
        ("http://:hunter2@cache", "expected an address"),
        ("redis://", "expected an address"),
        ("redis://:hunter2@cache:port", "expected an address"),
        ("redis://:hunter2@cache:0", "expected an address"),
        ("redis://:hunter2@[cache", "expected an address"),
        ("redis://:hunter2@cache#0", "expected an address"),
        ("unix://", "expected an address"),
        ("redis://:hunter2@cache/first", "the database must be a number"),
        ("redis://:hunter2@cache/²", "the database must be a number"),
        ("rediss://:hunter2@cache?ssl_cert_reqs=optional", "ssl_cert_reqs must be one of required, none"),
        ("rediss://:hunter2@cache?password=hunter2", "what follows the ? may be db, ssl_cert_reqs"),
    ],
)
def test_a_wrong_address_is_refused_without_being_shown(url: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"HEADRACE_REDIS_URL": url or "x"})
    assert f"HEADRACE_REDIS_URL: {text}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_its_name_has_no_credentials() -> None:
    assert parse_redis_url("redis://me:hunter2@cache").name == "cache:6379"
    assert parse_redis_url("unix://:hunter2@/run/redis.sock").name == "/run/redis.sock"
    assert "hunter2" not in repr(parse_redis_url("redis://me:hunter2@cache"))
    assert "hunter2" not in repr(load(None, {"REDIS_URL": "redis://me:hunter2@cache"}))


def test_our_own_variable_beats_the_file_which_beats_that_of_the_platform(tmp_path: Path) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text("redis_url: redis://file\n")
    ours, platform = {"HEADRACE_REDIS_URL": "redis://ours"}, {"REDIS_URL": "redis://platform"}
    assert load(file, ours | platform).redis_url == Secret("redis://ours")
    assert load(file, platform).redis_url == Secret("redis://file")
    assert load(None, platform).redis_url == Secret("redis://platform")
    assert load(None, {"REDIS_URL": " "}).redis_url is None
    assert Config().redis_url is None


def test_a_platforms_wrong_address_is_said_by_its_own_name() -> None:
    with pytest.raises(ConfigError, match="REDIS_URL: expected an address"):
        load(None, {"REDIS_URL": "memcached://cache"})


@pytest.mark.parametrize("prefix", ["a{b}", "a b", "x" * 65, "å"])
def test_a_prefix_that_would_part_the_keys_of_a_stream_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="HEADRACE_REDIS_PREFIX: expected 1 to 64 letters"):
        load(None, {"HEADRACE_REDIS_PREFIX": prefix})
