"""The folder between the router, which collects, and the control plane, which may write to storage.

A batch is a file: its first line says where it belongs, the rest is its content. It appears at once and whole (a rename), and is
removed when it is in storage: what a crash leaves behind is shipped by the next life, a batch at worst twice.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

Mode = Literal["append", "whole"]
_numbers = itertools.count()
_SUFFIX = ".batch"


@dataclass(frozen=True)
class Batch:
    """`content` for one blob: lines to append to it, or the whole of it."""

    container: str
    blob: str
    mode: Mode
    content: bytes


def put(folder: Path, batch: Batch) -> None:
    """Leave a batch for the control plane. The folder exists."""
    head = orjson.dumps({"container": batch.container, "blob": batch.blob, "mode": batch.mode}, option=orjson.OPT_APPEND_NEWLINE)
    name = f"{time.time_ns():020d}-{next(_numbers):06d}"
    fresh = folder / f"{name}.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(head + batch.content)
    fresh.rename(folder / f"{name}{_SUFFIX}")


def waiting(folder: Path) -> Iterator[tuple[Path, Batch]]:
    """The batches of a folder, oldest first, each with its file. Nothing when there is no such folder."""
    if not folder.is_dir():
        return
    for name in sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(_SUFFIX)):
        head, _, content = (folder / name).read_bytes().partition(b"\n")
        yield folder / name, Batch(**orjson.loads(head), content=content)
