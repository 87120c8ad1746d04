"""MLTable files: which files an input of type mltable stands for, and how their rows are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from local.azureml.yaml_text import parse as parse_yaml

_READERS = ("read_delimited", "read_parquet", "read_json_lines")
_HEADERS = {"all_files_same_headers": True, "no_header": False}
_KNOWN = frozenset({"delimiter", "header", "encoding", "infer_column_types", "empty_as_string", "include_path_column"})
_ENCODINGS = {"utf8": "utf-8", "iso88591": "iso-8859-1", "latin1": "latin-1", "ascii": "ascii", "utf16": "utf-16"}


class TableError(ValueError):
    """The MLTable file says something that is wrong or that the emulator does not do."""


def files_of(path: Path, *, nested: bool = True) -> list[str]:
    """The files of a file or folder, sorted by their path."""
    if path.is_file():
        return [str(path)]
    return sorted(str(file) for file in (path.rglob("*") if nested else path.iterdir()) if file.is_file())


def read_table(folder: Path) -> tuple[list[str], dict[str, Any] | None]:
    """(files, how to read their rows); None: the MLTable only lists files, which are mini batches' items then."""
    document = folder / "MLTable"
    try:
        content = parse_yaml(document.read_text())
    except FileNotFoundError:
        raise TableError("the input of type mltable has no file named MLTable") from None
    except yaml.YAMLError as error:
        raise TableError(f"the file MLTable is not valid YAML: {error}") from None
    if not isinstance(content, dict) or not content.get("paths"):
        raise TableError("the file MLTable names no paths")
    files = [file for entry in content["paths"] for file in _files(folder, entry)]
    return files, _reader(content.get("transformations") or [])


def _files(folder: Path, entry: Any) -> list[str]:
    kind, value = next(iter(entry.items())) if isinstance(entry, dict) and entry else ("", "")
    if kind not in ("file", "folder", "pattern") or "://" in str(value) or Path(str(value)).is_absolute():
        raise TableError(f"the path {entry!r} of the MLTable is not supported: file, folder or pattern, relative to it")
    found = folder.glob(str(value)) if kind == "pattern" else [folder / str(value)]
    files = sorted(file for match in found for file in files_of(match.resolve()))
    if not files or not all(Path(file).exists() for file in files):
        raise TableError(f"the path {value!r} of the MLTable leads to no file")
    if not all(Path(file).is_relative_to(folder.resolve()) for file in files):
        raise TableError(f"the path {value!r} of the MLTable leads out of its folder")
    return [file for file in files if Path(file).name != "MLTable"]


def _reader(transformations: list[Any]) -> dict[str, Any] | None:
    if not transformations:
        return None
    name, options = next(iter(_transformation(transformations[0]).items()))
    if len(transformations) > 1 or name not in _READERS:
        names = [next(iter(_transformation(one))) for one in transformations]
        raise TableError(f"the MLTable's transformations {names} are not supported: one of {', '.join(_READERS)}, alone")
    options = options or {}
    header, encoding = options.get("header", "all_files_same_headers"), str(options.get("encoding", "utf8"))
    if header not in _HEADERS or encoding not in _ENCODINGS or set(options) - _KNOWN:
        raise TableError(f"the options {options} of {name} are not supported")
    if options.get("empty_as_string") or options.get("include_path_column"):
        raise TableError(f"the options {options} of {name} are not supported")
    return {
        "reader": name,
        "delimiter": str(options.get("delimiter", ",")),
        "header": _HEADERS[header],
        "encoding": _ENCODINGS[encoding],
    }


def _transformation(entry: Any) -> Mapping[str, Any]:
    if isinstance(entry, str):
        return {entry: {}}
    if isinstance(entry, dict) and len(entry) == 1:
        return entry
    raise TableError(f"the MLTable's transformation {entry!r} is not one name with its options")
