"""The sub-command saturation: what it reads, prints and writes."""

import argparse

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks import results, saturation_command
from bit_keras.benchmarks.results import Row

LAW = {"k": 0.7, "alpha": 3.0, "e_ir": 0.2}


def parse(*words):
    parser = argparse.ArgumentParser()
    saturation_command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def run(*words):
    args = parse("--bootstrap", 40, *words)
    saturation_command.check(args)
    return saturation_command.run(args)


def check_fails(message, *words):
    with pytest.raises((ValueError, OSError), match=message):
        saturation_command.check(parse(*words))


def make_models(count=40):
    up = np.linspace(0.2, 0.7, count)
    down = 1 - LAW["k"] * (1 - up) ** LAW["alpha"] - LAW["e_ir"]
    return pd.DataFrame(
        {"net": [f"m{i}" for i in range(count)], "top1": up, "dtd": down}
    )


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "models.csv"
    make_models().to_csv(path, index=False)
    return path


def read_fits(out):
    return pd.read_csv(out / "fits.csv").set_index("on")


def assert_law(row):
    found = [row["k"], row["alpha"], row["e_ir"]]
    assert found == pytest.approx(list(LAW.values()), rel=1e-3)
    assert bool(row["identified"])


def test_a_csv_file_gives_fits_and_a_report(models, tmp_path, capsys):
    out = tmp_path / "out"
    given = ("--upstream", "top1", "--downstream", "dtd", "--model-id", "net")
    assert run("--results", models, *given, "--out", out) == 0
    fits = read_fits(out)
    names = "task shots on k alpha e_ir ci identified n".split()
    assert list(pd.read_csv(out / "fits.csv").columns[:9]) == names
    assert set(fits.index) == {"hull", "rising", "all"}
    for on in fits.index:
        assert_law(fits.loc[on])
    assert (fits["n"] == 40).all() and (fits["task"] == "dtd").all()
    text = (out / "report.html").read_text()
    assert "Downstream against upstream accuracy" in text
    assert "top1: accuracy in fractions" in text
    printed = capsys.readouterr()
    assert "full hull" in printed.out and "0.200" in printed.out
    assert "40 points: 40 models, 1 tasks; 0 left out." in printed.err
    assert "1/1 dtd  0s left" in printed.err
    assert {p.name for p in out.glob("*.csv")} >= {
        "fits.csv",
        "predictions.csv",
        "skipped.csv",
        "correlations_all.csv",
    }
    assert not list(out.glob("*.tmp"))


