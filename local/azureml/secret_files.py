"""Secrets of connections and datastores: apart from the store, whose documents are shown, in files for their owner alone."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import orjson


class SecretFiles:
    """One file (0600) per owner in a folder of its own (0700). Nothing of it is logged or listed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, kind: str, name: str, secret: dict[str, Any]) -> None:
        """Write or replace; a process that is killed meanwhile leaves the old one."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._folder / f"new-{secrets.token_hex(8)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(secret))
        fresh.replace(self._file(kind, name))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = orjson.loads(self._file(kind, name).read_bytes())
        except FileNotFoundError:
            return None
        return found

    def delete(self, kind: str, name: str) -> None:
        self._file(kind, name).unlink(missing_ok=True)

    def _file(self, kind: str, name: str) -> Path:
        # Hashed, since names come from outside and this is a path.
        return self._folder / hashlib.sha256(f"{kind}/{name}".encode()).hexdigest()
