"""Hand-made fakes of the app's ports, with the semantics that matter: conditions, immutability, refusals, things that take time.

Not faked: the decisions, the reconcilers, the names, the documents. `tests/contract` is one suite for these and the adapters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ml_core.addresses import BlobAddress
from ml_core.errors import Conflict, TemporaryError
from ml_core.ports import Blob, DeadLetter, Entry, Notice
from tests.fake_clock import FakeClock
from tests.fake_evidence import FakeEvidence
from tests.fake_workspace import FakeWorkspace

__all__ = [
    "FakeClock",
    "FakeContainers",
    "FakeDeadLetters",
    "FakeEvidence",
    "FakeLedger",
    "FakeNotifier",
    "FakeWorkQueue",
    "FakeWorkspace",
    "Flaky",
]


@dataclass(frozen=True)
class Written(Entry):
    """An entry, and the text that a blob would hold."""

    text: str


class FakeLedger:
    """Documents with etags in a dict; every value passes through JSON, as it does on the way to a blob."""

    def __init__(self) -> None:
        self.entries: dict[str, Written] = {}
        """To be looked at; changed by writes only."""
        self._writes = 0

    def get(self, key: str) -> Entry | None:
        entry = self.entries.get(key)
        return Entry(key, json.loads(entry.text), entry.etag) if entry else None

    def put(self, key: str, value: Mapping[str, Any], *, etag: str | None) -> str:
        found = self.entries.get(key)
        if (found.etag if found else None) != etag:
            raise Conflict(f"{key} of the ledger was changed by somebody else first.")
        return self._write(key, value)

    def overwrite(self, key: str, value: Mapping[str, Any]) -> None:
        self._write(key, value)

    def claim(self, key: str, value: Mapping[str, Any]) -> bool:
        if key in self.entries:
            return False
        self._write(key, value)
        return True

    def delete(self, key: str) -> None:
        self.entries.pop(key, None)

    def keys(self, prefix: str) -> Iterator[str]:
        yield from sorted(key for key in self.entries if key.startswith(prefix))

    def list(self, prefix: str) -> Iterator[Entry]:
        for key in self.keys(prefix):
            yield self.entries[key]

    def _write(self, key: str, value: Mapping[str, Any]) -> str:
        self._writes += 1
        text = json.dumps(value)
        self.entries[key] = Written(key, json.loads(text), f"0x{self._writes:X}", text)
        return self.entries[key].etag


@dataclass
class FakeWorkQueue:
    """Messages that become visible at their time."""

    clock: FakeClock
    messages: list[tuple[datetime, str, str]] = field(default_factory=list)

    def enqueue(self, kind: str, message: str, *, delay: timedelta = timedelta(0)) -> None:
        self.messages.append((self.clock() + delay, kind, message))

    def receive(self) -> tuple[str, str] | None:
        """Take the message that has been visible longest, or None."""
        visible = [message for message in self.messages if message[0] <= self.clock()]
        if not visible:
            return None
        first = min(visible, key=lambda message: message[0])
        self.messages.remove(first)
        return first[1], first[2]


@dataclass
class FakeContainers:
    """Blobs by (container, path)."""

    clock: FakeClock
    content: dict[tuple[str, str], Blob] = field(default_factory=dict)
    _writes: int = 0

    def upload(self, container: str, path: str, size: int = 100) -> Blob:
        self._writes += 1
        url = BlobAddress("https://account.blob.core.windows.net", container, path).url
        blob = Blob(url, path, f"0x8D{self._writes:013X}", size, self.clock())
        self.content[container, path] = blob
        return blob

    def delete(self, container: str, path: str) -> None:
        del self.content[container, path]

    def blobs(self, container: str, prefix: str) -> Iterator[Blob]:
        found = [blob for (where, path), blob in self.content.items() if where == container and path.startswith(prefix)]
        yield from sorted(found, key=lambda blob: blob.path)


@dataclass
class FakeDeadLetters:
    """Letters by name."""

    content: dict[str, str] = field(default_factory=dict)

    def letters(self) -> Iterator[DeadLetter]:
        yield from [DeadLetter(name, text) for name, text in sorted(self.content.items())]

    def remove(self, name: str) -> None:
        self.content.pop(name, None)


@dataclass
class FakeNotifier:
    """Keeps what people were told."""

    notices: list[Notice] = field(default_factory=list)
    broken: bool = False

    def send(self, notice: Notice) -> None:
        if self.broken:
            raise TemporaryError("The notice could not be sent.")
        self.notices.append(notice)


class Flaky:
    """Wraps a port: the calls named in `failures` fail so many times with a TemporaryError before they succeed."""

    def __init__(self, port: Any, failures: dict[str, int]) -> None:
        self._port, self._failures = port, failures

    def __getattr__(self, name: str) -> Any:
        if self._failures.get(name, 0) > 0:
            self._failures[name] -= 1

            def fail(*_: Any, **__: Any) -> None:
                raise TemporaryError(f"{name} failed for a moment")

            return fail
        return getattr(self._port, name)
