"""Which operations of azure-ai-ml the tests call: read off their source, `<client>.<group>.<operation>`."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
GROUPS = frozenset({
    "azure_openai_deployments", "batch_deployments", "batch_endpoints", "capability_hosts", "components", "compute",
    "connections",
    "data", "datastores", "deployment_templates", "environments", "evaluators", "feature_sets", "feature_store_entities",
    "feature_stores", "indexes", "jobs", "marketplace_subscriptions", "models", "online_deployments", "online_endpoints",
    "registries", "schedules", "serverless_endpoints", "workspace_outbound_rules", "workspaces",
})  # fmt: skip
"""The operation groups of MLClient; a test compares them with the SDK."""
_NOTE = re.compile(r"\([^()]*\)")
_OPERATION = re.compile(r"(?:(?P<group>[a-z_]+)\.)?(?P<operations>[a-z_]+(?:/[a-z_]+)*)")


def operations(sdk: str) -> list[tuple[str, str]]:
    """The (group, operation)s that a route's `sdk` names: "data.archive/restore(name), automatic versions" names two.

    A word without a group belongs to the group before it; what is no operation of MLClient is left out.
    """
    found, group = list[tuple[str, str]](), ""
    for piece in _NOTE.sub("", sdk).split(","):
        match = _OPERATION.fullmatch(piece.strip())
        if match is None:
            continue
        group = match["group"] or group
        if group in GROUPS:
            found += [(group, operation) for operation in match["operations"].split("/")]
    return found


def used_operations(folder: Path = TESTS) -> Mapping[tuple[str, str], set[str]]:
    """(group, operation) -> the names of the files that call it; empty where there are no tests."""
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for file in sorted(folder.rglob("*.py")):
        for called in _called(ast.parse(file.read_text())):
            found[called].add(file.relative_to(folder).as_posix())
    return found


def _called(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        inner = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(node, ast.Attribute) and isinstance(inner, ast.Attribute) and inner.attr in GROUPS:
            yield inner.attr, node.attr
