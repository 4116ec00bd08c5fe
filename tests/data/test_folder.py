import logging
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.folder import EXTENSIONS
from bit_keras.data.sources import Source, open_source, split_names


def _write(path: Path, value: int = 0, size: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), value, np.uint8)
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    return path


@pytest.fixture
def flat(tmp_path) -> Path:
    """20 images of each of cat, dog and owl, without splits."""
    for name in ("owl", "cat", "dog"):
        for index in range(20):
            _write(tmp_path / "animals" / name / f"{index}.png", index)
    return tmp_path / "animals"


@pytest.fixture
def splits(tmp_path) -> Path:
    """train has cat and dog, test has cat and emu."""
    for place in ("train/cat", "train/dog", "test/cat", "test/emu"):
        for index in range(3):
            _write(tmp_path / "animals" / place / f"{index}.png", index)
    return tmp_path / "animals"


def _labels(source: Source) -> list[int]:
    return [int(example["label"]) for example in source.read()]


def _ids(source: Source) -> list[str]:
    return [example["id"].numpy().decode() for example in source.read()]


def test_class_folders(flat):
    source = open_source(str(flat), "all")
    assert source.name == f"folder:{flat}"
    assert source.class_names == ("cat", "dog", "owl")
    assert (source.num_examples, source.image_size) == (60, (6, 8))
    for example in source.read():
        path = Path(example["id"].numpy().decode())
        assert path.parent.name == source.class_names[int(example["label"])]
        assert path.read_bytes() == example["image"].numpy()
    assert split_names(str(flat)) == ("all",)


def test_train_means_all_without_splits(flat, caplog):
    with caplog.at_level(logging.INFO):
        source = open_source(str(flat), "train[:80%]")
    assert '"train" means all of it' in caplog.text
    assert (source.split, source.num_examples) == ("all[:80%]", 48)
    assert _ids(source) == _ids(open_source(str(flat), "all[:80%]"))


def test_slices_partition_and_mix_classes(flat):
    head = open_source(str(flat), "all[:50%]")
    tail = open_source(str(flat), "all[50%:]")
    assert set(_ids(head)) | set(_ids(tail)) == set(
        _ids(open_source(str(flat), "all"))
    )
    assert not set(_ids(head)) & set(_ids(tail))
    assert set(_labels(head)) == set(_labels(tail)) == {0, 1, 2}


def test_adding_an_image_keeps_the_order(flat):
    before = _ids(open_source(str(flat), "all"))
    added = _write(flat / "dog" / "new.png")
    after = _ids(open_source(str(flat), "all"))
    assert [name for name in after if name != str(added)] == before


def test_split_folders_share_classes(splits):
    train, test = (open_source(str(splits), s) for s in ("train", "test"))
    assert train.class_names == test.class_names == ("cat", "dog", "emu")
    assert sorted(set(_labels(train))) == [0, 1]
    assert sorted(set(_labels(test))) == [0, 2]
    assert split_names(str(splits)) == ("test", "train")


def test_classes_that_a_split_lacks_are_named_once(splits, caplog):
    for _ in range(2):
        open_source(str(splits), "train")
    (message,) = caplog.messages
    assert message.endswith(
        'split "train" has no image of 1 of the 3 classes over all splits '
        "(emu)."
    )


def test_unknown_split(splits):
    with pytest.raises(ValueError, match='Did you mean "test".*test, train'):
        open_source(str(splits), "tests")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_any_case(tmp_path, extension):
    for name in (f"a{extension}", f"b{extension.upper()}"):
        _write(tmp_path / "a" / name)
        _write(tmp_path / "b" / name)
    assert open_source(str(tmp_path), "all").num_examples == 4


def test_other_files_are_counted(flat, caplog):
    (flat / "cat" / "notes.txt").write_text("x")
    (flat / "README").write_text("x")
    (flat / "cat" / ".DS_Store").write_text("x")
    (flat / ".cache").mkdir()
    assert open_source(str(flat), "all").num_examples == 60
    assert "ignored 2 files that are not images" in caplog.text


def test_file_names_need_not_be_utf8(tmp_path):
    data = _write(tmp_path / "a" / "x.png").read_bytes()
    _write(tmp_path / "b" / "x.png")
    strange = bytes(tmp_path / "a") + b"/caf\xe9.png"
    with open(strange, "wb") as file:
        file.write(data)
    source = open_source(str(tmp_path), "all")
    assert strange in [example["id"].numpy() for example in source.read()]


def test_empty_class_folder(flat):
    (flat / "yak").mkdir()
    (flat / "zebra").mkdir()
    with pytest.raises(ValueError, match="without images.*: yak, zebra"):
        open_source(str(flat), "all")


