"""`python -m local.azureml` as a user runs it: a process of its own, stopped with Ctrl-C."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from local.certificates import Certificates
from local.processes import Child, ChildFailed, free_port, port_answers, tail
from local.storage.azurite import Azurite

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_prints_the_environment_and_stops_without_a_trace(
    tmp_path: Path, certificates: Certificates, azurite: Azurite, number: signal.Signals
) -> None:
    shutil.copytree(certificates.bundle.parent, tmp_path / "certificates")
    port, router_port, log = free_port(), free_port(), tmp_path / "log"
    command = [
        sys.executable, "-m", "local.azureml", "--state", str(tmp_path), "--port", str(port), "--router-port", str(router_port),
        "--blob-url", azurite.blob_url, "--mlflow-url", "http://127.0.0.1:1", "--mlflow-port", str(free_port()),
    ]  # fmt: skip
    child = Child("azureml", command, log=log, cwd=ROOT)
    try:
        child.wait_until(lambda: "TIDEGATE_WORKSPACE" in tail(log, 100))
        lines = [
            shlex.split(line.removeprefix("export "))[0] for line in tail(log, 100).splitlines() if line.startswith("export ")
        ]
        variables = dict(line.split("=", 1) for line in lines)
        asked = httpx.get(
            variables["IDENTITY_ENDPOINT"],
            params={"resource": "https://storage.azure.com"},
            headers={"X-IDENTITY-HEADER": variables["IDENTITY_HEADER"]},
            verify=ssl.create_default_context(cafile=variables["SSL_CERT_FILE"]),
        )
        assert asked.json()["token_type"] == "Bearer"
        family = psutil.Process(child.pid).children(recursive=True)
        assert family, "the router is a child of the emulator"
        os.kill(child.pid, number)
        with pytest.raises(ChildFailed, match="exit code 0 "):
            child.wait_until(lambda: False)
        assert psutil.wait_procs(family, timeout=30)[1] == []
        assert not port_answers(port)
        assert not port_answers(router_port)
    finally:
        child.stop()


def test_env_fails_when_nothing_answers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local.azureml", "env", "--state", str(tmp_path), "--port", str(free_port())]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Nothing answers" in ended.stderr
