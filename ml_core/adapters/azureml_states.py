"""azure-ai-ml's entities as the values of the ports."""

from __future__ import annotations

import re
from typing import Any

from ml_core.ports import DeploymentState, ModelVersion

_MODEL_ID = re.compile(r"(?:/models/|^azureml:)(?P<name>[^/:]+)(?:/versions/|:)(?P<version>[^/:]+)$", re.IGNORECASE)


def model_version(model: Any) -> ModelVersion | None:
    """A `Model` entity, or None for None."""
    if model is None:
        return None
    return ModelVersion(str(model.name), str(model.version), {str(key): str(value) for key, value in (model.tags or {}).items()})


def deployment_state(deployment: Any) -> DeploymentState:
    """An `OnlineDeployment` entity. Azure gives the model as an ARM id."""
    model = str(deployment.model or "")
    found = _MODEL_ID.search(model)
    if found:
        model = f"{found['name']}:{found['version']}"
    return DeploymentState(str(deployment.name), model, word(deployment.provisioning_state))


def job_error(job: Any) -> str:
    """Why a job failed, as far as the job's own document tells; the studio's link otherwise."""
    properties = {str(key): str(value) for key, value in (job.properties or {}).items()}
    return properties.get("azureml.error") or properties.get("error") or f"see {job.studio_url or 'the job in the studio'}"


def word(value: object) -> str:
    """The service's own word for a state: the SDK answers some as text, some as an enumeration whose `str` is its Python name."""
    return str(getattr(value, "value", value))
