"""What a deployment collects. Written by the control plane into the routing table, read by the router."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PAYLOADS = ("request", "response")
"""The collections that need no code: the bodies of requests and responses. All others are filled by the scoring script."""
_ROLLED = {"Year": "%Y", "Month": "%Y/%m", "Day": "%Y/%m/%d", "Hour": "%Y/%m/%d/%H", "Minute": "%Y/%m/%d/%H/%M"}
ROLLING_RATES = tuple(_ROLLED)


@dataclass(frozen=True)
class Collection:
    """One collection: where its lines go, and for which share of the requests there is one."""

    name: str
    container: str
    path: str
    """The folder in the container below which the rolling folders are."""
    sampling_rate: float
    """0.0 to 1.0."""


@dataclass(frozen=True)
class CollectionPlan:
    """All enabled collections of a deployment."""

    source: str
    """The deployment's ARM id: the `source` of every line."""
    rolling_rate: str
    collections: tuple[Collection, ...]

    @property
    def rolling_folder(self) -> str:
        """A strftime pattern for the folders that divide the lines by time (UTC)."""
        return _ROLLED[self.rolling_rate]

    @property
    def custom(self) -> tuple[Collection, ...]:
        """Those that the scoring script fills."""
        return tuple(one for one in self.collections if one.name not in PAYLOADS)

    def collection(self, name: str) -> Collection | None:
        return next((one for one in self.collections if one.name == name), None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CollectionPlan:
        collections = tuple(Collection(**one) for one in document["collections"])
        return cls(document["source"], document["rolling_rate"], collections)

    def for_the_script(self) -> dict[str, Any]:
        """The file that `azureml.ai.monitoring.Collector` reads its settings from (AZUREML_MDC_CONFIG_PATH)."""
        enabled = {one.name: {"enabled": True, "sampleRatePercentage": round(one.sampling_rate * 100)} for one in self.custom}
        return {"collections": enabled}
