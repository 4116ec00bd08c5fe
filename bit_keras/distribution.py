"""From a strategy's name to a `tf.distribute.Strategy`."""

import socket
from typing import Literal, get_args

import tensorflow as tf

from bit_keras.recipe import did_you_mean

Name = Literal["auto", "one", "mirrored", "multiworker", "tpu"]

# For each question to the cloud's metadata server.
_LOOKUP_SECONDS = 10.0


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
    if name == "auto" and tf.config.list_physical_devices("TPU"):
        name = "tpu"
    # These two come before TensorFlow sets up its devices, so also before the
    # logical ones are listed.
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return _tpu_strategy(tpu or "local")
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one"
    if name == "one":
        return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")
    if name == "mirrored":
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    raise ValueError(
        "strategy must be auto, one, mirrored, multiworker or tpu; "
        f'got "{name}".{did_you_mean(name, get_args(Name))}'
    )


def describe(strategy: tf.distribute.Strategy) -> str:
    """Returns a strategy's devices in words.

    >>> describe(tf.distribute.OneDeviceStrategy("/cpu:0"))
    '1 x CPU (OneDeviceStrategy)'
    """
    (device, *_) = strategy.extended.worker_devices
    kind = tf.DeviceSpec.from_string(device).device_type
    name = type(strategy).__name__
    return f"{strategy.num_replicas_in_sync} x {kind} ({name})"


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    waits = socket.getdefaulttimeout()
    # The resolver looks for the TPU by HTTP, and would wait for ever.
    socket.setdefaulttimeout(_LOOKUP_SECONDS)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, OSError, tf.errors.OpError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f'strategy "tpu": no TPU named "{tpu}" answers ({reason}). Use '
            "--strategy auto on a machine without one."
        ) from error
    finally:
        socket.setdefaulttimeout(waits)
    return tf.distribute.TPUStrategy(resolver)


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset, size: int
) -> tf.distribute.DistributedDataset:
    """Deals global batches out to workers and devices, in order.

    Every worker makes the whole batch (MixUp needs it) and keeps its own rows;
    each of its devices gets an equal run of those.  Not
    `experimental_distribute_dataset`: its rewriting of the input graph undoes
    `rebatch`.

    Args:
        strategy: From `strategy()`.
        batches: Dicts of tensors `(size, ...)`.
        size: Examples in a global batch, a multiple of all devices.

    Returns:
        A distributed dataset to iterate over inside or outside `tf.function`.

    Example:

    >>> batches = tf.data.Dataset.from_tensors({"x": tf.range(6)})
    >>> next(iter(distribute(strategy("one"), batches, 6)))["x"].shape
    TensorShape([6])
    """
    share = size // strategy.num_replicas_in_sync

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers, worker = context.num_input_pipelines, context.input_pipeline_id
        dataset = batches
        if workers > 1:
            begin, rows = worker * (size // workers), size // workers
            dataset = dataset.map(
                lambda batch: {
                    key: value[begin : begin + rows]
                    for key, value in batch.items()
                }
            )
        if share < size // workers:
            dataset = dataset.rebatch(share, drop_remainder=True)
        return dataset.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(of_worker)
