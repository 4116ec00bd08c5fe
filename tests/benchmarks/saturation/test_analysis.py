"""The whole analysis: what it finds, and what must not matter."""

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation.across import EVERY, IDENTIFIED, UPSTREAM
from bit_keras.benchmarks.saturation.analysis import analyse
from bit_keras.benchmarks.saturation.columns import Columns
from bit_keras.benchmarks.saturation.figures_layers import layer_panels
from bit_keras.benchmarks.saturation.figures_shots import falls
from bit_keras.benchmarks.saturation.options import Options
from bit_keras.benchmarks.saturation.paired_table import from_curves
from bit_keras.benchmarks.saturation.reading import from_results
from bit_keras.benchmarks.saturation.table import from_frame
from bit_keras.benchmarks.speed.saturation import measure_analysis

FEW = Options(resamples=60)
# Of the law, by task and shots: k, alpha, e_IR.
LAWS = {
    ("dtd", 1): (0.60, 2.0, 0.35),
    ("dtd", 5): (0.50, 2.5, 0.25),
    ("pets", 1): (0.80, 3.0, 0.15),
    ("pets", 5): (0.70, 4.0, 0.18),
}
COLUMNS = Columns(
    upstream="up",
    downstream=("down",),
    model=("model",),
    task="task",
    shots="shots",
    family="family",
    size="size",
)


