"""Long-running writes: the document says that one is under way, its operation how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from local.azureml.call import Answer
from local.azureml.errors import conflict
from local.azureml.store import Body, Record, Store

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

BUSY = ("Creating", "Updating", "Deleting")


class Writes:
    """Of the documents of one kind: PUT, PATCH and DELETE as Azure answers them, with the work in the background."""

    def __init__(
        self,
        emulator: Emulator,
        kind: str,
        noun: str,
        path: Callable[[str, str], str],
        shown: Callable[[Record], Body],
    ) -> None:
        """`noun`: in the names of operations ("online endpoint"). `path(name, version)`: in the workspace."""
        self._emulator, self._store = emulator, emulator.store
        self._kind, self._noun, self._path, self._shown = kind, noun, path, shown

    def put(self, name: str, version: str, change: Callable[[Body | None], Body], work: Callable[[str], None]) -> Answer:
        """201 or 200. `change(old)` refuses, or gives the new document; `work("create" or "update")` goes on with it."""
        record = self._store.upsert(
            self._kind, name, version, lambda old: with_state(change(old), "Creating" if old is None else "Updating")
        )
        verb = "create" if record.body["properties"]["provisioningState"] == "Creating" else "update"
        shown = self._shown(record)
        headers = self._start(record.name, record.version, with_state(shown, "Succeeded"), partial(work, verb), verb)
        return Answer(shown, 201 if verb == "create" else 200, headers)

    def delete(self, name: str, version: str, refuse: Callable[[Body], object], work: Callable[[], None]) -> Answer:
        """202; 204 when there is nothing to delete. `refuse(old)` raises when it must stay."""
        if self._store.get(self._kind, name, version) is None:
            return Answer(status=204)

        def change(old: Body) -> Body:
            refuse(old)
            return with_state(old, "Deleting")

        self._store.update(self._kind, name, version, change)
        return Answer(status=202, headers=self._start(name, version, None, work, "delete"))

    def succeeded(self, name: str, version: str = "") -> None:
        """The end of a `work` that did what was asked."""
        self._set(name, version, "Succeeded")

    def _start(self, name: str, version: str, done: Body | None, work: Callable[[], None], verb: str) -> dict[str, str]:
        return self._emulator.operations.start(
            done,
            work,
            kind=f"{self._noun} {verb}",
            resource=self._path(name, version),
            failed=partial(self._set, name, version, "Failed"),
        )

    def _set(self, name: str, version: str, state: str) -> None:
        self._store.update(self._kind, name, version, lambda body: with_state(body, state))


def with_state(body: Body, state: str) -> Body:
    """The body in another provisioning state."""
    return {**body, "properties": {**body["properties"], "provisioningState": state}}


def refuse_while_busy(body: Body | None, what: str) -> None:
    """409 while an earlier write is under way."""
    if body is not None and (state := body["properties"]["provisioningState"]) in BUSY:
        raise conflict(
            f"There is already an ongoing operation on {what}: its provisioning state is {state}. Try again when it has ended."
        )


def fail_interrupted(store: Store, kinds: Iterable[str]) -> None:
    """After a restart: what was being created, updated or deleted did not get to its end, and says so."""
    for kind in kinds:
        for record in store.records(kind):
            if record.body.get("properties", {}).get("provisioningState") in BUSY:
                store.update(kind, record.name, record.version, lambda body: with_state(body, "Failed"))
