"""The parameters of one request to MLflow's REST API, checked as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.azureml.mlflow.errors import invalid

NO_STAGE = "None"
STAGES = (NO_STAGE, "Staging", "Production", "Archived")


class Parameters:
    """Of one request: JSON, or a query whose repeated names are lists."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """A string that must be there; INVALID_PARAMETER_VALUE otherwise."""
        value = self.optional(name)
        if not value:
            raise invalid(f"Missing value for required parameter '{name}'.")
        return value

    def optional(self, name: str) -> str:
        """ "" when it is not there."""
        value = self._values.get(name)
        value = value[-1] if isinstance(value, list) and value else value
        if value is None or value == []:
            return ""
        if not isinstance(value, str | int):
            raise invalid(f"Invalid value for parameter '{name}'.")
        return str(value)

    def texts(self, name: str) -> list[str]:
        value = self._values.get(name)
        return [str(one) for one in (value if isinstance(value, list) else [value])] if value else []

    def flag(self, name: str) -> bool:
        return self._values.get(name) in (True, "true")

    def limit(self, usual: int, most: int) -> int:
        value = self.optional("max_results") or str(usual)
        if not value.isdecimal() or len(value) > len(str(most)) or not 1 <= int(value) <= most:
            raise invalid(f"max_results must be between 1 and {most}, not {value[:64]}.")
        return int(value)

    def tags(self) -> dict[str, str]:
        """`[{"key", "value"}]` as a mapping."""
        listed = self._values.get("tags") or []
        if not isinstance(listed, list) or not all(isinstance(tag, dict) and isinstance(tag.get("key"), str) for tag in listed):
            raise invalid("tags must be a list of objects with key and value.")
        return {tag["key"]: str(tag.get("value", "")) for tag in listed}

    def stage(self, name: str) -> str:
        """One of MLflow's stages, in its own spelling."""
        value = self.text(name)
        found = next((stage for stage in STAGES if stage.lower() == value.lower()), None)
        if found is None:
            raise invalid(f"Invalid Model Version stage: {value}. Value must be one of {', '.join(STAGES)}.")
        return found
