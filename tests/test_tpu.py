"""What a TPU asks of the step and its batches, checked without a TPU.

XLA compiles the whole step for the CPU here: what it refuses, it refuses for a
TPU as well.  What only a real TPU can show is listed in docs/tpu.md.
"""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import optimizer
from bit_keras.data import sources
from bit_keras.data.batches import BadImages, eval_batches, train_batches
from bit_keras.distribution import distribute, strategy
from bit_keras.recipe import (
    Model,
    Optimizer,
    Preprocess,
    Recipe,
    Schedule,
    override,
    scale_batch,
)
from bit_keras.steps import Steps
from bit_keras.trainer import build_model

# Ops (parts of their names) that run on the host only, and those whose output
# has as many rows as the data say.
HOST = (
    *("PyFunc", "Print", "Summary", "Assert", "String", "Iterator", "Dataset"),
    *("Decode", "File", "Lookup", "Unique", "DynamicPartition", "Where"),
)

# Of constants: XLA works it out while it compiles.
FOLDED = "BroadcastGradientArgs"

RESNET = override(
    scale_batch(
        Recipe(
            "tpu",
            model=Model("bit_nano"),
            preprocess=Preprocess(resize=20, crop=16, mixup_alpha=0.1),
            schedule=Schedule(steps=9, warmup_steps=2, boundaries=(5,)),
        ),
        8,
    ),
    "run.precision=mixed_bfloat16",
)
# While-loops, weight decay.
MICRO = override(
    override(RESNET, "run.micro_batch=2"), "optimizer.weight_decay=1e-4"
)
VIT = dataclasses.replace(
    RESNET,
    model=Model("vit_nano"),
    optimizer=Optimizer(name="adam", clip_norm=1.0),
)


@functools.cache
def digits():
    return sources.open_source("digits", "train")


def batches_of(recipe):
    made = train_batches(digits(), recipe, 0, BadImages())
    return distribute(strategy("one"), made, recipe.run.batch_size)


@functools.cache
def steps_of(recipe):
    one = strategy("one")
    with one.scope():
        model = build_model(recipe, 10)
        return Steps(model, optimizer.from_recipe(recipe), recipe, one)


def replica(function, jit=None):
    """What each core of a TPU runs, compiled as one."""
    one = strategy("one")
    return tf.function(lambda *args: one.run(function, args), jit_compile=jit)


def objections(traced):
    """What speaks against running a traced function on a TPU."""
    graph = traced.graph.as_graph_def(add_shapes=True)
    nodes = list(graph.node)
    for called in graph.library.function:
        nodes += called.node_def
    found = set()
    for node in nodes:
        if any(word in node.op for word in HOST):
            found.add(node.op)
        for shape in node.attr["_output_shapes"].list.shape:
            if node.op == FOLDED:
                continue
            if shape.unknown_rank or any(d.size < 0 for d in shape.dim):
                found.add(f"{node.op} without static shape")
        kinds = [node.attr[name].type for name in ("T", "dtype", "DstT")]
        if tf.string.as_datatype_enum in kinds:
            found.add(f"{node.op} of strings")
    assert len(nodes) > 5
    return found


def not_static(spec):
    return {
        name: part
        for name, part in spec.items()
        if not part.shape.is_fully_defined() or part.dtype == tf.string
    }


