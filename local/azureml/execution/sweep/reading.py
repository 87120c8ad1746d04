"""From the bodies of sweep jobs and sweep nodes to a step; what Azure refuses is refused here.

A job's body is camelCase REST, a node is the YAML's snake_case, except for its early termination.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from local.azureml.errors import bad_request, not_emulated
from local.azureml.execution.commands import build_step, unmet
from local.azureml.execution.plan import Command, Lookup, Node, Output, Step, Value
from local.azureml.execution.sweep.plan import LARGEST_CONCURRENT, LARGEST_TOTAL, Goal, Limits, Sampling, Sweep
from local.azureml.execution.sweep.search_space import Distribution, read_search_space
from local.azureml.execution.sweep.sobol import MOST_DIMENSIONS
from local.azureml.execution.sweep.termination import Bandit, MedianStopping, Policy, TruncationSelection
from local.azureml.execution.values import duration, job_ports

_HYPERPARAMETER = re.compile(r"\$\{\{\s*search_space\.([^}\s]+)\s*\}\}")
_SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BAYESIAN = frozenset({"choice", "uniform", "quniform"})


def sweep_job(name: str, properties: Mapping[str, Any], lookup: Lookup) -> Step:
    """The one step of a sweep job (`properties` of its REST body)."""
    trial = properties.get("trial")
    if not isinstance(trial, Mapping) or not trial.get("command"):
        raise bad_request("A sweep job needs a trial with a command.")
    given, outputs, declared = job_ports(properties, lookup)
    spec = {
        **declared,
        "command": trial["command"],
        "code": trial.get("codeId"),
        "environment": trial.get("environmentId"),
        "distribution": trial.get("distribution"),
    }
    asked = _Asked(name, properties)
    return asked.step(
        spec, given, outputs, lookup,
        shown=str(properties.get("displayName") or name),
        environment_variables=trial.get("environmentVariables") or {},
        resources=trial.get("resources") or properties.get("resources") or {},
    )  # fmt: skip


def sweep_node(node: Node, lookup: Lookup) -> Step:
    """The step of a node of type sweep, whose component is the trial's."""
    return _Asked(node.name, node.body).step(
        node.spec, node.given, node.outputs, lookup,
        shown=node.display_name,
        environment_variables=node.body.get("environment_variables") or {},
        resources={**(node.spec.get("resources") or {}), **(node.body.get("resources") or {})},
    )  # fmt: skip


def trial_component(node: Mapping[str, Any]) -> Any:
    """The id of a sweep node's component."""
    trial = node.get("trial")
    return trial.get("componentId") if isinstance(trial, Mapping) else trial


class _Asked:
    """The fields of a job or a node that make it a sweep, under their snake_case names."""

    def __init__(self, name: str, body: Mapping[str, Any]) -> None:
        self._name = name
        fields = _snake(body)
        self._space = read_search_space(body.get("searchSpace") or body.get("search_space"))
        self._metric, self._goal = _objective(fields.get("objective"))
        self._limits = _limits(fields.get("limits") or {})
        self._sampling = _sampling(fields.get("sampling_algorithm"), self._space)
        self._policy = _policy(fields.get("early_termination"))

    def step(
        self,
        spec: Mapping[str, Any],
        given: Mapping[str, Value],
        outputs: Mapping[str, Output],
        lookup: Lookup,
        *,
        shown: str,
        environment_variables: Mapping[str, Any],
        resources: Mapping[str, Any],
    ) -> Step:
        """The trial is checked as any command step is, with one setting of the space in the place of all."""
        if direct_outputs := sorted(key for key, output in outputs.items() if output.mode == "direct"):
            raise not_emulated(f"Step '{self._name}': a sweep's outputs ({direct_outputs[0]}) cannot be direct.")
        declared = spec.get("inputs") or {}
        if twice := sorted(set(self._space) & set(given)):
            raise bad_request(f"Step '{self._name}': {', '.join(twice)} is both an input with a value and a hyperparameter.")
        one = {key: str(distribution.at(0.5)) for key, distribution in self._space.items()}
        direct = tuple(sorted(set(self._space) & set(declared)))
        step = build_step(
            self._name,
            {
                **spec,
                "command": self._command(spec.get("command")),
                "inputs": {**declared, **{f"search_space.{key}": {"type": "string"} for key in one}},
            },
            {**given, **{f"search_space.{key}": value for key, value in one.items()}, **{key: one[key] for key in direct}},
            outputs, lookup,
            display_name=shown, environment_variables=environment_variables, timeout=None,
            warnings=unmet(self._name, spec.get("distribution"), resources),
        )  # fmt: skip
        swept = {f"search_space.{key}" for key in one} | set(direct)
        work = Sweep(
            cast(Command, step.work), self._space, self._sampling, self._metric, self._goal, self._limits, self._policy, direct
        )
        return replace(step, work=work, inputs={key: value for key, value in step.inputs.items() if key not in swept})

    def _command(self, command: object) -> str:
        text = str(command or "")
        if unknown := sorted({key for key in _HYPERPARAMETER.findall(text) if key not in self._space}):
            raise bad_request(f"Step '{self._name}': the command uses search_space.{unknown[0]}, which the search space has not.")
        return _HYPERPARAMETER.sub(r"${{inputs.search_space.\1}}", text)


