"""Near-duplicates, from the command line to the list, rows and sheets."""

import argparse
import io
import json

import numpy as np
import pytest
from PIL import Image

from bit_keras.benchmarks import (
    exclusions,
    results,
)
from bit_keras.benchmarks.duplicates import command, pairs, panels, sheet
from bit_keras.benchmarks.duplicates.hash_search import Matches
from bit_keras.benchmarks.duplicates.pairs import Pair, candidates, nearest
from bit_keras.benchmarks.duplicates.run import open_upstream


def picture(seed, width=64, height=64):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


@pytest.fixture
def run(tmp_path):
    """Runs the sub-command; what it writes is in tmp_path/out."""

    def run(*words, out="out"):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        fixed = [f"--out={tmp_path / out}"]
        args = parser.parse_args([*fixed, *map(str, words)])
        command.check(args)
        return command.run(args)

    return run


@pytest.fixture
def upstream(tmp_path):
    """A folder of 30 pictures, one of them flat."""
    folder = tmp_path / "upstream" / "all"
    folder.mkdir(parents=True)
    for seed in range(29):
        picture(seed, 90, 60).save(folder / f"{seed}.png")
    Image.new("RGB", (60, 60), "gray").save(folder / "29.png")
    return folder.parent


@pytest.fixture
def images(tmp_path):
    """A folder of pictures, three of which are upstream in another form."""
    folder = tmp_path / "images" / "all"
    folder.mkdir(parents=True)
    for seed in range(100, 110):
        picture(seed).save(folder / f"{seed}.png")
    same = {seed: picture(seed, 90, 60) for seed in (3, 4, 5)}
    same[3].resize((40, 40)).save(folder / "squeezed.png")
    same[4].crop((15, 0, 75, 60)).save(folder / "cropped.png")
    same[5].save(folder / "compressed.jpg", quality=50)
    Image.new("RGB", (60, 60), "gray").save(folder / "flat.png")
    return folder.parent


def listed(tmp_path, out="out"):
    return exclusions.load(tmp_path / out / "duplicates.json")


def rows(tmp_path, out="out"):
    return results.ResultsFile(tmp_path / out / results.FILE_NAME).rows()


def names(pairs):
    return {
        (p["id"].split("/")[-1], p["upstream_id"].split("/")[-1]) for p in pairs
    }


def test_copies_are_found_squeezed_cropped_or_compressed(
    run, upstream, images, tmp_path, capsys
):
    assert run(f"--upstream={upstream}", f"--images=mine={images}") == 0
    found = listed(tmp_path)
    assert names(found["pairs"]) == {
        ("squeezed.png", "3.png"),
        ("cropped.png", "4.png"),
        ("compressed.jpg", "5.png"),
    }
    assert {pair["split"] for pair in found["pairs"]} == {"test"}
    assert all(0.97 < pair["similarity"] <= 1 for pair in found["pairs"])
    assert all(pair["distance"] <= 10 for pair in found["pairs"])
    (task,) = found["tasks"]
    counts = {"images": 14, "flat": 1, "duplicates": 3}
    assert counts.items() <= task["test"].items()
    (row,) = rows(tmp_path)
    assert (row.benchmark, row.task, row.metric) == (
        "duplicates",
        "mine",
        "duplicates",
    )
    assert (row.value, row.n, row.details["flat"]) == (3, 14, 1)
    assert str(upstream) in row.upstream and "0.92" in row.protocol
    said = capsys.readouterr()
    assert said.out.split()[-5:] == ["mine", "test", "14", "1", "3"]
    excluded = exclusions.read(str(tmp_path / "out" / "duplicates.json"))
    assert excluded["mine"] == {pair["id"] for pair in found["pairs"]}


