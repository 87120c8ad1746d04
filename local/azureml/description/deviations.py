"""Where answers knowingly differ from the description, and why. Answers are held against it in the tests."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """`operation` and `problem` are regular expressions: of "METHOD /path" and of "/place: what is wrong"."""

    operation: str
    problem: str
    why: str

    def explains(self, operation: str, problem: str) -> bool:
        return bool(re.fullmatch(self.operation, operation) and re.fullmatch(self.problem, problem))


DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        "GET /jobs/{name}",
        "/properties: null is not of type .*",
        "a step is answered without properties: that is how the SDK knows that it has to ask the run history",
    ),
    Deviation(
        "(GET|PUT) /datastores(/{name})?",
        "(/value/[0-9]+)?/properties/credentials: The (secrets|clientId|tenantId) field is required.",
        "secrets are given by listSecrets alone, as in Azure; the description calls them required for a request's sake",
    ),
    Deviation(
        "GET (/|//subscriptions/.*)?",
        "(/value/0)?/properties: unknown field 'systemDatastoresAuthMode' .*",
        "of a newer version of the API, which the SDK asks for",
    ),
    Deviation(
        "POST /listKeys", "/: unknown field 'userStorageArmId' .*", "the newer name of userStorageResourceId, which the SDK reads"
    ),
)

seen: set[Deviation] = set()
"""Those that occurred in this process, so that a test can find the ones that no longer do."""


def unexplained(operation: str, problems: list[str]) -> list[str]:
    """The problems that no known deviation explains."""
    left = []
    for problem in problems:
        known = next((one for one in DEVIATIONS if one.explains(operation, problem)), None)
        if known is None:
            left.append(problem)
        else:
            seen.add(known)
    return left


def table() -> list[tuple[str, str]]:
    """For the coverage page: what deviates (operation and place, as patterns), and why."""
    return [(f"{one.operation} {one.problem}", one.why) for one in DEVIATIONS]
