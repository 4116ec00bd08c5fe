"""Which layer serves a task best."""

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation import layers

ENDPOINTS = ["stem", "block1", "block2", "pre_logits", "logits"]


def make_rows(accuracies, seeds=(0,), task="dtd", model="m"):
    rows = [
        dict(
            benchmark="fewshot",
            model=model,
            model_sha256=f"sha-{model}",
            task=task,
            protocol="big_vision",
            preprocessing="resize 32",
            metric="accuracy",
            endpoint=endpoint,
            shots=5,
            seed=seed,
            value=value + 0.01 * seed,
            stderr=0.02,
            n=500,
            details={},
        )
        for endpoint, value in zip(ENDPOINTS, accuracies, strict=True)
        for seed in seeds
    ]
    frame = pd.DataFrame(rows)
    return frame.astype({"shots": "Int64", "seed": "Int64"})


def test_endpoints_are_sorted_from_input_to_output():
    names = ["stem"]
    names += [f"block{b}/unit{u:02d}" for b in (1, 2) for u in range(1, 12)]
    names.insert(12, "block1")
    names += ["block2", "norm_pre_head", "pre_logits", "logits"]
    rng = np.random.default_rng(0)
    assert layers.depth_order(rng.permutation(names).tolist()) == names


def test_numbers_are_compared_as_numbers():
    names = [f"encoderblock_{i}" for i in range(12)]
    shuffled = ["head", *names[::-1], "embedding"]
    assert layers.depth_order(shuffled) == ["embedding", *names, "head"]


def test_the_earliest_layer_that_reaches_the_best():
    frame = make_rows([0.3, 0.595, 0.6, 0.6, 0.55])
    best = layers.by_endpoint(frame).best.iloc[0]
    assert best["earliest"] == "block2" and best["earliest_depth"] == 0.5
    assert best["within_stderr"] == "block1"
    assert best["accuracy"] == 0.6
    assert best["last"] == "logits"
    assert best["gain"] == pytest.approx(0.05)
    assert best["endpoints"] == 5


def test_a_tolerance_moves_it_forward():
    frame = make_rows([0.3, 0.5, 0.55, 0.6, 0.55])
    best = layers.by_endpoint(frame, tolerance=0.11).best.iloc[0]
    assert best["earliest"] == "block1"
    assert best["within_stderr"] == "pre_logits"


def test_seeds_give_the_median_and_its_error():
    frame = make_rows([0.3, 0.4, 0.5, 0.6, 0.7], seeds=(0, 1, 2))
    result = layers.by_endpoint(frame)
    profile = result.profile.set_index("endpoint")
    np.testing.assert_allclose(
        profile["accuracy"], [0.31, 0.41, 0.51, 0.61, 0.71]
    )
    # Of 0, .01, .02: standard deviation .01 over sqrt(3).
    np.testing.assert_allclose(profile["stderr"], 0.01 / np.sqrt(3))
    np.testing.assert_allclose(profile["depth"], [0, 0.25, 0.5, 0.75, 1])
    best = result.best.iloc[0]
    assert best["earliest"] == "logits" and best["depth_correlation"] > 0.999
    assert best["gain"] == 0


def test_tasks_and_models_stand_alone():
    frame = pd.concat(
        [
            make_rows([0.1, 0.2, 0.3, 0.4, 0.5]),
            make_rows([0.5, 0.4, 0.3, 0.2, 0.1], task="col_hist"),
            make_rows([0.2, 0.2, 0.2, 0.2, 0.2], model="other"),
        ],
        ignore_index=True,
    )
    best = layers.by_endpoint(frame).best.set_index(["model", "task"])
    assert best["earliest"].to_dict() == {
        ("m", "dtd"): "logits",
        ("m", "col_hist"): "stem",
        ("other", "dtd"): "stem",
    }
    correlation = best["depth_correlation"]
    assert correlation["m", "col_hist"] < -0.999
    assert np.isnan(correlation["other", "dtd"])


def test_the_order_can_be_given_and_selects():
    frame = make_rows([0.1, 0.2, 0.9, 0.4, 0.5])
    result = layers.by_endpoint(frame, order=["pre_logits", "stem"])
    assert result.profile["endpoint"].tolist() == ["pre_logits", "stem"]
    assert result.best["last"].tolist() == ["stem"]


def test_depth_is_laid_over_the_upstream_axis():
    profile = layers.by_endpoint(make_rows([0.1, 0.2, 0.3, 0.4, 0.5])).profile
    laid = layers.on_upstream_axis(profile, 0.2, 0.6)
    np.testing.assert_allclose(laid["x"], [0.2, 0.3, 0.4, 0.5, 0.6])


def test_rows_of_two_protocols_are_refused():
    frame = make_rows([0.1, 0.2, 0.3, 0.4, 0.5])
    other = frame.assign(protocol="vit", seed=7).astype({"seed": "Int64"})
    with pytest.raises(ValueError, match="protocol"):
        layers.by_endpoint(pd.concat([frame, other], ignore_index=True))


def test_no_rows_is_an_error_that_says_what_to_run():
    frame = make_rows([0.1, 0.2, 0.3, 0.4, 0.5])
    with pytest.raises(ValueError, match='"vtab".*fewshot --endpoint'):
        layers.by_endpoint(frame, benchmark="vtab")
    with pytest.raises(ValueError, match="at these endpoints"):
        layers.by_endpoint(frame, order=["block9"])
