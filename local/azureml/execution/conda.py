"""What a conda file asks for, as requirements for pip. Packages that are not known to PyPI are refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from local.azureml.yaml_text import parse as parse_yaml

# Conda packages that are on PyPI under the same name, and mean the same there: what projects of data science ask for.
_SAME = frozenset({
    "aiohttp", "azure-core", "azure-identity", "azure-storage-blob", "azureml-mlflow", "beautifulsoup4", "catboost", "certifi",
    "click", "cloudpickle", "cryptography", "cython", "dask", "datasets", "distributed", "fastapi", "fastparquet", "flask",
    "fsspec", "geopandas", "gensim", "gunicorn", "httpx", "imbalanced-learn", "inference-schema", "ipykernel", "ipython",
    "jinja2", "joblib", "jsonschema", "jupyter", "keras", "lightgbm", "lxml", "matplotlib", "mlflow", "mlflow-skinny", "mltable",
    "networkx", "nltk", "numba", "numexpr", "numpy", "onnx", "onnxruntime", "openpyxl", "optuna", "orjson", "pandas", "pillow",
    "pip", "plotly", "polars", "prophet", "psutil", "pyarrow", "pydantic", "pyodbc", "pytest", "python-dateutil", "pytz",
    "pyyaml", "regex", "requests", "rich", "scikit-image", "scikit-learn", "scipy", "seaborn", "sentencepiece", "shap",
    "setuptools", "shapely", "six", "sqlalchemy", "statsmodels", "sympy", "tabulate", "tensorflow", "tokenizers", "torchvision",
    "tqdm", "transformers", "typing-extensions", "urllib3", "uvicorn", "wheel", "xgboost", "xlrd", "zstandard",
})  # fmt: skip
# Those that PyPI knows under another name.
_OTHER = {
    "matplotlib-base": "matplotlib", "pytorch": "torch", "py-xgboost": "xgboost", "py-xgboost-cpu": "xgboost",
    "opencv": "opencv-python",
    "tensorflow-cpu": "tensorflow", "dask-core": "dask", "py-opencv": "opencv-python-headless",
}  # fmt: skip
_PACKAGE = re.compile(r"(?:[\w.-]+::)?(?P<name>[A-Za-z0-9][\w.-]*)\s*(?P<rest>.*)")
_VERSIONS = re.compile(r"[0-9A-Za-z_.*+!,<>=~| -]*")
_PYTHON = re.compile(r"(?:==?)?\s*(\d+\.\d+)(?:\.[\d*]+)*")


class CondaFileError(ValueError):
    """The file is no conda file, or asks for what cannot be installed here. The message names it."""


@dataclass(frozen=True)
class Asked:
    """`python` is a version such as "3.11", or None: any. `requirements` are pip's lines, options such as `-r` among them."""

    name: str | None
    python: str | None
    requirements: tuple[str, ...]


def read_conda(text: str) -> Asked:
    """What a conda file's text asks for; CondaFileError lists all that is refused, not only the first."""
    try:
        document = parse_yaml(text)
    except yaml.YAMLError as error:
        raise CondaFileError(f"It is not valid YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("dependencies"), list):
        raise CondaFileError("A conda file is a mapping with a list of 'dependencies'.")
    python: str | None = None
    requirements: list[str] = []
    refused: list[str] = []
    for dependency in document["dependencies"]:
        if isinstance(dependency, dict):
            requirements += _pip_lines(dependency)
            continue
        match = _PACKAGE.fullmatch(str(dependency).strip())
        name = match["name"].lower() if match else ""
        if match and name == "python":
            python = _python(match["rest"])
        elif match and (name in _SAME or name in _OTHER) and _VERSIONS.fullmatch(match["rest"]):
            requirements.append(_requirement(name, match["rest"]))
        else:
            refused.append(str(dependency))
    if refused:
        raise CondaFileError(
            f"These conda packages are not known to be on PyPI under the same name: {', '.join(refused)}. "
            "Ask for their PyPI names below 'pip:' instead."
        )
    given = document.get("name")
    return Asked(str(given) if given else None, python, tuple(requirements))


def _pip_lines(dependency: Mapping[str, Any]) -> Sequence[str]:
    lines = dependency.get("pip")
    if list(dependency) != ["pip"] or not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise CondaFileError(f"'{next(iter(dependency), '')}' below dependencies must be 'pip' with a list of texts.")
    return lines


def _python(asked: str) -> str | None:
    match = _PYTHON.fullmatch(asked.strip())
    if match:
        return match[1]
    if asked.strip() in ("", "*") or asked.strip().startswith((">", "<", "~", "!")):
        return None  # a range: the running Python, which the builder compares and names
    raise CondaFileError(f"python{asked} is not a version of Python such as python=3.11.")


def _requirement(name: str, versions: str) -> str:
    """`numpy=1.26` is any 1.26.x in conda's language, `numpy==1.26.4` exactly that, as `numpy=1.26.4=<build>` is."""
    package, versions = _OTHER.get(name, name), versions.strip()
    if versions.startswith("=") and not versions.startswith("=="):
        version, build, _ = versions[1:].partition("=")
        return f"{package}=={version.strip()}" if build else f"{package}=={version.strip().rstrip('.*')}.*"
    if versions.startswith("==") or not versions:
        return package + versions.replace(" ", "").rstrip("=")
    if versions[0].isdigit():  # `numpy 1.26.4`
        return f"{package}=={versions.split()[0]}"
    if "|" in versions:
        raise CondaFileError(f"'{name}{versions}': alternatives of versions are not known to pip.")
    return package + versions.replace(" ", "")
