"""Few-shot probes, from the command line to the rows."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bit_keras.benchmarks import __main__ as command
from bit_keras.benchmarks import protocols, results, task_data, tasks_file
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.features import extract
from bit_keras.benchmarks.fewshot import linear_probe
from bit_keras.benchmarks.images import Preprocessing

MODEL = ("--model=bit_tiny", "--init=random", "--resolution=32")
ENDPOINTS = ("pre_logits", "block1")
TEXTURE = {
    "name": "texture",
    "dataset": "dtd10_mini",
    "train": "train[:200]",
    "test": "test[:100]",
    "group": "natural_mini",
}
LAND = {
    "name": "land",
    "dataset": "eurosat_mini",
    "train": "train[:300]",
    "test": "test[:200]",
}
# The first 12 images of these ten classes: some class has one image.
FEW = {**TEXTURE, "name": "few", "train": "train[:12]"}
PROGRAM = (sys.executable, "-m", "bit_keras.benchmarks", "fewshot")


class Bench:
    """The sub-command with its data, a tasks-file and one feature cache."""

    def __init__(self, shared, folder):
        self.data_dir = f"{shared}/data/tfds"
        self.folder = folder
        self.backbone = open_backbone("bit_tiny", "random", resolution=32)

    def words(self, out, *more, tasks=(TEXTURE, LAND)):
        names = "-".join(task["name"] for task in tasks)
        path = self.folder / f"{names}.json"
        path.write_text(json.dumps(tasks))
        return [
            *MODEL,
            f"--tasks-file={path}",
            f"--data-dir={self.data_dir}",
            f"--cache-dir={self.folder / 'features'}",
            f"--out={self.folder / out}",
            *more,
        ]

    def apart(self, words):
        """Runs the command as a process of its own."""
        return subprocess.run(
            [*PROGRAM, *words],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def __call__(self, out, *more, **options):
        return command.main(["fewshot", *self.words(out, *more, **options)])

    def file(self, out):
        return self.folder / out / results.FILE_NAME

    def rows(self, out):
        return results.ResultsFile(self.file(out)).rows()

    def features(self, task, endpoint):
        """Train and test features and labels, from the cache."""
        path = self.folder / "one.json"
        path.write_text(json.dumps([task]))
        (task,) = tasks_file.from_json(path)
        arrays = []
        for split in ("train", "test"):
            found = extract(
                self.backbone,
                task.name,
                task_data.open_split(task, split, self.data_dir),
                (endpoint,),
                Preprocessing(resize=37, crop=32),
                self.folder / "features",
                say=lambda message: None,
            )
            assert found.cached
            arrays += [found.features[endpoint], found.labels]
        return arrays


@pytest.fixture(scope="module")
def bench(shared, tmp_path_factory):
    return Bench(shared, tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def measured(bench):
    """What the command says, measuring two tasks at two endpoints."""
    words = bench.words("big", f"--endpoint={','.join(ENDPOINTS)}")
    return bench.apart([*words, "--shots=5,1"])


def keys(rows):
    return [(r.task, r.endpoint, r.shots, r.seed) for r in rows]


def test_the_command_measures_every_combination_once(bench, measured):
    assert measured.returncode == 0, measured.stderr
    rows = bench.rows("big")
    expected = {
        (task, endpoint, shots, seed)
        for task in ("texture", "land")
        for endpoint in ENDPOINTS
        for shots in (1, 5)
        for seed in (0, 1, 2)
    }
    assert len(rows) == 24 and set(keys(rows)) == expected
    assert len({row.config_hash for row in rows}) == 24
    assert {row.model for row in rows} == {"bit_tiny.random"}
    assert {row.protocol for row in rows} == {"big_vision"}
    assert {row.preprocessing for row in rows} == {"resize 37, crop 32"}
    assert {(r.task, r.group, r.n) for r in rows} == {
        ("texture", "natural_mini", 100),
        ("land", None, 200),
    }
    assert {row.details["l2"] for row in rows} == {1024.0}


def test_the_numbers_are_those_of_the_probe(bench, measured):
    for task, endpoint in ((TEXTURE, "block1"), (LAND, "pre_logits")):
        table = linear_probe(
            *bench.features(task, endpoint),
            num_classes=10,
            shots=(1, 5),
            seeds=(0, 1, 2),
        )
        found = {
            (row.shots, row.seed): (row.value, row.stderr)
            for row in bench.rows("big")
            if (row.task, row.endpoint) == (task["name"], endpoint)
        }
        n = {"texture": 100, "land": 200}[task["name"]]
        for line in table.itertuples():
            value, stderr = found[line.shots, line.seed]
            assert value == line.accuracy
            spread = np.sqrt(value * (1 - value) / n)
            np.testing.assert_allclose(stderr, spread)
    # Ten classes alike: a probe of a random network still sees colours.
    best = max(row.value for row in bench.rows("big") if row.task == "land")
    assert best > 0.25


def test_one_number_by_the_formula(bench, measured):
    """big_vision's fewshot_lsr (0127fb6), written out for one fit."""
    train, labels, test, expected = bench.features(LAND, "pre_logits")
    rng = np.random.default_rng(1)
    chosen = [rng.permutation(np.flatnonzero(labels == c)) for c in range(10)]
    chosen = np.concatenate([members[:5] for members in chosen])
    x, y = train[chosen].astype(float), 2 * np.eye(10)[labels[chosen]] - 1
    mean, std = x.mean(0), x.std(0) + 1e-5
    x, test = ((part - mean) / std for part in (x, test))
    x, test = (np.c_[part, np.full(len(part), 100.0)] for part in (x, test))
    weights = x.T @ np.linalg.solve(x @ x.T + 1024 * np.eye(len(x)), y)
    accuracy = np.mean((test @ weights).argmax(1) == expected)
    (row,) = (
        row
        for row in bench.rows("big")
        if (row.task, row.endpoint, row.shots, row.seed)
        == ("land", "pre_logits", 5, 1)
    )
    # One of 200 images may lie on the boundary, as rounding differs.
    assert abs(row.value - accuracy) < 0.0075


