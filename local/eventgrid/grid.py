"""The emulator's own service: topics, subscriptions and publishing, above the store and beside the dispatcher."""

from __future__ import annotations

import base64
import hmac
import secrets
import time
import uuid
from dataclasses import dataclass, replace
from typing import Any

import httpx

from local.eventgrid.dead_letters import DeadLetters
from local.eventgrid.dispatcher import Dispatcher
from local.eventgrid.errors import bad_request, not_found, unauthorized
from local.eventgrid.policy import DeliveryPolicy, Honest
from local.eventgrid.retry import RESPONSE_TIMEOUT
from local.eventgrid.schema import Event, parse_events, schema_of
from local.eventgrid.store import Store
from local.eventgrid.subscription import SUCCEEDED, Subscription, Topic, checked_name, parse_subscription, parse_topic
from local.eventgrid.webhook import validate

_METRICS = ("published", "matched", "delivered", "failed", "deadLettered", "dropped", "lost")


@dataclass(frozen=True)
class GridSettings:
    """`base_url`: where this process is reached; `source_prefix`: resource group that custom topics belong to."""

    base_url: str
    time_scale: float = 1.0
    seed: int | None = None
    timeout: float = RESPONSE_TIMEOUT.total_seconds()
    source_prefix: str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/tidegate-local"


class Grid:
    """All of Event Grid but HTTP. Used from one event loop."""

    def __init__(
        self,
        settings: GridSettings,
        store: Store,
        http: httpx.AsyncClient,
        dead_letters: DeadLetters,
        policy: DeliveryPolicy | None = None,
    ) -> None:
        self.settings = settings
        self._store, self._http, self._policy = store, http, policy or Honest()
        self._topics = {topic.name: topic for topic in store.topics()}
        self._subscriptions = {
            (topic.name, subscription.name): subscription
            for topic in self._topics.values()
            for subscription in store.subscriptions(topic)
        }
        self.dispatcher = Dispatcher(
            store,
            http,
            dead_letters,
            lambda topic, name: self._subscriptions.get((topic, name)),
            time_scale=settings.time_scale,
            seed=settings.seed,
            timeout=settings.timeout,
        )

    # topics

    def topics(self) -> list[Topic]:
        return list(self._topics.values())

    def topic(self, name: str) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise not_found("topic", name)
        return topic

    def put_topic(self, name: str, document: Any) -> tuple[Topic, bool]:
        """Make a topic or update it; its key stays. Returns it, and whether it is new."""
        known = self._topics.get(name)
        key = known.key if known else base64.b64encode(secrets.token_bytes(32)).decode()
        default_source = f"{self.settings.source_prefix}/providers/Microsoft.EventGrid/topics/{name}"
        topic = parse_topic(name, document, key, default_source)
        if known and known.input_schema != topic.input_schema:
            raise bad_request("'properties.inputSchema' of a topic cannot be changed.")
        self._store.put_topic(topic)
        self._topics[name] = topic
        return topic, known is None

    def delete_topic(self, name: str) -> None:
        self.topic(name)
        self._store.delete_topic(name)
        del self._topics[name]
        self._subscriptions = {key: value for key, value in self._subscriptions.items() if key[0] != name}

    # subscriptions

    def subscriptions(self, topic: str) -> list[Subscription]:
        return [item for item in self._subscriptions.values() if item.topic == self.topic(topic).name]

    def subscription(self, topic: str, name: str) -> Subscription:
        found = self._subscriptions.get((self.topic(topic).name, name))
        if found is None:
            raise not_found("event subscription", name)
        return found

    async def put_subscription(self, topic_name: str, name: str, document: Any) -> tuple[Subscription, bool]:
        """Validate the endpoint by the handshake, then make or replace the subscription. Returns it, and whether it is new."""
        topic = self.topic(topic_name)
        code = str(uuid.uuid4())
        wanted = replace(parse_subscription(topic, checked_name(name, "event subscription"), document), validation_code=code)
        url = f"{self.settings.base_url}/eventsubscriptions/{topic_name}/{name}/validate?code={code}"
        state = await validate(self._http, topic, wanted, url, self.settings.timeout)
        subscription = wanted.with_state(state, "" if state == SUCCEEDED else code)
        is_new = (topic_name, name) not in self._subscriptions
        self._keep(subscription)
        return subscription, is_new

    def validate_by_hand(self, topic: str, name: str, code: str) -> None:
        """Somebody opened the validationUrl."""
        subscription = self.subscription(topic, name)
        if not subscription.validation_code or not hmac.compare_digest(subscription.validation_code.encode(), code.encode()):
            raise bad_request("The validation code is wrong or was used before.")
        self._keep(subscription.with_state(SUCCEEDED, ""))

    def delete_subscription(self, topic: str, name: str) -> None:
        self.subscription(topic, name)
        self._store.delete_subscription(topic, name)
        del self._subscriptions[topic, name]
        self.dispatcher.forget(topic, name)

    def _keep(self, subscription: Subscription) -> None:
        self._store.put_subscription(subscription)
        self._subscriptions[subscription.topic, subscription.name] = subscription
        self.dispatcher.forget(subscription.topic, subscription.name)
        self.dispatcher.wake()

    # events

    def authorize(self, topic: Topic, key: str | None) -> None:
        if key is None:
            raise unauthorized("The request must carry the header aeg-sas-key (the emulator knows no aeg-sas-token).")
        if not hmac.compare_digest(topic.key.encode(), key.encode()):
            raise unauthorized("The aeg-sas-key is not this topic's key.")

    def publish(self, topic: Topic, payload: bytes, content_type: str) -> int:
        """Accept a body of events: checked, matched and durable when this returns. Returns how many."""
        if schema_of(content_type) not in topic.accepts:
            raise bad_request(f"This topic takes events in {topic.input_schema}; the content type was '{content_type}'.")
        events = parse_events(payload, content_type, topic.source, own_topic=topic.topic_type is None)
        now = time.time()
        subscriptions = [item for item in self._subscriptions.values() if item.topic == topic.name and item.state == SUCCEEDED]
        matched = [
            (subscription.name, event, self._due_times(topic, subscription, event, now))
            for event in events
            for subscription in subscriptions
            if subscription.filter.matches(event)
        ]
        self._store.publish(topic.name, len(events), matched, now)
        self.dispatcher.wake()
        return len(events)

    def _due_times(self, topic: Topic, subscription: Subscription, event: Event, now: float) -> list[float]:
        delays = self._policy.plan(topic.name, subscription.name, event)
        return [now + delay.total_seconds() * self.settings.time_scale for delay in delays]

    # what became of them

    def metrics(self, topic: str, name: str) -> dict[str, int]:
        """Counts since the subscription was made: of events (`published`: to its topic; `lost`: by the delivery policy), and of
        copies, of which an honest policy sends one each (`failed`: of attempts)."""
        subscription = self.subscription(topic, name)
        counts = self._store.counts(topic, subscription.name)
        return {metric: counts.get(metric, 0) for metric in _METRICS} | {"pending": self._store.pending(topic, name)}

    def pending(self) -> int:
        return self._store.pending()
