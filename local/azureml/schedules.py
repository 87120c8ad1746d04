"""Schedules: of jobs, which fire (scheduling/), and of monitors, which are kept and checked but never run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from local.azureml import arm
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import bad_request, not_emulated, not_found
from local.azureml.execution.runner import KIND as JOBS
from local.azureml.names import PLAIN
from local.azureml.scheduling.scheduler import KIND
from local.azureml.scheduling.triggers import parse_trigger
from local.azureml.store import Body, Record
from local.azureml.writes import Writes

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_VIEWS: dict[str, tuple[bool, ...]] = {"EnabledOnly": (True,), "DisabledOnly": (False,), "All": (True, False)}
_INTERNAL = ("created", "since")
_SIGNALS = frozenset({
    "DataDrift", "PredictionDrift", "DataQuality", "FeatureAttributionDrift", "Custom", "ModelPerformance",
    "GenerationSafetyQuality", "GenerationTokenStatistics",
})  # fmt: skip
_TICK = timedelta(microseconds=1)


class Schedules:
    """The operations of the resource. A stored schedule also has `created` and `since`, after which it may fire."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._scheduler = emulator.scheduler
        self._writes = Writes(emulator, KIND, "schedule", lambda name, _: f"/schedules/{name}", self._shown)

    def list(self, call: Call) -> Answer:
        view = call.query.get("listViewType", "EnabledOnly")
        if view not in _VIEWS:
            raise bad_request(f"listViewType must be one of {', '.join(_VIEWS)}, not '{view}'.")
        records = [record for record in self._store.records(KIND) if record.body["properties"]["isEnabled"] in _VIEWS[view]]
        return arm.page(self._emulator, call, [self._shown(record) for record in records])

    def get(self, call: Call) -> Answer:
        return Answer(self._shown(self._record(call.path_params["name"])))

    def put(self, call: Call) -> Answer:
        """Create or replace. What was due before a change is not made up for after it."""
        name = call.path_params["name"]
        PLAIN.check(name, "schedule name")
        now = self._scheduler.clock()
        asked = self._asked(name, call.properties)

        def change(old: Body | None) -> Body:
            begun = old["created"] if old else now.isoformat()
            end, ended = _end(asked["trigger"], begun), _end(old["properties"]["trigger"], begun) if old else None
            if end is not None and end <= now and end != ended:
                raise bad_request("The endTime of the trigger is in the past.", "ValidationError")
            # Without a start time a recurrence begins with its creation, at once.
            since = (now - _TICK).isoformat() if old is None else now.isoformat()
            return {"created": begun, "since": since, "properties": asked}

        return self._writes.put(name, "", change, lambda _: self._settled(name))

    def delete(self, call: Call) -> Answer:
        """204 when there is nothing to delete; an enabled schedule is refused."""
        name = call.path_params["name"]

        def refuse_enabled(old: Body) -> None:
            if old["properties"]["isEnabled"]:
                raise bad_request(f"Schedule '{name}' is enabled. A schedule must be disabled to be deleted.")

        return self._writes.delete(name, "", refuse_enabled, lambda: self._deleted(name))

    def trigger(self, call: Call) -> Answer:
        """Submit the job now, as if the schedule had fired at `scheduleTime`; enabled or not."""
        record = self._record(call.path_params["name"])
        action = record.body["properties"]["action"]
        if action["actionType"] != "CreateJob":
            raise not_emulated("The emulator keeps monitor schedules and never runs them.")
        at = _schedule_time(call.body) or self._scheduler.clock()
        # Names have whole seconds: who triggers twice in one gets the next one.
        while (job := self._scheduler.submit(record.name, action["jobDefinition"], at)) is None:
            at += timedelta(seconds=1)
        return Answer({"submissionId": job, "scheduleActionType": "CreateJob"})

    def _asked(self, name: str, properties: Mapping[str, Any]) -> Body:
        action = properties.get("action")
        if not isinstance(action, dict):
            raise bad_request("A schedule needs an action.", "ValidationError")
        return {
            "displayName": properties.get("displayName"),
            "description": properties.get("description"),
            "tags": properties.get("tags") or {},
            "properties": properties.get("properties") or {},
            "isEnabled": properties.get("isEnabled") is not False,
            "trigger": properties.get("trigger"),
            "action": self._checked_action(name, action),
        }

    def _checked_action(self, name: str, action: Body) -> Body:
        kind = action.get("actionType")
        if kind == "CreateMonitor":
            _check_monitor(action.get("monitorDefinition"))
            return action
        if kind != "CreateJob":
            raise not_emulated(f"The emulator does not support schedules with the action '{kind}'.")
        definition = action.get("jobDefinition")
        if not isinstance(definition, dict):
            raise bad_request("The action CreateJob needs a jobDefinition.", "ValidationError")
        definition = self._with_source(definition)
        self._scheduler.check(name, definition)
        return {**action, "jobDefinition": definition}

    def _with_source(self, definition: Body) -> Body:
        """A definition that names only another job (`sourceJobId`) is that job's."""
        source = definition.get("sourceJobId")
        if not source or definition.get("jobs"):
            return definition
        stored = self._store.get(JOBS, str(source).rpartition("/jobs/")[2])
        if stored is None:
            raise bad_request(f"The job '{source}' of the schedule's action does not exist.")
        return {**stored["submitted"], **{key: value for key, value in definition.items() if value}}

    def _settled(self, name: str) -> None:
        self._writes.succeeded(name)
        self._scheduler.wake()

    def _deleted(self, name: str) -> None:
        self._store.delete(KIND, name)
        self._scheduler.wake()

    def _record(self, name: str) -> Record:
        record = self._store.record(KIND, name)
        if record is None:
            raise not_found(f"Schedule '{name}' was not found.")
        return record

    def _shown(self, record: Record) -> dict[str, Any]:
        shown = arm.resource(self._emulator, record, f"/schedules/{record.name}")
        return {key: value for key, value in shown.items() if key not in _INTERNAL}