def _objective(given: object) -> tuple[str, Goal]:
    fields = _snake(given)
    goal, metric = str(fields.get("goal") or "").lower(), fields.get("primary_metric")
    if goal not in ("minimize", "maximize"):
        raise bad_request(f"The goal of a sweep is minimize or maximize, not '{fields.get('goal')}'.")
    if not isinstance(metric, str) or not metric:
        raise bad_request("A sweep needs a primary metric.")
    return metric, cast(Goal, goal)


def _limits(given: object) -> Limits:
    fields = _snake(given)
    total = _count(fields, "max_total_trials", LARGEST_TOTAL, LARGEST_TOTAL)
    concurrent = _count(fields, "max_concurrent_trials", min(total, LARGEST_CONCURRENT), LARGEST_CONCURRENT)
    if concurrent > total:
        raise bad_request(f"max_concurrent_trials ({concurrent}) must not be greater than max_total_trials ({total}).")
    return Limits(total, concurrent, _span(fields, "timeout"), _span(fields, "trial_timeout"))


def _count(fields: Mapping[str, Any], name: str, default: int, largest: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise bad_request(f"{name} must be a whole number between 1 and {largest}, not {value!r}.")
    return value


def _span(fields: Mapping[str, Any], name: str) -> timedelta | None:
    return duration(fields.get(name))


def _sampling(given: object, space: Mapping[str, Distribution]) -> Sampling:
    fields = {"type": given} if isinstance(given, str) else _snake(given)
    kind = str(fields.get("sampling_algorithm_type") or fields.get("type") or "").lower()
    kinds = {distribution.kind for distribution in space.values()}
    if kind not in ("random", "grid", "bayesian"):
        raise bad_request(f"The sampling algorithm is random, grid or bayesian, not '{kind}'.")
    if kind == "grid" and (wrong := sorted(kinds - {"choice"})):
        raise bad_request(f"Grid sampling supports choice only; the search space has {', '.join(wrong)}.")
    if kind == "bayesian" and (wrong := sorted(kinds - _BAYESIAN)):
        raise bad_request(f"Bayesian sampling supports {', '.join(sorted(_BAYESIAN))} only; the space has {', '.join(wrong)}.")
    rule = str(fields.get("rule") or "random").lower()
    if rule not in ("random", "sobol"):
        raise bad_request(f"The rule of random sampling is random or sobol, not '{rule}'.")
    if rule == "sobol" and len(space) > MOST_DIMENSIONS:
        raise not_emulated(f"The emulator does sobol for {MOST_DIMENSIONS} hyperparameters at most.")
    if str(fields.get("logbase") or "e") != "e":
        raise not_emulated(f"The emulator does not sample with logbase {fields['logbase']}.")
    seed = fields.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise bad_request(f"The seed of a sampling algorithm must be a whole number, not {seed!r}.")
    return Sampling(cast(Any, kind), seed, cast(Any, rule))


def _policy(given: object) -> Policy | None:
    fields = _snake(given)
    if not fields:
        return None
    kind = str(fields.get("policy_type") or fields.get("type") or "").replace("_", "").lower()
    when = {"interval": _whole(fields, "evaluation_interval"), "delay": _whole(fields, "delay_evaluation")}
    if kind == "bandit":
        factor, amount = fields.get("slack_factor") or None, fields.get("slack_amount") or None
        if (factor is None) == (amount is None):
            raise bad_request("A bandit policy needs either slack_factor or slack_amount, greater than 0.")
        if (factor or amount or 0) <= 0:
            raise bad_request("The slack of a bandit policy must be greater than 0.")
        return Bandit(**when, slack_factor=factor, slack_amount=amount)
    if kind == "medianstopping":
        return MedianStopping(**when)
    if kind != "truncationselection":
        raise bad_request(f"There is no early termination policy '{kind}'.")
    if fields.get("exclude_finished_jobs"):
        raise not_emulated("The emulator does not do exclude_finished_jobs.")
    percentage = fields.get("truncation_percentage")
    if not isinstance(percentage, int) or not 1 <= percentage <= 99:
        raise bad_request(f"truncation_percentage must be a whole number between 1 and 99, not {percentage!r}.")
    return TruncationSelection(**when, percentage=percentage)


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name) or 0
    if not isinstance(value, int) or value < 0:
        raise bad_request(f"{name} must be a whole number of at least 0, not {value!r}.")
    return value


def _snake(given: object) -> dict[str, Any]:
    """Fields that have a value, by their snake_case names."""
    if not isinstance(given, Mapping):
        return {}
    return {_SNAKE.sub("_", str(key)).lower(): value for key, value in given.items() if value is not None}
