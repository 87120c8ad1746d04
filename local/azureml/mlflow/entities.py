"""The workspace's models as MLflow's entities: a name is a registered model, a version a model version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from local.azureml.mlflow.parameters import NO_STAGE
from local.azureml.storage import JOB_OUTPUT
from local.azureml.store import Record

Json = dict[str, Any]


def registered_model(record: Record, versions: Sequence[Record], aliases: Mapping[str, str]) -> Json:
    """`versions`: the active ones, newest last; `aliases`: alias -> version."""
    latest = [model_version(version, _aliases_of(version.version, aliases)) for version in latest_of(versions).values()]
    return {
        "name": record.name,
        **_described(record),
        "latest_versions": latest,
        "aliases": [{"alias": alias, "version": version} for alias, version in sorted(aliases.items())],
    }


def model_version(record: Record, aliases: Sequence[str], run_id: str | None = None) -> Json:
    """`run_id`: of the MLflow run that made the version, for one whose properties do not say."""
    properties = record.body["properties"]
    origin = properties.get("properties") or {}
    shown = {
        "name": record.name,
        "version": record.version,
        **_described(record),
        "current_stage": stage_of(record),
        "source": source_of(record),
        "run_id": origin.get("mlflow.runId") or run_id,
        "model_id": origin.get("mlflow.modelId"),
        "status": "READY",
        "aliases": list(aliases),
    }
    return {key: value for key, value in shown.items() if value is not None}


def latest_of(versions: Sequence[Record]) -> dict[str, Record]:
    """Stage -> the version with the highest number in it. Versions that are no numbers are none of MLflow's."""
    latest: dict[str, Record] = {}
    for record in sorted((one for one in versions if one.version.isdecimal()), key=lambda one: int(one.version)):
        latest[stage_of(record)] = record
    return latest


def stage_of(record: Record) -> str:
    return str(record.body["properties"].get("stage") or NO_STAGE)


def source_of(record: Record) -> str:
    properties = record.body["properties"]
    return str((properties.get("properties") or {}).get("mlflow.modelSourceUri") or properties["modelUri"])


def job_of(record: Record) -> str | None:
    """The job or step that made the version, as far as the workspace knows."""
    properties = record.body["properties"]
    match = JOB_OUTPUT.fullmatch(str(properties["modelUri"]))
    return properties.get("jobName") or (match["job"] if match else None)


def tags_of(record: Record) -> dict[str, str]:
    return dict(record.body["properties"].get("tags") or {})


def _aliases_of(version: str, aliases: Mapping[str, str]) -> list[str]:
    return sorted(alias for alias, named in aliases.items() if named == version)


def _described(record: Record) -> Json:
    return {
        "creation_timestamp": milliseconds(record.created),
        "last_updated_timestamp": milliseconds(record.updated),
        "description": record.body["properties"].get("description") or "",
        "tags": [{"key": key, "value": str(value)} for key, value in sorted(tags_of(record).items())],
    }


def milliseconds(time: str) -> int:
    """The store's ISO time as MLflow counts: milliseconds since 1970."""
    return int(datetime.fromisoformat(time).timestamp() * 1000)
