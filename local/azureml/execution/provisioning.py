"""Whether every environment of a job stands on this machine, asked at submission: a step must not fail for it an hour later."""

from __future__ import annotations

from local.azureml.errors import bad_request
from local.azureml.execution.environments import EnvironmentMissing, Policy, choose
from local.azureml.execution.parallel.plan import Parallel
from local.azureml.execution.plan import Command, Plan, Work
from local.azureml.execution.sweep.plan import Sweep


def refuse_missing(plan: Plan, policy: Policy) -> None:
    """400 with the command that makes the environment. Azure would build an image here."""
    for step in plan.steps.values():
        conda_file = _conda_file(step.work)
        if conda_file is None:
            continue
        try:
            choose(conda_file, policy)
        except EnvironmentMissing as missing:
            raise bad_request(f"Step '{step.name}': {missing}", "EnvironmentMissing") from missing


def _conda_file(work: Work) -> str | None:
    work = work.trial if isinstance(work, Sweep) else work
    return work.conda_file if isinstance(work, Command | Parallel) else None
