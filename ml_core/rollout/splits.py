"""Live and mirrored traffic, compared and told. Pure.

Azure's weights are whole numbers that sum to 100. A mirror copies at most 50 % to one slot, and never to one with live traffic.
"""

from __future__ import annotations

from collections.abc import Mapping

from ml_core.ports import EndpointState
from ml_core.rollout.state import Rollout, Split


def weights(traffic: Mapping[str, int]) -> dict[str, int]:
    """Traffic in a comparable form: Azure and its SDK leave zeros out, or not."""
    return {name: weight for name, weight in sorted(traffic.items()) if weight}


def same(one: Split, other: Split) -> bool:
    return weights(one.weights) == weights(other.weights) and weights(one.mirror) == weights(other.mirror)


def carried(endpoint: EndpointState) -> Split:
    """What an endpoint carries."""
    return Split(weights(endpoint.traffic), weights(endpoint.mirror))


def live(rollout: Rollout, share: int) -> Split:
    """`share` percent for the candidate, the rest for the stable deployment. Before the first of all nobody has any."""
    if rollout.stable is None:
        return Split({rollout.candidate: share}) if share else Split()
    return Split({rollout.stable: 100 - share, rollout.candidate: share})


def copied(rollout: Rollout, share: int) -> Split:
    """All live traffic as it was, and copies of `share` percent of it to the candidate."""
    return Split(live(rollout, 0).weights, {rollout.candidate: share} if share else {})


def controlled(rollout: Rollout, share: int) -> Split:
    """All live traffic for the candidate, and copies of `share` percent of it to the old deployment."""
    mirrored = {rollout.stable: share} if rollout.stable and share else {}
    return Split(live(rollout, 100).weights, mirrored)


def meets(split: Split, slot: str) -> bool:
    """Whether a slot gets requests, live ones or copies."""
    return bool(split.weights.get(slot) or split.mirror.get(slot))


def share_of_candidate(split: Split, rollout: Rollout) -> float:
    """The candidate's part of all requests that both answer, 0 to 1: 0.1 at 10 % live, 1/11 where every tenth is copied to it."""
    asked = {slot: split.weights.get(slot, 0) + split.mirror.get(slot, 0) for slot in (rollout.candidate, rollout.stable or "")}
    return asked[rollout.candidate] / (sum(asked.values()) or 1)


def told(split: Split) -> str:
    """`blue 90 %, green 10 %`, and what is copied."""
    parts = [f"{name} {weight} %" for name, weight in split.weights.items()]
    parts += [f"copies of {weight} % to {name}" for name, weight in split.mirror.items() if weight]
    return ", ".join(parts) or "nothing"
