"""A storage account, Event Grid and a Functions host in simulated time, all of which may fail at any write.

Faked: the ports and time. Real: the way in for events, every reconciler, the requests, the timers' work.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal
from urllib.parse import unquote

from ml_core import inbox, intake, operations
from ml_core.errors import TemporaryError
from ml_core.ingestion import reconcile as data_assets
from ml_core.ingestion import record
from ml_core.ingestion.accept import CoalescedWakes
from ml_core.ingestion.arrivals import put_bundle
from ml_core.ingestion.replay import replay_window
from ml_core.reconciling import DATA_ASSETS, MODELS, ROLLOUTS
from ml_core.rollout import reconcile as rollouts
from ml_core.services import Services
from ml_core.training import reconcile as models
from ml_core.training.request import request_due_training, request_rerun, request_training
from tests.faults import Died, Faults
from tests.story import ACCOUNT_URL, Story

CONFIG = """
poll: 2m
data_assets:
  flights: {container: flights, prefix: in/, suffixes: [.csv], window: {quiet_period: 30s, max_wait: 10m}, inventory: 20m}
  trips: {container: trips, window: {quiet_period: null, max_wait: 10m, max_files: 3, marker: _SUCCESS}, inventory: 30m}
  readings: {container: readings, manifest: latest 2, inventory: 20m}
models:
  delay:
    data_asset: flights
    target: {column: late, positive_value: "yes"}
    endpoint: {name: delay}
    rollout: {steps: [100], bake: 0s}
    schedules: {retrain: "0 0 */4 * * *"}
  fare:
    data_asset: trips
    target: {column: late, positive_value: "yes"}
    endpoint: {name: fare}
    rollout: {steps: [100], bake: 0s}
"""

AGAIN_AFTER = timedelta(seconds=10)
"""A delivery or a message that failed comes again: Event Grid's first retry and host.json's visibilityTimeout."""

MOST_TRIES = 5
"""host.json's maxDequeueCount: after so many the host gives up on a message, and the poison queue has it."""

RECONCILERS = {DATA_ASSETS: data_assets.receive, MODELS: models.receive, ROLLOUTS: rollouts.receive}


Place = tuple[str, str]
"""A container and a path in it."""


@dataclass(order=True)
class Coming:
    """An event on its way, or a queue message that comes once more: what is done with it, and how often that has failed."""

    at: datetime
    work: Callable[[], None] = field(compare=False)
    kind: str = field(compare=False, default="")
    message: str = field(compare=False, default="")
    tries: int = field(compare=False, default=0)


@dataclass(frozen=True)
class Told:
    """How storage tells of a change: after each of `delays` (seconds) comes an event. None is a lost one, two a doubled one."""

    delays: Sequence[float]
    sequencers: bool = True
    spelling: Literal["as it is", "bare", "dfs"] = "as it is"

    def url(self, url: str) -> str:
        """One of the spellings of a blob's address."""
        if self.spelling == "dfs":
            return url.replace(".blob.", ".dfs.")
        return unquote(url) if self.spelling == "bare" else url


