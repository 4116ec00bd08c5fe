"""From a strategy's name to a `tf.distribute.Strategy`."""

from typing import Literal

import tensorflow as tf

Name = Literal["auto", "one", "mirrored", "multiworker", "tpu"]


def strategy(name: Name = "auto", tpu: str = "") -> tf.distribute.Strategy:
    """Returns the strategy to train under.

    Args:
        name: "auto" takes a TPU if TensorFlow sees one, all GPUs if there are
            several, else one device.  "one": the first GPU or the CPU.
            "mirrored": all GPUs of this machine, or all its logical CPUs.
            "multiworker": one process per machine, from `TF_CONFIG`.
            "tpu": a TPU or TPU pod.
        tpu: Name of the TPU; "" or "local" for the one of this machine.

    Returns:
        A strategy.  Call this before anything else touches TensorFlow:
        "multiworker" and "tpu" initialize devices.

    Raises:
        ValueError: For an unknown name, or "tpu" without a TPU.

    Example:

    >>> strategy("one").num_replicas_in_sync
    1
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        if tf.config.list_physical_devices("TPU"):
            name = "tpu"
        else:
            name = "mirrored" if len(gpus) > 1 else "one"
    if name == "one":
        return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")
    if name == "mirrored":
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return _tpu_strategy(tpu)
    raise ValueError(
        "strategy must be auto, one, mirrored, multiworker or tpu; "
        f'got "{name}".'
    )


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f'strategy "tpu": no TPU named "{tpu or "local"}" answers '
            f"({reason}). Use --strategy auto on a machine without one."
        ) from error
    return tf.distribute.TPUStrategy(resolver)
