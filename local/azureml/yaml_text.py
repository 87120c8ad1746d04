"""YAML from outside as plain values."""

from __future__ import annotations

from typing import Any

import yaml

LARGEST = 100_000
"""Values: more than any conda file, MLmodel or MLTable has."""


class TooLargeError(yaml.YAMLError):
    """A document that is larger than it looks, or without an end."""


def parse(text: str | bytes) -> Any:
    """The document; yaml.YAMLError for what is no YAML, and for aliases of aliases that stand for more than `LARGEST` values."""
    document = yaml.safe_load(text)
    waiting, seen = [document], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > LARGEST:
            raise TooLargeError(f"it stands for more than {LARGEST} values")
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return document
