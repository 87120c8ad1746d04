"""The seam between HTTP and the resources: a decoded request in, an answer out. Handlers know nothing of the web server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from local.azureml.errors import bad_request


@dataclass(frozen=True)
class Call:
    """One request. `path_params` are percent-decoded; `body` is the decoded JSON, or None when there was none."""

    method: str
    path: str
    path_params: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: Any = None

    @property
    def properties(self) -> dict[str, Any]:
        """`body["properties"]`; 400 when the body is no ARM resource."""
        properties = self.body.get("properties") if isinstance(self.body, dict) else None
        if not isinstance(properties, dict):
            raise bad_request("The request body must be a JSON object with an object 'properties'.", "InvalidRequestContent")
        return properties

    def field(self, name: str) -> Any:
        """A field that the body must have; 400 when it has not."""
        value = self.body.get(name) if isinstance(self.body, dict) else None
        if not value:
            raise bad_request(f"The request body must be a JSON object with '{name}'.")
        return value


@dataclass(frozen=True)
class Answer:
    """`body`: dict or list -> JSON; str, or a file with text -> text/plain; bytes -> octets; None -> empty."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Answer]
Auth = Literal["arm", "data", "open"]
"""Who may call: `arm` an Azure Resource Manager token and an api-version; `data` an Azure ML or an ARM token; `open` anybody."""


@dataclass(frozen=True)
class Route:
    """One operation.

    `path` is relative to the workspace ("/models/{name}") or absolute with a leading "//" ("//metadata/endpoints").
    `{name}` matches one segment, `{rest:path}` the remainder. Literal parts are compared case-insensitively.
    `sdk` (the call of azure-ai-ml that uses it) and `differences` (from Azure) are the coverage table.
    `query` names the options that the handler honours, beside those of every list (checks.py); any other is refused by name.
    """

    method: str
    path: str
    handler: Handler
    sdk: str = ""
    differences: str = ""
    auth: Auth = "arm"
    query: tuple[str, ...] = ()
