"""Reasons to train that are not new data: schedules and people; drift will ask in the same way.

A request is two documents: `training-requests/<model>/<cause>.json` says for ever who asked, why, and which job answered;
`training-queue/<model>/<cause>.json` is there until then, so that a look need not read all that was ever asked for. The order of
the writes leaves no gap to die in:

- Asking writes the queue's first. With that alone the request counts, and answering it makes up the other one.
- Answering writes the job's name first, then takes the request from the queue. What is in the queue and has an answer (a death
  between the two, or somebody who asked again in that moment) is no longer asked for, and the next answer clears it away.
- A job is only followed to its end once its answers are written (see `decide`), so no request is trained for twice.

New data needs no asking. That a job was given it is noted all the same, as `training-requests/<model>/data-<version>.json`: data
can go back to what it was, and that is not new then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ml_core.documents import to_document
from ml_core.errors import PermanentError
from ml_core.reconciling import MODELS, wake
from ml_core.services import Services
from ml_core.training.values import DATA, Cause, Run

# An app that was down over a scheduled time makes up for it, but not for a time that lies before the app itself.
CATCH_UP = timedelta(hours=1)
# It becomes part of keys, of a job's name, of tags and of a command line. '_' joins several in a job's name.
_CAUSE = re.compile(r"[A-Za-z0-9-]{1,100}")
_RERUN = re.compile(r"rerun-([1-9][0-9]*)")


def request_training(services: Services, model: str, cause: str, *, reason: str, by: str) -> None:
    """Ask for a training for a cause that names itself (`schedule-20260131T0300`). Asking twice is asking once.

    Raises PermanentError for a name that cannot be one.
    """
    if not _CAUSE.fullmatch(cause) or _kind(cause) == DATA:
        expected = f"expected 1 to 100 of A-Z, a-z, 0-9 and '-', and another beginning than '{DATA}'"
        raise PermanentError(f"{cause!r} cannot name a cause of training: {expected}.")
    asked = services.ledger.get(_request(model, cause))
    if asked and asked.value["answered_by"]:
        return
    _ask(services, model, cause, reason, by)
    # Also when it was asked for before: who did may have died before this line.
    wake(services, MODELS, model)


def request_rerun(services: Services, model: str, *, reason: str, by: str) -> int:
    """Ask for another training on the newest data, although nothing is new. Each asking is one more: a generation of its own.

    Returns the generation's number; its cause is `rerun-<number>`. Raises PermanentError for a model that nobody knows, and
    when it is not said why or by whom.
    """
    if model not in services.config.models:
        known = ", ".join(sorted(services.config.models)) or "none"
        raise PermanentError(f"There is no model {model!r} in the configuration; the models are: {known}.")
    if not reason.strip() or not by.strip():
        raise PermanentError("A re-run needs a reason and a name: say why the same data is trained on again, and who wants it.")
    number = 1 + max(_generations(services, model), default=0)
    while not _ask(services, model, f"rerun-{number}", reason, by):
        number += 1  # somebody else asked at the same time
    wake(services, MODELS, model)
    return number


def unanswered(services: Services, model: str) -> tuple[Cause, ...]:
    """What was asked for and no job has answered, the oldest first."""
    causes = []
    for marker in services.ledger.list(_queue(model)):
        request = services.ledger.get(_request(model, marker.value["cause"]))
        note = request.value if request else marker.value
        if not note["answered_by"]:
            causes.append(Cause(note["cause"], note["reason"], note["by"], datetime.fromisoformat(note["at"])))
    return tuple(sorted(causes, key=lambda cause: (cause.at, cause.cause)))


def answer(services: Services, model: str, run: Run) -> None:
    """Note which job answers the run's causes, and take from the queue whatever has an answer."""
    causes = {cause.cause for cause in run.causes}
    for marker in list(services.ledger.list(_queue(model))):
        path = _request(model, marker.value["cause"])
        services.ledger.claim(path, marker.value)  # who asked may have died before this
        request = services.ledger.get(path)
        if request is None or not (request.value["answered_by"] or marker.value["cause"] in causes):
            continue
        if not request.value["answered_by"]:
            services.ledger.put(path, {**request.value, "answered_by": run.job}, etag=request.etag)
        services.ledger.delete(marker.key)
    for cause in run.causes:
        if cause.cause == DATA:
            note = {**to_document(cause), "kind": DATA, "data_version": run.data_version, "answered_by": run.job}
            services.ledger.claim(_request(model, f"{DATA}-{run.data_version}"), note)


def answered_by(services: Services, model: str, version: str) -> str:
    """The job that was given a data version because it was new; '' when none was."""
    note = services.ledger.get(_request(model, f"{DATA}-{version}"))
    return str(note.value["answered_by"]) if note else ""


def request_due_training(services: Services) -> None:
    """Ask for every model whose schedule has come due."""
    now = services.now()
    for name, model in services.config.models.items():
        due = last_due(model.schedules.retrain, now) if model.schedules.retrain else None
        if due is None or now - due >= CATCH_UP:
            continue
        cause = f"schedule-{due:%Y%m%dT%H%M%S}"
        if services.ledger.get(_request(name, cause)) is None:
            reason = f"retraining was scheduled for {due:%Y-%m-%d %H:%M} UTC ({model.schedules.retrain})"
            request_training(services, name, cause, reason=reason, by="schedule")


def last_due(schedule: str, now: datetime) -> datetime:
    """The last time at or before `now` that a six-field NCRONTAB expression names (day and weekday must both match)."""
    from croniter import croniter

    # get_prev is strictly before its start, so the present second itself must lie inside.
    times = croniter(schedule, now + timedelta(seconds=1), second_at_beginning=True, day_or=False)
    return times.get_prev(datetime).astimezone(UTC)  # type: ignore[no-any-return]


def _ask(services: Services, model: str, cause: str, reason: str, by: str) -> bool:
    """Write both documents; whether this call was the one that made the request."""
    at = services.now().isoformat()
    note = {"cause": cause, "kind": _kind(cause), "reason": reason, "by": by, "at": at, "answered_by": ""}
    queued = services.ledger.claim(f"{_queue(model)}{cause}.json", note)
    if services.ledger.claim(_request(model, cause), note):
        return queued
    # A look may have answered it already, and made this document up from the queue's. It is still this call's request.
    found = services.ledger.get(_request(model, cause))
    return queued and found is not None and {**found.value, "answered_by": ""} == note


def _generations(services: Services, model: str) -> Iterator[int]:
    """The numbers of the re-runs that were asked for, also of one whose asking died after its first write."""
    for folder in (f"training-requests/{model}/", _queue(model)):
        for key in services.ledger.keys(f"{folder}rerun-"):
            number = _RERUN.fullmatch(key.removeprefix(folder).removesuffix(".json"))
            if number:
                yield int(number[1])


def _kind(cause: str) -> str:
    return cause.split("-")[0]


def _request(model: str, cause: str) -> str:
    return f"training-requests/{model}/{cause}.json"


def _queue(model: str) -> str:
    return f"training-queue/{model}/"
