"""What the world looks like through the emulator's own REST API: for the terminal views, not for the app."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from local.layout import StackEnvironment


@dataclass(frozen=True)
class Step:
    """One step of a pipeline job; `seconds` is None until it has started."""

    name: str
    status: str
    seconds: float | None


@dataclass(frozen=True)
class Job:
    name: str
    status: str
    tags: dict[str, str]
    steps: list[Step]
    error: str | None


@dataclass(frozen=True)
class Model:
    name: str
    version: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Deployment:
    name: str
    state: str
    model: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    """`traffic` maps a deployment's name to its weight in percent, `mirror` to the percent of the requests that it gets copies
    of."""

    name: str
    state: str
    traffic: dict[str, int]
    scoring_uri: str
    deployments: list[Deployment] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    mirror: dict[str, int] = field(default_factory=dict)


class Observer:
    """Reads jobs, models, data versions and endpoints with the local stack's own managed identity."""

    def __init__(self, environment: StackEnvironment) -> None:
        self._environment = environment
        self._http = httpx.Client(base_url=environment.base_url, verify=environment.ssl_context(), timeout=30.0)
        self._token, self._token_until = "", 0.0

    def close(self) -> None:
        self._http.close()

    def _authorization(self) -> dict[str, str]:
        if time.time() > self._token_until:
            answer = self._http.get(
                "/msi/token",
                params={"api-version": "2019-08-01", "resource": self._environment.base_url},
                headers={"X-IDENTITY-HEADER": self._environment.identity_header},
            )
            answer.raise_for_status()
            body = answer.json()
            self._token, self._token_until = body["access_token"], float(body["expires_on"]) - 60
        return {"Authorization": f"Bearer {self._token}"}

    def _get(self, path: str, *, history: bool = False) -> Any:
        prefix = "/history/v1.0" if history else ""
        url = f"{prefix}{self._environment.workspace_id}/{path}"
        answer = self._http.get(url, params={"api-version": "2024-04-01"}, headers=self._authorization())
        answer.raise_for_status()
        return answer.json()

    def _list(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        page = self._get(path)
        while True:
            rows += page["value"]
            if not page.get("nextLink"):
                return rows
            answer = self._http.get(page["nextLink"], headers=self._authorization())
            answer.raise_for_status()
            page = answer.json()

    def data_versions(self, data_asset: str) -> list[str]:
        """Versions of a data asset, oldest first; empty when there is none."""
        try:
            rows = self._list(f"data/{quote(data_asset)}/versions")
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return []
            raise
        rows.sort(key=lambda row: row["systemData"]["createdAt"])
        return [row["name"] for row in rows]

    def data_location(self, data_asset: str, version: str) -> tuple[str, str]:
        """Where the folder of a version is: container and path."""
        uri = str(self._get(f"data/{quote(data_asset)}/versions/{quote(version)}")["properties"]["dataUri"])
        store, _, path = uri.partition("/datastores/")[2].partition("/paths/")
        return str(self._get(f"datastores/{quote(store)}")["properties"]["containerName"]), path

    def jobs(self, *, steps: bool = True) -> list[Job]:
        """Pipeline jobs, oldest first, each with its steps and its error, or (`steps=False`, one request in all) without."""
        rows = sorted(self._list("jobs"), key=lambda row: row["systemData"]["createdAt"])
        return [self._job(row) if steps else _bare(row) for row in rows]

    def _job(self, row: dict[str, Any]) -> Job:
        name, properties = row["name"], row["properties"]
        children = self._get(f"runs/{quote(name)}/children", history=True)["value"]
        error = None
        if properties["status"] == "Failed":
            details = self._get(f"runs/{quote(name)}/details", history=True)
            error = str(((details.get("error") or {}).get("error") or {}).get("message") or "no error was given")
        steps = [Step(child["displayName"], child["status"], _seconds(child)) for child in children]
        return Job(name, properties["status"], properties.get("tags") or {}, steps, error)

    def models(self) -> list[Model]:
        """All versions of all models, by name and age."""
        found: list[tuple[str, Model]] = []
        for container in self._list("models"):
            name = container["name"]
            rows = self._list(f"models/{quote(name)}/versions")
            found += [(row["systemData"]["createdAt"], Model(name, row["name"], row["properties"]["tags"])) for row in rows]
        return [model for _, model in sorted(found, key=lambda pair: (pair[1].name, pair[0]))]

    def endpoints(self) -> list[Endpoint]:
        return [self._endpoint(row) for row in self._list("onlineEndpoints")]

    def _endpoint(self, row: dict[str, Any]) -> Endpoint:
        name, properties = row["name"], row["properties"]
        deployments = [_deployment(item) for item in self._list(f"onlineEndpoints/{quote(name)}/deployments")]
        traffic, mirror = (
            {slot: int(weight) for slot, weight in (properties.get(kind) or {}).items()} for kind in ("traffic", "mirrorTraffic")
        )
        scoring_uri, tags = properties.get("scoringUri") or "", row.get("tags") or {}
        return Endpoint(name, properties["provisioningState"], traffic, scoring_uri, deployments, tags, mirror)

    def endpoint_key(self, name: str) -> str:
        answer = self._http.post(
            f"{self._environment.workspace_id}/onlineEndpoints/{quote(name)}/listKeys",
            params={"api-version": "2024-04-01"},
            headers=self._authorization(),
        )
        answer.raise_for_status()
        return str(answer.json()["primaryKey"])


def _bare(row: dict[str, Any]) -> Job:
    properties = row["properties"]
    return Job(row["name"], properties["status"], properties.get("tags") or {}, [], None)


def _deployment(row: dict[str, Any]) -> Deployment:
    properties = row["properties"]
    model = _model_name(properties.get("model") or "")
    return Deployment(row["name"], properties["provisioningState"], model, row.get("tags") or {})


def _model_name(asset_id: str) -> str:
    """`…/models/churn/versions/3` -> `churn:3`."""
    parts = asset_id.split("/")
    return f"{parts[-3]}:{parts[-1]}" if len(parts) >= 3 else asset_id


def _seconds(child: dict[str, Any]) -> float | None:
    started, ended = child.get("startTimeUtc"), child.get("endTimeUtc")
    if not started:
        return None
    until = datetime.fromisoformat(ended) if ended else datetime.now(UTC)
    return max(0.0, (until - datetime.fromisoformat(started)).total_seconds())