def make_frame(models=150, noise=0.05, seed=0):
    """Returns models at or below their law, the best at each place on it."""
    rng = np.random.default_rng(seed)
    up = np.sort(rng.uniform(0.2, 0.75, models))
    size = 10 ** (6 + 2 * up + rng.normal(0, 0.3, models))
    rows = []
    for (task, shots), (k, alpha, e_ir) in LAWS.items():
        gap = rng.exponential(noise, models) * (np.arange(models) % 3 > 0)
        gap[-1] = 0
        rows.append(
            pd.DataFrame(
                {
                    "model": [f"m{i}" for i in range(models)],
                    "family": np.where(np.arange(models) % 2, "ViT", "BiT"),
                    "size": size,
                    "task": task,
                    "shots": shots,
                    "up": up,
                    "down": 1 - k * (1 - up) ** alpha - e_ir - gap,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def analysis():
    return analyse(from_frame(make_frame(), COLUMNS), FEW)


def test_the_hull_gives_the_law_back(analysis):
    hulls = analysis.fits[analysis.fits["on"] == "hull"]
    assert len(hulls) == len(LAWS)
    for row in hulls.itertuples():
        truth = LAWS[row.task, row.shots]
        assert (row.k, row.alpha, row.e_ir) == pytest.approx(truth, rel=0.03)
        assert row.identified and row.ci_low <= row.e_ir <= row.ci_high
        assert row.ci == f"[{row.ci_low:.4f}, {row.ci_high:.4f}]"
        assert (row.n, row.space, row.resamples) == (150, "linear", 60)
        assert row.vertices >= 40


def test_all_points_are_fitted_below_the_best(analysis):
    fits = analysis.fits.pivot(
        index=["task", "shots"], columns="on", values="e_ir"
    )
    assert (fits["all"] > fits["hull"] + 0.01).all()


def test_whether_e_ir_falls_is_said_of_each_kind_of_points(analysis):
    of_hull = analysis.claims[
        (analysis.claims["on"] == "hull")
        & (analysis.claims["parameter"] == "e_ir")
    ].set_index("counted")
    # That of dtd falls, that of pets rises.
    assert of_hull["tasks"].tolist() == [2, 2]
    assert of_hull.loc[IDENTIFIED, "holds"] == 1
    assert of_hull.loc[EVERY, "fails_on"] == "pets"
    lines = falls(analysis)
    assert len(lines) == 3
    assert (
        "full hull: falls at every step on 1 of 2 tasks (not on pets)"
        in (lines[0])
    )


def test_predictions_say_what_was_fitted_and_scored(analysis):
    found = analysis.predictions
    rising = found[(found["on"] == "rising") & (found["scored_on"] == "hull")]
    mse = rising.pivot(index=["task", "shots"], columns="method", values="mse")
    assert (mse["law"] < 1e-7).all()
    assert (mse.drop(columns="law").min(axis="columns") > 1e-6).all()
    assert set(found["share"]) == {0.2}
    assert set(found["models_fitted"]) == {120}
    of_all = found["on"] == "all"
    assert found.loc[of_all, ["vertices", "densify"]].isna().all(axis=None)
    assert set(found.loc[~of_all, "densify"]) == {50}


def test_sizes_of_samples_are_studied_from_enough_models(analysis):
    assert set(analysis.sample_size["models"]) == {100, 120}
    small = analyse(from_frame(make_frame(60), COLUMNS), FEW)
    assert small.sample_size.empty
    assert (small.skipped["what"] == "sample size").sum() == len(LAWS)


def test_the_order_of_rows_does_not_matter(analysis):
    frame = make_frame().sample(frac=1, random_state=3)
    again = analyse(from_frame(frame, COLUMNS), FEW)
    for name, one in analysis.files().items():
        pd.testing.assert_frame_equal(one, again.files()[name])


def test_percent_gives_what_fractions_give(analysis):
    frame = make_frame()
    frame[["up", "down"]] *= 100
    again = analyse(from_frame(frame, COLUMNS), FEW)
    for name in ("fits", "predictions", "shots", "scale"):
        one, other = analysis.files()[name], again.files()[name]
        words = one.select_dtypes("object").columns
        pd.testing.assert_frame_equal(
            one.drop(columns=words),
            other.drop(columns=words),
            rtol=1e-5,
            atol=1e-8,
        )
    assert again.fits["verdict"].equals(analysis.fits["verdict"])


def test_models_below_the_hull_do_not_move_it(analysis):
    frame = make_frame()
    worse = frame[frame["up"].between(0.2, 0.7)].assign(
        model=lambda made: made["model"] + "x", down=lambda m: m["down"] - 0.1
    )
    again = analyse(from_frame(pd.concat([frame, worse]), COLUMNS), FEW)
    names = ["k", "alpha", "e_ir", "vertices"]
    for on in ("hull", "rising"):
        one, other = (
            a.fits.loc[a.fits["on"] == on, names].to_numpy(float)
            for a in (analysis, again)
        )
        np.testing.assert_array_equal(one, other)


def test_tasks_are_correlated_with_their_own_upstream(analysis):
    found = analysis.correlations[5]
    part = make_frame().query("task == 'dtd' and shots == 5")
    expected = part["up"].rank().corr(part["down"].rank())
    assert found.rho.loc[UPSTREAM, "dtd"] == pytest.approx(expected)
    assert found.n.loc["dtd", "pets"] == 150
    rho = found.rho[UPSTREAM].drop(UPSTREAM)
    assert analysis.reference_task == rho.idxmax()


def test_a_task_that_is_not_there_is_no_reference():
    table = from_frame(make_frame(20), COLUMNS)
    with pytest.raises(ValueError, match='Did you mean "pets"'):
        analyse(table, Options(reference_task="pet"))


def test_checkpoints_of_a_model_are_drawn_together():
    frame = make_frame()
    frame["size"] = np.arange(len(frame)) + 1.0
    frame["model"] = frame["model"].str[:2]
    fits = analyse(from_frame(frame, COLUMNS), FEW).fits
    assert set(fits["clusters"]) == {10}


def checkpoints(runs):
    """Rows of our own: the checkpoints of so many trainings of the study."""
    frame = make_frame().query("task == 'dtd' and shots == 5")
    rows = []
    for place, point in enumerate(frame.itertuples()):
        run, step = f"net{place % runs}-data3", 10 * (place + 1)
        given = dict(
            model=f"{run}@{step}",
            model_sha256=f"sha{place}",
            protocol="p",
            preprocessing="p",
            metric="accuracy",
            stderr=0.0,
            n=100,
            endpoint="pre_logits",
            seed=0,
        )
        about = {"step": step, "epochs": step / 7}
        rows += [
            {**given, "benchmark": "upstream", "task": "up"}
            | {"value": point.up, "details": about, "shots": None},
            {**given, "benchmark": "fewshot", "task": "dtd"}
            | {"value": point.down, "details": {}, "shots": 5},
        ]
    return from_results(pd.DataFrame(rows))


def test_checkpoints_of_our_trainings_are_not_independent():
    table = checkpoints(10)
    assert "150 points: 150 models of 10 trainings" in table.summary()
    made = analyse(table, FEW)
    assert set(made.fits["clusters"]) == {10}
    # However many they are, those of one training are one model.
    fits = analyse(checkpoints(1), FEW).fits
    assert not fits["identified"].any()
    assert fits["verdict"].str.startswith("150 points of 1 trainings").all()


@pytest.mark.parametrize("runs, identified", [(3, False), (50, True)])
def test_predictions_count_trainings_as_the_fits_do(runs, identified):
    made = analyse(checkpoints(runs), FEW)
    laws = made.predictions[made.predictions["method"] == "law"]
    of_hull = laws[laws["on"] == "hull"]
    assert len(of_hull) and of_hull["identified"].eq(identified).all()


def test_too_few_models_are_reported_and_not_fitted():
    frame = pd.DataFrame({"up": [1.0, 1.0], "down": [0.2, 0.3]})
    made = analyse(
        from_frame(frame, Columns(upstream="up", downstream=("down",)))
    )
    assert made.fits.empty and made.predictions.empty
    assert "fit on hull" in set(made.skipped["what"])
    assert {"skipped"} <= set(made.files()) <= {"skipped", "correlations_all"}


def test_three_models_have_no_identified_law():
    frame = pd.DataFrame({"up": [0.1, 0.4, 0.5], "down": [0.2, 0.3, 0.7]})
    made = analyse(
        from_frame(frame, Columns(upstream="up", downstream=("down",)))
    )
    assert not made.fits["identified"].any()
    assert made.fits["verdict"].str.contains("need 6 or more").all()


def test_layers_and_head_are_analysed_where_they_are_known():
    rows = []
    for i in range(30):
        up = 0.2 + i * 0.02
        for depth, endpoint in enumerate(("stem", "block1", "pre_logits")):
            rows.append(
                {
                    "model": f"m{i}",
                    "endpoint": endpoint,
                    "head_weight_decay": float(i % 3),
                    "up": up,
                    "down": up * (0.5, 1.0, 0.9)[depth],
                }
            )
    table = from_frame(
        pd.DataFrame(rows),
        Columns(
            upstream="up",
            downstream=("down",),
            model=("model",),
            endpoint="endpoint",
            keep=("head_weight_decay",),
        ),
    )
    made = analyse(table, FEW)
    assert set(made.layers.best["earliest"]) == {"block1"}
    # The law is that of the last layer.
    assert set(made.fits["n"]) == {30}
    assert made.groups[0].points["endpoint"].unique() == ["pre_logits"]
    assert made.heads[0].setting == "head_weight_decay"
    assert {"layers", "best_layers", "head"} <= set(made.files())


LAYERED = Columns(
    upstream="up",
    downstream=("down",),
    model=("model",),
    task="task",
    endpoint="endpoint",
    epochs="epochs",
)


def layered(rows):
    names = ["model", "epochs", "task", "endpoint", "up", "down"]
    return from_frame(pd.DataFrame(rows, columns=names), LAYERED)


def test_checkpoints_of_a_model_have_their_own_layers():
    rows = [
        ("m", epochs, "dtd", layer, up, down)
        for epochs, up, values in (
            (7, 0.3, (0.50, 0.45, 0.40)),
            (14, 0.5, (0.30, 0.70, 0.60)),
        )
        for layer, down in zip(
            ("stem", "block1", "logits"), values, strict=True
        )
    ]
    made = analyse(layered([*rows, ("n", 7, "dtd", "logits", 0.4, 0.5)]), FEW)
    best = made.layers.best.set_index("model")
    assert best["earliest"].to_dict() == {
        "m, epochs 14": "block1",
        "m, epochs 7": "stem",
    }
    assert best["gain"].tolist() == pytest.approx([0.1, 0.1])
    assert best["endpoints"].tolist() == [3, 3]
    (panel, _) = layer_panels(made)
    (line,) = [s for s in panel.plot.axes[0].series if s.kind == "line"]
    # Of the checkpoint that is best upstream.
    assert line.y.tolist() == [0.3, 0.7, 0.6]


def ramp(task, layers, models=range(20)):
    return [
        (f"m{i}", 7, task, layer, 0.2 + 0.02 * i, 0.1 + 0.02 * i)
        for i in models
        for layer in layers
    ]


def test_a_task_probed_at_fewer_layers_keeps_its_law():
    both = ramp("dtd", ("block1", "pre_logits")) + ramp("pets", ("block1",))
    made = analyse(layered(both), FEW)
    assert {g.task: len(g.points) for g in made.groups} == {
        "dtd": 20,
        "pets": 20,
    }
    assert made.groups[1].points["endpoint"].unique() == ["block1"]
    assert made.warnings() == []


def test_models_probed_at_different_last_layers_are_told():
    rows = ramp("dtd", ("block1",), range(12))
    rows += ramp("dtd", ("block1", "pre_logits"), range(12, 20))
    assert analyse(layered(rows), FEW).warnings() == [
        "warning: dtd: its models were probed at different last layers: "
        "block1 (12), pre_logits (8)"
    ]


def test_progress_is_told():
    calls = []
    analyse(
        from_frame(make_frame(20), COLUMNS),
        FEW,
        lambda *told: calls.append(told),
    )
    assert [(done, total) for done, total, _ in calls] == [
        (i, 4) for i in range(1, 5)
    ]
    assert {name for *_, name in calls} == {
        "dtd, 1-shot",
        "dtd, 5-shot",
        "pets, 1-shot",
        "pets, 5-shot",
    }


def test_the_analysis_is_timed():
    figures = measure_analysis(models=60, tasks=2, shots=2)
    assert figures["points of the analysis"] == 60 * 4
    assert figures["laws of the analysis"] == 3 * 4
    assert figures["analysis, seconds"] > 0


def test_public_curves_reproduce_the_reference(shared):
    """saturation.md 8.1: whether e_IR falls depends on the hull."""
    frame = pd.read_csv(shared / "data" / "tables" / "nsl_vision.csv")
    table = from_curves(
        frame[~frame["Task"].str.startswith("cal")],
        at="Seen Examples",
        value="Loss",
        task="Task",
        upstream_task="inet",
        model=["Model"],
    )
    made = analyse(table, Options(resamples=0))
    found = made.fits.set_index(["task", "on", "shots"])["e_ir"].sort_index()
    assert made.fits["n"].unique().tolist() == [
        1907,
        1702,
        1522,
        1605,
        1788,
        1572,
    ]
    expected = {
        ("bird", "hull"): [0.134, 0.109, 0.050],
        ("bird", "rising"): [0.0, 0.013, 0.015],
        ("c", "hull"): [0.283, 0.215, 0.213],
        ("c", "rising"): [0.283, 0.211, 0.216],
    }
    for key, values in expected.items():
        assert found.loc[key].tolist() == pytest.approx(values, abs=0.01)
    every = made.claims[
        (made.claims["counted"] == EVERY) & (made.claims["parameter"] == "e_ir")
    ].set_index("on")
    assert every.loc["hull", "holds"] == 2
    assert every.loc["rising", "holds"] == 0
