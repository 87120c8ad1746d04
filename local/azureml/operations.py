"""Long-running operations: work in a background thread, polled by the SDK at the URL that the first answer names."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, not_found
from local.azureml.faults import OperationFault, Subject
from local.azureml.store import MissingDocumentError, timestamp

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "operations"
LOCATION = "local"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Task:
    name: str
    work: Callable[[], None]
    failed: Callable[[], None]


def _nothing() -> None:
    """What most resources do about a failed operation."""


class Operations:
    """Runs the work and remembers its outcome in the store, so that a client may ask after a restart too."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="operation")
        self._lock = threading.Lock()
        self._hanging: list[tuple[str, _Task]] = []

    def start(
        self,
        answer_body: Any,
        work: Callable[[], None],
        *,
        kind: str,
        resource: str = "",
        failed: Callable[[], None] = _nothing,
    ) -> dict[str, str]:
        """Begin `work` and return the headers of the first answer (201 for PUT, 202 for DELETE and POST).

        `answer_body`: what the `Location` URL answers after success; None for a delete.
        `kind`: what is done, for people and fault rules ("online endpoint delete").
        `resource`: the path in the workspace of what it is done to.
        `failed`: called before a failure can be seen in the operation; a document that is gone by then is no error.
        An AzureError out of `work` becomes the operation's error; anything else becomes InternalServerError and is logged.
        """
        name = str(uuid.uuid4())
        self._emulator.store.put(
            KIND,
            name,
            "",
            {"status": "InProgress", "kind": kind, "resource": resource, "startTime": timestamp(), "result": answer_body},
        )
        self._begin(_Task(name, work, failed), Subject(path=resource, operation=kind))
        base = f"{self._emulator.base_url}{_folder(self._emulator)}"
        return {
            "Azure-AsyncOperation": f"{base}/mfeOperationsStatus/{name}?api-version=2022-02-01-preview",
            "Location": f"{base}/mfeOperationResults/{name}?api-version=2022-02-01-preview",
            **self._emulator.transitions.pace.poll_headers(),
        }

    def release(self) -> None:
        """Let go on what hung by a rule that is no more."""
        with self._lock:
            hooks = {rule.id for rule in self._emulator.faults.rules("operation") if rule.operation and rule.operation.hang}
            free = [task for identity, task in self._hanging if identity not in hooks]
            self._hanging = [(identity, task) for identity, task in self._hanging if identity in hooks]
        for task in free:
            self._pool.submit(self._run, task, None)

    def resume(self) -> None:
        """After a restart: an operation whose thread died with the old process failed, and says so."""
        for record in self._emulator.store.records(KIND):
            if record.body["status"] == "InProgress":
                self._finish(
                    record.name, AzureError(500, "OperationInterrupted", "The emulator was stopped during this operation.")
                )

    def close(self) -> None:
        """Let running work end; accept no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, task: _Task, subject: Subject) -> None:
        # The rule is asked and the task hung up in one go, so that `release` sees either both or neither.
        with self._lock:
            rule = self._emulator.faults.strike("operation", subject) if self._emulator.faults.operations else None
            fault = rule.operation if rule else None
            if rule and fault and fault.hang:
                # Not in a thread: any number may hang, and the others go on.
                self._hanging.append((rule.id, task))
                return
        self._pool.submit(self._run, task, fault)

    def _run(self, task: _Task, fault: OperationFault | None) -> None:
        error: AzureError | None = None
        try:
            if fault is not None:
                raise AzureError(400, fault.code, fault.message)
            task.work()
        except AzureError as refused:
            error = refused
        except Exception as bug:  # noqa: BLE001
            # The thread's last frame: whoever polls must learn of it, and the log keeps the traceback.
            _log.exception("operation %s failed", task.name)
            error = AzureError(500, "InternalServerError", f"{type(bug).__name__}: {bug}")
        try:
            if error is not None:
                with contextlib.suppress(MissingDocumentError):
                    task.failed()
        finally:
            self._finish(task.name, error)

    def _finish(self, name: str, error: AzureError | None) -> None:
        outcome: dict[str, Any] = {"status": "Failed", **error.body} if error else {"status": "Succeeded"}
        self._emulator.store.update(KIND, name, "", lambda body: {**body, **outcome, "endTime": timestamp()})


def routes(emulator: Emulator) -> list[Route]:
    def status(call: Call) -> Answer:
        body = _operation(emulator, call)
        if emulator.transitions.counting:
            emulator.transitions.read(body.get("resource", ""))
        shown = {key: body[key] for key in ("status", "startTime", "endTime", "error") if key in body}
        waiting = emulator.transitions.pace.poll_headers() if body["status"] == "InProgress" else {}
        name = call.path_params["id"]
        return Answer({"id": f"{_folder(emulator)}/mfeOperationsStatus/{name}", "name": name, **shown}, headers=waiting)

    def result(call: Call) -> Answer:
        body = _operation(emulator, call)
        if body["status"] == "InProgress":
            return Answer(
                status=202, headers={"Location": emulator.base_url + call.path, **emulator.transitions.pace.poll_headers()}
            )
        if "error" in body:
            raise AzureError(400, body["error"]["code"], body["error"]["message"])
        return Answer(body["result"], 200 if body["result"] is not None else 204)

    return [
        Route("GET", f"/{_folder(emulator)}/mfeOperationsStatus/{{id}}", status, sdk="(polling of every begin_*)"),
        Route("GET", f"/{_folder(emulator)}/mfeOperationResults/{{id}}", result, sdk="(polling of every begin_*)"),
    ]


def _operation(emulator: Emulator, call: Call) -> dict[str, Any]:
    body = emulator.store.get(KIND, call.path_params["id"])
    if body is None:
        raise not_found(f"Operation {call.path_params['id']} was not found.")
    return body


def _folder(emulator: Emulator) -> str:
    subscription = emulator.settings.subscription_id
    return f"/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{LOCATION}"
