"""VTAB-1k: three protocols end to end, choices, the score, bad input."""

import argparse
import dataclasses
import re

import pandas as pd
import pytest

from bit_keras import recipe as recipe_lib
from bit_keras.benchmarks import (
    published,
    report_sections,
    results,
    section_panels,
    task_data,
    tasks,
    vtab,
    vtab_finetune,
    vtab_lightweight,
    vtab_linear,
    vtab_overview,
)
from bit_keras.benchmarks.drawing import page
from bit_keras.benchmarks.finetune import open_start
from bit_keras.benchmarks.results import Row, config_hash
from bit_keras.stops import NotFiniteError

VTAB = {task.name: task for task in tasks.group("vtab")}
NATURAL, AZIMUTH = "vtab_cifar100", "vtab_smallnorb_azimuth"


@pytest.fixture
def digits(monkeypatch):
    """Two of the tasks, standing on a few scanned digits."""
    for name in (NATURAL, AZIMUTH):
        task = dataclasses.replace(
            VTAB[name],
            dataset="digits",
            versions=(),
            label="label",
            num_classes=10,
            train="train[:60]+train[80:100]",
            train800="train[:60]",
            val200="train[80:100]",
            test="test[:50]",
            num_train=80,
            num_test=50,
        )
        monkeypatch.setitem(tasks._TASKS, name, task)


@pytest.fixture
def command(tmp_path):
    """Runs the sub-command on a tiny random network."""

    def run(*words):
        parser = argparse.ArgumentParser()
        vtab.add_arguments(parser)
        default = ["--model", "bit_tiny", "--init", "random"]
        default += ["--out", str(tmp_path), "--data-dir", str(tmp_path)]
        args = parser.parse_args([*default, *words])
        vtab.check(args)
        return vtab.run(args)

    return run


SHORT = (
    "--resolution=16",
    "--batch-size=8",
    "--set=schedule.steps=2",
)
# What these change, in the protocol of the rows.
SET = "preprocess.crop=16, run.batch_size=8, schedule.steps=2"


def rows(folder):
    return results.ResultsFile(folder / results.FILE_NAME).rows()


# The protocols, end to end.


def test_hyperrule_fine_tunes_each_task_by_one_rule(
    digits, command, tmp_path, capsys
):
    # The other 17 are not there: left out, and the score is partial.
    assert command(*SHORT, "--seeds=1") == 0
    said, told = capsys.readouterr()
    assert "left out, not prepared: vtab_caltech101, vtab_dtd" in told
    line = score_line(said.partition("Score:")[2], "bit_tiny.random")
    assert " ".join(line) == (
        "bit_tiny.random partial (2/19) partial (1/7) partial (0/4) "
        "partial (1/8) measured"
    )
    assert "73.51" in said and "deviate from the rules of VTAB" in said
    found = rows(tmp_path)
    assert [(row.task, row.group, row.seed) for row in found] == [
        (NATURAL, "natural", 0),
        (AZIMUTH, "structured", 0),
    ]
    for row in found:
        assert (row.benchmark, row.protocol) == ("vtab", f"hyperrule, {SET}")
        assert row.shots is None and row.n == 50
        assert row.value * 50 == pytest.approx(round(row.value * 50))
        assert row.details["train_examples"] == 80
        assert row.details["steps"] == 2
        # One rule, whatever it makes of a task: a mean over tasks is legal.
        assert row.preprocessing == "HyperRule (released), preprocess.crop=16"
    # No flip where it changes the label.
    cut = "train: resize 20, random crop 16"
    images = [row.details["images"] for row in found]
    assert images == [
        f"{cut}, flip; test: resize 16",
        f"{cut}; test: resize 16",
    ]

    # The same command again trains nothing, and says the same.
    assert command(*SHORT, "--seeds=1") == 0
    again, told = capsys.readouterr()
    assert f"{AZIMUTH}, seed 0: measured already" in told
    assert "step 1/2" not in told and again == said
    assert rows(tmp_path) == found
    # The report puts all of it into one section, partial as well.
    (section,) = report_sections.sections(results.load([tmp_path]))
    scores = report_sections.vtab_scores(section)
    assert len(scores) == 1
    assert scores["all (19 tasks)"].item() == "partial (2/19)"