class World(Story):
    """A story in which things happen at once, late, twice, never, and half."""

    def __init__(self, text: str = CONFIG) -> None:
        super().__init__(text)
        self.workspace.training_takes, self.workspace.change_takes = timedelta(minutes=5), timedelta(seconds=30)
        self.faults = Faults(others_work=self._others_work)
        self.services: Services = self.faults.beneath(self.services)
        self.coming: list[Coming] = []
        self.written = 0
        self.promised: set[tuple[str, str]] = set()
        self.reruns_asked: Counter[str] = Counter()
        self._wakes = self._new_process()
        self.accepted: set[str] = set()
        """The events that are in the ledger."""
        self.errors: set[str] = set()
        self._hands: list[Coming] = []

    # ---- what people and storage do -------------------------------------------------------------------------------

    def store(self, place: Place, size: int, told: Told) -> None:
        """A blob is written."""
        blob = self.containers.upload(*place, size)
        data = {"api": "PutBlob", "url": told.url(blob.url), "eTag": blob.etag, "contentLength": size}
        self._announce("Microsoft.Storage.BlobCreated", data, told)

    def remove(self, place: Place, told: Told) -> None:
        blob = self.containers.content[place]
        self.containers.delete(*place)
        data: dict[str, object] = {"api": "DeleteBlob", "url": told.url(blob.url)}
        self._announce("Microsoft.Storage.BlobDeleted", data, told)

    def forge(self, place: Place, type_: str) -> None:
        """Somebody sends an event about what has never happened to a blob."""
        url = f"{ACCOUNT_URL}/{place[0]}/{place[1]}"
        data: dict[str, object] = {"api": "PutBlob", "url": url, "eTag": f"0xF{self.written}", "contentLength": 10}
        self._announce(type_, data, Told([0.0]))

    def ask_for_training(self, model: str, cause: str) -> None:
        """Something asks for a training. It is promised when the asking came to its end."""
        if self._run(lambda: request_training(self.services, model, cause, reason="the data drifted", by="monitor")):
            self.promised.add((model, cause))

    def ask_for_rerun(self, model: str) -> None:
        """A person wants the same data trained on again."""

        def ask() -> None:
            number = request_rerun(self.services, model, reason="I want to see it again", by="ada")
            self.promised.add((model, f"rerun-{number}"))

        self.reruns_asked[model] += 1
        self._run(ask)

    def doubt(self, asset: str, back: timedelta) -> None:
        """A person has what was told lately taken in once more."""
        since, until = self.clock() - back, self.clock()
        self._run(lambda: replay_window(self.services, asset, since, until))

    def replay_inbox(self) -> None:
        """A person tries everything again that waits for one."""
        for item in list(inbox.items(self.ledger, "open")):
            self._run(partial(operations.replay, self.services, item.id, "ada"))

    def _announce(self, type_: str, data: dict[str, object], told: Told) -> None:
        self.written += 1
        if told.sequencers:
            data["sequencer"] = f"{self.written:032x}"
        event = {"id": f"e{self.written}", "eventType": type_, "eventTime": self.clock().isoformat(), "data": data}
        raw = json.dumps(event)
        for delay in told.delays:
            self.coming.append(Coming(self.clock() + timedelta(seconds=delay), lambda: self._accept(raw)))

    # ---- what the host does ---------------------------------------------------------------------------------------

    def pass_time(self, span: timedelta) -> None:
        """Everything happens that is due within the span, in its order."""
        until = self.clock() + span
        while (due := self._next_due()) is not None and due <= until:
            self.clock.moment = max(self.clock(), due)
            self._work_off_what_is_due()
        self.clock.moment = max(self.clock(), until)  # a process that stood still has perhaps used up more

    def tick_timers(self) -> None:
        self._run(lambda: request_due_training(self.services))
        self._run(lambda: operations.sweep(self.services))

    def come_to_rest(self, span: timedelta = timedelta(hours=3)) -> None:
        """Nothing new from now on, after a while no fault either, and then so much time that what heals by itself has healed."""
        self.tick_timers()
        self.pass_time(span / 6)
        self.faults.disarm()
        for _ in range(6):
            self.tick_timers()
            self.pass_time(span / 6)

    def _next_due(self) -> datetime | None:
        times = [message[0] for message in self.queue.messages] + [one.at for one in self.coming]
        return min(times, default=None)

    def _work_off_what_is_due(self) -> None:
        while self.coming and (first := min(self.coming)).at <= self.clock():
            self.coming.remove(first)
            self._work_off(first)
        if received := self.queue.receive():
            self._work_off(self._message(*received))

    def _message(self, kind: str, message: str) -> Coming:
        return Coming(self.clock(), lambda: RECONCILERS[kind](self._process(), message), kind, message)

    def _process(self) -> Services:
        """The services of the process that works now. While one stands still, it is another: a process does not look twice."""
        return self.services if len(self._hands) < 2 else replace(self.services)

    def _work_off(self, one: Coming) -> None:
        self._hands.append(one)
        try:
            done = self._run(one.work)
        finally:
            self._hands.pop()
        if not done and (again := self._once_more(one)):
            self.coming.append(again)
        # The loop tries again whatever it was. A fault of the app's own must not hide behind that.
        self.errors |= {look.value["error"] for look in self.ledger.list("looks/")} - {""}

    def _once_more(self, one: Coming) -> Coming | None:
        """Event Grid does not give up that soon. The host does: on a message, and then on its poison."""
        again = replace(one, at=self.clock() + AGAIN_AFTER, tries=one.tries + 1)
        if not one.message or again.tries % MOST_TRIES:
            return again
        if again.tries > MOST_TRIES:
            return None  # nobody reads the poison of a poison queue
        return replace(again, work=lambda: operations.keep_poison_message(self.services, one.kind, one.message))

    def _accept(self, raw: str) -> None:
        """As the function does it, without its waiting for company: a bundle of its own, and a wake that others may share."""
        event, found = record.sort(self.services, raw)
        if isinstance(found, record.Arrival):
            put_bundle(self.services, found.asset, [found.receipt])
            self.accepted.add(found.receipt.event_id)
            self._wakes.wake(found.asset)
        else:
            intake.settle(self.services, raw, event, found)

    def _new_process(self) -> CoalescedWakes:
        """What a process remembers of the wakes it has sent is gone when it dies."""
        return CoalescedWakes(self.services, clock=lambda: self.clock().timestamp())

    def _run(self, work: Callable[[], object]) -> bool:
        """Whether an invocation came to its end. One that did not has left behind what it had written by then."""
        try:
            work()
        except Died:
            self._wakes = self._new_process()
            return False
        except TemporaryError:
            return False
        return True

    def _others_work(self, span: timedelta) -> None:
        """While a process works or stands still: its message goes to another one (the lease had run out), and life goes on."""
        for one in self._hands:
            if one.message:
                self.queue.enqueue(one.kind, one.message)
        self.pass_time(span)
