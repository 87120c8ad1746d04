"""The emulator's own questions to the mlflow server behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from local.azureml.errors import AzureError

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class MlflowRest:
    """Thread-safe; connects when first used. A server that does not answer is a 502 that names it."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        # Plain http on this machine: no certificates to load, no proxy of the host in between.
        secure = urlsplit(url).scheme == "https"
        self._client = httpx.Client(base_url=self.url, timeout=timeout, verify=secure, trust_env=secure)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer to `GET api/2.0/mlflow/<path>`; None for what MLflow does not find."""
        return self._json("GET", f"{_API}/{path}", params=params)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        return self._json("POST", f"{_API}/{path}", json=body)

    def artifacts(self, path: str) -> list[dict[str, Any]]:
        """What lies directly in a folder of the server's artifacts: `path` (its last part), `is_dir`, `file_size`."""
        found = self._json("GET", _ARTIFACTS, params={"path": path}) or {}
        return list(found.get("files") or [])

    @contextmanager
    def artifact(self, path: str) -> Iterator[Iterator[bytes]]:
        """The content of one file of the server's artifacts, in pieces."""
        try:
            with self._client.stream("GET", f"{_ARTIFACTS}/{quote(path)}") as answer:
                if answer.is_error:
                    answer.read()
                    raise self._refused(answer)
                yield answer.iter_bytes()
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any] | None:
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise self._refused(answer)
        found: dict[str, Any] = answer.json()
        return found

    def _refused(self, answer: httpx.Response) -> AzureError:
        detail = f"answered {answer.status_code} to {answer.request.url.path}: {answer.text[:500]}"
        return AzureError(502, "BadGateway", f"The mlflow server at {self.url} {detail}")


def unreachable(url: str, error: Exception) -> AzureError:
    """502, with the server's address."""
    return AzureError(502, "BadGateway", f"The mlflow server at {url} does not answer: {error or type(error).__name__}")


class TrackedRuns:
    """Azure's name of a run <-> MLflow's id: in Azure they are one, a local mlflow server draws its own ids.

    The emulator leaves a run's name in the tag `azureml.runId` (execution/tracking.py) and finds it by that.
    """

    def __init__(self, rest: MlflowRest) -> None:
        self._rest = rest
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def mlflow_id(self, run_id: str, experiment: str) -> str | None:
        """MLflow's id of the run that Azure calls `run_id`, in the experiment of this name; None when it has none."""
        with self._lock:
            if run_id in self._known:
                return self._known[run_id]
        found = self._rest.get("experiments/get-by-name", {"experiment_name": experiment})
        if found is None:
            return None
        # A run's name has no quotes: jobs.py and uuid4 see to that. What came another way is not asked for.
        if "'" in run_id:
            return None
        query = {
            "experiment_ids": [found["experiment"]["experiment_id"]],
            "filter": f"tags.`azureml.runId` = '{run_id}'",
            "max_results": 1,
        }
        runs = (self._rest.post("runs/search", query) or {}).get("runs") or []
        if not runs:
            return None
        mine = str(runs[0]["info"]["run_id"])
        with self._lock:
            self._known[run_id] = mine
        return mine
