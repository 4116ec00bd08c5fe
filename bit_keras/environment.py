"""What the commands set before they import TensorFlow."""

import os
import platform


def prepare_tensorflow() -> None:
    """Sets the environment variables of this process and those it starts.

    For commands, not for libraries; without effect once TensorFlow is imported.

    Keras uses TensorFlow, whatever backend the user works with otherwise.
    TensorFlow logs errors only, and on x86 computes with oneDNN: by itself it
    does so only where the processor has instructions that older ones lack, but
    on these, too, training in float32 is 1.7 to 3.4 times as fast
    (docs/speed.md). A value of `TF_CPP_MIN_LOG_LEVEL` or
    `TF_ENABLE_ONEDNN_OPTS` that is set, stays.

    Example:

    >>> prepare_tensorflow()
    >>> os.environ["KERAS_BACKEND"]
    'tensorflow'
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
