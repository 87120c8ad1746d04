"""Hand-made fakes of the app's ports, with the semantics that matter: conditions, immutability, refusals, things that take time.

Not faked: the decisions, the reconcilers, the names, the documents. `tests/contract` is one suite for these and the adapters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ml_core.addresses import BlobAddress
from ml_core.errors import Conflict, PermanentError, TemporaryError
from ml_core.ports import (
    Answered,
    Blob,
    DeadLetter,
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    Entry,
    Evidence,
    JobState,
    ModelVersion,
    NoData,
    Notice,
    SourceFailed,
    TrainingJob,
)


@dataclass
class FakeClock:
    """A time that only moves when it is told to."""

    moment: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, span: timedelta) -> None:
        self.moment += span


class FakeLedger:
    """Documents with etags in a dict; every value passes through JSON, as it does on the way to a blob."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._writes = 0

    def get(self, key: str) -> Entry | None:
        entry = self.entries.get(key)
        return replace(entry, value=json.loads(json.dumps(entry.value))) if entry else None

    def put(self, key: str, value: Mapping[str, Any], *, etag: str | None) -> str:
        found = self.entries.get(key)
        if (found.etag if found else None) != etag:
            raise Conflict(f"{key} of the ledger was changed by somebody else first.")
        return self._write(key, value)

    def overwrite(self, key: str, value: Mapping[str, Any]) -> None:
        self._write(key, value)

    def claim(self, key: str, value: Mapping[str, Any]) -> bool:
        if key in self.entries:
            return False
        self._write(key, value)
        return True

    def delete(self, key: str) -> None:
        self.entries.pop(key, None)

    def keys(self, prefix: str) -> Iterator[str]:
        yield from sorted(key for key in self.entries if key.startswith(prefix))

    def list(self, prefix: str) -> Iterator[Entry]:
        for key in self.keys(prefix):
            yield self.entries[key]

    def _write(self, key: str, value: Mapping[str, Any]) -> str:
        self._writes += 1
        self.entries[key] = Entry(key, json.loads(json.dumps(value)), f"0x{self._writes:X}")
        return self.entries[key].etag


@dataclass
class FakeWorkQueue:
    """Messages that become visible at their time."""

    clock: FakeClock
    messages: list[tuple[datetime, str, str]] = field(default_factory=list)

    def enqueue(self, kind: str, message: str, *, delay: timedelta = timedelta(0)) -> None:
        self.messages.append((self.clock() + delay, kind, message))

    def receive(self) -> tuple[str, str] | None:
        """Take the message that has been visible longest, or None."""
        visible = [message for message in self.messages if message[0] <= self.clock()]
        if not visible:
            return None
        first = min(visible, key=lambda message: message[0])
        self.messages.remove(first)
        return first[1], first[2]


@dataclass
class FakeContainers:
    """Blobs by (container, path)."""

    clock: FakeClock
    content: dict[tuple[str, str], Blob] = field(default_factory=dict)
    _writes: int = 0

    def upload(self, container: str, path: str, size: int = 100) -> Blob:
        self._writes += 1
        url = BlobAddress("https://account.blob.core.windows.net", container, path).url
        blob = Blob(url, path, f"0x8D{self._writes:013X}", size, self.clock())
        self.content[container, path] = blob
        return blob

    def delete(self, container: str, path: str) -> None:
        del self.content[container, path]

    def blobs(self, container: str, prefix: str) -> Iterator[Blob]:
        found = [blob for (where, path), blob in self.content.items() if where == container and path.startswith(prefix)]
        yield from sorted(found, key=lambda blob: blob.path)


@dataclass
class FakeDeadLetters:
    """Letters by name."""

    content: dict[str, str] = field(default_factory=dict)

    def letters(self) -> Iterator[DeadLetter]:
        yield from [DeadLetter(name, text) for name, text in sorted(self.content.items())]

    def remove(self, name: str) -> None:
        self.content.pop(name, None)


@dataclass
class FakeNotifier:
    """Keeps what people were told."""

    notices: list[Notice] = field(default_factory=list)
    broken: bool = False

    def send(self, notice: Notice) -> None:
        if self.broken:
            raise TemporaryError("The notice could not be sent.")
        self.notices.append(notice)


