"""What the logic needs of the world, in the field's words. Adapters implement these; tests have hand-made fakes of them.

Every method raises TemporaryError when another try may help and PermanentError when it cannot; no SDK exception passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

# ---- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blob:
    """A blob that exists now. `size` in bytes; `etag` without quotes."""

    url: str
    path: str
    etag: str
    size: int
    modified_at: datetime


@dataclass(frozen=True)
class TrainingJob:
    """All that makes a training job what it is. `inputs` are the pipeline's, without its data."""

    name: str
    pipeline: str
    data_asset: str
    data_version: str
    model: str
    cause: str
    inputs: Mapping[str, str | int | float]
    correlation_id: str = ""
    """What the trail of the cause is found by; it becomes a tag of the job and of the model."""


@dataclass(frozen=True)
class JobState:
    """A job as Azure ML tells it. `status` is Azure's word (Running, Completed, Failed, Canceled, ...)."""

    name: str
    status: str
    error: str = ""

    @property
    def ended(self) -> bool:
        return self.status.lower() in ("completed", "failed", "canceled")

    @property
    def completed(self) -> bool:
        return self.status.lower() == "completed"


@dataclass(frozen=True)
class ModelVersion:
    """A registered model version."""

    name: str
    version: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DeploymentState:
    """A deployment behind an endpoint. `model` is `<name>:<version>`."""

    name: str
    model: str
    provisioning_state: str
    error: str = ""
    created_at: str = ""
    """Azure's word for when it was made. A deployment that was made anew under its old name is told by it."""


@dataclass(frozen=True)
class EndpointState:
    """An endpoint, its deployments by name, its traffic and its mirrored traffic, both in percent by deployment name."""

    name: str
    provisioning_state: str
    traffic: Mapping[str, int] = field(default_factory=dict)
    deployments: Mapping[str, DeploymentState] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DeploymentSpec:
    """A deployment to be made: a model version in a slot."""

    endpoint: str
    slot: str
    model: str
    version: str
    instance_type: str
    instance_count: int
    image: str
    correlation_id: str = ""


@dataclass(frozen=True)
class SourceFailed:
    """The source itself failed: nothing is known about the deployment, so nothing counts against it."""

    reason: str
    kind: Literal["source failed"] = "source failed"


@dataclass(frozen=True)
class Counts:
    """What became of the requests that one deployment answered within an interval.

    `errors` of the `requests` failed by the deployment's own fault: 5xx, 408 (it took too long), 429 (more came than it can take)
    and 424 (the model failed). Not in `requests` is what was wrong with the caller's request, for it says nothing about the
    deployment: every other 4xx, also behind a 424 (the scoring script refused the input). Those are `refused`.
    `slow` of the `requests` took longer than the threshold that was asked for, and no more than `slow_at_most` did: a source that
    knows percentiles only can do no better than bracket them. Both are 0 without a threshold.
    """

    requests: int = 0
    errors: int = 0
    refused: int = 0
    slow: int = 0
    slow_at_most: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.refused + other.refused,
            self.slow + other.slow,
            self.slow_at_most + other.slow_at_most,
        )


@dataclass(frozen=True)
class Interval:
    """Counts by deployment within [start, end). A deployment that answered nothing may be missing."""

    start: datetime
    end: datetime
    counts: Mapping[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """Whole intervals, oldest first, one after the other. Intervals in which nothing was asked are among them, with no counts."""

    intervals: tuple[Interval, ...] = ()
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True)
class History:
    """A deployment's recent past: `requests` and `errors` as in `Counts`, within `seconds`; `p95_ms` is the 95th percentile of
    their latency in milliseconds, None when nobody has measured it."""

    requests: int
    errors: int
    seconds: float
    p95_ms: float | None = None
    kind: Literal["history"] = "history"


@dataclass(frozen=True)
class Question:
    """A scoring request for exactly one deployment, whatever the traffic says."""

    deployment: str
    request: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What a deployment answered. `status` 0: nothing, and `error` says why (no answer within 5 s). `body` is its JSON, None when
    it is none or when there was no success; then `error` holds the beginning of its text."""

    status: int
    seconds: float
    body: Any = None
    error: str = ""


@dataclass(frozen=True)
class Notice:
    """Something that people want to be told. `id` is unique: a notice is sent at least once, always under the same id."""

    id: str
    level: Literal["info", "warning", "critical"]
    endpoint: str
    title: str
    text: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else is worth knowing at a glance, by its name."""


@dataclass(frozen=True)
class Entry:
    """A document of the ledger. `etag` is the condition under which it may be replaced."""

    key: str
    value: dict[str, Any]
    etag: str


# ---- ports ------------------------------------------------------------------------------------------------------------


class Containers(Protocol):
    """The watched containers."""

    def blobs(self, container: str, prefix: str) -> Iterator[Blob]:
        """The blobs that exist now, page by page as they are asked for. A container that does not exist yet holds none.

        No order is promised: accounts with a hierarchical namespace list in another order than those without.
        """
        ...


