"""The engine of sweeps without jobs: distributions, samplers, early termination, and what is refused at submission."""

from __future__ import annotations

import math
from itertools import islice
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.azureml.errors import AzureError
from local.azureml.execution.plan import Command, Step
from local.azureml.execution.sweep.plan import Limits, Sampling, Sweep
from local.azureml.execution.sweep.reading import sweep_job
from local.azureml.execution.sweep.sampling import Sampler, make_sampler, space_size
from local.azureml.execution.sweep.search_space import Distribution, read_search_space
from local.azureml.execution.sweep.sobol import MOST_DIMENSIONS, sobol_points
from local.azureml.execution.sweep.termination import Bandit, MedianStopping, TruncationSelection, Watch

TRIAL = Command("python run.py", None, None)


def sampler(space: dict[str, Any], kind: Any = "random", *, seed: int | None = 1, goal: Any = "maximize") -> Sampler:
    sampling = Sampling(kind, seed)
    return make_sampler(Sweep(TRIAL, read_search_space(space), sampling, "score", goal, Limits(100, 1)))


def draws(space: dict[str, Any], count: int = 400) -> list[Any]:
    asked = sampler(space)
    return [settings["x"] for settings in (asked.ask() for _ in range(count)) if settings is not None]


@given(st.floats(min_value=1e-9, max_value=1 - 1e-9))
def test_every_distribution_has_its_value_at_every_quantile(quantile: float) -> None:
    def at(kind: str, *arguments: Any) -> Any:
        return Distribution(kind, arguments).at(quantile)

    low, high = -2.0, 3.0
    assert at("choice", "a", "b", "c") == "abc"[int(quantile * 3)]
    assert at("randint", 5) == int(quantile * 5)
    assert at("uniform", low, high) == pytest.approx(low + 5 * quantile)
    assert at("loguniform", low, high) == pytest.approx(math.exp(low + 5 * quantile))
    assert at("quniform", low, high, 0.5) == pytest.approx(round((low + 5 * quantile) / 0.5) * 0.5)
    assert at("qloguniform", low, high, 2) == round(math.exp(low + 5 * quantile) / 2) * 2
    assert at("lognormal", 1, 2) == pytest.approx(math.exp(at("normal", 1, 2)))
    assert at("qnormal", 1, 2, 3) == round(at("normal", 1, 2) / 3) * 3
    assert at("qlognormal", 1, 0.5, 1) == round(math.exp(at("normal", 1, 0.5)))


def test_random_draws_follow_their_distribution_and_a_seed_repeats_them() -> None:
    normal = draws({"x": ["normal", [10, 3]]})
    assert fmean(normal) == pytest.approx(10, abs=0.6)
    assert stdev(normal) == pytest.approx(3, abs=0.5)
    assert fmean(map(math.log, draws({"x": ["loguniform", [0, 4]]}))) == pytest.approx(2, abs=0.2)
    assert draws({"x": {"type": "uniform", "min_value": 0, "max_value": 1}}) == draws({"x": ["uniform", [0, 1]]})


def test_a_whole_step_makes_whole_numbers_that_a_script_can_parse_as_such() -> None:
    assert {type(value) for value in draws({"x": ["quniform", [1, 64, 8]]}, 20)} == {int}
    assert {type(value) for value in draws({"x": ["quniform", [0, 1, 0.25]]}, 20)} == {float}


@pytest.mark.parametrize(("kind", "space"), [("random", ["randint", [3]]), ("grid", ["choice", [[0, 1, 2]]])])
def test_no_setting_of_a_finite_space_is_tried_twice_and_it_can_be_exhausted(kind: str, space: list[Any]) -> None:
    whole = {"a": ["choice", [["x", "y"]]], "b": space}
    assert space_size(read_search_space(whole)) == 6
    asked = sampler(whole, kind)
    settings = [asked.ask() for _ in range(7)]
    assert settings[6] is None
    assert len({repr(one) for one in settings[:6]}) == 6


def test_sobol_points_are_even_in_every_dimension_and_in_pairs_of_the_first() -> None:
    for seed in (1, 2):
        points = list(islice(sobol_points(MOST_DIMENSIONS, seed), 64))
        assert all(0 < value < 1 for point in points for value in point)
        for dimension in range(MOST_DIMENSIONS):
            assert {int(point[dimension] * 64) for point in points} == set(range(64)), "one in every 64th"
        for wide, high in ((2, 32), (8, 8), (16, 4)):
            cells = {(int(x * wide), int(y * high)) for x, y, *_ in points}
            assert len(cells) == 64, "one in every cell of the square"
    asked = make_sampler(
        Sweep(TRIAL, read_search_space({"x": ["uniform", [0, 8]]}), Sampling("random", 5, "sobol"), "m", "minimize", Limits(8, 1))
    )
    settings = [asked.ask() for _ in range(8)]
    assert sorted(int(float(one["x"])) for one in settings if one) == list(range(8))