@dataclass
class FakeWorkspace:
    """An Azure ML workspace in which a job takes `training_takes`, and a change of an endpoint `change_takes`."""

    clock: FakeClock
    training_takes: timedelta = timedelta(minutes=10)
    change_takes: timedelta = timedelta(minutes=5)
    training_error: str = ""
    """Not empty: jobs fail with it."""
    deployment_error: str = ""
    """Not empty: new deployments fail with it."""
    scoring_error: str = ""
    """Not empty: deployments refuse to score."""

    data: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    data_tags: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    submitted: dict[str, tuple[TrainingJob, datetime]] = field(default_factory=dict)
    models: dict[str, list[ModelVersion]] = field(default_factory=dict)
    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    specs: dict[tuple[str, str], DeploymentSpec] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of endpoints, by name."""
    traffic_history: list[dict[str, int]] = field(default_factory=list)
    _busy_until: dict[str, datetime] = field(default_factory=dict)
    _wanted: dict[str, EndpointState] = field(default_factory=dict)

    def register_data_version(self, name: str, version: str, files: Mapping[str, str], tags: Mapping[str, str]) -> None:
        self.data.setdefault((name, version), dict(files))
        self.data_tags.setdefault((name, version), dict(tags))

    def submit_training(self, job: TrainingJob) -> None:
        if (job.data_asset, job.data_version) not in self.data:
            raise PermanentError(f"Could not submit the job {job.name}: its data does not exist (status 400).")
        self.submitted.setdefault(job.name, (job, self.clock()))

    def job(self, name: str) -> JobState | None:
        if name not in self.submitted:
            return None
        job, submitted_at = self.submitted[name]
        if self.clock() - submitted_at < self.training_takes:
            return JobState(name, "Running")
        if self.training_error:
            return JobState(name, "Failed", self.training_error)
        if self.model_of_job(job.model, name) is None:
            version = str(len(self.models.get(job.model, [])) + 1)
            self.register_model(ModelVersion(job.model, version, {"job": name, "data_version": job.data_version}))
        return JobState(name, "Completed")

    def register_model(self, model: ModelVersion) -> None:
        self.models.setdefault(model.name, []).append(model)

    def model(self, name: str, version: str) -> ModelVersion | None:
        return next((model for model in self.models.get(name, []) if model.version == version), None)

    def model_of_job(self, name: str, job: str) -> ModelVersion | None:
        return max(
            (
                one
                for one in self.models.get(name, [])
                if one.tags.get("job") == job and re.fullmatch("[1-9][0-9]{0,8}", one.version)
            ),
            key=lambda one: int(one.version),
            default=None,
        )

    def endpoint(self, name: str) -> EndpointState | None:
        self._settle(name)
        return self.endpoints.get(name)

    def create_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        if self.endpoint(name) is not None:
            return
        self.tags[name] = dict(tags)
        self._change(name, EndpointState(name, "Creating"), EndpointState(name, "Succeeded"))

    def create_deployment(self, spec: DeploymentSpec) -> None:
        endpoint = self._existing(spec.endpoint)
        if self.model(spec.model, spec.version) is None:
            raise PermanentError(f"Could not create the deployment {spec.slot}: its model does not exist (status 404).")
        if spec.slot in endpoint.deployments:
            return
        self.specs[spec.endpoint, spec.slot] = spec
        creating = DeploymentState(spec.slot, f"{spec.model}:{spec.version}", "Creating")
        ended = "Failed" if self.deployment_error else "Succeeded"
        created = replace(creating, provisioning_state=ended, error=self.deployment_error)
        self._change(
            spec.endpoint,
            replace(endpoint, deployments={**endpoint.deployments, spec.slot: creating}),
            replace(endpoint, deployments={**endpoint.deployments, spec.slot: created}),
        )

    def set_traffic(
        self,
        endpoint: str,
        weights: Mapping[str, int],
        tags: Mapping[str, str] | None = None,
        *,
        mirror: Mapping[str, int] | None = None,
        step: int = 0,
    ) -> None:
        found, mirror = self._existing(endpoint), dict(mirror or {})
        newest = int(self.tags.get(endpoint, {}).get("tidegate.step", "0"))
        if step and newest > step:
            raise Conflict(f"Could not set the traffic of {endpoint} in step {step}: step {newest} was taken meanwhile.")
        if any(not 0 < share <= 50 or weights.get(name) for name, share in mirror.items()) or len(mirror) > 1:
            raise PermanentError(f"Could not set the traffic of {endpoint}: {mirror} cannot be mirrored (status 400).")
        if sum(weights.values()) not in (0, 100) or any(weight < 0 for weight in weights.values()):
            raise PermanentError(
                f"Could not set the traffic of {endpoint}: {dict(weights)} does not sum to 0 or 100 (status 400)."
            )
        if unknown := [name for name, weight in weights.items() if weight and name not in found.deployments]:
            raise PermanentError(f"Could not set the traffic of {endpoint}: there is no deployment {unknown} (status 400).")
        self.traffic_history.append(dict(weights))
        self.tags.setdefault(endpoint, {}).update({**(tags or {}), **({"tidegate.step": str(step)} if step else {})})
        # As Azure's SDK does: zeros are left out.
        changed = replace(found, traffic={name: weight for name, weight in weights.items() if weight}, mirror=mirror)
        self._change(endpoint, replace(found, provisioning_state="Updating"), changed)

    def delete_deployment(self, endpoint: str, name: str, *, model: str = "") -> None:
        found = self._existing(endpoint)
        if model and name in found.deployments and found.deployments[name].model != model:
            raise Conflict(f"Could not delete the deployment {name}: it holds {found.deployments[name].model} and not {model}.")
        if found.traffic.get(name):
            raise PermanentError(f"Could not delete the deployment {name}: it has traffic (status 400).")
        if name in found.deployments:
            rest = {slot: state for slot, state in found.deployments.items() if slot != name}
            deleting = {**rest, name: replace(found.deployments[name], provisioning_state="Deleting")}
            self._change(endpoint, replace(found, deployments=deleting), replace(found, deployments=rest))

    def score(self, endpoint: str, deployment: str, request: Mapping[str, Any]) -> Any:
        if self.scoring_error:
            raise PermanentError(f"{deployment} answered 424 to a scoring request: {self.scoring_error}")
        return {"scores": [0.5], "model": self._existing(endpoint).deployments[deployment].model}

    def serving(self, endpoint: str) -> dict[str, str]:
        """The traffic by model, in words that a test can compare: {"flight-delay:1": "blue 100 %"}."""
        found = self.endpoint(endpoint)
        if found is None:
            return {}
        return {found.deployments[slot].model: f"{slot} {weight} %" for slot, weight in sorted(found.traffic.items())}

    def _existing(self, endpoint: str) -> EndpointState:
        self._settle(endpoint)
        if endpoint not in self.endpoints:
            raise PermanentError(f"There is no endpoint {endpoint} (status 404).")
        if endpoint in self._wanted:
            raise Conflict(f"The endpoint {endpoint} is being changed (status 409).")
        return self.endpoints[endpoint]

    def _change(self, name: str, meanwhile: EndpointState, then: EndpointState) -> None:
        self.endpoints[name], self._wanted[name] = meanwhile, then
        self._busy_until[name] = self.clock() + self.change_takes
        self._settle(name)

    def _settle(self, name: str) -> None:
        if name in self._wanted and self.clock() >= self._busy_until[name]:
            self.endpoints[name] = self._wanted.pop(name)


@dataclass
class FakeEvidence:
    """Requests that a deployment answered, as (endpoint, deployment, time, status); for a 424 what stands behind it."""

    requests: list[tuple[str, str, datetime, int]] = field(default_factory=list)
    broken: bool = False

    def saw(self, endpoint: str, deployment: str, at: datetime, *, requests: int, errors: int = 0) -> None:
        self.requests += [(endpoint, deployment, at, 500 if number < errors else 200) for number in range(requests)]

    def read(self, endpoint: str, deployment: str, since: datetime, until: datetime, granularity: timedelta) -> Evidence:
        if self.broken:
            return SourceFailed("the metrics answer 503")
        statuses = [
            status for where, slot, at, status in self.requests if (where, slot) == (endpoint, deployment) and since <= at < until
        ]
        if not statuses:
            return NoData()
        good = sum(status < 400 for status in statuses)
        failed = sum(status >= 500 or status in (408, 424, 429) for status in statuses)
        return Answered(good + failed, failed, refused=len(statuses) - good - failed)


class Flaky:
    """Wraps a port: the calls named in `failures` fail so many times with a TemporaryError before they succeed."""

    def __init__(self, port: Any, failures: dict[str, int]) -> None:
        self._port, self._failures = port, failures

    def __getattr__(self, name: str) -> Any:
        if self._failures.get(name, 0) > 0:
            self._failures[name] -= 1

            def fail(*_: Any, **__: Any) -> None:
                raise TemporaryError(f"{name} failed for a moment")

            return fail
        return getattr(self._port, name)
