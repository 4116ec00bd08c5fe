"""The plan: estimates, makespan, and the simulation that checks them."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from bit_keras.benchmarks.study import plan
from bit_keras.benchmarks.study.progress import Estimate
from bit_keras.benchmarks.study.simulate import (
    Cluster,
    expected,
    grid_hours,
    multiply_adds,
    simulate,
)
from bit_keras.benchmarks.study.state import State
from bit_keras.recipes import study as grids


def test_the_longest_first_is_within_a_third_of_the_best():
    """Graham's bound, 4/3 - 1/(3 m), against all assignments."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        seconds = rng.integers(1, 20, 7)
        best = min(
            max(np.bincount(choice, seconds, 3))
            for choice in itertools.product(range(3), repeat=7)
        )
        longest_first = sorted(seconds.tolist(), reverse=True)
        planned = plan.makespan(longest_first, workers=3)
        assert best <= planned <= best * (4 / 3 - 1 / 9)


@pytest.mark.parametrize("workers", [1, 7, 64])
def test_without_failures_the_simulation_is_the_plan(workers):
    hours = grid_hours(300, teraflops=2000.0)
    done = simulate(hours, Cluster(workers=workers), np.random.default_rng(0))
    assert done.hours == pytest.approx(plan.makespan(hours, workers))
    assert (done.failures, done.lost_hours) == (0, 0)


def test_4800_jobs_with_failures_end_when_planned():
    hours = grid_hours(4800, teraflops=10_000.0)
    cluster = Cluster(
        workers=64, failure_hours=5, checkpoint_hours=1, repair_hours=0.5
    )
    planned = plan.makespan([expected(h, cluster) for h in hours], 64)
    # Failures cost a fifth here, so that the plan is tested by them.
    assert planned > 1.2 * plan.makespan(hours, 64)
    done = simulate(hours, cluster, np.random.default_rng(0))
    assert done.hours == pytest.approx(planned, rel=0.02)
    # A failure per 5 hours of work, those repeated included.
    work = sum(hours) + done.lost_hours
    assert done.failures == pytest.approx(work / 5, rel=0.05)


def test_what_a_failing_worker_costs_is_the_mean_of_many_simulations():
    cluster = Cluster(
        workers=1, failure_hours=3, checkpoint_hours=1, repair_hours=0.25
    )
    rng = np.random.default_rng(0)
    # Jobs one after the other on one worker: the end is their cost.
    done = simulate([3.5] * 4000, cluster, rng)
    assert done.hours / 4000 == pytest.approx(expected(3.5, cluster), rel=0.02)


@pytest.mark.parametrize(
    "name, giga",
    # arXiv 2103.14030, table 1: DeiT-S and DeiT-B, which are these networks.
    [("vit_s16", 4.6), ("vit_b16", 17.5)],
)
def test_multiply_adds_are_the_published_ones(name, giga):
    assert multiply_adds(name) / 1e9 == pytest.approx(giga, rel=0.02)


def test_a_worker_that_never_fails_costs_what_the_job_does():
    assert expected(2.5, Cluster(workers=3, failure_hours=math.inf)) == 2.5


def test_a_kind_is_all_that_decides_the_time_of_a_step():
    first, second = grids.micro()
    assert plan.kind(first) == plan.kind(second)
    larger = dataclasses.replace(
        first, preprocess=dataclasses.replace(first.preprocess, crop=32)
    )
    assert plan.kind(larger) != plan.kind(first)


def done_in(seconds, attempts=1):
    return State(phase="done", attempts=attempts, train_seconds=seconds)


def test_time_left_learns_from_jobs_that_took_longer_than_planned():
    estimate = Estimate({"a": 10.0, "b": 20.0, "c": 30.0})
    assert estimate.left(["a", "b", "c"], workers=1) == 60
    estimate.add("a", done_in(20.0))
    assert estimate.left(["b", "c"], workers=1) == 100
    assert estimate.left(["b", "c"], workers=2) == 60


def test_time_left_ignores_jobs_that_were_begun_before():
    estimate = Estimate({"a": 10.0, "b": 20.0})
    estimate.add("a", done_in(1.0, attempts=2))
    assert estimate.left(["b"], workers=1) == 20


def test_without_a_plan_time_left_is_the_mean_of_what_is_done():
    estimate = Estimate({})
    assert estimate.text(["b"], workers=1) == "?"
    estimate.add("a", done_in(60.0))
    assert estimate.text(["b", "c"], workers=1) == "2:00"
