"""Ledgers outlive versions of the app: states of models as they were written before trainings had several causes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_core.training.values import DATA

_REASON = "it was submitted by an earlier version of the app, which kept no reason"


def in_todays_shape(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state's document, its runs with `causes` instead of the one `cause` that they had then.

    What those runs have answered is noted nowhere. It need not be: a data version that seems new is submitted under the name of
    the job that was given it, which is there already, and is only followed to its end once more.
    """
    running, last = state.get("running"), state.get("last")
    return {**state, "running": running and _run(running), "last": last and {**last, "run": _run(last["run"])}}


def _run(run: Mapping[str, Any]) -> Mapping[str, Any]:
    if "causes" in run:
        return run
    cause = str(run["cause"])
    by = "tidegate" if cause == DATA else cause.split("-")[0]
    return {**run, "causes": [{"cause": cause, "reason": _REASON, "by": by, "at": run["started_at"]}]}
