"""Files that runs logged to MLflow, brought into the workspace's own artifact store, where Azure has them from the beginning.

They are copied when something of the workspace is made of them (a model version, a job's input), not looked up again later:
from then on they are as lasting as the workspace's storage, whatever becomes of the mlflow server. What was copied once never
changes: when a run has logged other files under the same path, these get a place of their own.
"""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from azure.core.exceptions import AzureError as StorageError

from local.azureml.errors import AzureError, bad_request, not_found
from local.azureml.execution.runs import KIND as RUNS
from local.azureml.mlflow.rest import MlflowRest, TrackedRuns
from local.azureml.storage import Location, artifact_place, run_files

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

COPIES = "artifacts.copies"
"""Store kind: the place of a run's files (container and path) -> `content`, the hash of what was copied there first."""
AZURE_RUN = "azureml.runId"
"""The tag of an MLflow run that has Azure's name of it."""
_LOGGED_MODEL = re.compile(r"models:/+(?P<id>m-[0-9a-zA-Z-]+)")
_ARTIFACTS = "mlflow-artifacts"
_APART = re.compile(r"[^/]+/[^/]+\.(?P<content>[0-9a-f]{16})/.+")
_log = logging.getLogger(__name__)


class TrackedRun(NamedTuple):
    """A run as MLflow knows it. `name` is Azure's: the job's or the step's name, MLflow's own id for a run outside of jobs."""

    id: str
    name: str
    experiment_id: str
    artifact_uri: str


@dataclass(frozen=True)
class RunArtifact:
    """A file or a folder of a run. `source`: its path on the mlflow server, None when the workspace has it already."""

    source: str | None
    place: Location
    job: str | None = None
    """The job or the step that it is of; None for a run outside of the workspace's jobs."""
    mlflow_run: str | None = None
    model_id: str | None = None