@pytest.mark.slow
def test_lightweight_chooses_on_val200_and_trains_on_all(
    digits, command, tmp_path, monkeypatch, capsys
):
    trained = []
    inner = vtab_finetune.finetune

    def spy(start, recipe, train, test, folder, say):
        trained.append((train.split, test.split, recipe.run.seed))
        return inner(start, recipe, train, test, folder, say)

    monkeypatch.setattr(vtab_finetune, "finetune", spy)
    task = tasks.get(NATURAL)
    # The number of steps is given, so that two settings are left.
    words = (*SHORT, "--protocol=lightweight", f"--tasks={NATURAL}")
    assert command(*words, "--seeds=1") == 0
    sweep = (task.train800, task.val200, 0)
    assert trained == [sweep, sweep, (task.train, task.test, 0)]
    (row,) = rows(tmp_path)
    assert (row.protocol, row.seed) == (f"lightweight, {SET}", 0)
    assert row.n == 50
    tried = row.details["sweep"]
    assert [one["steps"] for one in tried] == [2, 2]
    # For 8 images a step instead of 512.
    rates = [one["learning_rate"] for one in tried]
    assert rates == pytest.approx([0.01 / 64, 0.1 / 64])
    best = max(one["val200"] for one in tried)
    assert row.details["val200"] == best
    assert row.details["images"] == "train: resize 16; test: resize 16"
    said = "".join(capsys.readouterr())
    assert "(val200)" in said and "not verified in the VTAB paper" in said


def test_linear_probes_train_on_the_whole_split(
    digits, command, tmp_path, capsys
):
    words = ("--protocol=linear", f"--tasks={NATURAL}", "--resolution=16")
    assert command(*words) == 0
    (row,) = rows(tmp_path)
    assert row.seed is None and row.shots is None and row.n == 50
    assert row.preprocessing == "resize 16, crop 16"
    assert row.details["train_examples"] == 80
    assert row.details["l2"] in [2.0**i for i in range(-10, 20)]
    # Features of a random network tell digits apart; a guess gets a tenth.
    assert row.value > 0.3
    capsys.readouterr()
    assert command(*words) == 0
    said = "".join(capsys.readouterr())
    assert "measured already" in said and "partial (1/19)" in said
    assert len(rows(tmp_path)) == 1


def test_the_linear_protocol_never_chooses_on_the_test_split(
    digits, command, tmp_path, monkeypatch
):
    seen, probe = [], vtab_linear.probe

    def recorded(train, test, num_classes, l2):
        seen.append((len(train.labels), len(test.labels), len(l2)))
        return probe(train, test, num_classes, l2)

    monkeypatch.setattr(vtab_linear, "probe", recorded)
    words = ("--protocol=linear", f"--tasks={NATURAL}", "--resolution=16")
    assert command(*words) == 0
    # train800 has 60 images here, val200 20, both together 80, the test 50.
    assert seen == [(60, 20, 30), (80, 50, 1)]


# Choices.


def test_the_sweep_is_that_of_the_code_it_follows():
    start = open_start("bit_tiny", "random")
    found = vtab_lightweight.recipes(start, VTAB[AZIMUTH], None, [])
    # README of task_adaptation: --decay_steps 750,1500,2250 --max_steps 2500
    # --batch_size 512; tf.train.piecewise_constant drops after a boundary.
    first = found[0]
    assert first.schedule == recipe_lib.Schedule(
        learning_rate=0.01,
        steps=2500,
        warmup_steps=0,
        boundaries=(751, 1501, 2251),
        decay=0.1,
    )
    assert first.run.batch_size == 512
    assert first.optimizer == recipe_lib.Optimizer(
        momentum=0.9, weight_decay=0.0
    )
    for recipe in found:
        assert recipe.preprocess.crop == 224
        assert not (recipe.preprocess.flip or recipe.preprocess.random_crop)
        assert recipe.preprocess.mixup_alpha == 0
    given = ["schedule.boundaries=5", "preprocess.crop=64"]
    (other, *_) = vtab_lightweight.recipes(start, VTAB[AZIMUTH], 256, given)
    assert other.schedule.boundaries == (5,)
    assert other.schedule.learning_rate == 0.005
    assert other.preprocess.crop == 64


class Trainer:
    """Stands for `finetune`: accuracies by setting, or a divergence."""

    def __init__(self, accuracies):
        self.accuracies = accuracies
        self.calls = []

    def __call__(self, start, recipe, train, test, folder, say):
        setting = (recipe.schedule.steps, recipe.schedule.learning_rate)
        self.calls.append((setting, train.split, recipe.run.seed, folder))
        top1 = self.accuracies[setting]
        if top1 is None:
            raise NotFiniteError("diverged at step 1")
        return {
            "top1": top1,
            "eval_examples": 50,
            "steps": setting[0],
            "train_examples": train.num_examples,
        }


@pytest.fixture
def stubbed(monkeypatch, digits, tmp_path):
    """Makes a lightweight job whose training is a table."""

    def make(accuracies):
        trainer = Trainer(accuracies)
        monkeypatch.setattr(vtab_finetune, "finetune", trainer)
        monkeypatch.setattr(vtab_finetune, "preprocessing", lambda f: "stub")
        job = vtab_finetune.Job(
            protocol="lightweight",
            model=open_start("bit_tiny", "random"),
            seeds=(0, 1, 2),
            batch_size=None,
            overrides=(),
            data_dir=None,
            out=tmp_path,
            say=lambda message: None,
        )
        return job, trainer

    return make


