"""The demo's story: two files are uploaded, and what follows is watched, stage by stage, each with a deadline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from local.demo.stages import Stage, Stages, StoryStopped
from local.demo.traffic import Traffic
from local.observe import Endpoint, Job, Model, Observer
from local.stack import ROOT, Stack

DATA_ASSET = "flights"
MODEL = "flight-delay"
ENDPOINT = "flight-delay"
RAMP = (0, 10, 25, 50, 100)

STACK = "Local stack is up"
FIRST_FILE, SECOND_FILE = "First file is uploaded", "Second file is uploaded"
FIRST_EVENT, SECOND_EVENT = "Blob event is delivered", "Blob event is delivered again"
FIRST_VERSION, SECOND_VERSION = "Data version is registered", "Second data version is registered"
FIRST_JOB, SECOND_JOB = "Training pipeline runs", "Retraining pipeline runs"
FIRST_MODEL, SECOND_MODEL = "Model is registered", "Retrained model is registered"
BLUE, LIVE = "Endpoint gets its first deployment", "First deployment serves"
GREEN, SHADOW, CANARY = "Next deployment stands at 0 %", "It is asked in the shadow", "Traffic ramps"
ARCHIVED, TOLD = "Old slot is archived", "The rollout is told"
TITLES = [
    STACK, FIRST_FILE, FIRST_EVENT, FIRST_VERSION, FIRST_JOB, FIRST_MODEL, BLUE, LIVE,
    SECOND_FILE, SECOND_EVENT, SECOND_VERSION, SECOND_JOB, SECOND_MODEL, GREEN, SHADOW, CANARY, ARCHIVED, TOLD,
]  # fmt: skip


@dataclass
class Outcome:
    """What the summary tells. `ramp` holds the weights that the new deployment was seen with, in order; `rollout` is what the
    app's own command line shows of how it took over."""

    versions: list[str] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    ramp: list[int] = field(default_factory=list)
    stable: str = ""
    candidate: str = ""
    traffic: Traffic | None = None
    rollout: str = ""


