"""Reading folders and zips of ObjectNet's shape; border and boxes."""

import shutil
import struct
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.benchmarks import tasks
from bit_keras.benchmarks.images import Preprocessing, ShortSide
from bit_keras.benchmarks.objectnet import files
from bit_keras.benchmarks.objectnet.boxes import choose
from bit_keras.benchmarks.objectnet.boxes import read as read_boxes
from bit_keras.benchmarks.objectnet.images import (
    ObjectBox,
    WithoutBorder,
    open_images,
)
from bit_keras.benchmarks.objectnet.maps import read as read_maps
from bit_keras.data.sources import open_source

PASSWORD = "only for this test"
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def maps(shared):
    return read_maps(shared / "data" / "tables")


def picture(seed, height=40, width=60):
    """An image without red pixels, but for its border of one pixel."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 200, (height, width, 3), np.uint8)
    pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1] = RED, RED, RED, RED
    return pixels


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(pixels).numpy())


@pytest.fixture
def root(tmp_path):
    """Two mugs, a chair and, of a class that ImageNet has not, a bed sheet."""
    images = tmp_path / "objectnet-1.0" / "images"
    names = ("mug/b", "mug/a", "chair/c", "bed_sheet/d")
    for seed, name in enumerate(names):
        write(images / f"{name}.png", picture(seed))
    (images / "mug" / "._a.png").write_bytes(b"left by another system")
    (images / "mug" / "notes.txt").write_bytes(b"no image")
    return tmp_path


@pytest.fixture
def make_zip(root):
    """Packs the folder as it is downloaded."""
    if not shutil.which("zip"):
        pytest.skip("needs the program zip, which encrypts")

    def make(*options):
        subprocess.run(
            ["zip", "-q", "-r", *options, "objectnet.zip", "objectnet-1.0"],
            cwd=root,
            check=True,
        )
        return root / "objectnet.zip"

    return make


def ids(found):
    return [image.id for image in found.images]


def examples(source):
    return {
        example["id"].numpy().decode(): example for example in source.read()
    }


@pytest.mark.parametrize("given", ["", "objectnet-1.0", "objectnet-1.0/images"])
def test_root_parent_and_images_folder_are_the_same(root, maps, given):
    found = files.find(root / given, maps)
    assert ids(found) == ["chair/c.png", "mug/a.png", "mug/b.png"]
    assert (found.others, found.strange) == (1, ())


def test_an_encrypted_zip_is_the_folder(root, maps, make_zip):
    path = make_zip("-P", PASSWORD)
    found = files.find(path, maps, PASSWORD)
    folder = files.find(root, maps)
    assert (ids(found), found.others) == (ids(folder), folder.others)
    zipped, plain = open_images(found, maps), open_images(folder, maps)
    assert zipped.fingerprint == plain.fingerprint
    one, other = examples(zipped), examples(plain)
    assert list(one) == list(other) == ids(found)
    for name in one:
        assert int(one[name]["label"]) == int(other[name]["label"])
        assert one[name]["image"].numpy() == other[name]["image"].numpy()


def test_a_zip_without_password(maps, make_zip):
    path = make_zip()
    assert len(files.find(path, maps).images) == 3
    with pytest.raises(ValueError, match="not encrypted. Leave it out"):
        files.find(path, maps, PASSWORD)


def test_wrong_passwords_are_refused(maps, make_zip):
    path = make_zip("-P", PASSWORD)
    with pytest.raises(ValueError, match="encrypted. Give its --password"):
        files.find(path, maps)
    # One in 256 wrong ones passes the check of the first byte.
    for guess in range(300):
        with pytest.raises(ValueError, match="does not open the zip"):
            files.find(path, maps, f"wrong {guess}")


def test_a_cut_zip_is_refused(maps, make_zip):
    path = make_zip()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="neither a folder nor a complete zip"):
        files.find(path, maps)


def test_a_password_is_not_for_folders(root, maps):
    with pytest.raises(ValueError, match="is a folder. Leave it out"):
        files.find(root, maps, PASSWORD)


def test_other_layouts_say_what_was_found_and_expected(tmp_path, maps):
    with pytest.raises(FileNotFoundError, match="there is no"):
        files.find(tmp_path / "nowhere", maps)
    with pytest.raises(ValueError, match="Found: nothing"):
        files.find(tmp_path, maps)
    write(tmp_path / "train" / "cat" / "a.png", picture(0))
    with pytest.raises(ValueError, match=r"images/<class fold.*Found: train\."):
        files.find(tmp_path, maps)
    (tmp_path / "images" / "chair").mkdir(parents=True)
    with pytest.raises(ValueError, match="no .png file"):
        files.find(tmp_path, maps)


def test_folders_that_are_no_classes_are_told(root, maps):
    write(root / "objectnet-1.0/images/stool/a.png", picture(0))
    assert files.find(root, maps).strange == ("stool",)


def test_the_source_is_for_evaluation_only(root, maps):
    source = open_images(files.find(root, maps), maps)
    assert (source.split, source.num_examples) == ("test", 3)
    assert source.image_size == (40, 60)
    assert source.class_names == maps.labels
    labels = [int(e["label"]) for e in examples(source).values()]
    assert [maps.labels[label] for label in labels] == ["Chair", "Mug", "Mug"]
    with pytest.raises(ValueError, match="for evaluation only"):
        source.stream(0, 0, 1)


def test_nothing_to_train_with_is_called_objectnet():
    assert not [name for name in tasks.names() if "objectnet" in name]
    with pytest.raises((ValueError, FileNotFoundError)):
        open_source("objectnet", "train")


def test_the_border_is_cut_off_before_anything_else():
    pixels = picture(0, 44, 60)
    encoded = tf.io.encode_png(pixels)
    made = WithoutBorder(ShortSide(resize=40, crop=40))(encoded)
    # Two rows off each side leave 40 of 44, so that nothing is resized.
    expected = pixels[2:-2, 10:50] / np.float32(255)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    kept = ShortSide(resize=44, crop=44)(encoded)
    assert (kept[0].numpy() == (1, 0, 0)).all()


def test_boxes_cut_out_the_object(root, maps):
    (root / "boxes.csv").write_text(
        "path,x_min,y_min,x_max,y_max\n"
        "objectnet-1.0/images/mug/a.png,10,5,30,25\n"
        # Up to the edges: the border is left out all the same.
        "mug/b.png,0,0,60,40\n"
    )
    boxes = read_boxes(root / "boxes.csv")
    found = files.find(root, maps)
    chosen, corners = choose(found, boxes, 2)
    assert ids(chosen) == ["mug/a.png", "mug/b.png"]
    assert corners == ((10, 5, 30, 25), (2, 2, 58, 38))
    source = open_images(chosen, maps, corners)
    assert source.fingerprint != open_images(chosen, maps).fingerprint
    # picture(1) and picture(0) of the fixture.
    cut = [picture(1)[5:25, 10:30], picture(0)[2:38, 2:58]]
    for example, pixels in zip(source.read(), cut, strict=True):
        decoded = tf.io.decode_png(example["image"])
        np.testing.assert_array_equal(decoded, pixels)
        whole = Preprocessing(resize=32, crop=32)
        np.testing.assert_array_equal(
            ObjectBox(crop=32)(example["image"]),
            whole.prepare(tf.constant(pixels)),
        )


def test_corrupt_images_keep_their_place_among_boxes(root, maps):
    mug = root / "objectnet-1.0/images/mug/a.png"
    cut = mug.read_bytes()[:60]
    mug.write_bytes(cut)
    found = files.find(root, maps)
    boxes = {name: (5, 5, 20, 20) for name in ids(found)}
    chosen, corners = choose(found, boxes, 2)
    read = examples(open_images(chosen, maps, corners))
    assert list(read) == ids(found)
    assert read["mug/a.png"]["image"].numpy() == cut
    # What is no PNG at all has no size, and no place for a box.
    mug.write_bytes(b"")
    chosen, _ = choose(found, boxes, 2)
    assert ids(chosen) == ["chair/c.png", "mug/b.png"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("path,x_min,y_min,x_max\n", "it lacks y_max"),
        ("path,x_min,y_min,x_max,y_max\n", "a header but no boxes"),
        ("path,x_min,y_min,x_max,y_max\nmug/a.png,9,5,8,9\n", "line 2: a box"),
        ("path,x_min,y_min,x_max,y_max\nmug/a.png,9,5,nan,9\n", "got 9,5,nan"),
        ("path,x_min,y_min,x_max,y_max\nmug/a.png,9\n", "line 2: 2 cells"),
        ("path,x_min,y_min,x_max,y_max\na.png,1,2,3,4\n", "folder/file.png"),
        (
            "path,x_min,y_min,x_max,y_max\nm/a.png,1,2,3,4\nm/a.png,1,2,3,5\n",
            "line 3: a second box for m/a.png",
        ),
    ],
)
def test_bad_boxes_are_named(tmp_path, text, message):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_boxes(tmp_path / "boxes.csv")


def test_boxes_that_miss_are_named(root, maps):
    found = files.find(root, maps)
    with pytest.raises(ValueError, match="none of the 3 images has a box"):
        choose(found, {"mug/z.png": (1, 2, 3, 4)}, 2)
    with pytest.raises(ValueError, match="of mug/a.png lies inside its 60 x"):
        choose(found, {"mug/a.png": (60, 2, 99, 40)}, 2)


def test_the_size_is_that_of_the_header():
    header = tf.io.encode_png(picture(0, 7, 9)).numpy()[:24]
    assert files.png_size(header) == (9, 7)
    assert struct.unpack(">II", header[16:]) == (9, 7)
    assert files.png_size(header[:20]) is None
