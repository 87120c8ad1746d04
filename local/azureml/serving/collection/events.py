"""One collected line: a CloudEvent, as Azure's documentation of the data collector shows it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

LARGEST = 256 * 1024
"""Bytes of a payload that are told within the line; a larger one, and one that is no JSON, is a file of its own."""


@dataclass(frozen=True)
class Collected:
    """A payload that was caught, before it is a line."""

    collection: str
    payload: bytes
    at: float
    """Epoch seconds."""
    request_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What is known besides: path and method of a request, the type of a data frame."""
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))

    def line(self, source: str, beside: str) -> tuple[bytes, bytes | None]:
        """(the line with its end, the payload when it has to be a file of its own). `beside`: the address of that file."""
        value, content_type = self._value()
        stored = value is None
        document = {
            "specversion": "1.0",
            "id": self.identity,
            "source": source,
            "type": f"azureml.inference.{self.collection}",
            "datacontenttype": content_type,
            "time": datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "data": beside if stored else value,
            **self.attributes,
            "contentrange": f"bytes 0-{max(len(self.payload) - 1, 0)}/{len(self.payload)}",
            "correlationid": self.request_id,
            "xrequestid": self.request_id,
            **({"datainblob": "true"} if stored else {}),
        }
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE), self.payload if stored else None

    def _value(self) -> tuple[Any, str]:
        """(the decoded payload, None when it goes into a file; its type)."""
        try:
            value = orjson.loads(self.payload)
        except orjson.JSONDecodeError:
            return None, "text/plain"
        return (value if len(self.payload) <= LARGEST else None), "application/json"
