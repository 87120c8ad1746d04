"""The expressions of jobs: `${{...}}` bindings and the optional `$[[ ]]` sections of a command (Azure ML YAML syntax, v2)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

EXPRESSION = re.compile(r"\$\{\{([^{}]*)\}\}")
"""What is in it has blanks around it."""
_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_NAME = r"[A-Za-z_][\w-]*"
_PARENT_INPUT = re.compile(rf"parent\.inputs\.({_NAME}(?:\.{_NAME})*)")
_PARENT_OUTPUT = re.compile(rf"parent\.outputs\.({_NAME})")
_STEP_OUTPUT = re.compile(rf"parent\.jobs\.({_NAME})\.outputs\.({_NAME})")


class BindingError(ValueError):
    """An expression that is malformed, or that names something which does not exist."""


@dataclass(frozen=True)
class ParentInput:
    """`${{parent.inputs.<name>}}`"""

    name: str


@dataclass(frozen=True)
class StepOutput:
    """`${{parent.jobs.<step>.outputs.<name>}}`"""

    step: str
    name: str


@dataclass(frozen=True)
class ParentOutput:
    """`${{parent.outputs.<name>}}`"""

    name: str


Binding = ParentInput | StepOutput | ParentOutput


@dataclass(frozen=True)
class LocalPath:
    """A path that the emulator made: quoted for the shell where the command did not quote it, folders may hold blanks."""

    path: str


def parse_binding(text: object) -> Binding | None:
    """The binding that `text` is, None when it is a plain value; BindingError when it holds an expression that is none."""
    if not isinstance(text, str) or "${{" not in text:
        return None
    whole = EXPRESSION.fullmatch(text.strip())
    expression = whole.group(1).strip() if whole else ""
    if match := _PARENT_INPUT.fullmatch(expression):
        return ParentInput(match.group(1))
    if match := _STEP_OUTPUT.fullmatch(expression):
        return StepOutput(match.group(1), match.group(2))
    if match := _PARENT_OUTPUT.fullmatch(expression):
        return ParentOutput(match.group(1))
    raise BindingError(f"{text!r} is not a binding: expected parent.inputs.x, parent.jobs.s.outputs.y or parent.outputs.z")


def fill_literals(text: str, inputs: Mapping[str, object]) -> str:
    """`text` with `${{parent.inputs.x}}` replaced where x is a literal; what cannot be replaced stays, and is no binding then."""

    def value(match: re.Match[str]) -> str:
        name = _PARENT_INPUT.fullmatch(match.group(1).strip())
        found = inputs.get(name.group(1)) if name else None
        return found if isinstance(found, str) else match.group(0)

    return EXPRESSION.sub(value, text)


def referenced_inputs(command: str) -> set[str]:
    """Names of the inputs that a command uses outside its optional sections: these have to be given."""
    return {name for kind, name in _names(_OPTIONAL.sub("", command)) if kind == "inputs"}


def check_command(command: str, inputs: set[str], outputs: set[str]) -> None:
    """Raise BindingError when a command names an input or output that its component does not declare."""
    declared = {"inputs": inputs, "outputs": outputs}
    for kind, name in _names(command):
        if name not in declared[kind]:
            raise BindingError(
                f"the command uses {kind}.{name}, which is not declared; declared {kind}: {sorted(declared[kind]) or 'none'}"
            )


def render_command(command: str, inputs: Mapping[str, str | LocalPath], outputs: Mapping[str, str | LocalPath]) -> str:
    """Fill a command's expressions; an optional section is dropped when one of the inputs that it names is not in `inputs`.

    Literals are put in as they are, like Azure does: quoting them is the command's business.
    """

    def section(match: re.Match[str]) -> str:
        body = match.group(1)
        absent = any(kind == "inputs" and name not in inputs for kind, name in _names(body))
        return "" if absent else body

    values: dict[str, Mapping[str, str | LocalPath]] = {"inputs": inputs, "outputs": outputs}
    kept = _OPTIONAL.sub(section, command)

    def value(match: re.Match[str]) -> str:
        kind, _, name = match.group(1).strip().partition(".")
        try:
            found = values[kind][name]
        except KeyError:
            raise BindingError(f"the command uses {match.group(0)}, which has no value") from None
        if isinstance(found, str):
            return found
        quoted_already = kept[match.start() - 1 : match.start()] in ('"', "'")
        return found.path if quoted_already else shlex.quote(found.path)

    return EXPRESSION.sub(value, kept)


def _names(text: str) -> list[tuple[str, str]]:
    """(inputs|outputs, name) of every expression in a command."""
    found = []
    for match in EXPRESSION.finditer(text):
        kind, _, name = match.group(1).strip().partition(".")
        if kind not in ("inputs", "outputs") or not name:
            raise BindingError(f"{match.group(0)} in a command: expected ${{{{inputs.x}}}} or ${{{{outputs.y}}}}")
        found.append((kind, name))
    return found
