"""The routing table: what the control plane tells the router. A JSON file of the state folder (mode 600: it holds the keys)."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.azureml.faults import Rule
from local.azureml.serving.collection.plan import CollectionPlan


@dataclass(frozen=True)
class Credential:
    """A bearer value that opens an endpoint; `expires_at` (epoch seconds) is None for keys, set for tokens."""

    value: str
    expires_at: float | None = None


@dataclass(frozen=True)
class Target:
    """The scoring process of one deployment."""

    name: str
    port: int
    timeout_seconds: float
    limit: int
    """Requests under way or waiting; more get a 429."""
    ready: bool = True
    """False while the readiness probe fails: requests get a 503."""
    collector_port: int | None = None
    """Where its scoring script sends what it collects."""
    collection: CollectionPlan | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "timeout_seconds": self.timeout_seconds,
            "limit": self.limit,
            "ready": self.ready,
            "collector_port": self.collector_port,
            "collection": self.collection.to_json() if self.collection else None,
        }

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Target:
        plan = document.get("collection")
        return cls(
            name,
            document["port"],
            document["timeout_seconds"],
            document["limit"],
            document.get("ready", True),
            document.get("collector_port"),
            CollectionPlan.from_json(plan) if plan else None,
        )


@dataclass(frozen=True)
class Endpoint:
    """One online endpoint: weights are percent; they sum to 0 or 100, the mirror names at most one deployment."""

    name: str
    credentials: tuple[Credential, ...]
    traffic: tuple[tuple[str, int], ...]
    mirror: tuple[str, int] | None
    targets: Mapping[str, Target]
    audiences: tuple[str, ...] = ()
    """The audiences of Entra ID tokens that open it; empty unless the endpoint's auth mode is AADToken."""

    def admits(self, authorization: str, now: float) -> bool:
        """True for `Bearer <key or live token>`; every credential is compared, each in constant time."""
        scheme, _, offered = authorization.partition(" ")
        admitted = False
        for credential in self.credentials:
            same = hmac.compare_digest(offered.strip().encode(), credential.value.encode())
            admitted |= same and (credential.expires_at is None or now < credential.expires_at)
        return admitted and scheme.lower() == "bearer"

    def choose(self, draw: float) -> str | None:
        """The live deployment for a uniform `draw` in [0, 1), or None when no deployment has a positive weight."""
        point = draw * sum(weight for _, weight in self.traffic)
        for name, weight in self.traffic:
            if point < weight:
                return name
            point -= weight
        return None


def parse(document: Mapping[str, Any]) -> dict[str, Endpoint]:
    """Endpoints by name from the table's JSON."""
    return {name: _endpoint(name, body) for name, body in document["endpoints"].items()}


def _endpoint(name: str, body: Mapping[str, Any]) -> Endpoint:
    mirror = next(iter(body["mirror"].items()), None)
    return Endpoint(
        name=name,
        credentials=tuple(Credential(one["value"], one.get("expires_at")) for one in body["credentials"]),
        traffic=tuple((deployment, weight) for deployment, weight in body["traffic"].items() if weight > 0),
        mirror=mirror if mirror and mirror[1] > 0 else None,
        targets={deployment: Target.from_json(deployment, target) for deployment, target in body["targets"].items()},
        audiences=tuple(body.get("audiences", ())),
    )


def load(path: Path) -> tuple[dict[str, Endpoint], list[Rule]]:
    """Endpoints by name and the rules of scoring faults; no file means none yet."""
    if not path.exists():
        return {}, []
    document = json.loads(path.read_text())
    return parse(document), [Rule.of_scoring(body) for body in document.get("faults", ())]


def save(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the file at once, so that a reader sees the old table or the new one and never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file)
    fresh.replace(path)