def test_the_sheet_shows_both_pictures_of_each_pair(
    run, upstream, images, tmp_path
):
    assert run(f"--upstream={upstream}", f"--images=mine={images}") == 0
    path = tmp_path / "out" / "duplicates-mine-test.png"
    sheet = np.asarray(Image.open(path).convert("RGB"), float)
    assert sheet.shape == (120, 3 * 204, 3)
    # The first pair is of a square: both fill their places, and are alike.
    pairs = listed(tmp_path)["pairs"]
    at = [pair["id"].endswith("cropped.png") for pair in pairs].index(True)
    left = sheet[14:110, 204 * at : 204 * at + 96]
    # Of the upstream image, 90x60, the middle 64 lines are not gray.
    right = sheet[14:110, 204 * at + 98 : 204 * at + 194]
    assert (right[:15] == 211).all() and not (left[:15] == 211).all()
    inner = right[16:80, 16:80]
    small = Image.fromarray(left.astype(np.uint8)).resize((64, 64), Image.BOX)
    expected = np.asarray(small, float)
    assert np.corrcoef(inner.ravel(), expected.ravel())[0, 1] > 0.98
    panel, *_ = panels.panels(results.load([tmp_path]), [tmp_path / "out"])
    assert panel.images == (("duplicates mine-test", path.read_bytes()),)
    assert panel.table["duplicates"].tolist() == [3]
    # Without the folder there is no picture, and no error.
    (panel,) = panels.panels(results.load([tmp_path]))
    assert panel.images == ()


def test_again_adds_no_row_and_another_task_completes_the_list(
    run, upstream, images, tmp_path, capsys
):
    words = (f"--upstream={upstream}", f"--images=mine={images}")
    assert run(*words) == 0
    before, file = listed(tmp_path), rows(tmp_path)
    assert run(*words) == 0
    assert listed(tmp_path) == before and rows(tmp_path) == file
    assert run(words[0], f"--images=other={upstream}") == 0
    after = listed(tmp_path)
    assert [task["task"] for task in after["tasks"]] == ["mine", "other"]
    # The flat one cannot be compared, not even with itself, and an image is no
    # duplicate of itself.
    assert after["pairs"] == before["pairs"]
    assert len(rows(tmp_path)) == 2
    with pytest.raises(ValueError, match="another upstream or criterion"):
        run(*words, "--radius=4")
    assert listed(tmp_path) == after


def test_a_corrupt_image_is_counted_and_named(
    run, upstream, images, tmp_path, capsys
):
    (images / "all" / "broken.png").write_bytes(b"\x89PNG no image")
    (upstream / "all" / "torn.jpg").write_bytes(b"")
    assert run(f"--upstream={upstream}", f"--images=mine={images}") == 0
    said = capsys.readouterr().err
    assert "1 corrupt images are left out" in said
    assert "broken.png" in said and "torn.jpg" in said
    (task,) = listed(tmp_path)["tasks"]
    assert (task["test"]["images"], task["test"]["duplicates"]) == (14, 3)


def test_a_model_needs_a_threshold_and_compares_by_it(
    run, upstream, images, tmp_path
):
    model = ("--model=bit_tiny", "--init=random")
    words = (f"--upstream={upstream}", f"--images=mine={images}", *model)
    with pytest.raises(ValueError, match="--model needs --min-similarity"):
        run(*words)
    assert run(*words, "--min-similarity=0.9") == 0
    found = listed(tmp_path)
    assert ("compressed.jpg", "5.png") in names(found["pairs"])
    assert found["settings"]["similarity"] == "cosine, bit_tiny.random"
    (row,) = rows(tmp_path)
    assert row.model == "bit_tiny.random" and "cosine" in row.protocol
    # The cosine of the features themselves.
    from bit_keras.benchmarks.backbone import open_backbone
    from bit_keras.benchmarks.images import Preprocessing

    backbone = open_backbone("bit_tiny", "random")
    side = backbone.resolution
    for pair in found["pairs"]:
        one, other = (
            backbone.features(("pre_logits",))(
                Preprocessing(side, side)(
                    next(folder.rglob(pair[key].split("/")[-1])).read_bytes()
                )[None]
            )["pre_logits"].numpy()[0]
            for folder, key in ((images, "id"), (upstream, "upstream_id"))
        )
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert pair["similarity"] == pytest.approx(cosine, abs=2e-4)


# Real images.