@pytest.mark.parametrize("alpha, cores", [(0.0, 1), (0.1, 8)])
def test_batches_have_static_shapes(alpha, cores, monkeypatch):
    """Also those of the evaluation, whose last batch is not full."""
    recipe = override(RESNET, f"preprocess.mixup_alpha={alpha}")
    one = strategy("one")
    monkeypatch.setattr(type(one), "num_replicas_in_sync", cores)
    monkeypatch.setattr(
        one, "distribute_datasets_from_function", lambda function: function
    )
    # Batches for a CPU would not be dealt out.
    monkeypatch.setattr("bit_keras.distribution._CPU", "")
    host = tf.distribute.InputContext(1, 0, cores)
    for made in (
        train_batches(digits(), recipe, 0, BadImages()),
        eval_batches(digits(), recipe, 8, BadImages()),
    ):
        spec = distribute(one, made, 8)(host).element_spec
        assert not_static(spec) == {}
        assert spec["image"].shape == (8 // cores, 16, 16, 3)
    names = {"image", "label", "weight"} | (
        {"partner", "mix"} if alpha else set()
    )
    made = train_batches(digits(), recipe, 0, BadImages())
    assert set(made.element_spec) == names


@pytest.mark.parametrize("recipe", [MICRO, VIT], ids=["micro", "vit"])
def test_the_step_is_static_and_of_the_device(recipe):
    steps, spec = steps_of(recipe), batches_of(recipe).element_spec
    # The step itself, and as it stands in the loop over steps.
    step = replica(steps._replica_step).get_concrete_function(spec)
    assert objections(step) == set()
    wanted = {"image", "label", "weight"}
    shown = {name: part for name, part in spec.items() if name in wanted}
    evaluated = steps.evaluate.get_concrete_function(shown)
    assert objections(evaluated) == set()
    # What the host adds around it: the iterator, and the count of steps.
    loop = steps.train.get_concrete_function(
        iter(batches_of(recipe)), tf.constant(1)
    )
    added = objections(loop)
    host = {"IteratorGetNext", "Range without static shape"}
    assert added == host


@pytest.mark.parametrize("recipe", [MICRO, VIT], ids=["micro", "vit"])
def test_xla_compiles_the_whole_step(recipe):
    """Forward, backward, reduction and update in one program."""
    steps = steps_of(recipe)
    batch = next(iter(batches_of(recipe)))
    sums = [
        # First without XLA, from the same weights.
        steps.evaluate({k: batch[k] for k in ("image", "label", "weight")}),
        replica(lambda b: steps._gradients(b)[1], jit=None)(batch),
        replica(steps._replica_step, jit=True)(batch),
    ]
    assert float(sums[0]["weight"]) == 8
    # In bfloat16: 8 bits.
    np.testing.assert_allclose(sums[2]["loss"], sums[1]["loss"], rtol=1e-2)


def test_what_a_tpu_cannot_do_is_noticed():
    steps = steps_of(MICRO)
    batch = batches_of(MICRO).element_spec

    def with_print(batch):
        tf.print("loss", batch["weight"][0])
        return steps._replica_step(batch)

    def of_the_readable(batch):
        return tf.boolean_mask(batch["image"], batch["weight"] > 0)

    def in_python(batch):
        return tf.numpy_function(np.sum, [batch["weight"]], tf.float32)

    for function, words in (
        (with_print, {"PrintV2", "StringFormat"}),
        (of_the_readable, {"Where", "GatherV2 without static shape"}),
        (in_python, {"PyFunc", "PyFunc without static shape"}),
    ):
        traced = replica(function).get_concrete_function(batch)
        assert words <= objections(traced)
    loose = {"image": tf.TensorSpec((None, 16, 16, 3), tf.float32)}
    assert set(not_static(loose)) == {"image"}


def ops_of(dataset):
    """The op names of a dataset's graph, as its host would run it."""
    graph = tf.Graph.as_graph_def(tf.Graph())
    graph.ParseFromString(
        tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(dataset),
            external_state_policy=1,
        ).numpy()
    )
    nodes = list(graph.node)
    for called in graph.library.function:
        nodes += called.node_def
    return {node.op for node in nodes}


@pytest.mark.parametrize("policy", ["skip", "error"])
def test_hosts_of_a_pod_need_no_python(policy):
    for remote in (True, False):
        bad = BadImages(policy, remote=remote)
        for made in (
            train_batches(digits(), RESNET, 0, bad),
            eval_batches(digits(), RESNET, 8, bad),
        ):
            ops = ops_of(made)
            assert "DecodeImage" in ops
            assert ("PyFunc" in ops) is not remote


def test_a_corrupt_image_without_python(capfd):
    def corrupt(index):
        example = digits().fetch(index)
        image = tf.where(index % 2 == 0, b"no image", example["image"])
        return {**example, "image": image}

    source = dataclasses.replace(digits(), fetch=corrupt)
    bad = BadImages("skip", remote=True)
    batch = next(iter(train_batches(source, RESNET, 0, bad)))
    assert 0 < float(tf.reduce_sum(batch["weight"])) < 8
    assert "Skipping corrupt images:" in capfd.readouterr().err
    with pytest.raises(tf.errors.InvalidArgumentError, match="Corrupt images"):
        bad = BadImages("error", remote=True)
        next(iter(train_batches(source, RESNET, 0, bad)))