@pytest.mark.parametrize(
    "accuracies, chosen",
    [
        ((0.2, 0.3, 0.5, 0.4), (10_000, 0.01)),
        # Equal: the shorter, then the smaller rate.
        ((0.2, 0.5, 0.5, 0.5), (2500, 0.1)),
        ((0.5, 0.5, 0.5, 0.5), (2500, 0.01)),
        # Diverging settings lose.
        ((None, None, 0.1, None), (10_000, 0.01)),
    ],
)
def test_the_best_setting_is_trained_on_all_for_every_seed(
    stubbed, accuracies, chosen
):
    settings = ((2500, 0.01), (2500, 0.1), (10_000, 0.01), (10_000, 0.1))
    job, trainer = stubbed(dict(zip(settings, accuracies, strict=True)))
    task = tasks.get(NATURAL)
    found = list(job.rows(task, ()))
    assert [call[:2] for call in trainer.calls[:4]] == [
        (setting, task.train800) for setting in settings
    ]
    assert [call[:3] for call in trainer.calls[4:]] == [
        (chosen, task.train, seed) for seed in range(3)
    ]
    # Each run has a folder of its own.
    assert len({call[3] for call in trainer.calls}) == 7
    assert len({row.config_hash for row in found}) == 3
    for row in found:
        details = row.details
        assert (details["steps"], details["learning_rate"]) == chosen
        assert [one["val200"] for one in details["sweep"]] == [
            accuracy or 0.0 for accuracy in accuracies
        ]
    # With two of the rows there, the third needs the choice again.
    trainer.calls.clear()
    done = {row.config_hash for row in found}
    (row,) = job.rows(task, done - {found[1].config_hash})
    assert row.seed == 1 and len(trainer.calls) == 5
    trainer.calls.clear()
    assert list(job.rows(task, done)) == [] and trainer.calls == []


def test_the_linear_protocol_chooses_the_largest_of_equal_penalties():
    sweep = pd.DataFrame(
        {"l2": [1.0, 2.0, 4.0, 8.0], "accuracy": [0.7, 0.8, 0.8, 0.5]}
    )
    assert vtab_linear.best_l2(sweep) == 4.0


# The score.


def make_row(task, value, seed=0, **fields):
    given = dict(
        benchmark="vtab",
        model="mine",
        model_sha256="ab",
        upstream=None,
        task=task,
        group=VTAB[task].kind,
        protocol="hyperrule",
        preprocessing="HyperRule (released)",
        metric="accuracy",
        value=value,
        stderr=0.01,
        n=1000,
        seed=seed,
        details={"settings": ""},
        config_hash=config_hash({"task": task, "seed": seed, **fields}),
    )
    return Row(**given | fields)


def score_line(text, model):
    (line,) = (line for line in text.splitlines() if f"{model}  " in line)
    return line.split()


# docs/data/results.csv of google-research/task_adaptation: Sup-100%, 1000
# examples, in percent.
SUP_100 = {
    "cifar100": 57.02999830245972,
    "caltech101": 90.95394611358643,
    "patch_camelyon": 80.6121826171875,
    "clevr_count": 40.95999896526337,
    "clevr_distance": 56.11333250999451,
    "dmlab": 36.2856388092041,
    "dtd": 66.0106360912323,
    "eurosat": 95.31481266021729,
    "flowers102": 88.60676884651184,
    "kitti_distance": 70.56962251663208,
    "pets": 89.8744523525238,
    "resisc45": 80.84498047828674,
    "retinopathy": 73.19754362106323,
    "svhn": 87.31945157051086,
    "sun397": 34.41409170627594,
    "dsprites_location": 85.73133945465088,
    "dsprites_orientation": 45.96082866191864,
    "smallnorb_azimuth": 45.74275314807892,
    "smallnorb_elevation": 35.44136881828308,
}


def test_the_score_of_the_leaderboard_is_reproduced():
    found = [
        make_row(f"vtab_{name}", value / 100) for name, value in SUP_100.items()
    ]
    text = vtab_overview.overview(found, "ab", "hyperrule", "")
    ours = score_line(text.partition("Score:")[2], "mine")
    *_, row = published.VTAB
    assert row.model == "Sup-100% ResNet50"
    expected = (row.score, row.natural, row.specialized, row.structured)
    assert [round(float(word), 1) for word in ours[1:5]] == list(expected)
    assert ours[5] == "measured"


