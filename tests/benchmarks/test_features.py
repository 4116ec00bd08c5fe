"""Features: right, in order, computed once, and safe from kills and damage."""

import contextlib
import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.benchmarks import feature_cache
from bit_keras.benchmarks.backbone import Backbone, open_backbone
from bit_keras.benchmarks.features import extract
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.speed import extraction
from bit_keras.data.sources import open_source

SMALL = Preprocessing(resize=18, crop=16)


@pytest.fixture(scope="module")
def tiny():
    return open_backbone("bit_tiny", init="random")


@pytest.fixture(scope="module")
def digits():
    return open_source("digits", "test[:70]")


@pytest.fixture
def said():
    return []


@pytest.fixture
def run(tiny, digits, tmp_path, said):
    """Extracts with small defaults; every argument can be given."""

    def call(endpoints=("pre_logits",), **given):
        arguments = {
            "backbone": tiny,
            "task_name": "digits",
            "source": digits,
            "preprocessing": SMALL,
            "cache_dir": tmp_path / "cache",
            "batch_size": 16,
            "say": said.append,
        }
        return extract(endpoints=endpoints, **{**arguments, **given})

    return call


def fake_backbone(function, widths=(4,), sha256="fake"):
    """A backbone that is a plain function of the images."""
    names = ("pre_logits", "other")[: len(widths)]

    def trace(wanted):
        return tf.function(lambda x: {n: function(x) for n in wanted})

    return Backbone(
        name="fake",
        sha256=sha256,
        upstream=None,
        resolution=16,
        endpoints=names,
        num_classes=0,
        handle="fake",
        input_range=(0.0, 1.0),
        trace=trace,
    )


def entry_of(cache_dir) -> Path:
    (entry,) = Path(cache_dir).iterdir()
    return entry


def test_preprocessing_against_numpy():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    made = Preprocessing(resize=12, crop=8)(tf.io.encode_png(pixels)).numpy()

    def weights(size):
        # Bilinear with half-pixel centres, no antialiasing, edges repeated.
        at = np.clip((np.arange(12) + 0.5) * size / 12 - 0.5, 0, size - 1)
        return np.maximum(0, 1 - abs(at[:, None] - np.arange(size)))

    whole = np.einsum("yi,xj,ijc->yxc", weights(7), weights(5), pixels / 255)
    np.testing.assert_allclose(made, whole[2:10, 2:10], atol=1e-6)


@pytest.mark.parametrize("resize, crop", [(8, 9), (0, 0), (8, 0)])
def test_preprocessing_that_cannot_be(resize, crop):
    with pytest.raises(ValueError, match=f"resize={resize}, crop={crop}"):
        Preprocessing(resize, crop)


@pytest.mark.parametrize("side, resize", [(224, 256), (128, 146), (32, 37)])
def test_few_shot_preprocessing_keeps_its_proportion(side, resize):
    assert Preprocessing.few_shot(side) == Preprocessing(resize, side)


def test_features_are_those_of_each_image_by_itself(run, tiny, digits):
    made = run(("pre_logits", "block2"))
    examples = list(digits.read())
    assert made.ids == [e["id"].numpy().decode() for e in examples]
    assert made.labels.dtype == np.int64
    assert made.labels.tolist() == [int(e["label"]) for e in examples]
    function = tiny.features(("pre_logits", "block2"))
    for index in (0, 15, 16, 69):
        alone = function(SMALL(examples[index]["image"])[None])
        for name, array in made.features.items():
            assert isinstance(array, np.memmap) and not array.flags.writeable
            assert array.dtype == np.float32 and len(array) == 70
            np.testing.assert_allclose(array[index], alone[name][0], 1e-4, 1e-5)


