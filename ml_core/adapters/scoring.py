"""Scores by one deployment over plain HTTP.

Not by the SDK's `invoke`: it keeps the header of a pinned deployment in a module global, and every later call of the process
would go past the traffic split (seen in azure-ai-ml 1.35).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_core.errors import PermanentError, TemporaryError


def score_by(address: str, key: str, deployment: str, request: Mapping[str, Any]) -> Any:
    """POST a request pinned to `deployment`; return the answer's JSON. An answer that is no success is permanent."""
    import httpx

    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": deployment}
    try:
        answer = httpx.post(address, json=dict(request), headers=headers, timeout=60)
    except httpx.TransportError as error:
        raise TemporaryError(f"Could not reach {address}: {error!r}. It is tried again.") from error
    if answer.status_code in (429, 502, 503, 504):
        raise TemporaryError(f"{deployment} answered {answer.status_code} to a scoring request. It is tried again.")
    if answer.status_code != 200:
        raise PermanentError(f"{deployment} answered {answer.status_code} to a scoring request: {answer.text[:300]}")
    try:
        return answer.json()
    except ValueError as error:
        raise PermanentError(f"{deployment} answered something that is not JSON: {answer.text[:300]}") from error
