"""One training step and one evaluation step, compiled for a strategy."""

from typing import Any

import keras
import tensorflow as tf

from bit_keras.distribution import check_batch_size
from bit_keras.recipe import Recipe


def targets_of(batch: dict, num_classes: int) -> tf.Tensor:
    """Returns what the model should predict, `(batch, num_classes)`.

    One-hot for integer labels, mixed if the batch went through MixUp; labels
    that are multi-hot already stay so.

    Args:
        batch: Of `data.batches`.
        num_classes: Outputs of the model.

    Example:

    >>> targets_of({"label": tf.constant([1])}, 3).numpy().tolist()
    [[0.0, 1.0, 0.0]]
    """

    def dense(label: tf.Tensor) -> tf.Tensor:
        if label.shape.rank == 2:
            return tf.cast(label, tf.float32)
        return tf.one_hot(label, num_classes)

    if "mix" not in batch:
        return dense(batch["label"])
    mix = batch["mix"][:, None]
    return mix * dense(batch["label"]) + (1 - mix) * dense(batch["partner"])


def losses(kind: str, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example, `(batch,)`.

    Args:
        kind: "softmax": cross-entropy; "sigmoid": binary cross-entropy summed
            over classes, as BiT-M's upstream.
        targets: `(batch, num_classes)`.
        logits: `(batch, num_classes)`.

    Example:

    >>> zeros = tf.zeros((1, 4))
    >>> round(float(losses("softmax", tf.one_hot([0], 4), zeros)[0]), 4)
    1.3863
    """
    if kind == "softmax":
        return tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    if kind == "sigmoid":
        return tf.reduce_sum(
            tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), -1
        )
    raise ValueError(f'loss must be "softmax" or "sigmoid"; got "{kind}".')


def _sums(kind: str, batch: dict, logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Weighted sums over a batch, so that parts can be added up."""
    logits = tf.cast(logits, tf.float32)
    targets = targets_of(batch, logits.shape[-1])
    weight = batch["weight"]
    # Of a mixed target the larger part counts; multi-hot: any true class.
    best = tf.gather(targets, tf.argmax(logits, -1), batch_dims=1)
    # Without numbers there is no answer; argmax would give class 0.
    answered = ~tf.reduce_any(tf.math.is_nan(logits), -1)
    correct = tf.cast((best >= 0.5) & answered, tf.float32)
    return {
        "loss": tf.reduce_sum(weight * losses(kind, targets, logits)),
        "correct": tf.reduce_sum(weight * correct),
        "weight": tf.reduce_sum(weight),
    }


def _of_length(values: tf.Tensor, length: int) -> tf.Tensor:
    return tf.ensure_shape(values, [length] + values.shape[1:].as_list())


class Steps:
    """Trains and evaluates a model under a `tf.distribute` strategy.

    Make it inside `strategy.scope()`.  A batch may be worked off in
    micro-batches: their gradients are added up and applied once, which for
    networks without batch statistics is exactly the full batch.

    Args:
        model: A Keras model, from images to logits.
        optimizer: A Keras optimizer.
        recipe: A finished recipe: loss, batch size, micro-batch, XLA.
        strategy: The strategy in whose scope the model was made.

    Raises:
        ValueError: If the batch does not divide into devices and micro-batches.

    Example:

    >>> from keras import layers
    >>> model = keras.Sequential([layers.Flatten(), layers.Dense(2)])
    >>> model.build((None, 4, 4, 3))
    >>> recipe = Recipe("demo")
    >>> strategy = tf.distribute.get_strategy()
    >>> steps = Steps(model, keras.optimizers.SGD(), recipe, strategy)
    >>> batch = {"image": tf.zeros((512, 4, 4, 3)), "weight": tf.ones(512)}
    >>> batch["label"] = tf.zeros(512, tf.int64)
    >>> batches = iter(tf.data.Dataset.from_tensors(batch))
    >>> sums, first_bad_step = steps.train(batches, tf.constant(1))
    >>> round(float(sums["loss"]) / 512, 4)
    0.6931
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        recipe: Recipe,
        strategy: tf.distribute.Strategy,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.strategy = strategy
        self.loss = recipe.loss
        self.batch_size = recipe.run.batch_size
        replicas = strategy.num_replicas_in_sync
        # Examples of a batch on one device.
        self.share = self.batch_size // replicas
        micro = recipe.run.micro_batch
        check_batch_size(strategy, self.batch_size, micro)
        self.micro_batch = micro or self.share
        self.step = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        optimizer.build(model.trainable_variables)
        jit = recipe.run.xla
        self._gradients = tf.function(
            self._all_gradients, jit_compile=jit, autograph=False
        )

    @tf.function(reduce_retracing=True)
    def train(
        self, batches: Any, count: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Takes `count` steps.

        Args:
            batches: Iterator over (distributed) batches.
            count: Steps to take, an int32 scalar tensor.

        Returns:
            The sums `loss`, `correct` and `weight` over all examples, and the
            first step (from 1) whose loss was not finite, or 0.
        """
        zero = tf.constant(0.0)
        sums = {"loss": zero, "correct": zero, "weight": zero}
        bad_step = tf.constant(0, tf.int64)
        for _ in tf.range(count):
            new = self.strategy.run(self._replica_step, (next(batches),))
            new = {k: self._total(v) for k, v in new.items()}
            self.step.assign_add(1)
            if bad_step == 0 and not tf.math.is_finite(new["loss"]):
                bad_step = self.step.read_value()
            sums = {k: sums[k] + new[k] for k in sums}
        return sums, bad_step

    @tf.function(reduce_retracing=True, autograph=False)
    def evaluate(self, batch: Any) -> dict[str, tf.Tensor]:
        """Returns the sums `loss`, `correct` and `weight` over one batch."""

        def replica(batch: dict) -> dict[str, tf.Tensor]:
            logits = self.model(batch["image"], training=False)
            return _sums(self.loss, batch, logits)

        sums = self.strategy.run(replica, (batch,))
        return {k: self._total(v) for k, v in sums.items()}

    @tf.function(autograph=False)
    def finite_weights(self) -> tf.Tensor:
        """Returns whether no weight is NaN or infinite, a bool scalar."""
        return tf.reduce_all(
            [
                tf.reduce_all(tf.math.is_finite(v.value))
                for v in self.model.trainable_variables
            ]
        )

    def share_statistics(self) -> None:
        """Gives all devices the mean of what their batch norms have gathered.

        Each device has moving statistics of its own part of the batches; files
        have those of the first.
        """
        if self.strategy.num_replicas_in_sync > 1 and self._statistics:
            self._take_means()

    @property
    def _statistics(self) -> list[tf.Variable]:
        found = [v.value for v in self.model.non_trainable_variables]
        return [v for v in found if v.dtype.is_floating]

    @tf.function(autograph=False)
    def _take_means(self) -> None:
        copies = self.strategy.run(
            lambda: [v.read_value() for v in self._statistics]
        )
        for variable, values in zip(self._statistics, copies, strict=True):
            mean = self.strategy.reduce("MEAN", values, axis=None)
            variable.assign(mean)

    def _total(self, per_replica: Any) -> tf.Tensor:
        return self.strategy.reduce("SUM", per_replica, axis=None)

    # AutoGraph must rewrite the loop over steps alone. It would go on to every
    # layer, and take a second or more of the time to the first step.
    @tf.autograph.experimental.do_not_convert
    def _replica_step(self, batch: dict) -> dict[str, tf.Tensor]:
        gradients, sums = self._gradients(batch)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return sums

    def _all_gradients(self, batch: dict) -> tuple[list, dict]:
        parts = self.share // self.micro_batch
        # Iterators over several workers forget the size of a batch.
        batch = {k: _of_length(v, self.share) for k, v in batch.items()}
        if parts == 1:
            return self._part_gradients(batch)
        variables = self.model.trainable_variables
        zero = tf.constant(0.0)
        start = (
            tf.constant(0),
            [tf.zeros(v.shape, v.dtype) for v in variables],
            {"loss": zero, "correct": zero, "weight": zero},
        )

        def add_part(index: tf.Tensor, gradients: list, sums: dict) -> tuple:
            new_gradients, new_sums = self._part_gradients(
                {k: self._part(v, index) for k, v in batch.items()}
            )
            return (
                index + 1,
                [a + b for a, b in zip(gradients, new_gradients, strict=True)],
                {k: sums[k] + new_sums[k] for k in sums},
            )

        _, gradients, sums = tf.while_loop(
            lambda index, *_: index < parts,
            add_part,
            start,
            parallel_iterations=1,
            maximum_iterations=parts,
        )
        return gradients, sums

    def _part(self, values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        size = self.micro_batch
        # Not values[a:b]: XLA wants the size of a slice to be a constant.
        begin = [index * size] + [0] * (values.shape.rank - 1)
        return tf.slice(values, begin, [size] + values.shape[1:].as_list())

    def _part_gradients(self, batch: dict) -> tuple[list, dict]:
        variables = [v.value for v in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            logits = self.model(batch["image"], training=True)
            sums = _sums(self.loss, batch, logits)
            # Over the whole batch, so that devices and micro-batches add up.
            loss = self.optimizer.scale_loss(sums["loss"] / self.batch_size)
        return tape.gradient(loss, variables), sums
