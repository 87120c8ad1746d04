"""Between a decoded request and its handler: nothing that Azure would refuse, or that the emulator would ignore, gets through.

Routes of Azure Resource Manager only; the description covers no other.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from local.azureml.call import Answer, Call, Route
from local.azureml.description.check import Description
from local.azureml.description.deviations import unexplained
from local.azureml.errors import not_emulated

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_ALWAYS = frozenset({"api-version"})
_LISTS = frozenset({"$skip", "$top", "count"})
"""What `arm.page` honours."""
_WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)
_log = logging.getLogger(__name__)


class Checks:
    """`request` before the handler; `answer` after it, when the settings ask for it (tests do)."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._description = Description()
        self.deviating: list[str] = []
        """Answers that the description does not allow and no known deviation explains: operation, place, what is wrong."""

    def request(self, route: Route, call: Call) -> None:
        """400 for a body that Azure would refuse, 501 for a query option that would be ignored."""
        if route.auth != "arm":
            return
        self._refuse_query(route, call)
        self.refuse_body(route.method, self.template(route), call.body)

    def refuse_body(self, method: str, path: str, body: Any) -> None:
        """400 for a body that Azure would refuse; `path` as the description writes it, with any names in braces."""
        operation = self._description.operation(method, path)
        if operation is not None:
            self._description.refuse_body(operation, body)

    def answer(self, route: Route, answer: Answer) -> None:
        """Remember what deviates; errors have a shape of their own and are not looked at."""
        if not self._emulator.settings.check_answers or route.auth != "arm" or answer.status >= 400:
            return
        template = self.template(route)
        operation = self._description.operation(route.method, template)
        if operation is None:
            return
        problems = self._description.answer_problems(operation, answer.status, answer.body)
        for problem in unexplained(f"{route.method} {route.path}", problems):
            _log.error("the answer to %s %s deviates from Azure's description: %s", route.method, route.path, problem)
            self.deviating.append(f"{route.method} {route.path} {answer.status}{problem}")

    def template(self, route: Route) -> str:
        """The route's absolute path as the description writes it: with names for what this emulator is called."""
        settings = self._emulator.settings
        if not route.path.startswith("//"):
            return _WORKSPACE + route.path
        names = {
            settings.subscription_id: "{subscription}",
            settings.resource_group: "{group}",
            settings.workspace: "{workspace}",
        }
        return "/".join(names.get(segment, segment) for segment in route.path[1:].split("/"))

    def _refuse_query(self, route: Route, call: Call) -> None:
        honoured = _ALWAYS | {name.lower() for name in route.query}
        if route.method == "GET":
            honoured |= _LISTS
        ignored = sorted(name for name in call.query if name.lower() not in honoured)
        if ignored:
            raise not_emulated(
                f"The Azure ML emulator does not honour the query option {', '.join(ignored)} of {route.method} {route.path}."
            )
