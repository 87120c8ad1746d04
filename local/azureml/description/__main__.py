"""`python -m local.azureml.description <folder with specification/>`: writes facts.json anew from the public REST description."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from local.azureml.description.derive import Facts

VERSION = "2024-04-01"
_RESOURCE_MANAGER = "specification/machinelearningservices/resource-manager/Microsoft.MachineLearningServices"
_FILES = ("mfe.json", "machineLearningServices.json", "registries.json")
_HEAD = {
    "source": f"https://github.com/Azure/azure-rest-api-specs, {_RESOURCE_MANAGER}/stable/{VERSION}",
    "version": VERSION,
    "licence": "MIT, Copyright (c) Microsoft Corporation; facts only, see README.md",
    "made_by": "python -m local.azureml.description",
}


def main(folder: Path) -> None:
    facts = Facts([folder / _RESOURCE_MANAGER / "stable" / VERSION / name for name in _FILES])
    Path(__file__).with_name("facts.json").write_text(text(facts))


def text(facts: Facts) -> str:
    """One operation or definition to a line, so that a change can be read."""
    head = [f"{_json(key)}: {_json(value)}" for key, value in _HEAD.items()]
    in_order = sorted(facts.operations, key=lambda one: (one["path"], one["method"]))
    operations = ",\n".join(_json(operation) for operation in in_order)
    definitions = ",\n".join(f"{_json(name)}: {_json(facts.definitions[name])}" for name in sorted(facts.definitions))
    return "{\n" + ",\n".join([*head, f'"operations": [\n{operations}\n]', f'"$defs": {{\n{definitions}\n}}']) + "\n}\n"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m local.azureml.description <folder of the clone of azure-rest-api-specs>")
    main(Path(sys.argv[1]))
