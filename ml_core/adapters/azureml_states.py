"""azure-ai-ml's entities as the values of the ports."""

from __future__ import annotations

import json
import re
from typing import Any

from ml_core.ports import DeploymentState, ModelVersion

_MODEL_ID = re.compile(r"(?:/models/|^azureml:)(?P<name>[^/:]+)(?:/versions/|:)(?P<version>[^/:]+)$", re.IGNORECASE)
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b")
_LINES, _CHARACTERS = 20, 4000


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
    made = getattr(getattr(deployment, "creation_context", None), "created_at", None)
    return DeploymentState(
        str(deployment.name), model, word(deployment.provisioning_state), created_at=made.isoformat() if made else ""
    )


def reason_in_log(log: str) -> str:
    """At most 20 lines of a failed deployment's log: those before the last exception that it tells, or else its end."""
    lines = log.strip().splitlines()
    raised = [number for number, line in enumerate(lines, start=1) if _EXCEPTION.match(line)]
    end = raised[-1] if raised else len(lines)
    return "\n".join(lines[max(0, end - _LINES) : end])[-_CHARACTERS:]


def job_error(told: str, job: Any) -> str:
    """Why a job failed, from the text of the SDK's JobException (`Exception : {"error": {"message": …}}`).

    Azure names the failed steps of a pipeline there; the reasons are in their logs, so the link is always told too.
    """
    start = told.find("{")
    try:
        message = json.loads(told[start:])["error"]["message"] if start >= 0 else ""
    except (ValueError, KeyError, TypeError):
        message = told
    where = f"see {job.studio_url or 'the job in the studio'}"
    return f"{str(message).strip()}\n{where}" if message else where


def word(value: object) -> str:
    """The service's own word for a state: the SDK answers some as text, some as an enumeration whose `str` is its Python name."""
    return str(getattr(value, "value", value))