class RunArtifacts:
    """Thread-safe. Every method may ask the mlflow server: 502 when it does not answer."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._storage, self._store = emulator, emulator.storage, emulator.store
        self._rest = MlflowRest(emulator.settings.mlflow_server_url)
        self.tracked = TrackedRuns(self._rest)

    def close(self) -> None:
        self._rest.close()

    def mlflow_id(self, run: str) -> str | None:
        """MLflow's id of a job or a step; None when there is no such job, or MLflow has no run of it."""
        document = self._store.get(RUNS, run)
        return self.tracked.mlflow_id(run, document["experimentName"]) if document else None

    def known_id(self, run: str | None) -> str | None:
        """As `mlflow_id`, and None too while the mlflow server does not answer: for what is worth showing without it."""
        try:
            return self.mlflow_id(run) if run else None
        except AzureError as error:
            _log.warning("the MLflow run of %s is not known now: %s", run, error.message)
            return None

    def run(self, run: str) -> TrackedRun | None:
        """The MLflow run of a job, a step, or an id of MLflow's own; None when MLflow has none."""
        found = self._rest.get("runs/get", {"run_id": self.mlflow_id(run) or run})
        if found is None:
            return None
        info = found["run"]["info"]
        tags = {tag["key"]: tag["value"] for tag in found["run"]["data"].get("tags") or []}
        name = tags.get(AZURE_RUN) or info["run_id"]
        return TrackedRun(info["run_id"], name, info["experiment_id"], info["artifact_uri"])

    def find(self, uri: str) -> RunArtifact:
        """What `runs:/...`, a job's `outputs/artifacts`, or MLflow's `models:/m-...` names; 404 when there is nothing."""
        if match := _LOGGED_MODEL.fullmatch(uri):
            return self._logged_model(match["id"])
        named = run_files(uri)
        if named is None:
            raise bad_request(f"'{uri}' names no files of a run.")
        return self._of_run(named.run, _checked_path(named.path))

    def find_source(self, source: str, run_id: str | None) -> RunArtifact:
        """As `find`, for MLflow's own `mlflow-artifacts:/...` too, which must lie within the artifacts of run `run_id`."""
        if not source.startswith(f"{_ARTIFACTS}:"):
            return self.find(source)
        run = self.run(run_id) if run_id else None
        root = f"{run.artifact_uri.rstrip('/')}/" if run else ""
        if run is None or not source.startswith(root):
            raise bad_request(f"The source '{source}' does not lie within the artifacts of a run: name its run_id.")
        return self._of_run(run.id, _checked_path(unquote(source[len(root) :])))

    def bring(self, found: RunArtifact) -> Location:
        """Copy it into the workspace's artifact store, whole or not at all; where it lies there now."""
        if found.source is None:
            return found.place
        with tempfile.TemporaryDirectory(prefix="artifacts-", dir=self._emulator.folder) as folder:
            content = Path(folder) / "content"
            for relative in self._files(found.source):
                self._download(f"{found.source}/{relative}" if relative else found.source, content / relative)
            place = self._place_of(found.place, _hash(content))
            self._upload(content, place)
        return place

    def _place_of(self, usual: Location, content: str) -> Location:
        """Azure's place for the files that come first, another one for each other content."""
        key = "/".join(usual)
        if self._store.record(COPIES, key) is None and (self._in_a_copy(key) or self._storage.list(*usual)):
            return _apart(usual, content)  # in what another version has, or beside what the run itself has put there
        first = self._store.upsert(COPIES, key, "", lambda old: old or {"content": content})
        return usual if first.body["content"] == content else _apart(usual, content)

    def _in_a_copy(self, key: str) -> bool:
        return any(self._store.record(COPIES, str(folder)) for folder in PurePosixPath(key).parents)

    def _of_run(self, name: str, path: str) -> RunArtifact:
        run = self.run(name)
        azure_run = run.name if run else name
        place, job = artifact_place(azure_run, path), self._job(azure_run)
        if run is not None:
            source = f"{self._served(run.artifact_uri)}/{path}"
            if self._files(source):
                return RunArtifact(source, place, job, run.id)
            if (model_id := self._named_model(run, path)) is not None:
                return self._logged_model(model_id)
        if self._storage.list(*place):
            return RunArtifact(None, place, job, run.id if run else None)
        raise not_found(f"Run '{name}' has no artifact '{path}'.")

    def _named_model(self, run: TrackedRun, name: str) -> str | None:
        """MLflow 3 keeps models beside their run: the newest one that the run logged under this name."""
        if "'" in name:
            return None
        query = {
            "experiment_ids": [run.experiment_id],
            "filter": f"source_run_id = '{run.id}' AND name = '{name}'",
            "order_by": [{"field_name": "creation_timestamp", "ascending": False}],
            "max_results": 1,
        }
        models = (self._rest.post("logged-models/search", query) or {}).get("models") or []
        return str(models[0]["info"]["model_id"]) if models else None

    def _logged_model(self, model_id: str) -> RunArtifact:
        found = self._rest.get(f"logged-models/{model_id}", {})
        if found is None:
            raise not_found(f"MLflow has no logged model '{model_id}'.")
        info = found["model"]["info"]
        run = self.run(info["source_run_id"]) if info.get("source_run_id") else None
        owner = run.name if run else model_id
        # Under the model's own name, by which a scoring script finds the folder.
        place = artifact_place(owner, f"models/{model_id}/{_checked_path(info['name'])}")
        source = self._served(info["artifact_uri"])
        if not self._files(source):
            raise not_found(f"The logged model '{model_id}' has no files.")
        return RunArtifact(source, place, self._job(owner), run.id if run else None, model_id)

    def _job(self, run: str) -> str | None:
        return run if self._store.record(RUNS, run) else None

    def _served(self, artifact_uri: str) -> str:
        """The path on the mlflow server; 501 for artifacts that are somewhere else."""
        parts = urlsplit(artifact_uri)
        if parts.scheme != _ARTIFACTS or parts.netloc:
            raise AzureError(
                501,
                "NotSupportedByEmulator",
                f"The emulator reads artifacts that the mlflow server serves (--serve-artifacts), not '{artifact_uri}'.",
            )
        return unquote(parts.path).strip("/")

    def _files(self, source: str) -> list[str]:
        """Relative paths of the files of a folder; [""] when `source` is a file itself, [] when there is nothing."""
        parent, _, name = source.rpartition("/")
        entry = next((one for one in self._rest.artifacts(parent) if one["path"] == name), None)
        if entry is None:
            return []
        return list(self._walk(source)) if entry.get("is_dir") else [""]

    def _walk(self, folder: str) -> Iterator[str]:
        for entry in self._rest.artifacts(folder):
            name = _checked_path(str(entry["path"]))
            if entry.get("is_dir"):
                yield from (f"{name}/{below}" for below in self._walk(f"{folder}/{name}"))
            else:
                yield name

    def _download(self, source: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._rest.artifact(source) as pieces, target.open("wb") as file:
            for piece in pieces:
                file.write(piece)

    def _upload(self, content: Path, place: Location) -> None:
        before = set(self._storage.list(*place))
        try:
            self._storage.upload_folder(content, *place)
        except (StorageError, OSError):
            for name in set(self._storage.list(*place)) - before:
                self._storage.delete(place.container, name)
            raise


def is_copy(place: Location, found: RunArtifact) -> bool:
    """True when `bring` may have answered `place` for these files of the run, now or earlier."""
    usual, match = found.place, _APART.fullmatch(place.path)
    return place == usual or (match is not None and place == _apart(usual, match["content"]))


def _apart(usual: Location, content: str) -> Location:
    # Outside of the run's own folder, whose parts other versions may have; the path in it stays: scripts know the last name.
    root, run, path = usual.path.split("/", 2)
    return Location(usual.container, f"{root}/{run}.{content}/{path}")


def _hash(content: Path) -> str:
    """Of the names and bytes of a file, or of all files of a folder."""
    whole = hashlib.sha256()
    for file in [content] if content.is_file() else sorted(one for one in content.rglob("*") if one.is_file()):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(content).as_posix()}\0{digest}\n".encode())
    return whole.hexdigest()[:16]


def _checked_path(path: str) -> str:
    """The path without slashes around it; 400 when it would lead out of its folder."""
    parts = path.strip("/").split("/")
    if not all(parts) or any(part in (".", "..") or "\\" in part or "\0" in part for part in parts):
        raise bad_request(f"'{path}' is no path of an artifact.")
    return "/".join(parts)


def describe(found: RunArtifact, source: str) -> dict[str, Any]:
    """The `properties` of a model version of MLflow's: where it came from. The first name is Azure's, the others are ours."""
    told = {"mlflow.modelSourceUri": source, "mlflow.runId": found.mlflow_run, "mlflow.modelId": found.model_id}
    return {key: value for key, value in told.items() if value}
