"""Events leave the workspace through an outbox: kept first, then posted to the Event Grid topic, at least once and in order."""

from __future__ import annotations

import logging
import threading
import uuid
from typing import TYPE_CHECKING, Any

import httpx

from local.azureml.store import timestamp

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

KIND = "outbox"
_FIRST_RETRY_SECONDS = 0.2
_LAST_RETRY_SECONDS = 10.0
# Events come in groups: a step's end and the next one's beginning are one request instead of five.
_GATHER_SECONDS = 0.02
_log = logging.getLogger(__name__)


class EventSink:
    """`publish` returns at once; a thread delivers. Without a topic nothing is kept or sent, on purpose: nobody subscribed."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def publish(self, event_type: str, subject: str, data: dict[str, Any]) -> None:
        """`event_type` in full ("Microsoft.MachineLearningServices.ModelRegistered"); `data` as in the Event Grid schema."""
        if self._emulator.settings.event_topic_url is None:
            return
        name = str(uuid.uuid4())
        event = {
            "id": name,
            "topic": self._emulator.workspace_id,
            "subject": subject,
            "eventType": event_type,
            "eventTime": timestamp(),
            "data": data,
            "dataVersion": "",
            "metadataVersion": "1",
        }
        self._emulator.store.put(KIND, name, "", event)
        self._wake.set()

    def resume(self) -> None:
        """Start delivering, first of all what an earlier process could not."""
        if self._emulator.settings.event_topic_url is None or self._thread is not None:
            return
        self._wake.set()
        self._thread = threading.Thread(target=self._deliver, name="events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is undelivered stays in the outbox for the next start."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _deliver(self) -> None:
        trust = self._emulator.certificates.ssl_context()
        pause = _FIRST_RETRY_SECONDS
        with httpx.Client(verify=trust, timeout=10.0) as client:
            while not self._stop.is_set():
                self._wake.wait()
                self._stop.wait(_GATHER_SECONDS)
                self._wake.clear()
                while not self._stop.is_set() and (events := self._emulator.store.list(KIND)):
                    if self._post(client, events):
                        pause = _FIRST_RETRY_SECONDS
                        continue
                    self._stop.wait(pause)
                    pause = min(pause * 2, _LAST_RETRY_SECONDS)

    def _post(self, client: httpx.Client, events: list[dict[str, Any]]) -> bool:
        settings = self._emulator.settings
        headers = {"aeg-sas-key": settings.event_topic_key} if settings.event_topic_key else {}
        try:
            client.post(str(settings.event_topic_url), json=events, headers=headers).raise_for_status()
        except httpx.HTTPError as error:
            _log.warning("%d event(s) not accepted by the topic yet: %s", len(events), error)
            return False
        for event in events:
            self._emulator.store.delete(KIND, event["id"])
        return True
