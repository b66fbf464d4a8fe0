"""`archive_url`: read, refused, and never with credentials."""

import pytest

from headrace.config import Config, Secret, load
from headrace.config.archive_url import ArchiveAddress, parse_archive_url
from headrace.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("file:///var/lib/headrace/archive", ArchiveAddress(directory="/var/lib/headrace/archive")),
        ("file://localhost/a%20b", ArchiveAddress(directory="/a b")),
        ("s3://audit", ArchiveAddress(bucket="audit")),
        (" s3://audit/a/b=c/ ", ArchiveAddress(bucket="audit", prefix="a/b=c")),
        ("s3://audit/...x", ArchiveAddress(bucket="audit", prefix="...x")),
        (
            "s3://audit/a?endpoint=https://minio.example.com:9000&region=eu-central-1",
            ArchiveAddress(
                bucket="audit", prefix="a", endpoint="https://minio.example.com:9000", region="eu-central-1"
            ),
        ),
        ("s3://audit?endpoint=http://[::1]:9000/", ArchiveAddress(bucket="audit", endpoint="http://[::1]:9000/")),
    ],
)
def test_an_address_is_read(url: str, address: ArchiveAddress) -> None:
    assert parse_archive_url(url) == address
    assert load(None, {"HEADRACE_ARCHIVE_URL": url}).archive_url == Secret(url.strip())


@pytest.mark.promise("P36")
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("audit", "expected an address"),
        ("/var/lib/hunter2", "expected an address"),
        ("file://hunter2/a", "expected an address"),
        ("file:hunter2", "expected an address"),
        ("file:///a?region=hunter2", "expected an address"),
        ("https://hunter2.example.com/a", "expected an address"),
        ("gs://hunter2/a", "expected an address"),
        ("s3://", "expected an address"),
        ("s3://hunter2!/a", "expected an address"),
        ("s3://audit/hunter2/../b", "expected an address"),
        ("s3://audit/hunter2//b", "expected an address"),
        ("s3://[hunter2", "expected an address"),
        ("s3://audit/a#hunter2", "expected an address"),
        ("s3://AKIA:hunter2@audit", "credentials do not belong here"),
        ("s3://audit?secret_access_key=hunter2", "what follows the ? may be endpoint and region; credentials do not"),
        ("s3://audit?endpoint=https://me:hunter2@minio", "endpoint must be an address"),
        ("s3://audit?endpoint=minio:9000", "endpoint must be an address"),
        ("s3://audit?endpoint=https://[hunter2", "endpoint must be an address"),
        ("s3://audit?region=hunter2/x", "region must be a name"),
    ],
)
def test_a_wrong_address_is_refused_without_being_shown(url: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"HEADRACE_ARCHIVE_URL": url})
    assert f"HEADRACE_ARCHIVE_URL: {text}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_without_it_nothing_is_archived() -> None:
    assert Config().archive_url is None
    assert load(None, {"HEADRACE_ARCHIVE_URL": " "}).archive_url is None


def test_its_name_is_where_it_is() -> None:
    assert parse_archive_url("file:///a/b").name == "/a/b"
    assert parse_archive_url("s3://audit?region=us-east-1").name == "s3://audit"
    assert parse_archive_url("s3://audit/a/b").name == "s3://audit/a/b"
