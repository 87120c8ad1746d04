"""Command templates and bindings: pure text work."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.azureml.execution.bindings import (
    BindingError,
    LocalPath,
    ParentInput,
    ParentOutput,
    StepOutput,
    check_command,
    parse_binding,
    referenced_inputs,
    render_command,
)


def test_inputs_and_outputs_are_filled_in() -> None:
    rendered = render_command("run ${{inputs.a}} --o ${{outputs.b}}", {"a": "1"}, {"b": LocalPath("/out")})
    assert rendered == "run 1 --o /out"


def test_an_optional_section_is_dropped_when_its_input_is_absent() -> None:
    command = "run $[[--note ${{inputs.note}}]] --x ${{inputs.x}}"
    assert render_command(command, {"x": "1"}, {}) == "run  --x 1"
    assert render_command(command, {"x": "1", "note": "n"}, {}) == "run --note n --x 1"


def test_a_literal_is_put_in_as_it_is_because_quoting_is_the_commands_business() -> None:
    assert render_command("run ${{inputs.a}}", {"a": "two words; $HOME"}, {}) == "run two words; $HOME"


@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), min_size=1))
def test_a_path_arrives_as_one_word_whatever_is_in_it(path: str) -> None:
    rendered = render_command("run ${{inputs.a}} end", {"a": LocalPath(path)}, {})
    assert shlex.split(rendered) == ["run", path, "end"]


def test_a_path_that_the_command_has_quoted_is_not_quoted_again() -> None:
    assert render_command('run "${{inputs.a}}"', {"a": LocalPath("/a b")}, {}) == 'run "/a b"'


@pytest.mark.parametrize(
    ("text", "binding"),
    [
        ("${{parent.inputs.raw}}", ParentInput("raw")),
        ("${{ parent.inputs.group.raw }}", ParentInput("group.raw")),
        ("${{parent.jobs.prep.outputs.out}}", StepOutput("prep", "out")),
        ("${{parent.outputs.model}}", ParentOutput("model")),
        ("plain", None),
        (3, None),
    ],
)
def test_bindings_are_recognised(text: object, binding: object) -> None:
    assert parse_binding(text) == binding


@pytest.mark.parametrize(
    "text", ["${{parent.input.raw}}", "x-${{parent.inputs.raw}}", "${{parent.jobs.a.inputs.b}}", "${{inputs.a}}"]
)
def test_an_expression_that_is_no_binding_is_refused(text: str) -> None:
    with pytest.raises(BindingError, match="is not a binding"):
        parse_binding(text)


def test_a_command_that_names_something_undeclared_is_refused() -> None:
    with pytest.raises(BindingError, match=r"inputs\.typo.*declared inputs: \['data'\]"):
        check_command("run ${{inputs.typo}}", {"data"}, set())


def test_inputs_in_optional_sections_need_not_be_given() -> None:
    assert referenced_inputs("run ${{inputs.a}} $[[--b ${{inputs.b}}]]") == {"a"}


def test_an_expression_that_never_ends_is_soon_read() -> None:
    endless = "${{" + " " * 200_000
    assert referenced_inputs(endless) == set()
    assert render_command(endless, {}, {}) == endless
    assert referenced_inputs("x ${{\n inputs.a\n}}") == {"a"}
