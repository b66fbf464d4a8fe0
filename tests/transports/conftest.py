"""Every test of a connection runs with and without the server's direct way to write."""

import pytest

from tests.engine.rig import Connection


@pytest.fixture(autouse=True, params=[False, True], ids=["asgi", "direct"])
def direct(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(Connection, "offers_direct", request.param)
    return request.param
