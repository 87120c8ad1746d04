"""One scoring process: Microsoft's inference server with the deployment's code, model and environment variables."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from local.azureml.serving.collection.plan import CollectionPlan
from local.azureml.serving.probes import Probes
from local.processes import Child

_LAUNCH = Path(__file__).with_name("launch.py")
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SYSTEMROOT", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
"""What a scoring process sees of the emulator's own environment: nothing that holds an identity or an address."""
SERVER_PACKAGES = "TIDEGATE_SERVER_PACKAGES"
"""The variable by which launch.py is told of `server_packages`."""
_SCALE_SECONDS = 20.0
_LOG_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class ScoringSpec:
    """Everything needed to start the process again after a restart, without looking at the assets once more."""

    endpoint: str
    deployment: str
    interpreter: str
    folder: str
    """Holds `code/` and, when there is a model, `azureml-models/<name>/<version>/`."""
    script: str
    """Relative to `code/`."""
    model_dir: str | None
    """Relative to `folder`."""
    environment: dict[str, str]
    workers: int
    timeout_seconds: float
    limit: int
    probes: Probes = field(default_factory=Probes)
    collection: CollectionPlan | None = None
    assets: str = ""
    """Which versions of code, model and environment the folder was filled from: what is alike in this serves alike."""
    mlflow_folder: str | None = None
    """Of a deployment without a script: the model's folder, relative to `model_dir`."""
    server_packages: str | None = None
    """Where the inference server is imported from when the interpreter has none (docs/adr/0006-...)."""

    def runs_like(self, planned: ScoringSpec) -> bool:
        """True when this spec's process is as good as one of `planned`, a spec without files: others know what differs."""
        same = replace(self.adjusted(planned), limit=self.limit, probes=self.probes, workers=self.workers) == self
        return same and planned.interpreter in ("", self.interpreter)

    def adjusted(self, planned: ScoringSpec) -> ScoringSpec:
        """`planned` with the files of this one."""
        return replace(
            planned,
            folder=self.folder,
            interpreter=self.interpreter,
            server_packages=self.server_packages,
            model_dir=self.model_dir,
            mlflow_folder=self.mlflow_folder,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ScoringSpec:
        known = dict(document)
        if known.get("collection"):
            known["collection"] = CollectionPlan.from_json(known["collection"])
        if "probes" in known:
            known["probes"] = Probes.from_json(known["probes"])
        return cls(**known)


def start(spec: ScoringSpec, port: int, log: Path, trust: dict[str, str], *, collector_port: int | None = None) -> Child:
    """Start it on 127.0.0.1:`port`. `trust` names the certificate bundle; at `collector_port` it finds the data collector.

    The calling thread must outlive it.
    """
    code = Path(spec.folder) / "code"
    arguments = ["--entry_script", str(code / spec.script), "--port", str(port), "--worker_count", str(spec.workers)]
    return Child(
        f"deployment {spec.deployment!r} of endpoint {spec.endpoint!r}",
        [spec.interpreter, str(_LAUNCH), *arguments],
        log=log,
        env={**_environment(spec, code, trust), **_collecting(spec, collector_port)},
        cwd=code,
    )


def _environment(spec: ScoringSpec, code: Path, trust: dict[str, str]) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    ours = {
        "AML_APP_ROOT": str(code),
        "AZUREML_ENTRY_SCRIPT": spec.script,
        # The router has answered 408 by then; this frees the worker.
        "SCORING_TIMEOUT_MS": str(round(spec.timeout_seconds * 1000) + 1000),
    }
    if spec.model_dir is not None:
        ours["AZUREML_MODEL_DIR"] = str(Path(spec.folder) / spec.model_dir)
    if spec.mlflow_folder is not None:
        ours["MLFLOW_MODEL_FOLDER"] = spec.mlflow_folder
    if spec.server_packages is not None:
        ours[SERVER_PACKAGES] = spec.server_packages
    return {**inherited, **trust, **spec.environment, **ours}


def _collecting(spec: ScoringSpec, port: int | None) -> dict[str, str]:
    """What `azureml.ai.monitoring.Collector` reads; its settings are a file."""
    if spec.collection is None or not spec.collection.custom or port is None:
        return {}
    settings = Path(spec.folder) / "data-collector.json"
    settings.write_text(json.dumps(spec.collection.for_the_script()))
    return {"AZUREML_MDC_CONFIG_PATH": str(settings), "AZUREML_MDC_HOST": "127.0.0.1", "AZUREML_MDC_PORT": str(port)}


def scale(child: Child, before: int, workers: int) -> bool:
    """Have gunicorn start or end workers, one after the other; False when it has to be done by a new process instead."""
    if before == workers:
        return True
    if _workers(child) != before:
        return False
    step, number = (1, signal.SIGTTIN) if workers > before else (-1, signal.SIGTTOU)
    deadline = time.monotonic() + _SCALE_SECONDS
    for wanted in range(before + step, workers + step, step):
        os.kill(child.pid, number)
        while _workers(child) != wanted:  # a second signal before the first one was taken would be lost
            if child.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    return True


def _workers(child: Child) -> int | None:
    """How many processes the server has started; None where the kernel does not tell."""
    try:
        return len(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split())
    except OSError:
        return None


def healthy(port: int, timeout: float = 1.0) -> bool:
    """True when the server's liveness route answers 200 in time (s), which it does not before init() has returned."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def rotate(log: Path) -> None:
    """Keep a log from filling the disk: at 16 MiB it becomes `<name>.1` and starts anew (its writer appends)."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        shutil.copyfile(log, log.with_name(log.name + ".1"))
        os.truncate(log, 0)
