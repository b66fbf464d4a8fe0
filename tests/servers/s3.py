"""A server of S3 as a process of its own: moto's, which keeps what it is given in memory and checks who asks."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
BUCKET = "audit"
PATIENCE_S = 30
_LISTENS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@dataclass(frozen=True)
class Server:
    """One process, with a bucket, and Amazon's own client to look into it."""

    url: str
    port: int
    client: Any

    def address(self, prefix: str = "") -> str:
        """As `archive_url` names it."""
        return f"s3://{BUCKET}/{prefix}?endpoint={self.url}&region=us-east-1"

    @property
    def keys(self) -> list[str]:
        """Names of all objects."""
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", ())]

    @property
    def uploads(self) -> int:
        """Uploads that have begun, and neither ended nor been given up."""
        return len(self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))

    def read(self, key: str) -> bytes:
        """One object."""
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def reset(self) -> None:
        """Forget everything, and have an empty bucket again."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=PATIENCE_S).close()
        self.client.create_bucket(Bucket=BUCKET)


@contextlib.contextmanager
def serving(port: int = 0) -> Iterator[Server]:
    """A server with an empty bucket."""
    program = str(Path(sys.executable).with_name("moto_server"))
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if found := _LISTENS.search(line):
                    break
            else:
                raise AssertionError("".join(said))
            # It says every request, and would wait for somebody to listen.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            url = found[1]
            client: Any = boto3.client(
                "s3",
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
                config=Config(retries={"max_attempts": 1}),
            )
            client.create_bucket(Bucket=BUCKET)
            yield Server(url, int(url.rpartition(":")[2]), client)
            client.close()
        finally:
            process.kill()