class Story:
    """Tells the story against a running stack. `months` are the two files, in order; `patience` stretches every deadline."""

    def __init__(
        self, stack: Stack, stages: Stages, *, months: tuple[int, int] = (1, 2), rows: int | None = None, patience: float = 1.0
    ) -> None:
        self._stack, self._stages = stack, stages
        self._months, self._rows, self._patience = months, rows, patience
        self._world: Observer = stack.observer
        self.outcome = Outcome()

    def tell(self) -> Outcome:
        """Raise StoryStopped when something does not happen; traffic is stopped either way."""
        try:
            self._first_model()
            self._second_model()
        finally:
            if self.outcome.traffic:
                self.outcome.traffic.stop()
        return self.outcome

    def _first_model(self) -> None:
        self._upload(FIRST_FILE, self._months[0])
        self._event(FIRST_EVENT, 1)
        version = self._data_version(FIRST_VERSION, 1)
        self._training(FIRST_JOB, version)
        self._model(FIRST_MODEL, 1)
        with self._stages.running(BLUE) as stage:
            self._wait(stage, lambda: self._deployed(stage) is not None, 90.0, "azureml.log, host.log")
        with self._stages.running(LIVE) as stage:
            self._wait(stage, lambda: 100 in self._traffic(stage).values(), 60.0, "host.log")
            self._start_traffic(stage)

    def _second_model(self) -> None:
        self._upload(SECOND_FILE, self._months[1])
        self._event(SECOND_EVENT, 2)
        version = self._data_version(SECOND_VERSION, 2)
        self._training(SECOND_JOB, version)
        self._model(SECOND_MODEL, 2)
        with self._stages.running(GREEN) as stage:
            self._wait(stage, lambda: self._candidate(stage), 90.0, "azureml.log, host.log")
        with self._stages.running(SHADOW) as stage:
            self._wait(stage, lambda: self._shadowed(stage), 60.0, "host.log; the decisions in the ledger container")
        with self._stages.running(CANARY) as stage:
            self._wait(stage, lambda: self._ramped(stage), 120.0, "host.log; the decisions in the ledger container")
        with self._stages.running(ARCHIVED) as stage:
            self._wait(stage, lambda: self._archived(stage), 60.0, "host.log")
        with self._stages.running(TOLD) as stage:
            self._wait(stage, lambda: self._told(stage), 30.0, "host.log")

    def _wait(self, stage: Stage, happened: Callable[[], bool], within: float, look_at: str) -> None:
        folder = self._stack.environment.state / "logs"
        self._stages.wait(stage, happened, within=within * self._patience, look_at=f"{look_at} in {folder}")

    def _upload(self, title: str, month: int) -> None:
        from examples.flights import flights_file

        with self._stages.running(title) as stage:
            content = flights_file(month, self._rows)
            name = f"incoming/flights-2013-{month:02d}.csv"
            self._stack.upload(DATA_ASSET, name, content)
            stage.detail = f"{DATA_ASSET}/{name}: {len(content.splitlines()) - 1:,} flights"

    def _event(self, title: str, number: int) -> None:
        with self._stages.running(title) as stage:

            def delivered() -> bool:
                count = self._stack.delivered("storage", "uploads")
                stage.detail = f"Event Grid has delivered {count} to register_uploaded_data"
                return count >= number

            self._wait(stage, delivered, 30.0, "storage.watcher.log, eventgrid.log")

    def _data_version(self, title: str, number: int) -> str:
        with self._stages.running(title) as stage:
            versions: list[str] = []

            def registered() -> bool:
                versions[:] = self._world.data_versions(DATA_ASSET)
                stage.detail = "waiting for the window to close" if len(versions) < number else f"{DATA_ASSET}:{versions[-1]}"
                return len(versions) >= number

            self._wait(stage, registered, 60.0, "host.log")
            self.outcome.versions = versions
            return versions[-1]

    def _training(self, title: str, data_version: str) -> None:
        with self._stages.running(title) as stage:
            self._wait(stage, lambda: self._job_ended(stage, data_version), 180.0, "host.log, azureml.log")

    def _job_ended(self, stage: Stage, data_version: str) -> bool:
        job = self._job_of(data_version)
        if job is None:
            stage.detail = "waiting for the job"
            return False
        stage.detail, stage.parts = job.name, [(step.name, step.status, step.seconds) for step in job.steps]
        if job.status in ("Failed", "Canceled"):
            raise StoryStopped(f"'{stage.title}': job {job.name} ended as {job.status}:\n{job.error}")
        return job.status == "Completed"

    def _job_of(self, data_version: str) -> Job | None:
        return next((job for job in self._world.jobs() if job.tags.get("tidegate.data_version") == data_version), None)

    def _model(self, title: str, number: int) -> None:
        with self._stages.running(title) as stage:

            def registered() -> bool:
                self.outcome.models = [model for model in self._world.models() if model.name == MODEL]
                if len(self.outcome.models) < number:
                    return False
                newest = self.outcome.models[-1]
                stage.detail = f"{newest.name}:{newest.version}, AUC {float(newest.tags['auc']):.3f}"
                return True

            self._wait(stage, registered, 30.0, "azureml.log")

    def _endpoint(self) -> Endpoint:
        """The endpoint as it is now; one without traffic and deployments while there is none."""
        return next(
            (endpoint for endpoint in self._world.endpoints() if endpoint.name == ENDPOINT), Endpoint(ENDPOINT, "", {}, "")
        )

    def _deployed(self, stage: Stage) -> str | None:
        endpoint = self._endpoint()
        if not endpoint.deployments:
            stage.detail = "creating the endpoint"
            return None
        first = endpoint.deployments[0]
        stage.detail = f"{first.name} ({first.model}): {first.state}"
        self._refuse_failed(stage, first.name, first.state)
        self.outcome.stable = first.name
        return first.name if first.state == "Succeeded" else None

    def _refuse_failed(self, stage: Stage, name: str, state: str) -> None:
        if state == "Failed":
            raise StoryStopped(f"'{stage.title}': deployment {name} failed. Look at: {self._stack.environment.state / 'logs'}")

    def _traffic(self, stage: Stage) -> dict[str, int]:
        traffic = self._endpoint().traffic
        stage.detail = ", ".join(f"{name} {weight} %" for name, weight in sorted(traffic.items())) or "no traffic yet"
        return traffic

    def _start_traffic(self, stage: Stage) -> None:
        from examples.flights import flights_requests

        endpoint = self._endpoint()
        requests = flights_requests(self._months[1], 200)
        traffic = Traffic(
            endpoint.scoring_uri, self._world.endpoint_key(ENDPOINT), requests, verify=self._stack.environment.ssl_context()
        )
        self.outcome.traffic = traffic
        traffic.start()
        self._wait(stage, lambda: traffic.sent > 5, 30.0, "router.log")
        if traffic.errors:
            raise StoryStopped(f"'{stage.title}': the first requests failed: {dict(traffic.errors)}")
        stage.detail += "; real flights are scored from here on"

    def _candidate(self, stage: Stage) -> bool:
        endpoint = self._endpoint()
        others = [deployment for deployment in endpoint.deployments if deployment.name != self.outcome.stable]
        if not others:
            return False
        candidate = others[0]
        stage.detail = f"{candidate.name} ({candidate.model}): {candidate.state}, {endpoint.traffic.get(candidate.name, 0)} %"
        self._refuse_failed(stage, candidate.name, candidate.state)
        self.outcome.candidate = candidate.name
        return candidate.state == "Succeeded" or endpoint.traffic.get(candidate.name, 0) > 0

    def _shadowed(self, stage: Stage) -> bool:
        """Until it gets the first live request: before that, held-out rows are asked of both, and live requests are copied."""
        endpoint = self._endpoint()
        copies = endpoint.mirror.get(self.outcome.candidate, 0)
        if copies:
            stage.detail = f"nobody sees its answers: held-out rows, then copies of {copies} % of the requests"
        elif not stage.detail:
            stage.detail = "golden requests are answered as offline, held-out rows are asked of both"
        if endpoint.traffic.get(self.outcome.candidate, 0):
            return True
        self.outcome.ramp = [0]
        return False

    def _ramped(self, stage: Stage) -> bool:
        outcome = self.outcome
        weight = self._endpoint().traffic.get(outcome.candidate, 0)
        if not outcome.ramp or outcome.ramp[-1] != weight:
            outcome.ramp.append(weight)
        seen = 0
        if outcome.traffic:
            outcome.traffic.weight = weight
            seen = sum(count for (_, who), count in outcome.traffic.answered.items() if who == outcome.candidate)
        stage.detail = f"{' → '.join(f'{step} %' for step in outcome.ramp)}; {outcome.candidate} has answered {seen} requests"
        if len(outcome.ramp) > 1 and outcome.ramp[-1] < outcome.ramp[-2]:
            raise StoryStopped(
                f"'{stage.title}': {outcome.candidate} was rolled back to {weight} %. `rollout show {ENDPOINT}` says why."
            )
        return weight == 100

    def _archived(self, stage: Stage) -> bool:
        endpoint = self._endpoint()
        left = [deployment.name for deployment in endpoint.deployments]
        copies = endpoint.mirror.get(self.outcome.stable, 0)
        stays = f"{self.outcome.stable} stays warm" + (f" and gets copies of {copies} % of the requests" if copies else "")
        stage.detail = stays if self.outcome.stable in left else f"{', '.join(left)} stands"
        if self.outcome.stable in left:
            return False
        if tuple(self.outcome.ramp) != RAMP:
            raise StoryStopped(f"'{CANARY}': the weights seen were {self.outcome.ramp}, expected {list(RAMP)}")
        return True

    def _told(self, stage: Stage) -> bool:
        """What a person gets who asks the app on its command line."""
        command = [sys.executable, "-m", "ml_core.cli", "rollout", "show", ENDPOINT]
        environment = {**os.environ, **self._stack.environment.variables()}
        shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
        self.outcome.rollout = shown.stdout
        stage.detail = (shown.stdout or shown.stderr).partition("\n")[0]
        return shown.returncode == 0 and stage.detail.endswith("succeeded")