def test_models_without_a_name_are_told_apart_by_their_files(tmp_path, capsys):
    models = make_models()
    for name, part in (("a", models[::2]), ("b", models[1::2])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    paths = tmp_path / "a.csv", tmp_path / "b.csv"
    given = ("--upstream", "top1", "--downstream", "dtd")
    assert run("--results", *paths, *given, "--out", tmp_path / "out") == 0
    assert "40 points: 40 models, 1 tasks" in capsys.readouterr().err
    fits = read_fits(tmp_path / "out")
    assert_law(fits.loc["hull"])
    assert fits["clusters"].isna().all()


def test_what_is_not_identified_has_no_numbers_on_the_screen(tmp_path, capsys):
    path = tmp_path / "few.csv"
    pd.DataFrame({"up": [0.1, 0.4, 0.5], "dtd": [0.2, 0.3, 0.7]}).to_csv(path)
    given = ("--upstream", "up", "--downstream", "dtd")
    assert run("--results", path, *given, "--out", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "not identified (2 hull vertices" in lines[1]
    assert not any("0." in line for line in lines[1:])
    assert not read_fits(tmp_path / "out")["identified"].any()


def test_tables_are_joined_by_model_and_size(tmp_path):
    wide = make_models()
    wide["size"] = 224
    up = wide[["net", "size", "top1"]].assign(top1=lambda t: 100 * t["top1"])
    down = wide[["net", "size"]].assign(top1=100 * wide["dtd"])
    up.to_csv(tmp_path / "up.csv", index=False)
    # Half of the upstream errors: the law has another k.
    up.assign(top1=50 + up["top1"] / 2).to_csv(tmp_path / "other.csv")
    down.to_csv(tmp_path / "v2.csv", index=False)
    code = run(
        *("--results", tmp_path / "up.csv", "--join", "net,size"),
        *("--upstream", "top1", "--downstream", "top1"),
        *("--downstream-tables", f"v2={tmp_path / 'v2.csv'}"),
        f"a={tmp_path / 'v2.csv'}",
        *("--upstream-tables", f"a={tmp_path / 'other.csv'}"),
        *("--out", tmp_path / "out"),
    )
    assert code == 0
    fits = read_fits(tmp_path / "out").loc["hull"].set_index("task")
    assert_law(fits.loc["v2"])
    assert fits.loc["a", "k"] == pytest.approx(2**3 * LAW["k"], rel=1e-3)


def test_curves_are_paired_with_the_upstream_one(tmp_path, capsys):
    models = make_models()
    seen = np.geomspace(1e6, 1e9, len(models))
    names = [f"r{number % 8}" for number in range(len(models))]
    curves = pd.concat(
        pd.DataFrame({"m": names, "seen": seen, "loss": 1 - v, "task": name})
        for name, v in (("inet_5", models["top1"]), ("dtd_5", models["dtd"]))
    )
    curves.to_csv(tmp_path / "curves.csv", index=False)
    run(
        *("--results", tmp_path / "curves.csv", "--curves", "seen"),
        *("--upstream-task", "inet", "--downstream", "loss"),
        *("--task", "task", "--model-id", "m", "--out", tmp_path / "out"),
    )
    fits = read_fits(tmp_path / "out")
    assert_law(fits.loc["hull"])
    assert (fits["task"] == "dtd").all() and (fits["shots"] == 5).all()
    assert "task: inet_5 is inet, 5 shots" in capsys.readouterr().err


def write_rows(path, endpoints=("pre_logits",), upstream="shapes"):
    """Writes rows of our own, as the benchmarks do."""
    rows = []
    for model in make_models().itertuples():
        given = dict(
            model=model.net,
            model_sha256=f"sha-{upstream}-{model.net}",
            upstream=upstream,
            group=None,
            protocol="big_vision",
            preprocessing="resize 32, crop 32",
            metric="accuracy",
            stderr=0.01,
            n=100,
            seed=0,
            time="2026-01-31T12:00:00+00:00",
        )
        made = [("upstream", f"{upstream}/val", None, "pre_logits", model.top1)]
        made += [
            ("fewshot", "dtd", shots, name, model.dtd - 0.01 * (5 / shots - 1))
            for shots in (1, 5)
            for name in endpoints
        ]
        for benchmark, task, shots, endpoint, value in made:
            about = {
                "benchmark": benchmark,
                "task": task,
                "shots": shots,
                "endpoint": endpoint,
                "value": value,
                "details": {"family": "BiT", "size": 1e6},
            }
            decides = {k: str(v) for k, v in (given | about).items()}
            hashed = results.config_hash(decides)
            rows.append(Row(config_hash=hashed, **given, **about))
    results.ResultsFile(path / "results.jsonl").append(rows)


def test_our_own_rows_need_no_columns(tmp_path, capsys):
    write_rows(tmp_path / "runs", endpoints=("block1", "pre_logits"))
    out = tmp_path / "out"
    assert run("--results", tmp_path / "runs", "--out", out) == 0
    fits = read_fits(out)
    assert_law(fits[fits["shots"] == 5].loc["hull"])
    assert set(pd.read_csv(out / "layers.csv")["endpoint"]) == {
        "block1",
        "pre_logits",
    }
    printed = capsys.readouterr().out
    assert "e_IR on full hull: falls at every step on 1 of 1 tasks" in printed


def test_models_of_two_upstream_sets_are_parted_by_where(tmp_path):
    write_rows(tmp_path / "runs" / "a")
    write_rows(tmp_path / "runs" / "b", upstream="digits")
    given = ("--results", tmp_path / "runs", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match='--where "upstream=shapes"'):
        run(*given)
    assert (
        run(*given, "--where", "upstream=shapes", "shots=5", "shots=all") == 0
    )
    fits = read_fits(tmp_path / "out")
    assert_law(fits.loc["hull"])
    assert fits["n"].tolist() == [40] * 3


def test_own_rows_and_columns_do_not_go_together(tmp_path):
    write_rows(tmp_path)
    given = ("--results", tmp_path, "--out", tmp_path / "out")
    check_fails("--task is for CSV files", *given, "--task", "task")


@pytest.mark.parametrize(
    "words, message",
    [
        (("--upstream", "top2"), 'no column "top2". Did you mean "top1"'),
        (("--downstream", "dtd,pets"), '--downstream: there is no column "pet'),
        (("--task", "tsk"), "models.csv: --task"),
        (("--held-out", "20"), "--held-out must be between 0 and 1; got 20"),
        (("--bootstrap", "-1"), "--bootstrap must be >= 0; got -1"),
        (("--join", "net"), "--downstream-tables TASK=CSV"),
        (("--upstream-task", "inet"), "--upstream-task is for --curves"),
        (("--where", "task=dtd"), "--where is for our own rows, not for CSV"),
        (("--curves", "seen"), "--curves needs --task"),
        (
            ("--join", "net", "--downstream-tables", "v2"),
            'TASK=CSV is needed; got "v2"',
        ),
        (
            ("--join", "net", "--downstream-tables", "v2=nowhere.csv"),
            "v2: there is no file",
        ),
    ],
)
def test_mistakes_are_found_before_the_work(models, tmp_path, words, message):
    given = ("--results", models, "--upstream", "top1", "--downstream", "dtd")
    check_fails(message, *given, "--out", tmp_path / "out", *words)


def test_columns_are_needed_for_csv_files(models, tmp_path):
    check_fails(
        "--upstream COLUMN is needed to read a CSV file. Columns: net, top1",
        *("--results", models, "--out", tmp_path / "out"),
    )


def test_files_are_looked_for(models, tmp_path):
    given = ("--upstream", "top1", "--downstream", "dtd")
    check_fails('no "x.csv"', "--results", "x.csv", *given, "--out", tmp_path)
    check_fails("is a file", "--results", models, *given, "--out", models)
