"""Where the table comes from: CSV files, joined ones, and our rows."""

import shlex

import numpy as np
import pytest

from bit_keras.benchmarks import results
from bit_keras.benchmarks.results import Row
from bit_keras.benchmarks.saturation import reading
from bit_keras.benchmarks.saturation.columns import Columns

TIMM = Columns(upstream="top1", downstream=("top1",), size="param_count")


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def make_row(model, benchmark, value, **fields):
    given = dict(
        benchmark=benchmark,
        model=model,
        model_sha256=f"sha-{model}",
        upstream="shapes",
        task="dtd",
        group=None,
        protocol="big_vision",
        preprocessing="resize 32, crop 32",
        metric="accuracy",
        value=value,
        stderr=0.01,
        n=100,
        time="2026-01-31T12:00:00+00:00",
    )
    given |= fields
    decides = {k: str(v) for k, v in given.items()}
    return Row(**{"config_hash": results.config_hash(decides)} | given)


def load(folder, rows):
    results.ResultsFile(folder / "results.jsonl").append(rows)
    return results.load([folder])


def make_study(folder, **details):
    rows = []
    for model, accuracy in (("small", 0.4), ("large", 0.6)):
        about = {"family": "BiT", "size": 1e6, "data": 100, **details}
        rows.append(
            make_row(
                model, "upstream", accuracy, task="val", details=about, seed=0
            )
        )
        rows += [
            make_row(model, "fewshot", accuracy + 0.1 * s, shots=5, seed=s)
            for s in range(3)
        ]
    return rows


