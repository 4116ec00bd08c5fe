"""From a strategy's name to a `tf.distribute.Strategy`."""

import contextlib
import faulthandler
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Literal, get_args

import tensorflow as tf

from bit_keras.checks import TPU_FLOAT16
from bit_keras.cluster import Cluster, find_cluster
from bit_keras.recipe import did_you_mean

Name = Literal["auto", "one", "mirrored", "multiworker", "tpu"]

_CPU = "/job:localhost/replica:0/task:0/device:CPU:0"

# For each question to the cloud's metadata server.
_LOOKUP_SECONDS = 10.0

# For connecting workers that have all been started, and a TPU.
_CONNECT_SECONDS = 300.0
_TPU_SECONDS = 900.0


def strategy(
    name: Name = "auto", tpu: str = "", cluster: Cluster | None = None
) -> tf.distribute.Strategy:
    """Returns the strategy to train under.

    Args:
        name: "auto" takes a TPU if TensorFlow sees one, all GPUs if there are
            several, else one device.  "one": the first GPU or the CPU.
            "mirrored": all GPUs of this machine, or all its logical CPUs.
            "multiworker": one process per machine, all started by now (see
            `cluster.wait_for_all`).  "tpu": a TPU or TPU pod.
        tpu: Name of the TPU; "" or "local" for the one of this machine.
        cluster: The workers, for "multiworker"; None: from `TF_CONFIG`.

    Returns:
        A strategy.  Call this before anything else touches TensorFlow:
        "multiworker" and "tpu" initialize devices.

    Raises:
        ValueError: For an unknown name, "multiworker" without workers, or
            "tpu" without a TPU.

    Example:

    >>> strategy("one").num_replicas_in_sync
    1
    """
    if name == "auto" and tf.config.list_physical_devices("TPU"):
        name = "tpu"
    # These two come before TensorFlow sets up its devices, so also before the
    # logical ones are listed.
    if name == "multiworker":
        found = cluster or find_cluster(tf_config=os.environ.get("TF_CONFIG"))
        return _multiworker_strategy(found)
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


def has_remote_hosts(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether machines without our Python feed devices: a TPU pod.

    >>> has_remote_hosts(tf.distribute.OneDeviceStrategy("/cpu:0"))
    False
    """
    pod = isinstance(strategy, tf.distribute.TPUStrategy)
    return pod and strategy.extended.num_hosts > 1


def _multiworker_strategy(cluster: Cluster) -> tf.distribute.Strategy:
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        # If a worker dies just now, the others would wait for ever.
        with _at_most(_CONNECT_SECONDS):
            return tf.distribute.MultiWorkerMirroredStrategy(
                cluster_resolver=resolver
            )
    finally:
        # TensorFlow took SIGTERM for itself, and does nothing with it.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Ends the process, exit code 1, if its body takes longer.

    TensorFlow holds the interpreter's lock while it connects: only a thread
    without Python, such as this one, runs then.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    waits = socket.getdefaulttimeout()
    # The resolver looks for the TPU by HTTP, and would wait for ever.
    socket.setdefaulttimeout(_LOOKUP_SECONDS)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
        with _at_most(_TPU_SECONDS):
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, OSError, RuntimeError, tf.errors.OpError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f'strategy "tpu": no TPU named "{tpu}" answers ({reason}). Use '
            "--strategy auto on a machine without one."
        ) from error
    finally:
        socket.setdefaulttimeout(waits)
    return tf.distribute.TPUStrategy(resolver)


def check_precision(strategy: tf.distribute.Strategy, precision: str) -> None:
    """Raises a ValueError for a precision that a strategy's devices lack.

    Args:
        strategy: From `strategy()`.
        precision: As in a recipe.

    Example:

    >>> check_precision(strategy("one"), "mixed_float16")
    """
    tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    if tpu and precision == "mixed_float16":
        raise ValueError(TPU_FLOAT16)


def check_batch_size(
    strategy: tf.distribute.Strategy, batch_size: int, micro_batch: int | None
) -> None:
    """Raises a ValueError for batches that devices cannot share evenly.

    Args:
        strategy: From `strategy()`.
        batch_size: Examples of a step on all devices.
        micro_batch: Examples at a time on one; None: its whole share.

    Example:

    >>> check_batch_size(strategy("one"), 512, 128)
    """
    replicas = strategy.num_replicas_in_sync
    multiple = replicas * (micro_batch or 1)
    if batch_size % multiple:
        devices = f"{replicas} device{'s' * (replicas > 1)}"
        parts = f" x --micro-batch {micro_batch}" if micro_batch else ""
        near = max(1, round(batch_size / multiple)) * multiple
        raise ValueError(
            f"--batch-size must be a multiple of {devices}{parts}; got "
            f"{batch_size}. The nearest: --batch-size {near}."
        )


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset, size: int
) -> tf.distribute.DistributedDataset | tf.data.Dataset:
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
    # Nothing to deal out. With an iterator that fills devices, waits of up to
    # 11 s remained even for what is `data.untuned`.
    if share == size and set(strategy.extended.worker_devices) == {_CPU}:
        return batches

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