def test_medians_are_printed_and_messages_kept_apart(bench, measured):
    header, *lines = measured.stdout.splitlines()
    assert header.split()[-3:] == ["task", "1", "5"]
    medians = {
        (line.split()[1], line.split()[-3]): line.split()[-2:] for line in lines
    }
    for endpoint in ENDPOINTS:
        for task in ("texture", "land"):
            for place, shots in enumerate((1, 5)):
                values = [
                    row.value
                    for row in bench.rows("big")
                    if (row.task, row.endpoint, row.shots)
                    == (task, endpoint, shots)
                ]
                median = f"{np.median(values):.4f}"
                assert medians[endpoint, task][place] == median
    assert "land: features" in measured.stderr
    assert "Traceback" not in measured.stderr
    assert "pkg_resources" not in measured.stderr


def test_the_same_command_again_measures_nothing(bench, measured, capfd):
    before = bench.file("big").read_bytes()
    endpoints = f"--endpoint={','.join(ENDPOINTS)},block1"
    assert bench("big", endpoints, "--shots=1,5") == 0
    said = capfd.readouterr()
    assert bench.file("big").read_bytes() == before
    assert "land: measured already" in said.err
    assert "cache" not in said.err and "images/s" not in said.err
    assert said.out == measured.stdout


def test_only_what_is_new_is_added(bench, measured):
    before = bench.rows("big")
    assert bench("big", "--shots=1,2", "--seeds=4", "--tasks=land") == 0
    rows = bench.rows("big")
    assert rows[: len(before)] == before
    added = keys(rows[len(before) :])
    assert sorted(added) == [
        ("land", "pre_logits", 1, 3),
        *(("land", "pre_logits", 2, seed) for seed in range(4)),
    ]
    # Back to what the other tests expect.
    lines = bench.file("big").read_text().splitlines(keepends=True)
    bench.file("big").write_text("".join(lines[: len(before)]))


