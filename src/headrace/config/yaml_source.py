"""A YAML file -> plain data plus the place of every key and value.

PyYAML's own `safe_load` forgets the places and lets the last of two equal keys win; both matter here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, cast

import yaml

from headrace.config.expansion import expand
from headrace.config.problems import Path, Problems
from headrace.errors import ConfigError

UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML's constructors raise for a value that its tag does not fit: `!!int ""`, `!!bool maybe`, 2001-99-99."""

# Every alias is read where it stands, and aliases of aliases grow without bound; a thousand models have a tenth of it.
_MOST_VALUES = 100_000
_MAP, _SEQ, _MERGE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:merge"


def read(path: str | FilePath, environ: Mapping[str, str], problems: Problems) -> object:
    """Read a file and expand its variables; keys that are there twice and unset variables go to `problems`.

    Raises:
        ConfigError: It cannot be read or is not YAML.
    """
    try:
        text = FilePath(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot read the configuration file: {reason}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}:1: the file is not UTF-8") from None
    return parse(text, environ, problems)


def parse(text: str, environ: Mapping[str, str], problems: Problems) -> object:
    """`read` for a text that is already here.

    Raises:
        ConfigError: It is not YAML.
    """
    file = problems.places.file
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _Builder(loader, environ, problems).value(node, ())
        finally:
            cast("Any", loader).dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise ConfigError(f"{file}:{place}: {_reason(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}:1:1: not YAML: {getattr(error, 'reason', 'it cannot be read')}") from None
    except RecursionError:
        raise ConfigError(f"{file}:1:1: the values are nested too deeply") from None


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it cannot be read"
    # These two quote the text of the file, which may be a key that begins with * or ! (P36).
    if "undefined alias" in problem:
        return "not YAML: nothing has this anchor; put a value that begins with * in quotes"
    if "constructor for the tag" in problem:
        return "not YAML: tags are not supported; put a value that begins with ! in quotes"
    return f"not YAML: {problem}"


class _Builder:
    def __init__(self, loader: yaml.SafeLoader, environ: Mapping[str, str], problems: Problems) -> None:
        self._construct: Callable[[yaml.Node], object] = cast("Any", loader).construct_object
        self._environ = environ
        self._problems = problems
        self._places = problems.places
        self._open: set[int] = set()
        self._built = 0

    def value(self, node: yaml.Node, path: Path) -> object:
        self._built += 1
        if self._built > _MOST_VALUES:
            raise _error("the aliases make too much of this file", node)
        self._places.values[path] = _place(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (_MAP, _SEQ):
            raise _error("no constructor for the tag", node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        self._enter(node)
        items = [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        self._open.discard(id(node))
        return items

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        try:
            value = self._construct(node)
        except UNREADABLE:
            raise _error("this is no date or number; put it in quotes", node) from None
        if not isinstance(value, str):
            return value
        try:
            return expand(value, self._environ)
        except ValueError as error:
            self._problems.value(path, str(error))
            return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        self._enter(node)
        merged = [value for key, value in node.value if key.tag == _MERGE]
        built = self._merge(merged, path)
        lines: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be a plain word", key)
            name = str(key.value)
            child = (*path, name)
            self._places.keys[child] = _place(key)
            if name in lines:
                self._problems.key(child, f"the key is already in line {lines[name]}: keep one of them")
                continue
            lines[name] = key.start_mark.line + 1
            built[name] = self.value(value, child)
        self._open.discard(id(node))
        return built

    def _merge(self, nodes: list[yaml.Node], path: Path) -> dict[str, object]:
        """What `<<` brings: the first of several mappings wins, and the mapping's own keys win over all."""
        built: dict[str, object] = {}
        for node in nodes:
            for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
                if not isinstance(part, yaml.MappingNode):
                    raise _error("`<<` needs a mapping", part)
                built = {**self._mapping(part, path), **built}
        return built

    def _enter(self, node: yaml.Node) -> None:
        if id(node) in self._open:
            raise _error("an alias contains itself", node)
        self._open.add(id(node))


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
