"""Fires schedules: a thread that sleeps until the next occurrence and submits its job.

All it knows is in the store, so that a restart goes on. What was due while nobody ran is not made up for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from local.azureml.errors import AzureError
from local.azureml.jobs import Jobs
from local.azureml.scheduling.triggers import Trigger, parse_trigger
from local.azureml.store import Body, MissingDocumentError, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "schedules"
MISSED_AFTER = timedelta(minutes=1)
"""An occurrence that is older (the machine slept) is let go."""
_LOOK_AGAIN_SECONDS = 60.0
"""A sleep is never longer: the clock may be set, the machine suspended."""
_log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


class Scheduler:
    """The constructor starts nothing. `clock` may be replaced before `open`, by tests; `wake` makes the thread look again."""

    def __init__(self, emulator: Emulator, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._emulator, self._store = emulator, emulator.store
        self.clock = clock
        self._opened = clock()
        self._jobs = Jobs(emulator)
        self._changed, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def open(self) -> None:
        self._opened = self.clock()
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """After a schedule was written or deleted."""
        self._changed.set()

    def check(self, name: str, definition: Body) -> None:
        """AzureError for a job definition that would be refused when the schedule fires."""
        at = self.clock()
        self._jobs.check(job_name(name, at), job_of(definition, job_name(name, at), at))

    def submit(self, name: str, definition: Body, at: datetime) -> str | None:
        """Submit the job of the occurrence `at`; its name, or None when it was submitted before."""
        job = job_name(name, at)
        return job if self._jobs.submit_new(job, job_of(definition, job, at)) else None

    def fire_due(self, now: datetime) -> datetime | None:
        """Submit what is due at `now`; the moment at which the next occurrence of any schedule is due."""
        following = [self._fire(record, now) for record in self._store.records(KIND) if _fires(record.body["properties"])]
        return min((at for at in following if at is not None), default=None)

    def _fire(self, record: Record, now: datetime) -> datetime | None:
        trigger = trigger_of(record.body)
        since = max(datetime.fromisoformat(record.body["since"]), self._opened, now - MISSED_AFTER)
        due = trigger.next_after(since)
        while due is not None and due <= now:
            self._submit_due(record, due)
            due = trigger.next_after(due)
        return due

    def _submit_due(self, record: Record, due: datetime) -> None:
        try:
            self.submit(record.name, record.body["properties"]["action"]["jobDefinition"], due)
        except AzureError as error:  # what the job names is gone by now; the next occurrence may find it
            _log.warning("schedule %s: the job of %s was refused: %s", record.name, due.isoformat(), error)
        try:
            self._store.update(KIND, record.name, "", lambda body: {**body, "since": due.isoformat()})
        except MissingDocumentError:  # deleted meanwhile: there is nothing to remember
            _log.info("schedule %s was deleted while it fired", record.name)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            seconds = _LOOK_AGAIN_SECONDS
            try:
                following = self.fire_due(self.clock())
                if following is not None:
                    seconds = min(seconds, max(0.0, (following - self.clock()).total_seconds()))
            except Exception:  # noqa: BLE001 - logged
                # The thread must live for the other schedules' sake, and the log keeps the traceback.
                _log.exception("schedules could not be fired")
            if not self._stopping.is_set():
                self._changed.wait(seconds)


def trigger_of(body: Body) -> Trigger:
    """The trigger of a stored schedule."""
    return parse_trigger(body["properties"]["trigger"], created=datetime.fromisoformat(body["created"]))


def job_name(schedule: str, at: datetime) -> str:
    """`<schedule>-20260101T060000Z`, as Azure; a long schedule name is cut so that the job's is valid."""
    return f"{schedule[:238]}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def job_of(definition: Body, name: str, at: datetime) -> Body:
    """The job of one occurrence: displayed under its own name, `${{creation_context.trigger_time}}` filled into its inputs."""
    inputs = {key: _filled(value, at) for key, value in (definition.get("inputs") or {}).items()}
    kept = {key: value for key, value in definition.items() if key != "sourceJobId" and value is not None}
    return {**kept, "inputs": inputs, "displayName": name}


def _filled(value: Any, at: datetime) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, at) for key, item in value.items()}
    if isinstance(value, str):
        return value.replace("${{creation_context.trigger_time}}", f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return value


def _fires(properties: Body) -> bool:
    settled = properties["provisioningState"] == "Succeeded"
    return bool(settled and properties["isEnabled"] and properties["action"]["actionType"] == "CreateJob")
