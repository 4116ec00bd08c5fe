import json

import pytest

from bit_keras.benchmarks.tasks_file import from_json

GOOD = {
    "name": "digits_own",
    "dataset": "mnist",
    "train": "train[:80%]",
    "test": "train[80%:]",
}


@pytest.fixture
def read(tmp_path):
    """Returns a function that reads tasks from a value or a text."""

    def read(content):
        path = tmp_path / "mine.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text)
        return from_json(path)

    return read


def test_defaults(read):
    (task,) = read([GOOD])
    assert (task.name, task.dataset) == ("digits_own", "mnist")
    assert (task.train, task.test) == ("train[:80%]", "train[80%:]")
    assert (task.label, task.groups, task.versions) == ("label", (), ())
    assert task.num_classes is task.num_train is task.num_test is None


def test_all_keys(read):
    given = GOOD | {
        "dataset": "clevr/a-b.c:3.*.*",
        "label": "color name",
        "group": "natural",
        "num_classes": 12,
        "train": "train[:80%] + validation[10:-5](pct1_dropremainder)",
    }
    (task,) = read([given])
    assert task.dataset == given["dataset"]
    assert task.label == "color name"
    assert task.train == given["train"]
    assert task.groups == ("natural",)
    assert task.num_classes == 12


def test_order_is_kept(read):
    given = [GOOD | {"name": name} for name in ("b", "a", "c")]
    assert [task.name for task in read(given)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{]", r"mine.json is not valid JSON: .*line 1 column 3"),
        ("", "mine.json is not valid JSON"),
        (GOOD, "must be a JSON list of tasks.*it is an object"),
        ("3", "must be a JSON list.*it is a number"),
        ([], "is an empty list"),
        ([GOOD, "mnist"], "entry 2 must be an object.*it is a text"),
        ([[]], "entry 1 must be an object.*it is a list"),
        ([GOOD, GOOD], r'entry 2 \("digits_own"\): "name" stands .* twice'),
        ([GOOD | {"name": "pets"}], 'that of a built-in task.*"my_pets"'),
        ([GOOD | {"name": "vtab"}], "built-in task or group"),
        ([GOOD | {"name": "a,b"}], '"name" must be letters.*"a,b"'),
        ([GOOD | {"group": "vtab"}], '"group" may not be fewshot, bit, vtab'),
        ([GOOD | {"group": ""}], '"group" must be letters.*it is ""'),
        (
            [GOOD | {"num_clases": 3}],
            r'entry 1 \("digits_own"\): there is no key "num_clases". Did you '
            'mean "num_classes".*Legal: name, dataset',
        ),
        (
            [GOOD | {"num_classes": "3"}],
            '"num_classes" must be an integer.*"3"',
        ),
        ([GOOD | {"num_classes": 1}], "at least 2; it is 1"),
        ([GOOD | {"num_classes": True}], "at least 2; it is true"),
        ([GOOD | {"num_classes": 2.5}], "at least 2; it is 2.5"),
        ([GOOD | {"label": None}], '"label" must be the name .* it is null'),
        ([GOOD | {"label": " "}], '"label" must be the name of a feature'),
        ([GOOD | {"name": 7}], 'entry 1: "name" must be letters.*it is 7'),
        ([GOOD | {"dataset": "a b"}], '"dataset" must be a TFDS name.*"a b"'),
        ([GOOD | {"train": "train[:80"}], '"train" must be a TFDS split'),
        ([GOOD | {"test": "train[a:b]"}], '"test" must be a TFDS split'),
        ([GOOD | {"test": ["test"]}], r'"test" must be .* it is \["test"\]'),
        ([GOOD | {"test": GOOD["train"]}], "are the same split"),
    ],
)
def test_mistakes(read, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    assert "mine.json" in str(caught.value)


@pytest.mark.parametrize("key", GOOD)
def test_missing_key(read, key):
    entry = {k: v for k, v in GOOD.items() if k != key}
    with pytest.raises(ValueError, match=f'the key "{key}" is missing'):
        read([entry])


def test_not_text(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(b"\xff\xfe[]")
    with pytest.raises(ValueError, match="mine.json is not valid JSON"):
        from_json(path)


def test_no_file(tmp_path):
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(FileNotFoundError, match=f'no file "{path}"'):
            from_json(path)