def test_the_grid_is_every_combination_in_order() -> None:
    asked = sampler({"a": ["choice", [["x", "y"]]], "b": ["choice", [[1, 2]]]}, "grid")
    assert [tuple(settings.values()) for settings in islice(iter(asked.ask, None), 9)] == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]


@pytest.mark.parametrize(("goal", "sign"), [("minimize", 1), ("maximize", -1)])
def test_bayesian_sampling_comes_closer_to_the_best_than_its_first_draws(goal: str, sign: int) -> None:
    asked = sampler({"x": ["uniform", [-10, 10]], "kind": ["choice", [["far", "near"]]]}, "bayesian", goal=goal)
    distances = []
    for _ in range(40):
        settings = asked.ask()
        assert settings is not None
        distance = abs(float(settings["x"]) - 3) + (5 if settings["kind"] == "far" else 0)
        asked.tell(settings, sign * distance)
        distances.append(distance)
    assert fmean(distances[20:]) < fmean(distances[:10]) / 2


def test_bayesian_sampling_exhausts_a_finite_space_too() -> None:
    asked = sampler({"x": ["choice", [[1, 2, 3]]]}, "bayesian")
    found = []
    while (settings := asked.ask()) is not None:
        found.append(settings["x"])
        asked.tell(settings, None)
    assert sorted(found) == [1, 2, 3]


def test_bandit_ends_what_is_farther_from_the_best_than_the_slack() -> None:
    factor = Bandit(slack_factor=0.2)  # the documented example: 0.8 / 1.2 = 0.66
    assert factor.stops([0.1, 0.65], [[0.7, 0.8, 0.1]], maximize=True)
    assert not factor.stops([0.1, 0.67], [[0.7, 0.8, 0.9]], maximize=True), "later intervals do not count"
    assert not factor.stops([0.67, 0.1], [[0.7, 0.8]], maximize=True), "its best counts"
    assert factor.stops([1.3], [[1.0]], maximize=False)
    assert not factor.stops([1.1], [[1.0]], maximize=False)
    amount = Bandit(slack_amount=0.1)
    assert amount.stops([0.69], [[0.8]], maximize=True)
    assert not amount.stops([0.71], [[0.8]], maximize=True)


def test_median_stopping_compares_the_best_with_the_median_of_the_averages() -> None:
    others = [[0.2, 0.4], [0.6, 0.8]]  # averages 0.3 and 0.7
    assert MedianStopping().stops([0.1, 0.2], others, maximize=True)
    assert not MedianStopping().stops([0.1, 0.5], others, maximize=True)
    assert MedianStopping().stops([0.9, 0.8], others, maximize=False)


def test_truncation_selection_ends_the_lowest_percentage() -> None:
    policy, others = TruncationSelection(percentage=40), [[0.2], [0.3], [0.4], [0.5]]
    assert policy.stops([0.1], others, maximize=True)
    assert policy.stops([0.25], others, maximize=True), "second of five from below: 40 %"
    assert not policy.stops([0.35], others, maximize=True)
    assert not TruncationSelection(percentage=10).stops([0.1], others, maximize=True), "10 % of five are none"
    assert policy.stops([0.9], others, maximize=False)


def test_a_policy_applies_at_every_interval_from_the_delay_on_and_judges_each_once() -> None:
    policy = Bandit(interval=2, delay=3, slack_amount=0.1)
    assert [interval for interval in range(1, 9) if policy.applies_at(interval)] == [4, 6, 8]
    watch = Watch(policy, maximize=True)
    good, bad = [0.9] * 8, [0.1] * 8
    assert watch.to_stop({0: good, 1: bad[:3]}, [0, 1]) == []
    assert watch.to_stop({0: good, 1: bad[:5]}, [0, 1]) == [1], "two values came at once; the fourth counts"
    assert watch.to_stop({0: good, 1: bad[:5]}, [0, 1]) == [], "nothing new was logged"
    assert watch.to_stop({1: bad}, [1]) == [], "a trial alone is compared with nobody"