def test_results_and_report_take_the_file(bench, measured, capsys, tmp_path):
    out = str(bench.folder / "big")
    by = "--by=task,endpoint,shots"
    assert command.main(["results", out, by, "--format=csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 8 and lines[0].startswith("task,endpoint,shots")
    # Endpoints are not averaged silently, and told apart by default.
    assert command.main(["results", out, "--by=task,shots"]) == 1
    assert "differ in endpoint: pre_logits, block1" in capsys.readouterr().err
    assert command.main(["results", out, "--format=csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 8 and "task,endpoint,shots" in lines[0]
    assert command.main(["report", out, f"--out={tmp_path}"]) == 0
    assert "texture" in (tmp_path / "report.html").read_text()


def accuracies(bench, task):
    """Accuracy of the first five images per class over vit's penalties."""
    table = linear_probe(
        *bench.features(task, "pre_logits"),
        num_classes=10,
        shots=(5,),
        l2=protocols.L2_GRID,
        subset="first",
    )
    return dict(zip(table["l2"], table["accuracy"], strict=True))


def test_vit_takes_one_l2_for_all_tasks(bench, measured):
    assert bench("vit", "--protocol=vit", "--shots=1,5") == 0
    rows = bench.rows("vit")
    assert sorted(keys(rows), key=str) == [
        (task, "pre_logits", shots, None)
        for task in ("land", "texture")
        for shots in (1, 5)
    ]
    for shots in (1, 5):
        (l2,) = {r.details["l2"] for r in rows if r.shots == shots}
        assert l2 in protocols.L2_GRID
    for row in rows:
        assert row.details["tasks"] == "land,texture"
        if row.shots == 5:
            task = {"land": LAND, "texture": TEXTURE}[row.task]
            assert row.value == accuracies(bench, task)[row.details["l2"]]


def test_leave_self_out_takes_the_l2_of_the_other_task(bench, measured):
    assert bench("lso", "--protocol=leave_self_out", "--shots=5") == 0
    found = {row.task: row for row in bench.rows("lso")}
    table = {t["name"]: accuracies(bench, t) for t in (LAND, TEXTURE)}
    for task, other in (("land", "texture"), ("texture", "land")):
        # Of equally good penalties the largest has the highest rank.
        voted = [(accuracy, l2) for l2, accuracy in table[other].items()]
        _, l2 = max(voted)
        assert found[task].details["l2"] == l2
        assert found[task].value == table[task][l2]


def test_leave_self_out_needs_another_task(bench, capsys):
    assert bench("one", "--protocol=leave_self_out", "--tasks=land") == 1
    assert "land is the only one. Add tasks" in capsys.readouterr().err


def test_vit_with_other_tasks_is_another_measurement(bench, measured, capsys):
    out = "voters"
    assert bench(out, "--protocol=vit", "--shots=5") == 0
    assert bench(out, "--protocol=vit", "--shots=5", "--tasks=land") == 0
    rows = [row for row in bench.rows(out) if row.task == "land"]
    assert [row.details["tasks"] for row in rows] == ["land,texture", "land"]
    assert len({row.config_hash for row in rows}) == 2
    # The table shows what was asked for last; results ask which is meant.
    assert capsys.readouterr().out.splitlines()[-1].split()[-2] == "land"
    path = str(bench.folder / out)
    assert command.main(["results", path]) == 1
    assert "details.tasks" in capsys.readouterr().err
    where = "--where=details.tasks=land,texture"
    assert command.main(["results", path, where]) == 0


def test_vit_stopped_while_writing_votes_with_all_tasks(bench, measured):
    out, words = "torn", ("--protocol=vit", "--shots=1,5")
    assert bench(out, *words) == 0
    whole = bench.file(out).read_text()
    lines = whole.splitlines(keepends=True)
    bench.file(out).write_text("".join(lines[:-1]))
    assert bench(out, *words) == 0
    again = bench.rows(out)
    assert len(again) == len(lines)
    lost = json.loads(lines[-1])
    assert (again[-1].config_hash, again[-1].value, again[-1].details) == (
        lost["config_hash"],
        lost["value"],
        lost["details"],
    )


def test_validation_never_looks_at_test_labels(bench, measured, monkeypatch):
    words = ("--protocol=validation", "--shots=1,5", "--seeds=2")
    assert bench("val", *words, "--tasks=land") == 0
    rows = bench.rows("val")
    assert sorted(keys(rows)) == [
        ("land", "pre_logits", shots, seed)
        for shots in (1, 5)
        for seed in (0, 1)
    ]
    # One image per class leaves nothing to validate on.
    assert {r.details["l2"] for r in rows if r.shots == 1} == {1024.0}
    train, labels, test, expected = bench.features(LAND, "pre_logits")
    table = linear_probe(
        *(train, labels, test, (expected + 1) % 10),
        num_classes=10,
        shots=(5,),
        seeds=(0, 1),
        l2=protocols.L2_GRID,
        validation=True,
    )
    blind = protocols.evaluate({"land": table}, "validation")
    chosen = {r.seed: r.details["l2"] for r in rows if r.shots == 5}
    assert dict(zip(blind["seed"], blind["l2"], strict=True)) == chosen


def test_too_few_images_fail_one_task_and_say_which_class(bench, capsys):
    words = ("--shots=2", "--seeds=1")
    assert bench("few", *words, tasks=(FEW, LAND)) == 1
    said = capsys.readouterr()
    assert [row.task for row in bench.rows("few")] == ["land"]
    assert said.out.splitlines()[-1].split()[-2] == "land"
    (error,) = (w for w in said.err.splitlines() if w.startswith("error: "))
    assert error.startswith("error: few: shots: 2 images per class")
    # By its name, not its number.
    assert re.search(r"of 10 classes: class [a-z]+ has 1", error)
    assert "--allow-fewer" in error
    # Found out before the test images are looked at.
    assert "few train" in said.err and "few test" not in said.err
    assert bench("few", *words, "--allow-fewer", tasks=(FEW, LAND)) == 0
    rows = bench.rows("few")
    # With all classes large enough it is no other number, but says so.
    assert [r.task for r in rows] == ["land", "few", "land"]
    assert rows[0].value == rows[2].value
    assert [r.details.get("fewest_per_class") for r in rows] == [None, 1, 30]
    said = capsys.readouterr()
    assert said.err.count("have fewer than 2 images, the smallest 1; ") == 1
    lines = said.out.splitlines()
    assert [line.split()[-2] for line in lines] == ["task", "few", "land"]


def test_a_task_that_fails_takes_the_vote_from_all(bench, capsys):
    words = ("--protocol=vit", "--shots=2")
    assert bench("no_vote", *words, tasks=(FEW, LAND)) == 1
    said = capsys.readouterr()
    assert bench.rows("no_vote") == [] and said.out == ""
    *_, why, then = said.err.splitlines()
    assert why.startswith("error: few: shots: 2 images per class")
    assert then.startswith("error: Protocol vit chooses l2 by all tasks toget")
    assert "nothing was written" in then


def test_data_that_cannot_be_opened_fail_one_task(bench, capsys):
    typo = {**LAND, "name": "typo", "label": "lable"}
    split = {**LAND, "name": "split", "test": "validation"}
    tasks = (typo, split, LAND)
    assert bench("open", "--shots=1", "--seeds=1", tasks=tasks) == 1
    assert [row.task for row in bench.rows("open")] == ["land"]
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert first.startswith("error: task typo: label: ")
    assert 'Did you mean "label"?' in first
    assert second.startswith("error: task split: ") and "validation" in second


def test_a_misspelt_endpoint_costs_no_features(bench, capsys):
    assert bench("endpoint", "--endpoint=blok1") == 1
    error = capsys.readouterr().err
    assert 'Did you mean "block1"?' in error and "images/s" not in error
    assert bench.rows("endpoint") == []


def test_an_output_folder_that_cannot_be(bench, capsys):
    (bench.folder / "taken").write_text("mine")
    assert bench("taken", "--shots=1") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(
        f"error: --out {bench.folder / 'taken'} cannot be made"
    )


def test_killed_in_the_middle_it_goes_on(bench):
    """SIGKILL after the first rows, with half a row behind them."""
    large = {**LAND, "train": "train[:1200]", "test": "test[:1200]"}
    tasks = (TEXTURE, large)
    words = bench.words("killed", "--shots=1,5", "--seeds=2", tasks=tasks)
    words.append(f"--cache-dir={bench.folder / 'killed_features'}")
    file = bench.file("killed")
    with subprocess.Popen(
        [*PROGRAM, *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        end = time.monotonic() + 120
        while not file.exists() or not file.stat().st_size:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    before = bench.rows("killed")
    assert {row.task for row in before} == {"texture"}
    with open(file, "a") as opened:
        opened.write('{"benchmark": "fewshot", "mod')
    done = bench.apart(words)
    assert done.returncode == 0, done.stderr
    assert "warning: " in done.stderr and "cut off" in done.stderr
    rows = bench.rows("killed")
    assert rows[: len(before)] == before
    assert sorted(keys(rows)) == [
        (task, "pre_logits", shots, seed)
        for task in ("land", "texture")
        for shots in (1, 5)
        for seed in (0, 1)
    ]
