"""Generates the reference pages that say what the code says: `python -m docs.generate`. A test compares them with the code."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from local.azureml import coverage
from ml_core import config, config_rollout

REFERENCE = Path(__file__).parent / "reference"
ROOT = Path(__file__).parent.parent


def configuration() -> str:
    """The page of tidegate.yaml: every key with its type, its default and what it means."""
    lines = [
        "# tidegate.yaml",
        "",
        "Generated from `ml_core/config.py` and `config_rollout.py` by `make docs`. What to watch and how.",
        "A mistake is refused with file, line, what was found and what was expected.",
        "The file is named by the setting `TIDEGATE_CONFIG`. Durations are written `30s`, `5m`, `2h`, `1d` or `PT1M` (ISO 8601).",
    ]
    for section, title in _SECTIONS.items():
        lines += ["", f"## {title}", "", _summary(section), "", "| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(name, field, _meanings(section)) for name, field in section.model_fields.items()]
    return "\n".join(lines) + "\n"


_SECTIONS: dict[type[BaseModel], str] = {
    config.Config: "The file",
    config_rollout.Freeze: "`freeze`",
    config_rollout.WeeklyFreeze: "`freeze_weekly`",
    config.DataAsset: "`data_assets.<name>`",
    config.Window: "`data_assets.<name>.window`",
    config.Model: "`models.<name>`",
    config.Target: "`models.<name>.target`",
    config.Gates: "`models.<name>.gates`",
    config.Endpoint: "`models.<name>.endpoint`",
    config_rollout.Rollout: "`models.<name>.rollout`",
    config_rollout.Smoke: "`models.<name>.rollout.smoke`",
    config_rollout.Shadow: "`models.<name>.rollout.shadow`",
    config_rollout.Judge: "`models.<name>.rollout.judge`",
    config_rollout.Budget: "`models.<name>.rollout.judge.budget`",
    config_rollout.RolloutDeadlines: "`models.<name>.rollout.deadlines`",
    config.Schedules: "`models.<name>.schedules`",
}


def _summary(section: type[BaseModel]) -> str:
    return inspect.cleandoc(section.__doc__ or "")


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    """The string below each field of a class."""
    body = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(body, ast.ClassDef)
    return dict(_documented(body))


def _documented(body: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            assert isinstance(text.value, ast.Constant)
            yield field.target.id, " ".join(str(text.value.value).split())


def _row(name: str, field: FieldInfo, meanings: dict[str, str]) -> str:
    default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
    return f"| `{name}` | {_kind(field)} | {default} | {meanings.get(name, '')} |"


def _default(value: object) -> str:
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, timedelta):
        return f"`{_duration(value)}`"
    if value is None:
        return "not set"
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(plain)}`"


def _duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _kind(field: FieldInfo) -> str:
    text = re.sub(r"ml_core\.config\w*\.", "", str(field.annotation))
    for kind, words in _KINDS.items():
        if kind in text:
            return words
    return "text"


# In the order in which they are looked for in an annotation's text.
_KINDS = {
    "dict": "sections by name",
    **dict.fromkeys(("tuple[Freeze", "tuple[WeeklyFreeze"), "list of sections"),
    **dict.fromkeys(("Window", "Target", "Gates", "Endpoint", "Rollout", "Schedules"), "section"),
    **dict.fromkeys(("Smoke", "Shadow", "Judge", "Budget"), "section"),
    "timedelta": "duration",
    "datetime": "time",
    "tuple[int": "list of percentages",
    "tuple[": "list of texts",
    "Literal[1]": "number",
    "Literal": "one of the words",
    "bool": "true or false",
    "float": "number",
    "int": "whole number",
}


PAGES = {"configuration.md": configuration, "emulator-coverage.md": coverage.table}


def main() -> None:
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page())
    (REFERENCE / "tidegate.schema.json").write_text(json.dumps(config.json_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
