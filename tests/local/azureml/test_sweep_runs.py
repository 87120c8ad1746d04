"""Sweeps whose trials take too long, without an MLflow server: the SDK rounds limits of time up to minutes, so not through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.azureml.execution.runs import Run
from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab

pytestmark = pytest.mark.train_environment


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, state: Path, certificates: Certificates, azurite: Azurite) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("sweeps"), state / "certificates", azurite.blob_url)
    yield lab
    lab.close()


def run(lab: Lab, name: str, paces: list[str], limits: dict[str, Any]) -> tuple[Run, dict[str, str]]:
    """A trial for each pace, one after the other; a slow one does not end by itself. The sweep's run and its trials' states."""
    code = "import sys, time\nwhile sys.argv[1] == 'slow': time.sleep(0.05)"
    lab.component("slow", code)  # for its code: a sweep job has no component
    sweep = {
        "jobType": "Sweep",
        "trial": {
            "command": "python run.py ${{search_space.pace}}",
            "codeId": lab.id("codes", "slow"),
            "environmentId": lab.id("environments", "plain"),
        },
        "searchSpace": {"pace": ["choice", [paces]]},
        "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
        "objective": {"goal": "Minimize", "primaryMetric": "loss"},
        "limits": {"maxTotalTrials": 2, "maxConcurrentTrials": 1, **limits},
    }
    done = lab.run(name, sweep)
    return done, {trial["runId"]: trial["status"] for trial in lab.runner.runs.children(name)}


def test_a_trial_that_takes_too_long_is_cancelled(lab: Lab) -> None:
    done, trials = run(lab, "long-trial", ["slow", "fast"], {"trialTimeout": "PT2S"})
    assert trials == {"long-trial_0": "Canceled", "long-trial_1": "Completed"}
    assert "ran longer than its limit of 0:00:02" in lab.runner.runs.get("long-trial_0")["error"]["error"]["message"]
    assert done["status"] == "Failed", "there is no MLflow server, so there is no metric"
    assert "None of the 1 completed trials logged the primary metric 'loss'" in done["error"]["error"]["message"]


def test_a_sweep_that_takes_too_long_is_cancelled_with_its_trials(lab: Lab) -> None:
    done, trials = run(lab, "long-sweep", ["slow", "fast"], {"timeout": "PT1S"})
    assert done["status"] == "Canceled"
    assert "ran longer than its 0:00:01" in done["error"]["error"]["message"]
    assert trials == {"long-sweep_0": "Canceled"}, "and no other was begun"
