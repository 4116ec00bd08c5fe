import keras
import numpy as np

from bit_keras import models
from bit_keras.benchmarks.speed.naive import naive_layers
from bit_keras.models import bottleneck


def test_the_naive_network_is_the_same_function():
    model = models.create("bit_tiny", 10)
    with naive_layers():
        naive = models.create("bit_tiny", 10)
    rng = np.random.default_rng(0)
    weights = [rng.normal(0.1, 1, w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    naive.set_weights(weights)
    assert naive.count_params() == model.count_params()
    images = rng.uniform(-1, 1, (2, 33, 32, 3)).astype("float32")
    ours, theirs = (np.array(m(images)) for m in (model, naive))
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-3)


def test_our_layers_are_not_used_in_it():
    with naive_layers():
        unit = models.create("bit_nano", 10).get_layer("block1_unit01")
    assert isinstance(unit.a_norm, keras.layers.GroupNormalization)
    assert not isinstance(unit.a_conv, bottleneck.StdConv2D)
    # And are back afterwards.
    unit = models.create("bit_nano", 10).get_layer("block1_unit01")
    assert isinstance(unit.a_norm, bottleneck.GroupNorm)
    assert isinstance(unit.a_conv, bottleneck.StdConv2D)
