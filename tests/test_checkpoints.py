"""Loading and saving of weight files, against files made elsewhere."""

import io
import os
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

from bit_keras import checkpoints
from bit_keras.checkpoint_report import describe
from bit_keras.models import bit, create

TINY = (1, 1, 1, 1)
ROOT = "resnet/root_block/standardized_conv2d/kernel"
HEAD = "resnet/head/conv2d"


@pytest.fixture(scope="module")
def weights(make_checkpoint):
    """An official checkpoint of BiT(blocks=(1, 1, 1, 1)), 10 classes."""
    return make_checkpoint.make_bit(TINY, 1, 10, seed=3)


@pytest.fixture(scope="module")
def model():
    """A model of that shape; every test loads what it needs."""
    return bit.BiT(TINY, num_classes=10)


def snapshot(model):
    return [np.array(v) for v in map(keras.ops.convert_to_numpy, model.weights)]


def values(model):
    """Returns {official name: value}, by a rule written down a second time."""
    found = {}
    for v in model.weights:
        key = v.path.replace("_unit", "/unit").replace("_standard", "/standard")
        key = key.replace("_group_norm", "/group_norm").replace(
            "_proj", "/proj"
        )
        value = keras.ops.convert_to_numpy(v)
        if key == "head/kernel":
            value = value[None, None]
        found["resnet/" + key.replace("head/", "head/conv2d/")] = value
    return found


def assert_holds(model, weights):
    found = values(model)
    assert set(found) == set(weights)
    for key, value in found.items():
        np.testing.assert_array_equal(value, weights[key], err_msg=key)


@pytest.fixture
def fails(model):
    """Returns a function that loads, expects a ValueError and no change."""

    def check(path, **options):
        before = snapshot(model)
        with pytest.raises(ValueError) as error:
            checkpoints.load(model, path, **options)
        for old, new in zip(before, snapshot(model), strict=True):
            np.testing.assert_array_equal(old, new)
        return str(error.value)

    return check


def one_line(text, path):
    assert "\n" not in text
    assert str(path) in text
    return text


# What is read and written.


@pytest.mark.parametrize("suffixed", [False, True])
def test_official_npz(make_checkpoint, weights, model, tmp_path, suffixed):
    made = make_checkpoint.make_bit(TINY, 1, 10, seed=3, suffixed=suffixed)
    assert any("conv2d_1/" in key for key in made) == suffixed
    np.savez(tmp_path / "a.npz", **made)
    checkpoints.load(model, tmp_path / "a.npz")
    assert_holds(model, weights)


