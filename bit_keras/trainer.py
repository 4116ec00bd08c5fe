"""The training loop: steps, logs, evaluations, checkpoints, resume."""

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import keras
import tensorflow as tf

from bit_keras import checkpoints, graphs, network, optimizer
from bit_keras.atomic_writes import write_atomic, writing
from bit_keras.data.batches import BadImages, train_batches
from bit_keras.data.sources import Source
from bit_keras.distribution import distribute, has_remote_hosts
from bit_keras.evaluation import Evaluation
from bit_keras.failures import explained
from bit_keras.logbook import Logbook, Sums
from bit_keras.progress import Progress, duration
from bit_keras.recipe import Recipe
from bit_keras.saves import Saves
from bit_keras.steps import Steps
from bit_keras.stops import Interrupted, NotFiniteError
from bit_keras.team import Team
from bit_keras.workdir import Workdir, weights_name

# A call of the compiled loop should last about this long, in seconds: short
# enough to answer a signal and move the progress bar.
_CALL_SECONDS = 1.0


def train(
    recipe: Recipe,
    train_source: Source,
    eval_source: Source | None,
    workdir: Workdir,
    strategy: tf.distribute.Strategy,
    init: Path | None = None,
    tell: Callable[[str], None] = logging.info,
) -> dict[str, Any]:
    """Trains a model as a recipe says, from where the workdir stands.

    Args:
        recipe: A finished recipe.
        train_source: Training examples.
        eval_source: Examples to evaluate on; None: no evaluation.
        workdir: A claimed run directory.  Of several workers the first one
            reads and writes the run's files; the others use theirs only to
            pass the time.
        strategy: From `distribution.strategy`.
        init: File with weights to start from; None: random weights.
        tell: Called with each message for the user.

    Returns:
        The result, as in `result.json`.

    Raises:
        Interrupted: After SIGINT or SIGTERM; everything is saved.
        NotFiniteError: If the loss becomes NaN or infinite.
        ValueError: If recipe, data and weights do not fit together.
    """
    with graphs.temporary():
        return _Trainer(
            recipe, train_source, eval_source, workdir, strategy, init, tell
        ).run()


