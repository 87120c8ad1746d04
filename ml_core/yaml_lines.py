"""YAML with line numbers: the values as Python sees them, and for every path in them the line it stands on."""

from __future__ import annotations

from typing import Any

import yaml

from ml_core.errors import ConfigError

YamlPath = tuple[str | int, ...]


def read_yaml(text: str, *, file: str) -> tuple[Any, dict[YamlPath, int]]:
    """Return (value, {path: line}); raise ConfigError for malformed YAML and for a key that is given twice."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        lines: dict[YamlPath, int] = {(): 1}
        if root is None:
            return None, lines
        _walk(root, (), lines, file)
        return loader.construct_document(root), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: this is not YAML: {error.problem or error}.") from error
    finally:
        loader.dispose()


def _walk(node: yaml.Node, path: YamlPath, lines: dict[YamlPath, int], file: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            if here in lines:
                # YAML itself takes the last one silently: half a configuration would be lost without a word.
                told = ".".join(map(str, here))
                raise ConfigError(
                    f"{file}:{key.start_mark.line + 1}: {told} is given twice; it stands on line {lines[here]} already."
                )
            lines[here] = key.start_mark.line + 1
            _walk(value, here, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            _walk(item, (*path, index), lines, file)
