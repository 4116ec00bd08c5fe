"""Which model and which tasks: what is asked for, and what is there."""

import argparse

import pytest

from bit_keras.benchmarks import selection
from bit_keras.benchmarks.tasks import Task


def task(name, dataset="digits", **fields):
    return Task(
        name=name, dataset=dataset, train="train", test="test", **fields
    )


MINE = (
    task("a", groups=("g",)),
    task("b", groups=("g",)),
    task("c", "nobodys_set", groups=("g",)),
)


def choose(names, default, data_dir, own=MINE):
    said = []
    chosen = selection.choose(names, default, own, str(data_dir), said.append)
    return [task.name for task in chosen], said


def test_a_task_asked_for_twice_is_there_once(tmp_path):
    assert choose("b, a,b", "fewshot", tmp_path) == (["b", "a"], [])


def test_of_a_group_what_is_missing_is_left_out_and_said(tmp_path):
    found = choose("g", "fewshot", tmp_path)
    assert found == (["a", "b"], ["left out, not prepared: c"])


@pytest.mark.parametrize("names", ["c", "a,c", "g,c", "c,g"])
def test_a_task_asked_for_by_name_must_be_there(tmp_path, names):
    with pytest.raises(
        FileNotFoundError, match="task c: its data are not"
    ) as e:
        choose(names, "fewshot", tmp_path)
    assert str(tmp_path) in str(e.value)


def test_the_error_says_how_to_prepare(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"builder\('dtd:3.0.1'"):
        choose("dtd", "fewshot", tmp_path)


def test_nothing_there_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="none of the tasks are there"):
        choose(None, "vtab", tmp_path)


def test_all_of_a_tasks_file_without_names(tmp_path):
    assert choose(None, MINE[:2], tmp_path) == (["a", "b"], [])
    with pytest.raises(FileNotFoundError, match="task c"):
        choose(None, MINE, tmp_path)


def test_unknown_names_are_told_with_groups_and_tasks(tmp_path):
    with pytest.raises(ValueError, match='group "dtdd".*mean "dtd".*: fewshot'):
        choose("a,dtdd", "fewshot", tmp_path)
    with pytest.raises(ValueError, match='"fewshott".*mean "fewshot"'):
        choose("fewshott", "fewshot", tmp_path)
    with pytest.raises(ValueError, match="needs the name of a task"):
        choose(" ", MINE, tmp_path)


def arguments(*words):
    parser = argparse.ArgumentParser()
    selection.add_arguments(parser)
    return parser.parse_args(["--out=o", *words])


@pytest.mark.parametrize(
    "words",
    [
        ("--model=bit_tiny", "--init=random"),
        ("--model=bit_r50x1", "--init=bit_r50x1.i21k"),
        ("--model=bit_r50x1.i21k",),
        ("--model=https://tfhub.dev/google/bit/m-r50x1/1",),
        ("--model=bit/m-r50x1/1", "--input-range=-1,1"),
        # A folder that is there; what it holds is seen when it is opened.
        ("--model=.", "--data-dir=."),
    ],
)
def test_models_that_may_be(words):
    selection.check(arguments(*words))


@pytest.mark.parametrize(
    "words, error, message",
    [
        (("--model=mine/1",), FileNotFoundError, 'there is no "mine/1"'),
        (("--model=bit_tiny",), ValueError, "say with --init"),
        (("--model=bit_tny",), ValueError, 'Did you mean "bit_tiny"'),
        (
            ("--model=bit_tiny", "--init=bit_r50x1.i21k"),
            ValueError,
            "weights for bit_r50x1, but the model is bit_tiny",
        ),
        (("--model=.", "--batch-size=-1"), ValueError, "--batch-size must be"),
    ],
)
def test_models_that_cannot_be(words, error, message):
    with pytest.raises(error, match=message) as caught:
        selection.check(arguments(*words))
    # The wording is of no other command.
    assert "SOURCE" not in str(caught.value)


@pytest.mark.parametrize("text", ["1", "a,b", "1,1", "1,0", "0,nan", "0,inf"])
def test_ranges_that_cannot_be(text):
    with pytest.raises(ValueError, match=f'the smaller first.*"{text}"'):
        selection.check(arguments("--model=.", f"--input-range={text}"))


def test_numbers_are_sorted_and_told_apart():
    assert selection.numbers("--shots", "25,1,5,1") == (1, 5, 25)
    for text in ("", "1,", "1.5", "-1", "one"):
        with pytest.raises(ValueError, match="--shots takes positive"):
            selection.numbers("--shots", text)


def test_an_archive_is_a_model():
    # export.options refuses it as the SOURCE of an export; here it is legal.
    parser = argparse.ArgumentParser()
    selection.add_arguments(parser)
    args = parser.parse_args("--model exports/a-1.tar.gz --out o".split())
    selection.check(args)
