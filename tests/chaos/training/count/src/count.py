"""Stands for training: reads the manifest of the data version that it was given, and writes a model that knows its size."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from step import StepFailedError, run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--data_version", required=True)
    parser.add_argument("--model", type=Path, required=True)
    arguments = parser.parse_args()
    manifest = json.loads((arguments.data / "manifest.json").read_text())
    if manifest["version"] != arguments.data_version:
        raise StepFailedError(f"expected data version {arguments.data_version}, found {manifest['version']}")
    arguments.model.mkdir(parents=True, exist_ok=True)
    # MLflow's file is YAML, and JSON is YAML.
    mlmodel = {"flavors": {"count": {"files": len(manifest["blobs"])}}}
    (arguments.model / "MLmodel").write_text(json.dumps(mlmodel) + "\n")


if __name__ == "__main__":
    run("count", main)