def test_the_score_is_the_mean_over_tasks_of_medians():
    # Medians 0.01 to 0.19; the other runs would give another mean.
    found = [
        make_row(name, value, seed)
        for place, name in enumerate(VTAB, 1)
        for seed, value in enumerate((place / 100, 0.0, 1.0))
    ]
    # None of these belongs to it.
    dtd = "vtab_dtd"
    found += [
        make_row(dtd, 0.9, model_sha256="cd"),
        make_row(dtd, 0.9, protocol="linear"),
        make_row(dtd, 0.9, details={"settings": "schedule.steps=2"}),
        make_row(dtd, 0.9, benchmark="fewshot"),
    ]
    text = vtab_overview.overview(found, "ab", "hyperrule", "")
    medians, _, scores = text.partition("Score:")
    # 190 / 19; natural 28 / 7, specialized 38 / 4, structured 124 / 8.
    expected = ["mine", "10.00", "4.00", "9.50", "15.50", "measured"]
    assert score_line(scores, "mine") == expected
    assert medians.split("images")[1].split()[:6] == [
        "mine",
        "natural",
        "vtab_caltech101",
        "1.00",
        "3",
        "1000",
    ]
    # One task less, and there is no number to be mistaken for the score.
    fewer = [row for row in found if row.task != "vtab_dmlab"]
    text = vtab_overview.overview(fewer, "ab", "hyperrule", "")
    line = " ".join(score_line(text.partition("Score:")[2], "mine"))
    assert line == "mine partial (18/19) 4.00 9.50 partial (7/8) measured"


def test_runs_measured_twice_in_different_ways_are_not_averaged():
    twice = [make_row("vtab_dtd", 0.5), make_row("vtab_dtd", 0.6, n=999)]
    with pytest.raises(ValueError, match="not one measurement"):
        vtab_overview.overview(twice, "ab", "hyperrule", "")


def test_published_scores_stand_beside_the_measured_one(tmp_path):
    file = results.ResultsFile(tmp_path / results.FILE_NAME)
    file.append([make_row("vtab_dtd", 0.5)])
    (section,) = report_sections.sections(results.load([tmp_path]))
    (shown, *_) = section_panels.panel(section).more
    html = shown.caption + page.table(shown.frame)
    text = vtab_overview.overview(file.rows(), "ab", "hyperrule", "")
    for words in (
        "BiT-L R152x4, HyperRule",
        "76.29 ± 1.70",
        "70.64",
        "README of google-research/big_transfer",
        "partial (1/19)",
        "no flip for dsprites_location, dsprites_orientation, "
        "smallnorb_azimuth; no random crop for clevr_count",
    ):
        assert words in html and words in text


def test_published_groups_agree_with_their_score():
    # Seven, four and eight tasks; rounded to a digit or two.
    for row in published.VTAB:
        if row.natural is not None:
            mean = 7 * row.natural + 4 * row.specialized + 8 * row.structured
            assert mean / 19 == pytest.approx(row.score, abs=0.1)


# Bad input.


def test_a_failing_task_does_not_stop_the_others(
    digits, command, tmp_path, monkeypatch, capsys
):
    inner = task_data.open_split

    def broken(task, *words):
        if task.name == NATURAL:
            raise ValueError(f"task {NATURAL}: its images are gone.")
        return inner(task, *words)

    monkeypatch.setattr(vtab_linear, "open_split", broken)
    words = ("--protocol=linear", f"--tasks={NATURAL},{AZIMUTH}")
    assert command(*words, "--resolution=16") == 1
    assert [row.task for row in rows(tmp_path)] == [AZIMUTH]
    *_, last = capsys.readouterr().err.splitlines()
    assert last == f"error: {NATURAL}: its images are gone."


def test_a_diverging_run_is_reported(digits, command, monkeypatch, capsys):
    def diverge(*words):
        raise NotFiniteError("Training diverged at step 1.")

    monkeypatch.setattr(vtab_finetune, "finetune", diverge)
    assert command("--protocol=hyperrule", f"--tasks={NATURAL}") == 1
    said = "".join(capsys.readouterr())
    assert f"error: {NATURAL}: Training diverged at step 1." in said


@pytest.mark.parametrize(
    "words, message",
    [
        (["--tasks=cifar100"], 'of VTAB-1k. Did you mean "vtab_cifar100"?'),
        (["--tasks=fewshot"], '"fewshot" is not of VTAB-1k'),
        (["--tasks=,"], "--tasks needs the name of a task"),
        (["--tasks=vtab_dtd"], "task vtab_dtd: its data are not prepared"),
        (["--seeds=0"], "--seeds must be >= 1; got 0"),
        (["--resolution=0"], "--resolution must be >= 1; got 0"),
        (["--protocol=linear", "--seeds=2"], "--seeds is for --protocol hyper"),
        (["--protocol=linear", "--set=a=b"], "--set is for --protocol hyper"),
        (["--cache-dir=x"], "--cache-dir is for --protocol linear"),
        (["--set=schedule.step=2"], 'Did you mean "schedule.steps"?'),
    ],
)
def test_mistakes_are_explained(digits, command, words, message):
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        command(*words)
