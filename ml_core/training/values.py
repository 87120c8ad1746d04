"""What is remembered of a model's training, what is seen of it, and the steps it can take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ml_core.ports import JobState, ModelVersion
from ml_core.reconciling import Rest

# The cause of a training whose data version is new. Every other cause is the name of a request.
DATA = "data"


@dataclass(frozen=True)
class Cause:
    """Why a training was asked for: new data, a schedule, a person. `cause` names it, and is answered by one job."""

    cause: str
    reason: str
    by: str
    at: datetime


@dataclass(frozen=True)
class DataVersion:
    """The newest version of a model's data. `correlation_id` is that of the window that closed into it.

    `answered_by` is the job that was given the version because it was new, or ''. Data can go back to what it was.
    """

    version: str
    registered_at: datetime
    correlation_id: str = ""
    answered_by: str = ""


@dataclass(frozen=True)
class Run:
    """A training job and all that it answers. `superseded` are data versions that waited for a job, until this newer one came."""

    job: str
    data_version: str
    causes: tuple[Cause, ...]
    started_at: datetime
    correlation_id: str = ""
    superseded: tuple[str, ...] = ()
    completed_at: datetime | None = None


@dataclass(frozen=True)
class Pending:
    """The one training that comes next: the newest data version, and every cause that no job has answered yet.

    `data_version` is '' as long as there is no data at all.
    """

    data_version: str
    causes: tuple[Cause, ...]
    since: datetime
    superseded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How the last run ended. `model_version` is '' when it led to no model; then `error` says why."""

    run: Run
    status: str
    model_version: str = ""
    error: str = ""


@dataclass(frozen=True)
class Refused:
    """A job that Azure did not take: it never ran, and what it was to answer is still asked for."""

    run: Run
    error: str
    at: datetime


@dataclass(frozen=True)
class State:
    """What is remembered of a model between two looks. `pending` is there to be seen: each look works it out anew."""

    running: Run | None = None
    pending: Pending | None = None
    last: Outcome | None = None
    refused: Refused | None = None


@dataclass(frozen=True)
class Observation:
    """The world as far as training is concerned. What follows `requests` belongs to the running job."""

    model: str
    data: DataVersion | None
    requests: tuple[Cause, ...]
    """What was asked for and is not noted as answered, the oldest first."""

    data_noted: bool
    """Whether there is a note of which job was given its data version first."""

    job: JobState | None
    registered: ModelVersion | None
    rollout_requested: bool
    poll: timedelta


@dataclass(frozen=True)
class Submit:
    """Start this run; or, after a crash, make sure that it was started and that its causes are noted as answered."""

    run: Run
    pending: Pending | None
    reason: str
    look_again_in: timedelta
    kind: Literal["submit"] = "submit"


@dataclass(frozen=True)
class Follow:
    """The job is not over, or its model is not to be seen yet."""

    run: Run
    pending: Pending | None
    reason: str
    look_again_in: timedelta
    kind: Literal["follow"] = "follow"


@dataclass(frozen=True)
class RequestRollout:
    """The run has made a model: ask for its rollout."""

    run: Run
    model_version: str
    pending: Pending | None
    reason: str
    look_again_in: timedelta = timedelta(0)
    kind: Literal["request rollout"] = "request rollout"


@dataclass(frozen=True)
class Conclude:
    """The run is over."""

    outcome: Outcome
    pending: Pending | None
    reason: str
    # What is pending may start at once.
    look_again_in: timedelta | None = timedelta(0)
    kind: Literal["conclude"] = "conclude"


@dataclass(frozen=True)
class Wait:
    """Something is pending and cannot start: there is no data yet, or Azure refused it a moment ago. The sweep looks again."""

    pending: Pending
    reason: str
    look_again_in: timedelta | None = None
    kind: Literal["wait"] = "wait"


Action = Rest | Wait | Submit | Follow | RequestRollout | Conclude
