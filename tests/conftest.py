"""What every test shares: the event loop's backend and the selection by promise."""

import pytest
from hypothesis import settings

# No test fails because the machine was busy, and in continuous integration none because of an example that no change
# has to do with: there the examples are always the same.
settings.register_profile("tests", deadline=None)
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--promise",
        action="append",
        default=[],
        metavar="ID",
        help="run only the tests marked with this promise, e.g. --promise P4; may be repeated",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted: set[str] = set(config.getoption("promise") or [])
    if not wanted:
        return
    chosen = [item for item in items if wanted & promises(item)]
    config.hook.pytest_deselected(items=[item for item in items if not wanted & promises(item)])
    items[:] = chosen


def promises(item: pytest.Item) -> set[str]:
    """Every promise that the test, its class, its module or its parameter set names."""
    return {promise for mark in item.iter_markers("promise") for promise in mark.args}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
