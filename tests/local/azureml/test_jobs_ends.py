"""How jobs end other than well: failures, limits, cancelling, an emulator that stops in the middle."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from local.certificates import Certificates
from local.storage.azurite import Azurite
from tests.local.azureml.job_lab import Lab, node
from tests.local.azureml.job_pieces import FOLDER_OUT, reader, statuses, until_logged, writer
from tests.local.azureml.pipelines import deadline, unique

pytestmark = pytest.mark.train_environment


def test_a_failing_step_fails_the_job_with_the_end_of_its_log_and_cancels_the_rest(lab: Lab) -> None:
    broken = lab.component("broken", "print('reading'); raise ValueError('column age is missing')", outputs=FOLDER_OUT)
    job = unique("broken")
    nodes = {"first": node(broken), "then": node(reader(lab), {"data": "${{parent.jobs.first.outputs.out}}"})}
    run = lab.run(job, lab.pipeline(nodes))
    assert run["status"] == "Failed"
    message = run["error"]["error"]["message"]
    assert message.startswith("Step 'first' failed with exit code 1.")
    assert message.endswith("ValueError: column age is missing")
    assert statuses(lab, job) == {"first": "Failed", "then": "Canceled"}


def test_other_steps_go_on_after_a_failure_when_the_job_says_so(lab: Lab) -> None:
    broken = lab.component("broken2", "raise SystemExit(3)", outputs=FOLDER_OUT)
    job = unique("continue")
    nodes = {
        "bad": node(broken),
        "after_bad": node(reader(lab), {"data": "${{parent.jobs.bad.outputs.out}}"}),
        "write": node(writer(lab), {"text": "x"}),
        "after_write": node(reader(lab), {"data": "${{parent.jobs.write.outputs.out}}"}),
    }
    run = lab.run(job, lab.pipeline(nodes, settings={"continue_on_step_failure": True}))
    assert run["status"] == "Failed"
    assert statuses(lab, job) == {"bad": "Failed", "after_bad": "Canceled", "write": "Completed", "after_write": "Completed"}


def test_a_step_that_is_killed_says_by_which_signal(lab: Lab) -> None:
    killed = lab.component("killed", "import os; os.kill(os.getpid(), 9)")
    run = lab.run(unique("killed"), lab.pipeline({"s": node(killed)}))
    assert "signal SIGKILL" in run["error"]["error"]["message"]


def test_cancel_ends_the_job_and_every_process_of_it(lab: Lab) -> None:
    script = "import subprocess; child = subprocess.Popen(['sleep', '300']); print('PID', child.pid, flush=True); child.wait()"
    sleeper = lab.component("sleeper", script, outputs=FOLDER_OUT)
    job = unique("cancel")
    lab.put(job, lab.pipeline({"s": node(sleeper), "t": node(reader(lab), {"data": "${{parent.jobs.s.outputs.out}}"})}))
    until_logged(lab, job, "s", "PID")
    pid = int(lab.log(job, "s").rpartition("PID ")[2])
    lab.runner.cancel(job)
    assert lab.runner.wait(job, 60)
    assert lab.runner.runs.get(job)["status"] == "Canceled"
    assert statuses(lab, job) == {"s": "Canceled", "t": "Canceled"}
    with deadline(10, "the step's child lives on") as check:
        while psutil.pid_exists(pid):
            check()
    lab.runner.cancel(job)
    assert lab.runner.runs.get(job)["status"] == "Canceled", "cancelling what has ended changes nothing"


def test_a_step_that_runs_longer_than_its_limit_is_canceled_and_its_pipeline_fails(lab: Lab) -> None:
    slow, job = lab.component("slow", "import time; time.sleep(300)"), unique("limit")
    run = lab.run(job, lab.pipeline({"s": node(slow, limits={"timeout": "PT0.2S"})}))
    assert (statuses(lab, job), run["status"]) == ({"s": "Canceled"}, "Failed")
    assert "longer than its limit" in run["error"]["error"]["message"]


def test_data_that_is_not_there_fails_the_step_and_names_it(lab: Lab) -> None:
    absent = {"job_input_type": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/absent"}
    run = lab.run(unique("absent"), lab.pipeline({"s": node(reader(lab), {"data": absent})}))
    assert "Step 's' could not run" in run["error"]["error"]["message"]
    assert "azureml-blobstore/absent" in run["error"]["error"]["message"]


def test_a_file_output_that_was_not_written_fails_the_step(lab: Lab) -> None:
    forgetful = lab.component(
        "forgetful", "", command="python run.py ${{outputs.report}}", outputs={"report": {"type": "uri_file"}}
    )
    run = lab.run(unique("forgetful"), lab.pipeline({"s": node(forgetful)}))
    assert "did not write its output 'report'" in run["error"]["error"]["message"]


def test_a_stopped_emulator_ends_its_jobs_and_remembers_them(
    tmp_path: Path, state: Path, certificates: Certificates, azurite: Azurite
) -> None:
    lab = Lab(tmp_path / "state", state / "certificates", azurite.blob_url)
    sleeper = lab.component("sleeper", "import os, time; print('PID', os.getpid(), flush=True); time.sleep(300)")
    job = unique("stopped")
    lab.put(job, lab.pipeline({"s": node(sleeper)}))
    until_logged(lab, job, "s", "PID")
    pid = int(lab.log(job, "s").rpartition("PID ")[2])
    lab.emulator.close()
    assert not psutil.pid_exists(pid)
    lab.start()
    run = lab.runner.runs.get(job)
    assert run["status"] == "Failed"
    assert "emulator was stopped" in run["error"]["error"]["message"]
    assert statuses(lab, job) == {"s": "Failed"}
    lab.close()


def test_a_job_that_an_earlier_life_left_running_is_failed_at_the_next_start(
    tmp_path: Path, state: Path, certificates: Certificates, azurite: Azurite
) -> None:
    lab = Lab(tmp_path / "state", state / "certificates", azurite.blob_url)
    nodes = {"w": node(writer(lab), {"text": "x"})}
    job = unique("left")
    lab.run(job, lab.pipeline(nodes))
    step = lab.steps(job)["w"]["runId"]
    for run_id in (job, step):  # what a kill -9 in the middle leaves in the store
        lab.emulator.store.update("runs", run_id, "", lambda run: {**run, "status": "Running"})
    lab.emulator.close()
    lab.start()
    assert lab.runner.runs.get(job)["status"] == "Failed"
    assert lab.runner.runs.get(step)["status"] == "Failed"
    assert lab.topic.of_run(job, last="Failed")[-1]["data"]["runStatus"] == "Failed"
    lab.close()


def test_the_last_words_of_a_step_that_wrote_a_huge_line_are_cut(lab: Lab) -> None:
    loud = lab.component("loud", "import sys; sys.stdout.write('y' * 3_000_000 + 'the end'); sys.exit(1)")
    message = lab.run(unique("loud"), lab.pipeline({"s": node(loud)}))["error"]["error"]["message"]
    assert message.endswith("yythe end")
    assert len(message) < 100_000, "it is stored with the run, and answered whenever the run is read"