def test_only_what_is_missing_is_computed(run, tmp_path, said):
    seen = []

    def counting(images):
        tf.py_function(lambda n: seen.append(int(n)), [tf.shape(images)[0]], [])
        return tf.reduce_mean(images, (1, 2))

    backbone = fake_backbone(counting, (3, 3))
    first = run(backbone=backbone)
    # One image tells the width.
    assert sum(seen) == 1 + 70 and not first.cached
    again = run(backbone=backbone)
    assert sum(seen) == 71 and again.cached
    assert said[-1] == "digits test[:70]: features from cache (70 images)"
    np.testing.assert_array_equal(
        again.features["pre_logits"], first.features["pre_logits"]
    )
    assert again.ids == first.ids
    file = entry_of(tmp_path / "cache") / "pre_logits.f32"
    before = file.stat().st_mtime_ns
    both = run(("other", "pre_logits", "other"), backbone=backbone)
    assert list(both.features) == ["other", "pre_logits"] and not both.cached
    assert sum(seen) == 71 + 71 and file.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    [
        {"task_name": "other"},
        {"preprocessing": Preprocessing(17, 16)},
        {"backbone": fake_backbone(lambda x: tf.reduce_mean(x, (1, 2)))},
        {"source": open_source("digits", "test[:71]")},
        {"source": {"fingerprint": "new data"}},
        {"backbone": {"input_range": (-1.0, 1.0)}},
    ],
    ids=("task", "preprocessing", "weights", "split", "data", "range"),
)
def test_what_numbers_depend_on_is_in_the_key(change, run, tiny, digits):
    run()
    for argument, default in (("source", digits), ("backbone", tiny)):
        if isinstance(change.get(argument), dict):
            changed = dataclasses.replace(default, **change[argument])
            change = {argument: changed}
    assert not run(**change).cached
    assert run().cached


@pytest.mark.parametrize("how", ["truncated", "altered", "gone"])
@pytest.mark.parametrize("name", ["pre_logits.f32", "examples.jsonl"])
def test_damaged_files_are_noticed_and_made_again(
    name, how, run, tmp_path, said
):
    good = run()
    expected = np.array(good.features["pre_logits"])
    path = entry_of(tmp_path / "cache") / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[:-5])
    else:
        path.write_bytes(b"7" + content[1:])
    again = run()
    assert not again.cached
    assert any(f"Damaged feature cache {path}" in line for line in said)
    np.testing.assert_array_equal(again.features["pre_logits"], expected)
    assert again.ids == good.ids and run().cached


def test_damaged_record_of_what_is_done(run, tmp_path, said):
    expected = np.array(run().features["pre_logits"])
    entry = entry_of(tmp_path / "cache")
    (entry / "done.json").write_text('{"pre_log')
    array = np.memmap(entry / "pre_logits.f32", np.float32, "r+")
    array[:] = 1
    again = run()
    assert any("Damaged feature cache" in line for line in said)
    np.testing.assert_array_equal(again.features["pre_logits"], expected)


def test_mapped_features_outlive_a_rebuild(run, tmp_path):
    made = run().features["pre_logits"]
    expected = np.array(made)
    path = entry_of(tmp_path / "cache") / "examples.jsonl"
    for file in (path, path.with_name("pre_logits.f32")):
        file.write_bytes(file.read_bytes() + b"x")
    run()
    np.testing.assert_array_equal(made, expected)


KILLED = """
import sys
from pathlib import Path
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.features import extract
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.data.sources import open_source

extract(
    open_backbone("bit_tiny", init="random"),
    "digits",
    open_source("digits", "train"),
    ("pre_logits", "block1"),
    Preprocessing(32, 32),
    Path(sys.argv[1]),
    batch_size=8,
)
"""


def test_killed_extraction_resumes_with_the_same_numbers(run, tmp_path, said):
    cache = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(cache)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    deadline = time.monotonic() + 120
    with contextlib.ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.kill)
        while time.monotonic() < deadline:
            files = list(cache.glob("*/pre_logits.f32"))
            if files and files[0].stat().st_size > 200 * 1024:
                break
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    entry = entry_of(cache)
    assert not (entry / "done.json").exists()
    # As if the kill had cut off a row and a line, too.
    with open(entry / "pre_logits.f32", "ab") as file:
        file.write(b"torn")
    with open(entry / "examples.jsonl", "ab") as file:
        file.write(b'["dig')
    given = {
        "task_name": "digits",
        "source": open_source("digits", "train"),
        "preprocessing": Preprocessing(32, 32),
        "batch_size": 8,
    }
    names = ("pre_logits", "block1")
    resumed = run(names, cache_dir=cache, **given)
    (line,) = [line for line in said if "resuming" in line]
    assert 190 <= int(re.search(r"after image (\d+) of 1297", line)[1]) < 1297
    whole = run(names, cache_dir=tmp_path / "whole", **given)
    for name in names:
        np.testing.assert_array_equal(
            resumed.features[name], whole.features[name]
        )
    assert resumed.ids == whole.ids
    np.testing.assert_array_equal(resumed.labels, whole.labels)


