"""Norms of kernels by layer, from files in the official formats."""

import numpy as np
import pytest

from bit_keras.benchmarks.saturation.weight_norms import compare, weight_norms


def save(path, **factors):
    """Saves two layers whose every weight is known."""
    unit = "resnet/block1/unit01"
    arrays = {
        f"{unit}/a/standardized_conv2d/kernel": np.full((1, 1, 2, 8), 3.0),
        f"{unit}/b/standardized_conv2d/kernel": np.full((3, 3, 1, 1), 4.0),
        f"{unit}/a/group_norm/gamma": np.full(8, 100.0),
        "resnet/head/conv2d/kernel": np.full((1, 1, 8, 2), 0.5),
        "resnet/head/conv2d/bias": np.full(2, 100.0),
    }
    for name, factor in factors.items():
        for key in arrays:
            if f"/{name}/" in key:
                arrays[key] = arrays[key] * factor
    np.savez(path, **arrays)
    return path


def test_the_norm_of_a_layer_is_that_of_all_its_kernels(tmp_path):
    table = weight_norms(save(tmp_path / "net.npz")).set_index("layer")
    assert table.index.tolist() == ["block1/unit01", "head"]
    # 16 times 3^2 and 9 times 4^2; 16 times 0.5^2.
    np.testing.assert_allclose(table["norm"], [np.sqrt(288), 2])
    assert table["weights"].tolist() == [25, 16]
    np.testing.assert_allclose(table["rms"], [np.sqrt(288 / 25), 0.5])


def test_official_files_of_all_families_are_read(tmp_path, make_checkpoint):
    families = {
        "bit": make_checkpoint.make_bit((1, 1, 1, 1), num_classes=10, seed=1),
        "vit": make_checkpoint.make_vit(10, dim=16, depth=11, heads=2, seed=1),
        "mixer": make_checkpoint.make_mixer(10, dim=16, depth=11, seed=1),
    }
    blocks = {
        "bit": ["root_block", *(f"block{i}/unit01" for i in range(1, 5))],
        "vit": ["embedding", *(f"encoderblock_{i}" for i in range(11))],
        "mixer": ["stem", *(f"MixerBlock_{i}" for i in range(11))],
    }
    for family, weights in families.items():
        path = tmp_path / f"{family}.npz"
        np.savez(path, **weights)
        table = weight_norms(path)
        assert table["layer"].tolist() == [*blocks[family], "head"]
        kernels = [w for k, w in weights.items() if k.endswith("kernel")]
        total = sum(np.linalg.norm(w.astype(float)) ** 2 for w in kernels)
        assert (table["norm"] ** 2).sum() == pytest.approx(total)
        assert table["weights"].sum() == sum(w.size for w in kernels)
    # The generator draws the head's kernel with this deviation.
    bit = weight_norms(tmp_path / "bit.npz").set_index("layer")
    assert bit.loc["head", "rms"] == pytest.approx(0.02, rel=0.02)


def test_runs_are_compared_by_the_head(tmp_path):
    plain = save(tmp_path / "a.npz")
    decayed = save(tmp_path / "b.npz", head=0.1)
    table = compare({0.1: decayed, 0.0: plain})
    assert table["setting"].tolist() == [0.0, 0.0, 0.1, 0.1]
    ratio = table[table["layer"] == "block1/unit01"]["to_head"].to_numpy()
    assert ratio[1] / ratio[0] == pytest.approx(10)
    assert table["to_head"].tolist()[1::2] == [1, 1]


def test_slips_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        weight_norms(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no weights")
    with pytest.raises(ValueError, match="is no .npz file"):
        weight_norms(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match="is no .npz file"):
        weight_norms(tmp_path / "one.npy")
    np.savez(tmp_path / "bare.npz", x=np.ones(3))
    with pytest.raises(ValueError, match='no array called ".../kernel"'):
        weight_norms(tmp_path / "bare.npz")
    np.savez(tmp_path / "other.npz", **{"head/kernel": np.ones((2, 2))})
    files = {0: tmp_path / "other.npz", 1: save(tmp_path / "net.npz")}
    with pytest.raises(ValueError, match="other layers"):
        compare(files)