def test_a_csv_file_is_read(tmp_path):
    path = write(
        tmp_path / "t.csv", "m,us,ds,n", 'a,50,40,"1,500"', "b,60,NA,2"
    )
    made = reading.read_csv(
        path, Columns(model=("m",), upstream="us", downstream=("ds",), size="n")
    )
    assert made.points["size"].tolist() == [1500.0]
    assert [(p.row, p.reason) for p in made.problems] == [(3, "no ds")]


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "is no CSV file"),
        (b"a,b\n1,2,3,4\n1\n1,2,3\n5,6,7,8,9", "is no CSV file"),
        (b"\xff\xfe\x00\x01", "is no text"),
        (b"a,b\n1,2", 't.csv: upstream: there is no column "us"'),
    ],
)
def test_what_is_no_table_is_named(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        reading.read_csv(path, Columns(upstream="us", downstream=("ds",)))


def test_files_are_joined_on_all_keys(tmp_path):
    upstream = write(
        tmp_path / "imagenet.csv",
        "model,img_size,top1,param_count",
        'a,224,80,"1,013.01"',
        "a,384,84,1013.01",
        "b,224,70,5",
    )
    shifted = write(
        tmp_path / "v2.csv",
        "model,img_size,top1",
        "a,384,74",
        "a,224,70",
        "z,224,10",
    )
    made = reading.join(upstream, {"v2": shifted}, ["model", "img_size"], TIMM)
    points = made.points.set_index("model")
    assert points["upstream_accuracy"].to_dict() == {
        "a 224": 0.8,
        "a 384": 0.84,
    }
    assert points["downstream_accuracy"].to_dict() == {
        "a 224": 0.7,
        "a 384": 0.74,
    }
    assert points["size"].tolist() == [1013.01, 1013.01]
    assert [(p.row, p.what) for p in made.problems] == [(4, "b 224, v2")]
    assert made.notes[-1] == f"v2: 1 models have no row in {upstream}"
    with pytest.raises(ValueError, match="model=a is on more than one line"):
        reading.join(upstream, {"v2": shifted}, ["model"], TIMM)


def test_a_join_says_what_it_assumes(tmp_path):
    up = write(tmp_path / "a.csv", "model,top1,right", "a,0.8,0.8")
    down = write(tmp_path / "b.csv", "model,top1,right", "a,70,70")
    for name, count in (("top1", 0), ("right", 1)):
        given = Columns(upstream="top1", downstream=(name,))
        notes = reading.join(up, {"v2": down}, ["model"], given).notes
        assert sum("taken as accuracy" in note for note in notes) == count
        assert any("v2 taken as percent, but top1" in note for note in notes)


def test_a_join_reads_no_cross_entropy(tmp_path):
    up = write(tmp_path / "a.csv", "model,top1", "a,80", "b,70")
    down = write(tmp_path / "b.csv", "model,loss", "a,1.5", "b,2.5")
    given = {"upstream": "top1", "downstream": ("loss",)}
    with pytest.raises(ValueError, match="loss: 2 of 2 values exceed 1"):
        reading.join(up, {"v2": down}, ["model"], Columns(**given))
    given["downstream_unit"] = "percent"
    made = reading.join(up, {"v2": down}, ["model"], Columns(**given))
    assert made.points["downstream_accuracy"].tolist() == [0.985, 0.975]


def test_a_join_says_what_is_missing(tmp_path):
    upstream = write(tmp_path / "a.csv", "model,top1", "a,80")
    other = write(tmp_path / "b.csv", "model,acc", "a,80")
    with pytest.raises(ValueError, match='size: there is no column "param'):
        reading.join(upstream, {"v2": other}, ["model"], TIMM)
    plain = Columns(upstream="top1", downstream=("top1",))
    with pytest.raises(ValueError, match='no column "top1". .*model, acc'):
        reading.join(upstream, {"v2": other}, ["model"], plain)
    with pytest.raises(ValueError, match='"top1" is also a column'):
        reading.join(upstream, {"top1": upstream}, ["model"], plain)
    with pytest.raises(ValueError, match="one downstream column"):
        reading.join(
            upstream,
            {"v2": other},
            ["model"],
            Columns(upstream="top1", downstream=("top1", "acc")),
        )


def test_the_public_tables_are_read(shared):
    def file(name):
        return shared / "data" / "tables" / f"timm_results-{name}.csv"

    made = reading.join(
        file("imagenet"),
        {
            "real": file("imagenet-real"),
            "v2": file("imagenetv2-matched-frequency"),
            "sketch": file("sketch"),
        },
        ["model", "img_size"],
        TIMM,
    )
    assert len(made.points) == 3 * 1556 and made.problems == ()
    best = made.points.set_index(["task", "model"]).loc[
        ("real", "eva_giant_patch14_336.clip_ft_in1k 336")
    ]
    # Its line of the ReaL file: 91.078 is 1.616 above ImageNet.
    assert best["downstream_accuracy"] == pytest.approx(0.91078)
    assert best["upstream_accuracy"] == pytest.approx(0.91078 - 0.01616)
    assert best["size"] == 1013.01


def test_our_rows_are_joined_to_the_upstream_accuracy(tmp_path):
    rows = make_study(tmp_path, head_weight_decay=0.03)
    rows.append(make_row("other", "fewshot", 0.3, shots=5, seed=0))
    rows.append(
        make_row("small", "fewshot", 0.9, shots=5, seed=0, endpoint="logits")
    )
    made = reading.from_results(load(tmp_path, rows))
    points = made.points.set_index("model")
    # The median of three seeds.
    assert points["downstream_accuracy"].to_dict() == pytest.approx(
        {"small": 0.5, "large": 0.7}
    )
    assert points["upstream_accuracy"].to_dict() == {"small": 0.4, "large": 0.6}
    assert set(points["family"]) == {"BiT"} and set(points["shots"]) == {5}
    assert points["size"].tolist() == [1e6, 1e6]
    assert points["head_weight_decay"].tolist() == [0.03, 0.03]
    assert np.isnan(points["epochs"]).all()
    assert [(p.what, p.reason) for p in made.problems] == [
        ("other, dtd, 5-shot", "no upstream_accuracy")
    ]


def test_an_accuracy_of_one_percent_in_our_rows_stays_a_fraction(tmp_path):
    rows = [
        make_row("m", "upstream", 0.01, task="val"),
        make_row("m", "fewshot", 0.005, shots=1, seed=0),
    ]
    points = reading.from_results(load(tmp_path, rows)).points
    assert points["upstream_accuracy"].tolist() == [0.01]


def test_rows_that_are_not_of_one_kind_are_refused(tmp_path):
    rows = make_study(tmp_path)
    rows.append(
        make_row("small", "fewshot", 0.9, shots=5, seed=7, protocol="vit")
    )
    with pytest.raises(ValueError, match="protocol"):
        reading.from_results(load(tmp_path, rows))


def test_rows_without_upstream_accuracy_are_refused(tmp_path):
    rows = [row for row in make_study(tmp_path) if row.benchmark == "fewshot"]
    with pytest.raises(ValueError, match='"upstream".*there are: fewshot'):
        reading.from_results(load(tmp_path, rows))


def of_kind(models, upstream="i1k", val="i1k/val", **downstream):
    """Returns rows of models that were measured in one way."""
    rows = []
    for model in models:
        fields = {"upstream": upstream, "seed": 0}
        about = fields | {"task": val, "protocol": "trained head"}
        rows.append(make_row(model, "upstream", 0.5, **about))
        about = fields | {"shots": 5} | downstream
        rows.append(make_row(model, "fewshot", 0.4, **about))
    return rows


@pytest.mark.parametrize(
    "other, differs, advice",
    [
        (
            {"upstream": "i21k", "val": "i21k/val"},
            'upstream accuracies differ in task: "i1k/val", "i21k/val".',
            'saturation --where "upstream=i1k".',
        ),
        (
            {"protocol": "vit"},
            'accuracies on dtd differ in protocol: "big_vision", "vit".',
            'saturation --where "protocol=big_vision" "protocol=trained head".',
        ),
        ({"n": 90}, 'accuracies on dtd differ in n: "100", "90".', "of rows."),
    ],
)
def test_models_measured_in_two_ways_are_no_law(
    tmp_path, other, differs, advice
):
    rows = of_kind("abc") + of_kind("de", **other)
    frame = load(tmp_path, rows)
    with pytest.raises(ValueError) as error:
        reading.from_results(frame)
    message = str(error.value)
    assert differs in message and message.endswith(advice)
    _, given, conditions = message.rstrip(".").partition("--where ")
    if given:
        kept = results.select(frame, shlex.split(conditions))
        assert set(reading.from_results(kept).points["model"]) == set("abc")


def test_models_may_differ_in_preprocessing_and_tasks_in_protocol(tmp_path):
    rows = of_kind("a", preprocessing="resize 64, crop 64") + of_kind("b")
    rows += of_kind("ab", task="pets", protocol="deduplicated", n=9)[1::2]
    # It has no upstream accuracy, so no point.
    rows += of_kind("c", protocol="vit")[1:]
    made = reading.from_results(load(tmp_path, rows))
    assert len(made.points) == 4 and len(made.problems) == 1
