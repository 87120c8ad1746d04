"""Time and faults, steered from outside: the routes below `/_emulator/`, and what they do to requests."""

from __future__ import annotations

import asyncio
import hmac
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import yaml
from pydantic import TypeAdapter, ValidationError

from local.azureml import arm
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request, not_found
from local.azureml.faults import Rule, Subject
from local.azureml.pace import Pace

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

T = TypeVar("T")
ROOT = "/_emulator"
_LOOK_SECONDS = 0.05
_PACE = TypeAdapter(Pace)
_RULES = TypeAdapter(tuple[Rule, ...])


class InvalidRules(ValueError):
    """A body or file that is no pace or no rules; the message names every wrong field."""


def parse_pace(document: Any) -> Pace:
    """`{"scale": 0.1}`, `{"reads": 3}`, `{}` (immediate), with `durations` if wanted. InvalidRules otherwise."""
    return _parsed(_PACE, document)


def parse_rules(document: Any) -> tuple[Rule, ...]:
    """A rule or a list of rules. InvalidRules otherwise."""
    return _parsed(_RULES, document if isinstance(document, list) else [document])


def read_rules(file: Path) -> tuple[Rule, ...]:
    """The rules in a YAML (or JSON) file. InvalidRules when it holds something else, OSError when it cannot be read."""
    try:
        document = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRules(f"{file.name} is not YAML: {error}") from error
    return parse_rules(document)


def _parsed(adapter: TypeAdapter[T], document: Any) -> T:
    try:
        # Through JSON: there, pydantic is strict about types and still takes an object for a dataclass.
        return adapter.validate_json(orjson.dumps(document), strict=True)
    except ValidationError as error:
        # `input` is not repeated: a body of megabytes would come back.
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors(include_input=False)]
        raise InvalidRules("; ".join(wrong)) from error
    except TypeError as error:  # YAML knows more than JSON does
        raise InvalidRules(f"not a JSON value: {error}") from error


async def suffer(emulator: Emulator, call: Call) -> None:
    """Do to a request of the control plane what the rules say: let it wait, or raise the error that it is answered with."""
    if call.path.lower().startswith(ROOT):
        return  # or nobody could remove the rule any more
    rule = emulator.faults.strike("request", Subject(_relative(emulator, call.path), call.method))
    if rule is None or rule.request is None:
        return
    fault = rule.request
    due = time.monotonic() + fault.delay
    # Removing the rule lets what it holds go, as it does with operations.
    while (left := due - time.monotonic()) > 0 and emulator.faults.has(rule):
        await asyncio.sleep(min(left, _LOOK_SECONDS))
    if fault.status is not None:
        raise AzureError(fault.status, fault.error_code, fault.message, headers=fault.headers)


def count_read(emulator: Emulator, call: Call) -> None:
    """A GET of a resource, or of a job's run record, brings its transition nearer to the end."""
    if call.method == "GET":
        run = call.path_params.get("run")
        emulator.transitions.read(f"/jobs/{run}" if run else _relative(emulator, call.path))


def _relative(emulator: Emulator, path: str) -> str:
    workspace = emulator.workspace_id
    inside = path.lower().startswith(workspace.lower()) and path[len(workspace) : len(workspace) + 1] in ("", "/")
    return path[len(workspace) :] or "/" if inside else f"/{path}"


class Steering:
    """The operations of `/_emulator/`. Nobody is let in without the token endpoint's secret or a token for ARM."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def get_pace(self, call: Call) -> Answer:
        self._admit(call)
        return Answer(asdict(self._emulator.transitions.pace))

    def put_pace(self, call: Call) -> Answer:
        self._admit(call)
        self._emulator.transitions.change(_accepted(parse_pace, call))
        return self.get_pace(call)

    def list_faults(self, call: Call) -> Answer:
        self._admit(call)
        return Answer({"value": [self._shown(rule) for rule in self._emulator.faults.rules()]})

    def add_faults(self, call: Call) -> Answer:
        """All of the body's rules, or none."""
        self._admit(call)
        rules = _accepted(parse_rules, call)
        self._emulator.faults.add(rules)
        self._changed()
        return Answer({"value": [self._shown(rule) for rule in rules]}, 201)

    def clear_faults(self, call: Call) -> Answer:
        self._admit(call)
        self._emulator.faults.remove()
        self._changed()
        return Answer(status=204)

    def delete_fault(self, call: Call) -> Answer:
        self._admit(call)
        identity = call.path_params["id"]
        if not self._emulator.faults.remove(identity):
            raise not_found(f"There is no fault rule {identity[:64]!r}.")
        self._changed()
        return Answer(status=204)

    def _changed(self) -> None:
        """The router and what hangs learn of it before the caller gets an answer."""
        self._emulator.operations.release()
        self._emulator.serving.publish()

    def _shown(self, rule: Rule) -> dict[str, Any]:
        # The router counts its own strikes; the metrics show them.
        struck = {} if rule.target == "scoring" else {"struck": self._emulator.faults.struck(rule.id)}
        return {**rule.to_json(), **struck}

    def _admit(self, call: Call) -> None:
        given = call.headers.get("x-identity-header", "")
        if not hmac.compare_digest(given.encode(), self._emulator.settings.identity_header.encode()):
            arm.authenticate(self._emulator, call.headers, "arm")


def _accepted(parse: Any, call: Call) -> Any:
    try:
        return parse(call.body)
    except InvalidRules as error:
        raise bad_request(f"The request body is invalid: {error}", "InvalidRequestContent") from error


def routes(emulator: Emulator) -> list[Route]:
    """`/_emulator/pace` and `/_emulator/faults`: the emulator's own, Azure has nothing like it."""
    own = Steering(emulator)
    faults, pace = f"/{ROOT}/faults", f"/{ROOT}/pace"
    by, who = "(`python -m local.azureml faults`)", "the emulator's own; needs an ARM token or X-IDENTITY-HEADER, no api-version"
    return [
        Route("GET", pace, own.get_pace, "(REST clients)", who, auth="open"),
        Route("PUT", pace, own.put_pace, "(REST clients)", who, auth="open"),
        Route("GET", faults, own.list_faults, by, who, auth="open"),
        Route("POST", faults, own.add_faults, by, who, auth="open"),
        Route("DELETE", faults, own.clear_faults, by, who, auth="open"),
        Route("DELETE", f"{faults}/{{id}}", own.delete_fault, by, who, auth="open"),
    ]