def test_full_disk_is_one_clean_line_and_costs_nothing(run, tmp_path, said):
    """The kernel refuses to write beyond a limit, in the middle of a row."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    row_bytes = 4 * 256
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * row_bytes + 100, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.fullmatch(
        r"Cannot write features to \S+: File too large. Make room: what is "
        r"there is kept, and the same command goes on after image 32 of 70.",
        str(caught.value),
    )
    resumed = run()
    assert any("resuming after image 32 of 70" in line for line in said)
    whole = run(cache_dir=tmp_path / "whole")
    np.testing.assert_array_equal(
        resumed.features["pre_logits"], whole.features["pre_logits"]
    )


def test_cache_that_cannot_be_made(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write features to .*another fol"):
        run(cache_dir=tmp_path / "file")


def test_second_extraction_of_the_same_waits(run, tmp_path, said):
    began, go_on = threading.Event(), threading.Event()

    def slow(images):
        def wait():
            began.set()
            go_on.wait(60)

        tf.py_function(wait, [], [])
        return tf.reduce_mean(images, (1, 2))

    backbone = fake_backbone(slow)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(run(backbone=backbone)))
        for _ in range(2)
    ]
    threads[0].start()
    assert began.wait(60)
    threads[1].start()
    while "Another process extracts the same features; waiting for it." not in (
        said
    ):
        assert threads[1].is_alive()
        time.sleep(0.01)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert [made.cached for made in results] == [False, True]


@pytest.fixture
def folder(tmp_path):
    """Forty images of growing brightness; 3, 4 and 33 are corrupt."""
    root = tmp_path / "images"
    for index in range(40):
        path = root / "ab"[index % 2] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = tf.io.encode_png(np.full((5, 5, 3), 5 * index, np.uint8))
        content = content.numpy()
        path.write_bytes(content[:40] if index in (3, 4, 33) else content)
    return open_source(str(root), "all")


def test_corrupt_images_are_named_and_rows_stay_aligned(run, folder, said):
    mean = fake_backbone(lambda x: tf.reduce_mean(x, (1, 2)))
    made = run(backbone=mean, source=folder)
    assert len(made.ids) == 37
    numbers = [int(Path(name).stem) for name in made.ids]
    assert not {3, 4, 33} & set(numbers)
    features = made.features["pre_logits"]
    np.testing.assert_allclose(
        features[:, 0], np.array(numbers) * 5 / 255, rtol=1e-5
    )
    assert made.labels.tolist() == [number % 2 for number in numbers]
    (line,) = [line for line in said if "corrupt" in line]
    assert "3 corrupt images are left out" in line
    assert all(f"{number:02d}.png" in line for number in (3, 4, 33))
    # As well from the cache.
    assert run(backbone=mean, source=folder).cached
    assert said[-2] == line and said[-1].endswith("from cache (37 images)")


def test_excluded_images(run, said):
    whole = run()
    out = {whole.ids[0], whole.ids[30], "of another split"}
    made = run(exclude=out)
    assert made.cached and "2 images are excluded" in said[-2]
    keep = [index for index in range(70) if index not in (0, 30)]
    assert made.ids == [whole.ids[index] for index in keep]
    np.testing.assert_array_equal(made.labels, whole.labels[keep])
    features = made.features["pre_logits"]
    assert isinstance(features, np.memmap)
    np.testing.assert_array_equal(features, whole.features["pre_logits"][keep])
    with pytest.raises(ValueError, match="none of its 70 images is left"):
        run(exclude=whole.ids)


def test_rows_are_kept_by_chunks(run, monkeypatch):
    monkeypatch.setattr(feature_cache, "_CHUNK", 3000)
    whole = run()
    made = run(exclude=whole.ids[:1])
    np.testing.assert_array_equal(
        made.features["pre_logits"], whole.features["pre_logits"][1:]
    )


def test_nan_names_the_image_and_is_not_kept(run, digits, tmp_path):
    examples = list(digits.read())
    wrong = SMALL(examples[37]["image"])

    def function(images):
        same = tf.reduce_all(images == wrong, (1, 2, 3))
        mean = tf.reduce_mean(images, (1, 2))
        return tf.where(same[:, None], np.float32("nan"), mean)

    for _ in range(2):
        with pytest.raises(
            ValueError,
            match="fake gives NaN or infinite pre_logits features for image "
            f"{examples[37]['id'].numpy().decode()}",
        ):
            run(backbone=fake_backbone(function))
    assert not (entry_of(tmp_path / "cache") / "done.json").exists()


def test_output_must_be_vectors(run):
    for function in (lambda x: x, lambda x: tf.reduce_mean(x, (0, 1, 2))[None]):
        backbone = fake_backbone(function, sha256=str(function))
        if function(tf.zeros((2, 4, 4, 3))).shape.rank == 2:
            # Right for one image, wrong for several.
            message = "has 1 vectors for 16 images"
        else:
            message = r"must have the shape \(1, features\)"
        with pytest.raises(ValueError, match=message):
            run(backbone=backbone)


def test_endpoints_labels_and_sources_that_do_not_fit(run, digits):
    with pytest.raises(ValueError, match='"prelogits".*Did you mean "pre_log'):
        run(("prelogits",))
    with pytest.raises(ValueError, match="need a single label"):
        run(source=dataclasses.replace(digits, multi_label=True))
    with pytest.raises(ValueError, match="the split has no images"):
        run(source=dataclasses.replace(digits, num_examples=0))
    with pytest.raises(ValueError, match="has the label [789], outside 0 to 6"):
        names = digits.class_names[:7]
        run(source=dataclasses.replace(digits, class_names=names))
    with pytest.raises(ValueError, match="70 could be read"):
        run(source=dataclasses.replace(digits, num_examples=99))
    with pytest.raises(ValueError, match="batch_size must be >= 1; got 0"):
        run(batch_size=0)


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.features import extract
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.data.sources import open_source

WIDTH = 60_000
vectors = lambda x: tf.repeat(tf.reduce_mean(x, (1, 2)), WIDTH // 3, 1)
trace = lambda names: tf.function(lambda x: {"pre_logits": vectors(x)})
wide = Backbone("wide", "0", None, 8, ("pre_logits",), 0, "", (0., 1.), trace)
peaks, out = [], ()
for split in ("train[:64]", "train"):
    made = extract(
        wide, "digits", open_source("digits", split), ("pre_logits",),
        Preprocessing(8, 8), Path(sys.argv[1]), 16, exclude=out,
    )
    out = made.ids[3:4]
    assert made.features["pre_logits"].shape[1] == WIDTH
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(len(made.labels), *peaks)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    # In a process of its own, for its peak. One row of 1297 is left out, so
    # that the rest is copied, too.
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    rows, before, after = map(int, done.stdout.split())
    size = max(p.stat().st_size for p in tmp_path.glob("*/*.f32"))
    assert size == 1297 * 60_000 * 4
    assert rows == 1296
    assert 1024 * (after - before) < size / 3


def test_entry_says_what_it_is_of(run, tiny, digits, tmp_path):
    run()
    facts = json.loads(
        (entry_of(tmp_path / "cache") / "entry.json").read_text()
    )
    assert facts["model"] == tiny.sha256 and facts["task"] == "digits"
    assert facts["source"] == ["digits", "test[:70]", digits.fingerprint]
    assert facts["preprocessing"] == "resize 18, crop 16"


def test_speed_command_compares_both_ways(capsys):
    arguments = ["--quick", "--repeats", "1", "--batch-size", "8"]
    assert extraction.main(arguments) == 0
    out = capsys.readouterr().out
    ours, bare, ratio = map(
        float,
        re.search(
            r"extraction ([\d.]+) images/s, bare model ([\d.]+) images/s, "
            r"ratio ([\d.]+)",
            out,
        ).groups(),
    )
    assert bare > 0
    np.testing.assert_allclose(ratio, ours / bare, atol=0.01)
