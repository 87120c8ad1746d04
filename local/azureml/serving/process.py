"""One scoring process: Microsoft's inference server with the deployment's code, model and environment variables."""

from __future__ import annotations

import http.client
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from local.processes import Child

_LAUNCH = Path(__file__).with_name("launch.py")
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SYSTEMROOT", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
"""What a scoring process sees of the emulator's own environment: nothing that holds an identity or an address."""
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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ScoringSpec:
        return cls(**document)


def start(spec: ScoringSpec, port: int, log: Path, trust: dict[str, str]) -> Child:
    """Start it on 127.0.0.1:`port`. `trust` names the certificate bundle. The calling thread must outlive it."""
    code = Path(spec.folder) / "code"
    arguments = ["--entry_script", str(code / spec.script), "--port", str(port), "--worker_count", str(spec.workers)]
    return Child(
        f"deployment {spec.deployment!r} of endpoint {spec.endpoint!r}",
        [spec.interpreter, str(_LAUNCH), *arguments],
        log=log,
        env=_environment(spec, code, trust),
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
    return {**inherited, **trust, **spec.environment, **ours}


def healthy(port: int) -> bool:
    """True when the server's liveness route answers 200, which it does not before init() has returned."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
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
