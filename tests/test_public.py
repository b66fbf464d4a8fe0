"""The public surface: what `headrace` gives out, and how fast it is there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import headrace


def test_every_public_name_is_there_and_no_other() -> None:
    assert len(headrace.__all__) == len(set(headrace.__all__)) <= 30
    for name in headrace.__all__:
        assert getattr(headrace, name) is not None
    submodules = {path.stem for path in Path(headrace.__file__).parent.iterdir()}
    public = {name for name in dir(headrace) if not name.startswith("_")} - submodules
    assert public == {*headrace.__all__, "annotations", "importlib", "Any", "Final"} - {"__version__"}


def test_type_checkers_see_the_same_names() -> None:
    stub = Path(headrace.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imported: set[str] = set()
    listed: set[str] = set()
    for node in ast.parse(stub).body:
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            listed = set(ast.literal_eval(node.value))
    assert imported | {"__version__"} == listed == set(headrace.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'nothing'"):
        getattr(headrace, "nothing")  # noqa: B009 - a type checker would not let it through


@pytest.mark.parametrize("statement", ["import headrace; headrace.__version__", "import headrace.cli"])
def test_the_version_costs_no_web_framework(statement: str) -> None:
    heavy = {"fastapi", "starlette", "uvicorn", "aiohttp", "pydantic", "anyio", "msgspec", "yaml"}
    if "cli" in statement:  # it needs the errors
        heavy -= {"msgspec"}
    code = f"{statement}\nimport sys; print(*sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""