def test_logits_are_those_of_the_official_code(
    make_checkpoint, shared, model, tmp_path
):
    f = np.load(shared / "fixtures" / "bit_tiny1111_32x32.npz")
    made = make_checkpoint.make_bit(
        tuple(f["blocks"]),
        int(f["width_factor"]),
        int(f["num_classes"]),
        int(f["weight_seed"]),
        suffixed=True,
    )
    np.testing.assert_allclose(
        make_checkpoint.fingerprint(made), f["weight_fingerprint"], rtol=1e-9
    )
    np.savez(tmp_path / "a.npz", **made)
    checkpoints.load(model, tmp_path / "a.npz")
    n, height, width, _ = (int(v) for v in f["input_shape"])
    images = make_checkpoint.make_input(
        int(f["input_seed"]), height, width, n, float(f["input_amplitude"])
    )
    logits = keras.ops.convert_to_numpy(model(images))
    # The fixtures' README: 3e-5 of the maximum.
    tolerance = 3e-5 * abs(f["logits"]).max()
    np.testing.assert_allclose(logits, f["logits"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("suffix", [".npz", ".weights.h5", ".keras"])
def test_save_then_load(tmp_path, suffix, norm):
    options = dict(blocks=(1, 2), width=0.5, num_classes=3, norm=norm)
    model = bit.BiT(**options)
    rng = np.random.default_rng(0)
    for v in model.weights:
        v.assign(rng.normal(size=v.shape))
    path = tmp_path / "new" / f"a{suffix}"
    checkpoints.save(model, path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    other = bit.BiT(**options)
    checkpoints.load(other, path)
    for a, b in zip(snapshot(model), snapshot(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_saved_npz_is_an_official_one(make_checkpoint, model, tmp_path):
    checkpoints.save(model, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as saved:
        shapes = {key: saved[key].shape for key in saved}
        assert {saved[key].dtype for key in saved} == {np.dtype("float32")}
    assert shapes == make_checkpoint.bit_shapes(TINY, 1, 10)


def test_names_of_batch_norm(tmp_path):
    model = bit.BiT((1,), num_classes=0, norm="batch")
    checkpoints.save(model, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as saved:
        keys = set(saved)
    assert "resnet/block1/unit01/b/batch_norm/moving_variance" in keys
    assert "resnet/batch_norm/gamma" in keys


def test_float16_and_float64_files(weights, model, tmp_path):
    made = {k: v.astype("float64") for k, v in weights.items()}
    made[ROOT] = weights[ROOT].astype("float16")
    np.savez(tmp_path / "a.npz", **made)
    checkpoints.load(model, tmp_path / "a.npz")
    assert_holds(model, {**weights, ROOT: made[ROOT].astype("float32")})


def test_mixed_precision_keeps_every_digit(weights, tmp_path):
    np.savez(tmp_path / "a.npz", **weights)
    model = bit.BiT(TINY, num_classes=10, dtype="mixed_bfloat16")
    checkpoints.load(model, tmp_path / "a.npz")
    assert_holds(model, weights)


def write_tf2(path, weights, blocks, head=True):
    """Writes what the official TF2 code's `save_weights` wrote.

    Keras 2, topological: one group per top-level layer, with the names of its
    weights in order of creation; names are neither unique nor informative.
    """
    conv, norm = "standardized_conv2d/kernel", "group_norm"
    layers = {"root_block": [f"resnet/root_block/{conv}"]}
    for block, units in enumerate(blocks, start=1):
        keys = layers[f"block{block}"] = []
        for unit in range(1, units + 1):
            prefix = f"resnet/block{block}/unit{unit:02d}"
            for name in "abc":
                keys += [f"{prefix}/{name}/{norm}/gamma"]
                keys += [f"{prefix}/{name}/{norm}/beta"]
                keys += [f"{prefix}/{name}/{conv}"]
            if unit == 1:
                keys += [f"{prefix}/a/proj/{conv}"]
    layers["group_norm"] = [f"resnet/{norm}/gamma", f"resnet/{norm}/beta"]
    if head:
        layers["head/dense"] = [f"{HEAD}/kernel", f"{HEAD}/bias"]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, keys in layers.items():
            group = file.create_group(layer)
            names = [f"w{999 - i}/kernel:0" for i in range(len(keys))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, key in zip(names, keys, strict=True):
                dense = key == f"{HEAD}/kernel"
                group[name] = weights[key][0, 0] if dense else weights[key]


def test_tf2_h5_goes_by_order(weights, model, tmp_path):
    write_tf2(tmp_path / "a.h5", weights, TINY)
    checkpoints.load(model, tmp_path / "a.h5")
    assert_holds(model, weights)


def test_tf2_h5_with_units_that_do_not_project(make_checkpoint, tmp_path):
    blocks = (2, 1, 3, 1)
    made = make_checkpoint.make_bit(blocks, 1, 2, seed=5)
    write_tf2(tmp_path / "a.h5", made, blocks)
    model = bit.BiT(blocks, num_classes=2)
    checkpoints.load(model, tmp_path / "a.h5")
    assert_holds(model, made)


def test_run_folder(weights, model, tmp_path):
    with pytest.raises(FileNotFoundError, match="without final.npz"):
        checkpoints.load(model, tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="same training command"):
        checkpoints.load(model, tmp_path)
    np.savez(tmp_path / "final.npz", **weights)
    checkpoints.load(model, tmp_path)
    assert_holds(model, weights)


# The head.


def without_head(weights):
    return {k: v for k, v in weights.items() if not k.startswith(HEAD)}


@pytest.mark.parametrize("kind", ["npz", "h5", "keras", "headless", "bare h5"])
def test_head_drop_leaves_the_models_head(weights, model, tmp_path, kind):
    path = tmp_path / {"headless": "a.npz", "bare h5": "a.h5"}.get(
        kind, f"a.{kind}"
    )
    if kind == "keras":
        np.savez(tmp_path / "b.npz", **weights)
        checkpoints.load(model, tmp_path / "b.npz")
        checkpoints.save(model, path)
    elif path.suffix == ".h5":
        write_tf2(path, weights, TINY, head=kind == "h5")
    else:
        made = without_head(weights) if kind == "headless" else weights
        np.savez(path, **made)
    other = bit.BiT(TINY, num_classes=7, head_bias=-2.0)
    checkpoints.load(other, path, head="drop")
    found = values(other)
    assert (found.pop(f"{HEAD}/bias") == -2).all()
    assert (found.pop(f"{HEAD}/kernel") == 0).all()
    for key, value in found.items():
        np.testing.assert_array_equal(value, weights[key], err_msg=key)


def test_head_drop_into_a_model_without_head(weights, tmp_path):
    np.savez(tmp_path / "a.npz", **weights)
    model = bit.BiT(TINY, num_classes=0)
    with pytest.raises(ValueError, match='head="drop"'):
        checkpoints.load(model, tmp_path / "a.npz")
    checkpoints.load(model, tmp_path / "a.npz", head="drop")
    assert_holds(model, without_head(weights))


def test_head_keep_wants_the_same_classes(make_checkpoint, fails, tmp_path):
    made = make_checkpoint.make_bit(TINY, 1, 12)
    np.savez(tmp_path / "a.npz", **made)
    text = fails(tmp_path / "a.npz")
    assert 'Pass head="drop"' in text
    assert f"{HEAD}/kernel (file (2048, 12), model (2048, 10))" in text
    np.savez(tmp_path / "b.npz", **without_head(made))
    assert f"missing (2): {HEAD}" in fails(tmp_path / "b.npz")


def test_unknown_head_option(fails, tmp_path):
    assert '"keep" or "drop"' in fails(tmp_path, head="resize")


# Files that do not fit.


def test_names_that_do_not_fit_are_listed(weights, fails, tmp_path):
    made = dict(weights)
    for key in list(made)[1:14]:
        made[key + "_v2"] = made.pop(key)
    made[ROOT] = np.zeros((7, 7, 3, 128), "float32")
    np.savez(tmp_path / "a.npz", **made)
    text = fails(tmp_path / "a.npz")
    first, missing, unexpected, wrong = text.splitlines()
    assert str(tmp_path / "a.npz") in first
    for line, name in [(missing, "missing"), (unexpected, "unexpected")]:
        assert line.startswith(f"  {name} (13): resnet/block1/unit01/")
        assert line.endswith(" and 3 more") and line.count("resnet/") == 10
    assert wrong == (
        f"  wrong shape (1): {ROOT} (file (7, 7, 3, 128), model (7, 7, 3, 64))"
    )


def empty_checkpoint(path, shapes):
    """Writes a full-size file of zeros (compressed to next to nothing)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, shape in shapes.items():
            header = io.BytesIO()
            descr = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(header, descr)
            # Loading fails on the shapes, before any value is read.
            archive.writestr(f"{key}.npy", header.getvalue())


def test_the_file_says_what_it_looks_like(make_checkpoint, fails, tmp_path):
    shapes = make_checkpoint.bit_shapes((3, 4, 23, 3), 3, 21843)
    empty_checkpoint(tmp_path / "a.npz", shapes)
    text = fails(tmp_path / "a.npz")
    assert "The file looks like bit_r101x3 with 21843 classes." in text
    assert "blocks=(1, 1, 1, 1), width=1 with 10 classes" in text


@pytest.mark.parametrize(
    "name", ["bit_r50x1", "bit_r50x3", "bit_r152x2", "bit_r152x4", "bit_r26x1"]
)
def test_registered_networks_are_recognized(make_checkpoint, name):
    blocks = {"50": (3, 4, 6, 3), "52": (3, 8, 36, 3), "26": (2, 2, 2, 2)}
    shapes = make_checkpoint.bit_shapes(blocks[name[-4:-2]], int(name[-1]), 9)
    assert describe(shapes) == f"{name} with 9 classes"


def test_bit_tiny_is_recognized(tmp_path, fails):
    checkpoints.save(create("bit_tiny", num_classes=0), tmp_path / "a.npz")
    assert "looks like bit_tiny without head" in fails(tmp_path / "a.npz")


def test_a_file_of_another_family(fails, tmp_path):
    np.savez(tmp_path / "vit.npz", cls=np.zeros((1, 1, 192), "float32"))
    text = fails(tmp_path / "vit.npz")
    assert "The file looks like no network that is known here" in text
    assert "unexpected (1): cls" in text


def test_broken_official_h5_is_named(make_checkpoint, fails, tmp_path):
    # google-research/big_transfer issue 47: x1 weights in a file called x3.
    blocks = (3, 4, 6, 3)
    shapes = make_checkpoint.bit_shapes(blocks, 1, 1000)
    made = {k: np.broadcast_to(np.float32(0), s) for k, s in shapes.items()}
    path = tmp_path / "BiT-S-R50x3.h5"
    write_tf2(path, made, blocks)
    text = fails(path)
    assert "looks like bit_r50x1 with 1000 classes" in text
    assert "issue 47" in text


def test_tf2_h5_of_the_wrong_width(weights, fails, tmp_path):
    made = {**weights, ROOT: np.zeros((7, 7, 3, 192), "float32")}
    write_tf2(tmp_path / "a.h5", made, TINY)
    text = fails(tmp_path / "a.h5")
    assert "width=3" in text and f"wrong shape (1): {ROOT}" in text


def test_h5_of_another_network(fails, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
        group["kernel:0"], group["bias:0"] = np.zeros((3, 2)), np.zeros(2)
    text = one_line(fails(tmp_path / "a.h5"), tmp_path / "a.h5")
    assert "not those of a BiT network" in text
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = np.zeros(3)
    assert "neither" in one_line(fails(tmp_path / "b.h5"), tmp_path / "b.h5")


def test_h5_with_a_dangling_link(fails, tmp_path):
    path = tmp_path / "a.weights.h5"
    checkpoints.save(bit.BiT(TINY, num_classes=10), path)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.SoftLink("/nowhere")
    one_line(fails(path), path)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_keras_files_are_strict_too(fails, tmp_path, suffix):
    # Keras itself would load this one, and ignore the unit it has no use for.
    path = tmp_path / f"a{suffix}"
    checkpoints.save(bit.BiT((1, 1, 1, 2), num_classes=10), path)
    text = fails(path)
    assert "unexpected (9): resnet/block4/unit02/a/" in text
    assert "blocks=(1, 1, 1, 2), width=1 with 10 classes" in text
    assert "issue 47" not in text


def test_the_optimizer_in_a_keras_file_is_ignored(tmp_path):
    model = create("bit_tiny", num_classes=2)
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    checkpoints.save(model, tmp_path / "a.keras")
    checkpoints.load(create("bit_tiny", num_classes=2), tmp_path / "a.keras")


def test_arrays_that_are_not_finite(weights, fails, tmp_path):
    made = {k: v.copy() for k, v in weights.items()}
    for key in list(made)[:12]:
        made[key].flat[-1] = np.nan
    made[f"{HEAD}/bias"] = np.full(10, 1e300)
    np.savez(tmp_path / "a.npz", **made)
    text = one_line(fails(tmp_path / "a.npz"), tmp_path / "a.npz")
    assert "NaN" in text and ROOT in text and text.endswith("and 3 more.")


def test_arrays_of_integers(weights, fails, tmp_path):
    made = {**weights, ROOT: weights[ROOT].astype("int32")}
    np.savez(tmp_path / "a.npz", **made)
    text = one_line(fails(tmp_path / "a.npz"), tmp_path / "a.npz")
    assert "floating-point" in text and ROOT in text


# Broken files.


def test_pickles_are_refused(weights, fails, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    bad = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "a.npz", **{**weights, ROOT: bad})
    text = one_line(fails(tmp_path / "a.npz"), tmp_path / "a.npz")
    assert "pickle" in text and not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".weights.h5", ".keras"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\3\4..."])
def test_files_that_are_something_else(fails, tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    text = one_line(fails(path), path)
    assert text.startswith("Cannot read ")
    assert ("empty" in text) == (content == b"")


@pytest.mark.parametrize("suffix", [".npz", ".weights.h5", ".keras"])
@pytest.mark.parametrize("fraction", [0.2, 0.9, 0.9999])
def test_truncated_files(tmp_path, suffix, fraction):
    model = create("bit_tiny", num_classes=10)
    path = tmp_path / f"a{suffix}"
    checkpoints.save(model, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    before = snapshot(model)
    with pytest.raises(ValueError) as error:
        checkpoints.load(model, path)
    one_line(str(error.value), path)
    for old, new in zip(before, snapshot(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_flipped_bit_is_noticed(weights, fails, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **weights)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "CRC" in one_line(fails(path), path)


def test_a_huge_array_is_refused_before_it_is_made(
    make_checkpoint, fails, tmp_path
):
    shapes = make_checkpoint.bit_shapes(TINY, 1, 10)
    shapes[ROOT] = (10**6, 10**6, 10**3, 64)
    empty_checkpoint(tmp_path / "a.npz", shapes)
    text = fails(tmp_path / "a.npz")
    assert f"wrong shape (1): {ROOT} (file (1000000," in text


def test_headers_without_data(make_checkpoint, fails, tmp_path):
    shapes = make_checkpoint.bit_shapes(TINY, 1, 10)
    empty_checkpoint(tmp_path / "a.npz", shapes)
    one_line(fails(tmp_path / "a.npz"), tmp_path / "a.npz")


def test_members_that_are_no_arrays(weights, fails, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **weights)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README.txt", "hello")
    one_line(fails(path), path)


def test_two_arrays_of_one_name(weights, fails, tmp_path):
    again = ROOT.replace("conv2d/", "conv2d_7/")
    np.savez(tmp_path / "a.npz", **weights, **{again: weights[ROOT]})
    assert "two arrays" in one_line(
        fails(tmp_path / "a.npz"), tmp_path / "a.npz"
    )


def test_missing_file(model, tmp_path):
    (tmp_path / "BiT-M-R50x1.npz").touch()
    with pytest.raises(FileNotFoundError, match='mean "BiT-M-R50x1.npz"'):
        checkpoints.load(model, tmp_path / "BiT-M-R50x1.nzp")
    with pytest.raises(FileNotFoundError, match="no folder"):
        checkpoints.load(model, tmp_path / "none" / "a.npz")


def test_unknown_endings(model, fails, tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"x")
    assert ".weights.h5" in one_line(fails(path), path)
    with pytest.raises(ValueError, match=re.escape(".weights.h5, .keras")):
        checkpoints.save(model, tmp_path / "a.h5")


@pytest.mark.parametrize("suffix", [".npz", ".weights.h5", ".keras"])
def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch, suffix):
    model = create("bit_tiny", num_classes=10)
    path = tmp_path / f"a{suffix}"
    checkpoints.save(model, path)
    before = path.read_bytes()

    def full_disk(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
