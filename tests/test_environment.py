"""What commands set for TensorFlow, and what they leave alone."""

import os
import platform

import pytest

from bit_keras.environment import prepare_tensorflow

_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@pytest.mark.parametrize(
    "machine, before, after",
    [
        ("x86_64", None, "1"),
        ("AMD64", None, "1"),
        ("x86_64", "0", "0"),
        ("aarch64", None, None),
    ],
)
def test_onednn_is_on_unless_someone_said_otherwise(
    machine, before, after, monkeypatch
):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    # Set first, so that what the call sets is taken back.
    for name in (_ONEDNN, "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "0")
    if before is None:
        monkeypatch.delenv(_ONEDNN)
    prepare_tensorflow()
    assert os.environ.get(_ONEDNN) == after
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