def body(**changes: Any) -> dict[str, Any]:
    return {
        "jobType": "Sweep",
        "trial": {"command": "python run.py ${{search_space.x}} ${{inputs.k}}", "environmentId": "plain"},
        "inputs": {"k": {"jobInputType": "literal", "value": "2"}},
        "searchSpace": {"x": ["uniform", [0, 1]]},
        "samplingAlgorithm": {"samplingAlgorithmType": "Random", "seed": 7},
        "objective": {"goal": "Maximize", "primaryMetric": "score"},
        "limits": {"maxTotalTrials": 4, "maxConcurrentTrials": 2, "trialTimeout": "PT1M"},
        **changes,
    }


def read(**changes: Any) -> Step:
    return sweep_job("job", body(**changes), lambda _kind, _id: {})


def test_a_jobs_body_becomes_a_sweep() -> None:
    work = read(earlyTermination={"policyType": "Bandit", "slackFactor": 0.1, "evaluationInterval": 2}).work
    assert isinstance(work, Sweep)
    assert work.trial.command == "python run.py ${{inputs.search_space.x}} ${{inputs.k}}"
    assert (work.limits.total, work.limits.concurrent, str(work.limits.trial_timeout)) == (4, 2, "0:01:00")
    assert work.policy == Bandit(interval=2, slack_factor=0.1)
    assert work.sampling == Sampling("random", 7)


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"trial": None}, 400, "needs a trial"),
        ({"searchSpace": {}}, 400, "at least one hyperparameter"),
        ({"searchSpace": {"x": ["zipf", [1]]}}, 400, "'zipf' is no distribution"),
        ({"searchSpace": {"x": ["uniform", [1, 0]]}}, 400, "min_value (1) must be less than max_value (0)"),
        ({"searchSpace": {"x": ["uniform", ["a", 1]]}}, 400, "must be a number"),
        ({"searchSpace": {"x": ["quniform", [0, 1, 0]]}}, 400, "q must be greater than 0"),
        ({"searchSpace": {"x": ["quniform", [0, 1]]}}, 400, "needs min_value, max_value, q"),
        ({"searchSpace": {"x": ["normal", [0, 0]]}}, 400, "sigma must be greater than 0"),
        ({"searchSpace": {"x": ["randint", [0]]}}, 400, "at least 1"),
        ({"searchSpace": {"x": ["choice", [[]]]}}, 400, "at least one value"),
        ({"searchSpace": {"x": ["choice", [[{"y": 1}]]]}}, 501, "nested"),
        ({"searchSpace": {"y": ["uniform", [0, 1]]}}, 400, "search_space.x, which the search space has not"),
        ({"searchSpace": {"x": ["uniform", [0, 1]], "k": ["uniform", [0, 1]]}}, 400, "k is both"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Grid"}}, 400, "Grid sampling supports choice only"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Bayesian"}, "searchSpace": {"x": ["normal", [0, 1]]}}, 400, "normal"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Random", "rule": "Halton"}}, 400, "random or sobol"),
        (
            {
                "samplingAlgorithm": {"samplingAlgorithmType": "Random", "rule": "Sobol"},
                "searchSpace": {f"x{i}": ["uniform", [0, 1]] for i in range(11)},
            },
            501, "10 hyperparameters",
        ),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Random", "logbase": 10}}, 501, "logbase"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Hyperband"}}, 400, "random, grid or bayesian"),
        ({"objective": {"goal": "Best", "primaryMetric": "score"}}, 400, "minimize or maximize"),
        ({"objective": {"goal": "Maximize"}}, 400, "primary metric"),
        ({"limits": {"maxTotalTrials": 2, "maxConcurrentTrials": 3}}, 400, "must not be greater than max_total_trials"),
        ({"limits": {"maxTotalTrials": 0}}, 400, "between 1 and 1000"),
        ({"limits": {"maxTotalTrials": 1001}}, 400, "between 1 and 1000"),
        ({"limits": {"maxTotalTrials": 200, "maxConcurrentTrials": 101}}, 400, "between 1 and 100"),
        ({"earlyTermination": {"policyType": "Bandit"}}, 400, "either slack_factor or slack_amount"),
        ({"earlyTermination": {"policyType": "Bandit", "slackFactor": 1, "slackAmount": 1}}, 400, "either"),
        ({"earlyTermination": {"policyType": "TruncationSelection"}}, 400, "between 1 and 99"),
        ({"earlyTermination": {"policyType": "MedianStopping", "delayEvaluation": -1}}, 400, "delay_evaluation"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_refused_at_submission(changes: dict[str, Any], status: int, said: str) -> None:
    with pytest.raises(AzureError) as refused:
        read(**changes)
    assert refused.value.status == status
    assert said in refused.value.message