class Ledger(Protocol):
    """Small JSON documents with conditions: what Azure ML cannot hold."""

    def get(self, key: str) -> Entry | None: ...

    def put(self, key: str, value: Mapping[str, Any], *, etag: str | None) -> str:
        """Write under the condition that the document still has this etag (None: that it does not exist).

        Returns the new etag; raises Conflict when the condition is not met.
        """
        ...

    def overwrite(self, key: str, value: Mapping[str, Any]) -> None:
        """Write without a condition: only for documents where the last writer is right."""
        ...

    def claim(self, key: str, value: Mapping[str, Any]) -> bool:
        """Write it if nobody has; False when somebody has. The claim of a thing that happens once."""
        ...

    def delete(self, key: str) -> None:
        """Remove a document; one that is not there is removed already."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that start so, in order, without their documents, page by page as they are asked for."""
        ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """The documents whose key starts so, by key."""
        ...


@dataclass(frozen=True)
class DeadLetter:
    """A blob in which Event Grid has put events that it could not deliver. `text` is its JSON."""

    name: str
    text: str


class DeadLetters(Protocol):
    """The container that Event Grid dead-letters into."""

    def letters(self) -> Iterator[DeadLetter]:
        """What lies there now. A container that does not exist holds nothing."""
        ...

    def remove(self, name: str) -> None:
        """Take a letter away once its events are kept elsewhere; one that is not there is taken away already."""
        ...


class WorkQueue(Protocol):
    """Keys to be reconciled, by kind."""

    def enqueue(self, kind: str, message: str, *, delay: timedelta = timedelta(0)) -> None: ...


class Workspace(Protocol):
    """The Azure ML workspace. Everything that takes long is started and never waited for: its state is read at the next tick."""

    def register_data_version(self, name: str, version: str, files: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Register a folder with these text files as an mltable data asset. A version that exists is success."""
        ...

    def submit_training(self, job: TrainingJob) -> None:
        """Submit the pipeline under the job's name. A job that exists is success."""
        ...

    def job(self, name: str) -> JobState | None: ...

    def model(self, name: str, version: str) -> ModelVersion | None: ...

    def model_of_job(self, name: str, job: str) -> ModelVersion | None:
        """The version of a model whose tag `job` is this job; the newest, should there be several. Versions that are no numbers
        are nobody's: the pipeline counts 1, 2, …"""
        ...

    def endpoint(self, name: str) -> EndpointState | None: ...

    def create_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        """Ask for an endpoint. One that is there already stays as it is, with its traffic."""
        ...

    def create_deployment(self, spec: DeploymentSpec) -> None:
        """Ask for a deployment. A slot that is taken stays as it is, whatever it holds: the next look sees that."""
        ...

    def set_traffic(
        self,
        endpoint: str,
        weights: Mapping[str, int],
        tags: Mapping[str, str] | None = None,
        *,
        mirror: Mapping[str, int] | None = None,
        step: int = 0,
    ) -> None:
        """Ask for these weights and this mirrored traffic in percent; `tags` are added to those that the endpoint has.

        `step` is a fencing token: it is kept as the tag `tidegate.step`, and Conflict is raised when the endpoint carries a
        greater one. So a process that stood still for minutes cannot undo what was asked for since (0: no fence).
        """
        ...

    def delete_deployment(self, endpoint: str, name: str, *, model: str = "") -> None:
        """Ask for its end; one that is gone is deleted already. `model` (`<name>:<version>`): Conflict when it holds another."""
        ...

    def model_file(self, name: str, version: str, path: str, *, at_most: int) -> bytes | None:
        """A file below a model version's folder, None when there is none. PermanentError: it has over `at_most` bytes."""
        ...

    def ask(self, endpoint: str, questions: Sequence[Question], timeout: timedelta) -> list[Reply]:
        """Put the questions one after the other, each with a time limit. What a deployment does wrong is a reply, no error."""
        ...


class TrafficEvidence(Protocol):
    """What an endpoint's requests say about its deployments."""

    def intervals(
        self,
        endpoint: str,
        deployments: Sequence[str],
        since: datetime,
        until: datetime,
        granularity: timedelta,
        slower_than_ms: float | None,
    ) -> Measured | SourceFailed:
        """What these deployments answered in each whole interval of [since, until), mirrored copies included.

        `slower_than_ms`: the threshold that `Counts.slow` counts by. Never raises for a source that is down.
        """
        ...

    def history(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> History | SourceFailed:
        """A deployment's past within a span of hours. Never raises for a source that is down."""
        ...


class Notifier(Protocol):
    """Where people read what they must know."""

    def send(self, notice: Notice) -> None:
        """Tell it. Raises TemporaryError or PermanentError when it did not arrive."""
        ...
