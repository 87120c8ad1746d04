"""The judge: whether a candidate is worse than the stable deployment, by tests that hold at any look. Pure arithmetic."""

from ml_core.rollout.judge.ruling import finding, promises_for, rule
from ml_core.rollout.judge.sequential import Tally, weigh
from ml_core.rollout.judge.values import Arms, Finding, Promises, Ruling, Verdict

__all__ = ["Arms", "Finding", "Promises", "Ruling", "Tally", "Verdict", "finding", "promises_for", "rule", "weigh"]
