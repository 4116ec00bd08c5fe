import json
import re

import pytest

from bit_keras import cpu_graphs
from bit_keras.benchmarks.speed import profile as speed
from bit_keras.benchmarks.speed.bit_shapes import bit_shapes
from bit_keras.benchmarks.speed.contestants import Task

UNIT = "bit_r50x1/block2_unit01"


@pytest.mark.parametrize(
    "operation, kind",
    [
        (f"{UNIT}/b_standardized_conv2d/convolution:Conv2D", speed.FORWARD),
        (f"{UNIT}/a_conv/convolution:_MklNativeConv2D", speed.FORWARD),
        (
            f"gradient_tape/{UNIT}/b_standardized_conv2d/convolution/"
            "Conv2DBackpropInput:_MklNativeConv2DBackpropInput",
            speed.INPUT_GRADIENT,
        ),
        (
            f"gradient_tape/{UNIT}/c_standardized_conv2d/convolution/"
            "Conv2DBackpropFilter:Conv2DBackpropFilter",
            speed.FILTER_GRADIENT,
        ),
        (f"{UNIT}/a_standardized_conv2d_1/MatMul:MatMul", speed.FORWARD),
        (
            f"gradient_tape/{UNIT}/a_standardized_conv2d_1/MatMul/MatMul:MatMul",
            speed.INPUT_GRADIENT,
        ),
        (
            f"gradient_tape/{UNIT}/c_standardized_conv2d/MatMul/MatMul_1:MatMul",
            speed.FILTER_GRADIENT,
        ),
        (f"{UNIT}/a_group_norm/PartitionedCall:PartitionedCall", "group norm"),
        (f"{UNIT}/c_group_norm_1/Relu:Relu", "group norm and ReLU"),
        ("group_norm_gradient_3/mul_1:Mul", "group norm and ReLU"),
        (f"{UNIT}/a_standardized_conv2d/Mean:Mean", "weight standardization"),
        ("standardize_gradient/sub:Sub", "weight standardization"),
        (
            "sgd/ResourceApplyKerasMomentum_7:ResourceApplyKerasMomentum",
            "optimizer",
        ),
        ("bit_r50x1/head/BiasAdd:_FusedMatMul", "the head's matrix"),
        (f"{UNIT}/Pad:Pad", "pooling and padding"),
        (
            "bit_r50x1/root_block_pool/MaxPool2d:MaxPool",
            "pooling and padding",
        ),
        (f"{UNIT}/Add:AddV2", "sums of gradients and shortcuts"),
        ("softmax_cross_entropy:SoftmaxCrossEntropyWithLogits", "other"),
    ],
)
def test_operations_are_told_apart(operation, kind):
    assert speed.kind_of(operation).startswith(kind)


def test_only_operations_count():
    events = [
        ("a/convolution:Conv2D", 2.0),
        ("b/convolution:Conv2D", 1.0),
        ("c/head/MatMul:MatMul", 0.5),
        ("ThreadpoolListener::Record", 7.0),
        ("EagerExecute", 7.0),
        ("__inference_train_31", 7.0),
    ]
    want = {speed.FORWARD: 3.0, "the head's matrix products": 0.5}
    assert speed.by_kind(events) == want


def test_what_xla_compiled_is_its_layers(monkeypatch):
    """Every part that ran is an operation of the layer it is of."""
    events = []

    def by_kind(found):
        events.extend(found)
        return {}

    monkeypatch.setattr(cpu_graphs, "_PAYS", 0)
    monkeypatch.setattr(speed, "by_kind", by_kind)
    task = Task("tensorflow", "bit_nano", 24, 2, "float32")
    speed.measure(task, 1)
    ran = sum(n == "CpuExecutable::ExecuteAsyncOnStream" for n, _ in events)
    parts = [s for n, s in events if re.search("group_norm.*:Part", n)]
    # Each of 3 units has 3 norms, and there is that before the head. One
    # may be missing: once, in a full run of all tests, 45 of 46 were found. Why
    # is not known.
    assert 2 * 10 - 1 <= len(parts) <= 2 * 10 and min(parts) > 0
    parts += [s for n, s in events if re.search("standard.*:Part", n)]
    assert abs(ran - len(parts)) <= 1


def test_gflops_are_those_of_the_shapes():
    shapes = bit_shapes("bit_r50x1", 224)
    kinds = {speed.FORWARD: 1.0, speed.INPUT_GRADIENT: 2.0}
    profile = speed.Profile(4.0, kinds, matmul=0.1)
    rows = {row["kind"]: row for row in speed.figures(profile, shapes, 8)}
    # timm's table: 4.1 billion multiply-adds for ResNet-50.
    forward = rows[speed.FORWARD]["flops"]
    assert forward == pytest.approx(8 * 8.18e9, rel=1e-2)
    # All but that of the stem, 0.236 GFLOP an image.
    gradient = rows[speed.INPUT_GRADIENT]["flops"]
    assert 2 * gradient == pytest.approx(forward - 8 * 0.236e9, rel=1e-3)
    assert rows["between operations"]["seconds"] == 1.0
    assert sum(row["share"] for row in rows.values()) == 1


def test_a_step_is_profiled(tmp_path, capsys):
    path = tmp_path / "figures.json"
    command = "--model bit_nano --resolution 24 --batch-size 2 --steps 2"
    assert speed.main([*command.split(), "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    found = {row["kind"]: row["seconds"] for row in figures["kinds"]}
    # All but what other operations there may be.
    assert found.keys() - {"other operations"} == {
        *speed._KINDS,
        "between operations",
    }
    assert min(found.values()) >= 0
    printed = capsys.readouterr().out
    assert "bit_nano at 24 px, batch 2, float32:" in printed
    assert "convolutions, gradient of filters" in printed


def test_what_cannot_be_profiled_is_said():
    with pytest.raises(ValueError, match="must be a BiT network"):
        speed.main(["--model", "vit_nano"])
    with pytest.raises(ValueError, match="--steps must be >= 1; got 0"):
        speed.main(["--steps", "0"])