def test_empty_split(splits):
    (splits / "validation").mkdir()
    with pytest.raises(ValueError, match='"validation" of .* is empty'):
        open_source(str(splits), "validation")
    assert open_source(str(splits), "train").num_examples == 6
    # Nobody who has not asked for it gets it.
    assert set(split_names(str(splits), None)) == {"train", "test"}


@pytest.mark.parametrize("stray", ["x.png", "train/x.png"])
def test_mixed_layout(splits, stray):
    _write(splits / stray)
    with pytest.raises(ValueError, match=re.escape(stray)):
        open_source(str(splits), "train")


def test_no_images(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        open_source(str(tmp_path), "train")


def test_directories_have_no_other_label(flat):
    with pytest.raises(ValueError, match='"colour" asks for a column'):
        open_source(str(flat), "all", label="colour")


def test_fingerprint_follows_content_not_place(flat, tmp_path):
    before = open_source(str(flat), "all").fingerprint
    moved = flat.rename(tmp_path / "moved")
    assert open_source(str(moved), "all").fingerprint == before
    _write(moved / "cat" / "0.png", size=(60, 80))
    assert open_source(str(moved), "all").fingerprint != before


def _csv(folder: Path, text: str) -> str:
    for index in range(4):
        _write(folder / "images" / f"{index}.png", index)
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_csv(tmp_path):
    text = "\ufeffpath, label, split\n" + "".join(
        f"images/{i}.png, {'ab'[i % 2]}, {'train' if i < 3 else 'test'}\n"
        for i in range(4)
    )
    path = _csv(tmp_path, text)
    assert split_names(path) == ("test", "train")
    train = open_source(path, "train")
    assert (train.num_examples, train.class_names) == (3, ("a", "b"))
    assert not train.multi_label
    for example in train.read():
        name = Path(example["id"].numpy().decode())
        assert int(example["label"]) == int(name.stem) % 2
    assert _labels(open_source(path, "test")) == [1]


def test_csv_without_split_and_with_other_label(tmp_path):
    absolute = tmp_path / "images" / "1.png"
    path = _csv(
        tmp_path, f"path,label,size\nimages/0.png,a,big\n{absolute},b,small\n"
    )
    source = open_source(path, "train", label="size")
    assert source.class_names == ("big", "small")
    assert source.num_examples == 2
    assert source.split == "all"


def test_csv_multi_label(tmp_path):
    path = _csv(
        tmp_path,
        "path,label\nimages/0.png,b\nimages/1.png,a; c\nimages/2.png,\n",
    )
    source = open_source(path, "all")
    assert source.multi_label
    assert source.class_names == ("a", "b", "c")
    found = {
        Path(e["id"].numpy().decode()).stem: e["label"].numpy()
        for e in source.read()
    }
    assert found["0"].dtype == np.float32
    np.testing.assert_array_equal(found["0"], [0, 1, 0])
    np.testing.assert_array_equal(found["1"], [1, 0, 1])
    np.testing.assert_array_equal(found["2"], [0, 0, 0])


def test_csv_labels_are_in_the_fingerprint(tmp_path):
    rows = "path,label\nimages/0.png,a\nimages/1.png,b\n"
    before = open_source(_csv(tmp_path, rows), "all").fingerprint
    swapped = rows.replace("a\n", "c\n").replace("b\n", "a\n")
    swapped = swapped.replace("c\n", "b\n")
    assert open_source(_csv(tmp_path, swapped), "all").fingerprint != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'the column "path"; its first line is empty'),
        ("a.png,cat\n", 'the column "path"; its first line is a.png,cat'),
        ("path,label\n", "has a header but no rows"),
        ("path,label\nimages/0.png\n", "line 2: 1 cells.*header has 2"),
        (
            "path,lable\nimages/0.png,a\n",
            'no column "label". Did you mean "lable"',
        ),
        ("path,label\nimages/0.png,\n", 'column "label".*empty for images/0'),
    ],
)
def test_bad_csv(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        open_source(_csv(tmp_path, text), "train")


def test_csv_that_is_not_text(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"path,label\nimages/0.png,caf\xe9\n")
    with pytest.raises(ValueError, match="is not UTF-8"):
        open_source(str(path), "train")


def test_csv_with_missing_files(tmp_path):
    rows = "".join(f"images/{i}.png,a\n" for i in range(11))
    with pytest.raises(
        FileNotFoundError,
        match=r"7 of the 11 files .*: images/4.png, .*images/8.png and 2 more",
    ):
        open_source(_csv(tmp_path, "path,label\n" + rows), "all")
