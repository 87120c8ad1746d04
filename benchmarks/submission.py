"""From a file's upload to the training job's existence, beyond the window, against one bare submission of the same job.

The whole local stack runs: watcher, Event Grid, webhook, ledger, queues, window, data version, job. The time is from the end of
the upload to the job's creation in the emulator's record, less the window's quiet period. Beside it stands what cannot be
saved: `jobs.create_or_update` of the same pipeline by a client that has done it before.

The goal is three times that: the road submits the job (1), registers the data version through the same SDK (about another 1),
and has as much again for the event, the queues and the ledger.
"""

from __future__ import annotations

import statistics
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx

from benchmarks.laboratory import ROOT, ml_client, stack, until
from benchmarks.measure import Comparison, seconds, spread
from examples.flights import flights_file
from local.layout import StackEnvironment
from local.stack import Stack

GOAL = 3.0
ROUNDS = 7
QUIET_SECONDS = 2.0
ENDED = frozenset({"Completed", "Failed", "Canceled"})
# No model passes the gate: nothing is deployed while the next round is measured.
CONFIG = f"""
version: 1
poll: 1s
data_assets:
  flights:
    container: flights
    prefix: incoming/
    suffixes: [.csv]
    window:
      quiet_period: {QUIET_SECONDS:g}s
models:
  flight-delay:
    data_asset: flights
    target:
      column: late
      positive_value: "yes"
    gates:
      min_auc: 0.9999
    endpoint:
      name: flight-delay
"""


def run() -> list[Comparison]:
    with stack(CONFIG, watched="flights") as running:
        jobs = Jobs(running.environment)
        road(running, jobs, 0), bare(jobs)  # unmeasured: it imports the SDK in the host and here, and warms the parent of steps
        ours, theirs = list[float](), list[float]()
        for number in range(1, ROUNDS + 1):
            ours.append(road(running, jobs, number))
            theirs.append(bare(jobs))
    ratio = statistics.median(ours) / statistics.median(theirs)
    name = "from upload to job, beyond the window"
    return [Comparison(name, ratio, GOAL, "at most", "x", spread(ours), f"bare submission: {spread(theirs)}")]


class Jobs:
    """The workspace's jobs as its REST API lists them, and the client that submits one."""

    def __init__(self, environment: StackEnvironment) -> None:
        from azure.identity import DefaultAzureCredential

        token = DefaultAzureCredential().get_token(f"{environment.base_url}/.default").token
        self._http = httpx.Client(verify=environment.ssl_context(), headers={"Authorization": f"Bearer {token}"})
        self._url = f"{environment.base_url}{environment.workspace_id}/jobs"
        self.client = ml_client()

    def created(self) -> dict[str, datetime]:
        """When each job was created."""
        return {row["name"]: datetime.fromisoformat(row["systemData"]["createdAt"]) for row in self._rows()}

    def wait_for_the_end(self) -> None:
        """Until nothing runs that would disturb the next round."""
        until(lambda: all(row["properties"]["status"] in ENDED for row in self._rows()), "the end of all jobs")

    def _rows(self) -> list[dict[str, Any]]:
        answer = self._http.get(self._url, params={"api-version": "2024-04-01"})
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()["value"]
        return rows


def road(running: Stack, jobs: Jobs, number: int) -> float:
    """Upload a file; seconds until the job that it causes exists, less the quiet period."""
    before = jobs.created()
    running.upload("flights", f"incoming/part-{number:02}.csv", flights_file(number + 1, rows=1000))
    uploaded_at = datetime.now(UTC)
    new = until(lambda: {name: at for name, at in jobs.created().items() if name not in before}, "a job")
    jobs.wait_for_the_end()
    return (min(new.values()) - uploaded_at).total_seconds() - QUIET_SECONDS


def bare(jobs: Jobs) -> float:
    """Seconds of one submission of the same pipeline with the newest data version."""
    from azure.ai.ml import load_job

    newest = max(jobs.client.data.list("flights"), key=lambda data: data.creation_context.created_at).version
    changes = {"name": f"bare-{uuid.uuid4().hex[:8]}", "inputs.data.path": f"azureml:flights:{newest}", "inputs.min_auc": 0.9999}
    job = load_job(ROOT / "components/pipelines/train.yml", params_override=[{key: value} for key, value in changes.items()])
    taken = seconds(lambda: jobs.client.jobs.create_or_update(job))
    jobs.wait_for_the_end()
    return taken