@pytest.fixture
def real(shared, tmp_path, run):
    """Runs the sub-command on one of the shared sets."""

    def call(upstream, dataset, train, test, *words):
        path = tmp_path / "tasks.json"
        task = {"name": "it", "dataset": dataset, "train": train, "test": test}
        path.write_text(json.dumps([task]))
        data_dir = shared / "data" / "tfds"
        fixed = (f"--data-dir={data_dir}", f"--tasks-file={path}")
        code = run(f"--upstream={upstream}", *fixed, "--tasks=it", *words)
        return code, listed(tmp_path)["pairs"]

    return call


def test_exact_copies_between_the_splits_of_real_data(real):
    # The data's README: 8 exact duplicates between train and validation.
    code, pairs = real(
        "it",
        "pneumonia_mini",
        "train",
        "validation",
        "--radius=0",
        "--min-similarity=0.99999",
    )
    assert code == 0
    across = [pair for pair in pairs if pair["split"] == "test"]
    assert len(across) == 8
    # Within train an image is not its own duplicate, but both of a pair are.
    within = {p["id"]: p["upstream_id"] for p in pairs if p["split"] == "train"}
    assert within and all(one != other for one, other in within.items())
    assert set(within.values()) <= set(within)


def test_a_photograph_in_train_and_test_under_two_labels(real):
    # The data's README: 1 exact duplicate across train and test of CIFAR-100.
    code, pairs = real("it", "cifar100_mini", "train[2900:3000]", "test[:50]")
    assert code == 0
    exact = [p for p in pairs if p["split"] == "test" and p["distance"] == 0]
    (pair,) = exact
    assert pair["similarity"] == pytest.approx(1, abs=1e-4)
    assert pair["id"].endswith("__7")
    assert pair["upstream_id"].endswith("__2963")


@pytest.mark.soak
def test_pictures_of_imagenet_in_its_small_version(real):
    """Checked by eye, all of them; the README knows 7, by whole images."""
    code, pairs = real(
        "tiny_imagenet32_mini",
        "imagenet1k_sample_mini",
        "validation[:1]",
        "validation",
    )
    assert code == 0
    assert len(pairs) == 36 and min(p["similarity"] for p in pairs) > 0.94


# Parts.


def test_of_each_image_the_nearest_candidates_are_kept():
    rng = np.random.default_rng(0)
    query, target = rng.integers(0, 5, 400), rng.integers(0, 50, 400)
    distance = (query * 7 + target * 11) % 13
    one, other = (
        Matches(*(column[part] for column in (query, target, distance)))
        for part in (slice(0, 150), slice(150, 400))
    )
    found = nearest(one, other, 8)
    for index in range(5):
        mine = {
            (d, t)
            for q, t, d in zip(query, target, distance, strict=True)
            if q == index
        }
        kept = found.query == index
        assert (
            list(zip(found.distance[kept], found.target[kept], strict=True))
            == sorted(mine)[:8]
        )


def test_memory_for_candidates_does_not_grow_with_the_upstream():
    source = open_upstream("digits", (), None)

    def prints(codes, fingerprint):
        from dataclasses import replace

        codes = np.stack([codes, codes], axis=1)
        return pairs.Prints(
            replace(source, fingerprint=fingerprint),
            [str(i) for i in range(len(codes))],
            codes,
            np.ones(codes.shape, bool),
        )

    zeros = prints(np.zeros(30, np.uint64), "a")
    many = prints(np.arange(5000, dtype=np.uint64) % 4, "b")
    near = candidates(zeros, many, 2)
    assert len(near.query) == 30 * 8 and not near.distance.any()
    # Of the same source: all but itself.
    near = candidates(zeros, zeros, 2)
    assert (near.query != near.target).all() and len(near.query) == 30 * 8


def test_a_sheet_of_many_pairs_shows_the_doubtful_ones_too():
    pairs = [Pair(str(i), "", 0, 1 - i / 1000) for i in range(500)]
    shown = sheet.spread(pairs)
    assert len(shown) == 40 and shown[0] == pairs[0] and shown[-1] == pairs[-1]
    assert sheet.spread(pairs[:40]) == pairs[:40]


