"""The real mlflow server as the workspace's tracking service: sqlite behind it, artifacts through it, all in the state folder."""

from __future__ import annotations

import os
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from local.azureml.execution.environments import default_interpreter
from local.processes import Child, free_port


@dataclass
class MlflowServer:
    """A running server; `url` is the tracking URI."""

    child: Child
    port: int

    @classmethod
    def start(
        cls, folder: Path, *, port: int = 0, python: Path | None = None, log: Path | None = None, timeout: float = 120.0
    ) -> MlflowServer:
        """`spawn` it and wait until it answers; ChildFailed when it does not come up."""
        server = cls.spawn(folder, port=port, python=python, log=log)
        server.wait(timeout)
        return server

    @classmethod
    def spawn(cls, folder: Path, *, port: int = 0, python: Path | None = None, log: Path | None = None) -> MlflowServer:
        """Start it with its files in `folder` (port 0: any free one), without waiting: it takes seconds.

        `python`: of an environment that has mlflow, the training environment by default.
        """
        python = python or default_interpreter()
        port = port or free_port()
        artifacts = folder / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        database = folder / "mlflow.sqlite"
        _write_ahead(database)
        command = [
            str(python), "-m", "mlflow", "server",
            "--host", "127.0.0.1", "--port", str(port),
            "--backend-store-uri", f"sqlite:///{database.resolve()}",
            # Clients send artifacts to the server, as they do to Azure's; they never learn of this folder.
            "--serve-artifacts", "--artifacts-destination", artifacts.resolve().as_uri(),
            "--workers", "1",
        ]  # fmt: skip
        env = {
            "PATH": f"{python.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "HOME": os.environ.get("HOME", str(folder)),
            "LANG": "C.UTF-8",
            # Its job queue would start seven worker processes that nothing here uses.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        return cls(Child("mlflow", command, log=log or folder / "mlflow.log", env=env, cwd=folder, has_children=True), port)

    def wait(self, timeout: float = 120.0) -> None:
        """Return when it answers; ChildFailed when it ends, or does not within `timeout` seconds."""
        self.child.wait_until(self.answers, timeout=timeout)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """True when the server says that it is healthy."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.url}/health", timeout=2.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        self.child.stop()


def _write_ahead(database: Path) -> None:
    """Let sqlite write ahead: the file remembers it, MLflow never sets it, and a commit is a third faster."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
