"""The documentation is tested against the code: generated pages, links, commands, settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from docs import generate

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#([^)\s]+))?\)")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    assert (generate.REFERENCE / name).read_text() == generate.PAGES[name](), "run `make docs`"


def test_the_json_schema_is_the_one_of_the_code() -> None:
    assert json.loads((generate.REFERENCE / "tidegate.schema.json").read_text()) == generate.config.json_schema()


def test_every_key_of_the_configuration_is_explained() -> None:
    unexplained = [
        f"{section.__name__}.{name}"
        for section in generate._SECTIONS
        for name, field in section.model_fields.items()
        if not generate._meanings(section).get(name)
    ]
    assert unexplained == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [target for target, _ in _LINK.findall(page.read_text()) if "://" not in target]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_list_of_decisions_names_each_of_them_by_its_title() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \|", (folder / "README.md").read_text(), re.MULTILINE)
    titles = {page.name: page.read_text().splitlines()[0] for page in folder.glob("0*.md")}
    assert {name: f"# {number}. {title}" for number, title, name in listed} == titles


def test_every_make_target_that_the_docs_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z-]+)", page.read_text())}
    named |= {target for page in PAGES for target in re.findall(r"^make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert named - targets == set()
    assert {"demo", "test", "up"} <= named


def test_every_setting_is_documented_once() -> None:
    settings = json.loads((ROOT / "local.settings.json.example").read_text())["Values"]
    page = (ROOT / "docs/reference/settings.md").read_text()
    rows = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert sorted(rows) == sorted(settings)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_names_no_absolute_path_of_a_machine(page: Path) -> None:
    assert re.findall(r"(?<![\w.:/])/(?:home|root|work|Users)/", page.read_text()) == []
