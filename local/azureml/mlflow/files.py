"""The files of registered models as MLflow's artifact service shows them: read from the workspace's storage, never written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from local.azureml.mlflow.errors import invalid, missing
from local.azureml.models import Models

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

ROOT = "azureml-models"
"""The folder of the artifact service below which models lie. The mlflow server's own folders there have numbers for names."""


def model_artifact_uri(name: str, version: str) -> str:
    """Where an MLflow client finds a version's files, whatever its tracking URI is."""
    return f"mlflow-artifacts:/{ROOT}/{quote(name)}/{quote(version)}"


class File(NamedTuple):
    """`size` in bytes; `content` a few megabytes at a time, read when it is asked for."""

    size: int
    content: Iterator[bytes]


class ModelFiles:
    """Paths are `<model>/<version>[/<path>]`, decoded; 404 for what is not there."""

    def __init__(self, emulator: Emulator) -> None:
        self._store, self._storage = emulator.store, emulator.storage
        self._kind = Models(emulator).kind.segment

    def list(self, path: str) -> dict[str, Any]:
        """What lies directly in a folder, each under its last name; a file lists nothing."""
        container, files, below = self._found(path)
        prefix = f"{below}/" if below else ""
        entries: dict[str, dict[str, Any]] = {}
        for relative, blob in files.items():
            if relative.startswith(prefix) and relative != below:
                name, _, rest = relative[len(prefix) :].partition("/")
                size = {} if rest else {"file_size": self._storage.size(container, blob)}
                entries[name] = {"path": name, "is_dir": bool(rest), **size}
        return {"files": list(entries.values())}

    def open(self, path: str) -> File:
        container, files, below = self._found(path)
        if below not in files:
            raise missing(f"No such artifact: '{path}'")
        size = self._storage.size(container, files[below])
        return File(size, self._storage.pieces(container, files[below], size))

    def _found(self, path: str) -> tuple[str, dict[str, str], str]:
        """The container, the version's files (path in the model -> blob), the path that is asked for."""
        parts = [part for part in path.split("/") if part]
        if len(parts) < 2 or any(part in (".", "..") for part in parts):
            raise invalid(f"Invalid path: '{path}'")
        name, version, *rest = parts
        body = self._store.get(self._kind, name, version)
        if body is None:
            raise missing(f"Model Version (name={name}, version={version}) not found")
        place = self._storage.resolve(body["properties"]["modelUri"])
        blobs = self._storage.list(*place)
        if blobs == [place.path]:  # a model that is one file lies in a folder of its own
            return place.container, {place.path.rpartition("/")[2]: place.path}, "/".join(rest)
        start = len(place.path) + 1 if place.path else 0
        return place.container, {blob[start:]: blob for blob in blobs}, "/".join(rest)
