"""Reasons to train that are not new data: for now schedules; people and drift will ask in the same way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ml_core.naming import training_job
from ml_core.reconciling import MODELS, wake
from ml_core.services import Services

# An app that was down over a scheduled time makes up for it, but not for a time that lies before the app itself.
CATCH_UP = timedelta(hours=1)


def newest_request(services: Services, model: str) -> str:
    """The cause that was asked for last, or ''."""
    entry = services.ledger.get(f"training-requests/{model}.json")
    return str(entry.value["cause"]) if entry else ""


def request_training(services: Services, model: str, cause: str) -> None:
    """Ask for a training for a cause that names itself (`schedule-20260131T0300`). Asking twice is asking once."""
    note = {"cause": cause, "at": services.now().isoformat()}
    path = f"training-requests/{model}/{training_job(model, 'any', cause)}.json"
    if not services.ledger.claim(path, note):
        first = services.ledger.get(path)
        note = first.value if first else note
    # Also when the claim is an old one: who made it may have died before this line. A later request is not undone.
    newest = services.ledger.get(f"training-requests/{model}.json")
    if newest is None or newest.value["at"] < note["at"]:
        services.ledger.put(f"training-requests/{model}.json", note, etag=newest.etag if newest else None)
    wake(services, MODELS, model)


def request_due_training(services: Services) -> None:
    """Ask for every model whose schedule has come due."""
    now = services.now()
    for name, model in services.config.models.items():
        due = last_due(model.schedules.retrain, now) if model.schedules.retrain else None
        if due is not None and now - due < CATCH_UP and not _requested(services, name, due):
            request_training(services, name, _cause(due))


def last_due(schedule: str, now: datetime) -> datetime:
    """The last time at or before `now` that a six-field NCRONTAB expression names (day and weekday must both match)."""
    from croniter import croniter

    # get_prev is strictly before its start, so the present second itself must lie inside.
    times = croniter(schedule, now + timedelta(seconds=1), second_at_beginning=True, day_or=False)
    return times.get_prev(datetime).astimezone(UTC)  # type: ignore[no-any-return]


def _requested(services: Services, model: str, due: datetime) -> bool:
    return newest_request(services, model) == _cause(due)


def _cause(due: datetime) -> str:
    return f"schedule-{due:%Y%m%dT%H%M%S}"