def _end(trigger: Body | None, created: str) -> datetime | None:
    """When the trigger ends; AzureError 400 when it is not valid."""
    return parse_trigger(trigger, created=datetime.fromisoformat(created)).end


def _schedule_time(body: Any) -> datetime | None:
    text = body.get("scheduleTime") if isinstance(body, dict) else None
    if not text:
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise bad_request(f"scheduleTime must be an ISO 8601 time, not '{text}'.", "ValidationError") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _check_monitor(definition: Any) -> None:
    """What the public REST description requires of a monitor."""
    if not isinstance(definition, dict):
        raise bad_request("The action CreateMonitor needs a monitorDefinition.", "ValidationError")
    compute, signals = definition.get("computeConfiguration"), definition.get("signals")
    if not isinstance(compute, dict) or not compute.get("computeType"):
        raise bad_request("A monitorDefinition needs a computeConfiguration with a computeType.", "ValidationError")
    if not isinstance(signals, dict) or not signals:
        raise bad_request("A monitorDefinition needs signals.", "ValidationError")
    for name, signal in signals.items():
        kind = signal.get("signalType") if isinstance(signal, dict) else None
        if kind not in _SIGNALS:
            raise bad_request(
                f"signalType of '{name}' must be one of {', '.join(sorted(_SIGNALS))}, not '{kind}'.", "ValidationError"
            )


def routes(emulator: Emulator) -> list[Route]:
    own = Schedules(emulator)
    fires = (
        "jobs are named `<schedule>-<YYYYMMDDThhmmssZ>`, missed ones are not made up for; "
        "monitors are kept and checked, never run; no ImportData, no InvokeBatchEndpoint"
    )
    return [
        Route("GET", "/schedules", own.list, "schedules.list", query=("listViewType",)),
        Route("GET", "/schedules/{name}", own.get, "schedules.get"),
        Route(
            "PUT", "/schedules/{name}", own.put,
            "schedules.begin_create_or_update, begin_enable, begin_disable", fires,
        ),
        Route("DELETE", "/schedules/{name}", own.delete, "schedules.begin_delete"),
        Route("POST", "/schedules/{name}/trigger", own.trigger, "schedules.trigger", "jobs only"),
    ]  # fmt: skip
