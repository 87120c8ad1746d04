"""What steps read, on the local disk: code by its version, data once per job, earlier outputs where they were written."""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local.azureml.execution.web_files import fetch, is_web_file

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator


@dataclass(frozen=True)
class Mounted:
    """An input in mode rw_mount: what it was, the step's copy of it, and the place that it stands for."""

    source: Path
    given: Path
    uri: str


class Materials:
    """Downloads through the emulator's storage, each thing once, however many steps ask for it at the same time."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self._storage, self._folder = emulator.storage, folder
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def code(self, uri: str, target: Path) -> Path:
        """A copy of a code version for one step, which may write into it. Versions never change: they are kept for good."""
        if not target.exists():
            shutil.copytree(self._fetch(uri, self._folder / "code"), target)
        return target

    def data(self, uri: str, job: Path, mode: str, private: Path) -> Path:
        """The file or folder that `uri` names; shared by the job's steps when it is only read, else a copy in `private`."""
        return give(self._fetch(uri, job / "data"), mode, private)

    def write_back(self, mounted: Mounted) -> None:
        """Bring to storage what a step changed in a writable mount. Only this does: what the job holds for others stays."""
        location = self._storage.resolve(mounted.uri)
        before, after = _files(mounted.source), _files(mounted.given)
        for name, file in after.items():
            if name not in before or not filecmp.cmp(before[name], file, shallow=False):
                self._storage.upload_folder(file, location.container, _below(location.path, name))
        for name in before.keys() - after.keys():
            self._storage.container(location.container).delete_blob(_below(location.path, name))

    def _fetch(self, uri: str, folder: Path) -> Path:
        key = hashlib.sha256(uri.encode()).hexdigest()[:16]
        with self._lock_of(f"{folder}/{key}"):
            kept = folder / key
            if not kept.exists():
                self._download(uri, kept)
            return _content(kept)

    def _download(self, uri: str, kept: Path) -> None:
        fresh = kept.with_name(f"{kept.name}.{uuid.uuid4().hex[:8]}")
        whole = fresh / "content"
        whole.mkdir(parents=True)
        try:
            found = self._bring(uri, whole)
        except BaseException:
            shutil.rmtree(fresh)
            raise
        if found != whole:  # a single blob: its name tells what the file holds, so it is kept
            (fresh / "file").write_text(found.name)
        make_read_only(whole)
        fresh.rename(kept)  # whole or not there at all

    def _bring(self, uri: str, folder: Path) -> Path:
        if is_web_file(uri, self._storage.blob_url):
            return fetch(uri, folder)
        return self._storage.download_to(*self._storage.resolve(uri), folder)

    def _lock_of(self, key: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())


def give(source: Path, mode: str, private: Path) -> Path:
    """`source` itself to a step that only reads; a copy of its own to one that may write (download, rw_mount)."""
    if mode == "ro_mount":
        return source
    private.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, private, copy_function=shutil.copyfile)
        return private
    private.mkdir()
    return Path(shutil.copyfile(source, private / source.name))


def make_read_only(path: Path) -> None:
    """Take the write bits from the files, so that a step which writes to what it shares fails instead of changing it for others.

    (The superuser is not stopped by that.)
    """
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            file.chmod(0o444)


def _below(path: str, name: str) -> str:
    return "/".join(part for part in (path, name) if part)


def _files(root: Path) -> dict[str, Path]:
    """By the path below `root`; "" when that is a file."""
    if root.is_file():
        return {"": root}
    return {file.relative_to(root).as_posix(): file for file in root.rglob("*") if file.is_file()}


def _content(kept: Path) -> Path:
    name = kept / "file"
    return kept / "content" / name.read_text() if name.exists() else kept / "content"
