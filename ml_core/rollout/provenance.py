"""Where does a model version come from? Only what a training job of ours has made goes live without a person's word. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ml_core.ports import JobState, ModelVersion


@dataclass(frozen=True)
class Origin:
    """What is known of the job that a model version names in its tag `job`.

    `noted` is our own note from when we submitted it (None: we never did): its `model`, `data_version` and `correlation_id`.
    `job` is the job as the workspace has it.
    """

    noted: Mapping[str, str] | None = None
    job: JobState | None = None

    @property
    def correlation_id(self) -> str:
        """What the trail of the model's data is found by; '' for a model that is not ours."""
        return self.noted.get("correlation_id", "") if self.noted else ""


def objection(version: ModelVersion, origin: Origin) -> str:
    """Why this version must not go live, for people to read; '' when nothing speaks against it (its job may still run)."""
    told = f"{version.name}:{version.version}"
    missing = [tag for tag in ("job", "data_version") if not version.tags.get(tag)]
    if missing:
        return f"{told} does not say where it comes from: it has no tag {' and no tag '.join(missing)}"
    name, data_version, noted = version.tags["job"], version.tags["data_version"], origin.noted
    if noted is None or noted["model"] != version.name:
        return f"{told} says that the job {name} made it, and that is no training job of ours for this model"
    if noted["data_version"] != data_version:
        return f"{told} says that it learned from {data_version}, and the job {name} was given {noted['data_version']}"
    if origin.job is None:
        return f"{told} was made by the job {name}, which is not to be found in the workspace"
    if origin.job.ended and not origin.job.completed:
        return f"{told} was made by the job {name}, which ended as {origin.job.status}"
    return ""