# Bad input.


@pytest.mark.parametrize(
    "words, message",
    [
        (["--upstream=vtab"], '"vtab" is a group of tasks'),
        (["--upstream=digits", "--tasks=pest"], 'Did you mean "pets"?'),
        (["--upstream=digits", "--radius=64"], "--radius must be 0 to 16"),
        (
            ["--upstream=digits", "--min-similarity=92"],
            "--min-similarity must be in .0, 1.; got 92",
        ),
        (["--upstream=digits", "--init=random"], "--init is for --model"),
        (["--upstream=digits", "--images=folder"], "takes NAME=FOLDER"),
    ],
)
def test_slips_are_answered_before_anything_is_done(run, words, message):
    with pytest.raises(ValueError, match=message):
        run(*words)


def test_folders_that_are_not_there(run, images, tmp_path):
    with pytest.raises(FileNotFoundError, match="--images: there is no"):
        run("--upstream=digits", f"--images=a={tmp_path}/none")
    with pytest.raises(FileNotFoundError, match="--upstream ./none: .*none"):
        run("--upstream=./none", f"--images=a={images}")
    with pytest.raises(ValueError, match="--upstream a b: .* nor a TFDS name"):
        open_upstream("a b", (), str(tmp_path))
    with pytest.raises(FileNotFoundError, match="--upstream pets: .*prepared"):
        open_upstream("pets", (), str(tmp_path))
    with pytest.raises(FileNotFoundError, match="--data-dir: there is no"):
        run("--upstream=digits", f"--data-dir={tmp_path}/none")


def test_a_folder_without_images_fails_alone(
    run, upstream, images, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    code = run(
        f"--upstream={upstream}",
        f"--images=none={tmp_path / 'empty'}",
        f"--images=mine={images}",
    )
    assert code == 1
    assert [task["task"] for task in listed(tmp_path)["tasks"]] == ["mine"]
    assert "error: none: " in capsys.readouterr().err


def test_no_pairs_is_a_result(run, upstream, tmp_path):
    folder = tmp_path / "other" / "all"
    folder.mkdir(parents=True)
    for seed in range(200, 205):
        picture(seed).save(folder / f"{seed}.png")
    words = (f"--upstream={upstream}", f"--images=mine={folder.parent}")
    assert run(*words) == 0
    assert listed(tmp_path)["pairs"] == []
    (row,) = rows(tmp_path)
    assert row.value == 0 and row.details["sheet"] is None
    path = str(tmp_path / "out" / "duplicates.json")
    assert exclusions.read(path) == {"mine": frozenset()}


def test_a_sheet_is_an_image_that_others_can_open(tmp_path):
    tile = Image.new("RGB", (96, 96), "red")
    pair = Pair("a", "b", 1, 0.99)
    path = tmp_path / "sheet.png"
    sheet.save_sheet(path, [pair] * 7, {"a": tile}, {"b": tile})
    content = io.BytesIO(path.read_bytes())
    assert Image.open(content).size == (5 * 204, 2 * 120)
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_seeds_measured_one_way_only_are_no_difference(tmp_path):
    def row(seed, value, n, protocol, **details):
        return results.Row(
            benchmark="fewshot",
            model="m",
            model_sha256="ab",
            upstream=None,
            task="mine",
            group=None,
            protocol=protocol,
            preprocessing="p",
            metric="accuracy",
            value=value,
            stderr=0.01,
            n=n,
            shots=5,
            seed=seed,
            details=details,
            config_hash=f"{seed}{protocol}",
        )

    values = (0.60, 0.70, 0.72, 0.74, 0.76)
    made = [row(s, v, 100, "big_vision") for s, v in enumerate(values)]
    without = "big_vision, deduplicated"
    made += [row(0, 0.60, 90, without, excluded=10)]
    made += [row(2, 0.70, 90, without, excluded=10)]
    results.ResultsFile(tmp_path / results.FILE_NAME).append(made)
    (line,) = panels.accuracies(results.load([tmp_path])).to_dict("records")
    assert (line["seeds"], line["full"], line["deduplicated"]) == (2, 66, 65)