def _every(value: int | None, steps: int, share: int, most: int) -> int:
    """Steps between two events: `value`, or a share of the run."""
    return value or max(1, min(steps // share, most))


class _Trainer:
    def __init__(
        self,
        recipe: Recipe,
        train_source: Source,
        eval_source: Source | None,
        workdir: Workdir,
        strategy: tf.distribute.Strategy,
        init: Path | None,
        tell: Callable[[str], None],
    ) -> None:
        self.recipe = recipe
        self.train_source = train_source
        self.workdir = workdir
        self.strategy = strategy
        self.team = Team(strategy)
        self.tell = tell
        self.bad = BadImages(
            recipe.data.on_bad_image, has_remote_hosts(strategy)
        )
        # The signal that this process got, and the one that all workers heed.
        self.signum = 0
        self.asked = 0
        self.best = -1.0
        self.evaluated = False
        run, self.total = recipe.run, recipe.schedule.steps
        self.log_every = _every(run.log_every, self.total, 20, 100)
        self.eval_every = _every(run.eval_every, self.total, 5, 5000)
        self.save_every = _every(run.checkpoint_every, self.total, 10, 1000)
        with strategy.scope():
            self.model = build_model(recipe, train_source.num_classes)
            self.optimizer = optimizer.from_recipe(recipe)
            self.steps = Steps(self.model, self.optimizer, recipe, strategy)
            self.evaluation = eval_source and Evaluation(
                self.steps, eval_source, recipe
            )
            self.saves = Saves(
                workdir.path / "checkpoints",
                self.steps.step,
                self.model.variables,
                self.optimizer.variables,
                run.keep_checkpoints,
            )
        self._start(init)
        self._start_alike()

    @property
    def step(self) -> int:
        return int(self.steps.step.numpy())

    def _start(self, init: Path | None) -> None:
        latest = self.saves.restore(self.tell)
        if latest:
            rows = self.workdir.rewind(self.step)
            evals = [row for row in rows if row["kind"] == "eval"]
            self.best = max((row["top1"] for row in evals), default=-1.0)
            self.evaluated = bool(evals) and evals[-1]["step"] == self.step
            self.tell(f"Resuming at step {self.step} from {latest}")
            return
        self.workdir.rewind(-1)
        names = "".join(f"{n}\n" for n in self.train_source.class_names)
        write_atomic(self.workdir.path / "labels.txt", names)
        if init:
            if self.recipe.model.head == "keep":
                _check_classes(init, self.train_source.class_names)
            checkpoints.load(self.model, init, head=self.recipe.model.head)
            self.tell(f"Starting from the weights in {init}")
        elif self.team.is_chief:
            self.tell("Starting from random weights (no --init)")

    def _start_alike(self) -> None:
        """Puts the workers where the first, which has the files, stands."""
        variables = self.model.variables + self.optimizer.variables
        self.team.take_from_chief(
            [self.steps.step, *(v.value for v in variables)]
        )
        self.evaluated = bool(self.team.exchange([self.evaluated])[0][0])

    def run(self) -> dict[str, Any]:
        with open(os.devnull, "w") as nowhere:
            return self._run(None if self.team.is_chief else nowhere)

    def _run(self, stream: TextIO | None) -> dict[str, Any]:
        began = time.monotonic()
        progress = Progress(self.total, self.step, stream)
        handlers = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            try:
                with Logbook(self.workdir, progress, self.total) as log:
                    self._loop(log)
            finally:
                progress.close()
            # Once all steps are taken, a signal comes too late to stop it.
            return self._finish(time.monotonic() - began)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, signum: int, frame: Any) -> None:
        self.signum = signum
        # A second signal acts at once.
        signal.signal(signum, signal.SIG_DFL)

    def _loop(self, log: Logbook) -> None:
        batches = train_batches(
            self.train_source, self.recipe, self.step, self.bad
        )
        # Kept: dropping it may take a minute; see `data.untuned`.
        self.batches = iter(
            distribute(self.strategy, batches, self.recipe.run.batch_size)
        )
        # Interrupted before or during the evaluation of this step.
        if self._measured_at(self.step) and not self.evaluated:
            self._evaluate(log, self.step)
        sums, speed, calls = Sums(), 0.0, 0
        while (step := self.step) < self.total:
            count = self._count(step, speed)
            began = time.monotonic()
            new, bad_step = self._call(count)
            seconds = self._agree(time.monotonic() - began)
            # The first call also traces and compiles: not a speed.
            if calls:
                speed = count / seconds
            else:
                log.progress.restart(self.step)
            calls += 1
            self._check_finite(int(bad_step))
            sums.add(new, count, seconds, timed=calls > 1)
            step = self.step
            log.progress.update(step, f"loss {sums.loss:.3f}")
            if self._due(step, self.log_every):
                self._log(log, sums, step)
                sums = Sums()
            measure = self._measured_at(step)
            save = self._due(step, self.save_every)
            if measure or save or self.asked:
                self.steps.share_statistics()
                # The loss tells of the weights before a step; what is saved
                # or measured now are those after it.
                self._check_finite(0 if self.steps.finite_weights() else step)
            self._stop_if_asked(step)
            # First the checkpoint: who dies in the evaluation does it again,
            # and finds best.npz as the rows have it.
            if save or measure:
                self._save()
            if measure:
                self._evaluate(log, step)

    def _due(self, step: int, every: int) -> bool:
        return step > 0 and (step % every == 0 or step == self.total)

    def _measured_at(self, step: int) -> bool:
        kept = step in self.recipe.run.keep_weights_at
        return kept or self._due(step, self.eval_every)

    def _agree(self, seconds: float = 0.0) -> float:
        """Returns the longest of the workers' times, and shares signals.

        Those that took different numbers of steps, or of whom only one
        stopped, would wait for each other for ever.
        """
        news = self.team.exchange([self.signum, int(seconds * 1e6)])
        self.asked = max(signum for signum, _ in news)
        return max(1, *(time for _, time in news)) / 1e6

    def _stop_if_asked(self, step: int) -> None:
        if self.asked:
            self._save()
            raise Interrupted(self.asked, step)

    def _call(self, count: int) -> tuple:
        with explained(self.bad):
            return self.steps.train(self.batches, tf.constant(count))

    def _count(self, step: int, speed: float) -> int:
        """Steps until the next event, but not more than `_CALL_SECONDS`."""
        kept = self.recipe.run.keep_weights_at
        ends = [self.total, *(at for at in kept if at > step)]
        for every in (self.log_every, self.eval_every, self.save_every):
            ends.append((step // every + 1) * every)
        return max(1, min(min(ends) - step, int(speed * _CALL_SECONDS)))

    def _rate(self, step: int) -> float:
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        # The property `learning_rate` gives the rate of the step to come.
        return float(inner._learning_rate(step))

    def _check_finite(self, bad_step: int) -> None:
        """Raises a NotFiniteError unless `bad_step` is 0."""
        if not bad_step:
            return
        saved = ""
        if self.team.is_chief:
            saved = f" Last good checkpoint: {self.saves.latest or 'none'}."
        rate = self._rate(bad_step - 1)
        raise NotFiniteError(
            f"Training diverged at step {bad_step}: the loss or the weights "
            f"are not finite (learning rate {rate:.3g}).{saved} Lower the "
            "learning rate (--set schedule.learning_rate=...) or lengthen the "
            "warm-up (--set schedule.warmup_steps=...)."
        )

    def _epoch(self, step: int) -> float:
        seen = step * self.recipe.run.batch_size
        return round(seen / self.train_source.num_examples, 4)

    def _log(self, log: Logbook, sums: Sums, step: int) -> None:
        log.train_row(
            step,
            self._epoch(step),
            sums,
            self._rate(step - 1),
            images_per_second=round(
                sums.steps_per_second * self.recipe.run.batch_size, 1
            ),
            bad_images=self.bad.count,
        )

    def _evaluate(self, log: Logbook, step: int) -> None:
        if step in self.recipe.run.keep_weights_at:
            self._keep(weights_name(step))
        if self.evaluation is None:
            return

        def on_batch(share: float) -> None:
            log.progress.update(step, f"evaluating {share:.0%}")
            # An evaluation may outlast the grace of a preemption.
            self._agree()
            self._stop_if_asked(step)

        measured = self.evaluation.run(on_batch)
        # The weights before the row: whoever dies in between does both again.
        if measured["top1"] > self.best:
            self._keep("best.npz")
            self.best = measured["top1"]
        log.eval_row(step, self._epoch(step), measured)

    def _keep(self, name: str) -> None:
        path = self.workdir.path / name
        if self.team.is_chief:
            with writing(path):
                checkpoints.save(self.model, path)

    def _save(self) -> None:
        if self.team.is_chief:
            self.saves.save()

    def _finish(self, seconds: float) -> dict[str, Any]:
        self._keep("final.npz")
        rows = self.workdir.rows()
        evals = [row for row in rows if row["kind"] == "eval"]
        # Those of the processes before this one, too.
        bad = [row["bad_images"] for row in rows if row["kind"] == "train"]
        result = {
            "recipe": self.recipe.name,
            "model": self.recipe.model.name,
            "dataset": self.train_source.name,
            "steps": self.total,
            "train_examples": self.train_source.num_examples,
            "eval_split": evals[-1]["split"] if evals else None,
            "eval_examples": evals[-1]["examples"] if evals else None,
            "top1": evals[-1]["top1"] if evals else None,
            "best_top1": self.best if evals else None,
            "loss": evals[-1]["loss"] if evals else None,
            "bad_images": max([self.bad.count, *bad]),
            "eval_bad_images": evals[-1]["bad_images"] if evals else None,
            "seconds": round(seconds, 1),
        }
        self.workdir.finish(result)
        # What the chief could not write, none should call finished.
        self.team.wait()
        self.tell(f"Finished in {duration(seconds)}: {self.workdir.path}")
        return result


def _check_classes(init: Path, names: Sequence[str]) -> None:
    """Refuses a head whose outputs stand for other classes, or in disorder."""
    folder = init if init.is_dir() else init.parent
    labels = folder / "labels.txt"
    if not ((folder / "recipe.json").exists() and labels.exists()):
        return
    found = labels.read_text("utf-8").splitlines()
    # That it has another number of outputs, its shape tells.
    if len(found) != len(names) or found == list(names):
        return
    number = next(i for i, name in enumerate(names) if found[i] != name)
    alike = sorted(found) == sorted(names)
    raise ValueError(
        f"model.head=keep: the head in {init} is of "
        f"{'the same classes in another order' if alike else 'other classes'}:"
        f" class {number} is {names[number]} here and {found[number]} there "
        f"({labels}). Leave model.head out to start a new head; if they are "
        "the same under other names, take names and order of that file."
    )


def build_model(recipe: Recipe, num_classes: int) -> keras.Model:
    """Returns the recipe's network, with weights drawn from its seed.

    Args:
        recipe: Whose `model`, `preprocess.crop`, `run.seed` and
            `run.precision` count.
        num_classes: Outputs of the head.

    Example:

    >>> from bit_keras.recipe import Model
    >>> recipe = Recipe("demo", model=Model(name="bit_tiny"))
    >>> build_model(recipe, 7).output_shape
    (None, 7)
    """
    keras.utils.set_random_seed(recipe.run.seed)
    return network.build(recipe, num_classes, recipe.run.precision)
