"""Step 1: fetch exactly the blobs that the data version names, and check that they can be trained on.

Writes `files/<number>-<name>` and `report.json` into the output folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

from addresses import Account
from blobs import NamedBlob, fetch, read_manifest
from checks import check
from step import StepFailedError, run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of the data version: MLTable and manifest.json")
    parser.add_argument("--data_version", required=True)
    parser.add_argument("--data_account_url", required=True, help="blob endpoint of the account that holds the data")
    parser.add_argument("--target_column", required=True)
    parser.add_argument("--positive_value", required=True)
    parser.add_argument("--id_columns", default="", help="comma-separated")
    parser.add_argument("--validated", type=Path, required=True, help="output folder")
    arguments = parser.parse_args()
    blobs = read_manifest(arguments.data, arguments.data_version, Account(arguments.data_account_url))
    validate(blobs, arguments.target_column, arguments.positive_value, names(arguments.id_columns), arguments.validated)


def names(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def validate(blobs: list[NamedBlob], target: str, positive_value: str, id_columns: list[str], validated: Path) -> None:
    """Fetch and check; StepFailedError when something is not as the version or the training needs it."""
    paths = fetch(blobs, validated / "files")
    shown = [unquote(urlsplit(blob.url).path).lstrip("/") for blob in blobs]
    findings = check(list(zip(shown, paths, strict=True)), target, positive_value, id_columns)
    findings.report["blobs"] = [{"url": blob.url, "etag": blob.etag, "size": blob.size} for blob in blobs]
    (validated / "report.json").write_text(json.dumps(findings.report, indent=2))
    if findings.problems:
        for problem in findings.problems:
            print(problem)
        more = f" (and {len(findings.problems) - 1} more, see above)" if len(findings.problems) > 1 else ""
        raise StepFailedError(findings.problems[0] + more)
    print(f"{len(blobs)} files, {findings.report['rows']} rows, {findings.report['positives']} of them positive", flush=True)


if __name__ == "__main__":
    run("validate", main)
