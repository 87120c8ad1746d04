"""A state that an earlier version of the app has written, in today's shape: its rollout goes on where it stood. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ml_core.documents import time_name

_PHASES = {"rolling back": "rolling back", "archiving": "archiving", "provisioning": "provisioning"}


def in_todays_shape(document: Mapping[str, Any], endpoint: str = "") -> Mapping[str, Any]:
    """`intended` and `before` were weights by slot; a rollout had no id, no road, and one phase with traffic: ramping."""
    active = document.get("active")
    if not active or "road" in active:
        return document
    since = datetime.fromisoformat(active["since"] or "1970-01-01T00:00:00Z")
    first, share = active["stable"] is None, active["intended"].get(active["candidate"], 0)
    phase = _PHASES.get(active["phase"]) or ("canary" if share < 100 else "promoting")
    as_it_was = {} if first else {active["stable"]: 100}
    moved: dict[str, Any] = {
        **{name: active[name] for name in ("model", "version", "candidate", "stable", "reason")},
        "correlation_id": active.get("correlation_id", ""),
        "id": f"{endpoint or active['model']}-{active['version']}-{time_name(since)}",
        "endpoint": endpoint,
        "road": "first" if first else "canary",
        "phase": phase,
        "stable_model": "",
        "began_at": since,
        "since": since,
        "intended": {"weights": active["intended"] or as_it_was},
        "before": {"weights": active["before"] or as_it_was},
        "ends_as": "rolled back" if phase == "rolling back" else None,
    }
    return {**document, "active": moved}
