"""What the upstream recipes share.

Not a recipe itself.  Sections of arXiv 1912.11370; ViT and MLP-Mixer have the
same batch and images, and their own optimizer.
"""

import dataclasses

from bit_keras.recipe import (
    Data,
    Model,
    Optimizer,
    Preprocess,
    Recipe,
    Run,
    Schedule,
)

# Section 3.3: "a global batch size of 4096".
BATCH_SIZE = 4096
# Section 3.3: "linear learning rate warm-up for 5000 optimization steps".
WARMUP_STEPS = 5000


def upstream_recipe(name: str, model: Model, data: Data, loss: str) -> Recipe:
    """Returns what all upstream training shares, section 3.3.

    >>> upstream_recipe("mine", Model(), Data(), "softmax").run.batch_size
    4096
    """
    return Recipe(
        name=name,
        model=model,
        data=data,
        # MixUp only ever downstream.
        preprocess=Preprocess(
            train="inception_crop", crop=224, flip=True, mixup_alpha=0.0
        ),
        optimizer=Optimizer(momentum=0.9, weight_decay=1e-4),
        # 0.03, times batch size / 256.
        schedule=Schedule(learning_rate=0.03 * BATCH_SIZE / 256, decay=0.1),
        run=Run(batch_size=BATCH_SIZE),
        loss=loss,
    )


def whole_steps(epochs: int, num_examples: int) -> int:
    """Returns the full batches of 4096 examples in `epochs` epochs, at least 1.

    The batch is the paper's, whatever the recipe's is by now: a changed batch
    size scales the learning rate and leaves the steps alone (`scale_batch`).

    >>> whole_steps(90, 1_281_167)  # BiT-S
    28150
    """
    return max(1, epochs * num_examples // BATCH_SIZE)


def finish_upstream(
    recipe: Recipe,
    num_examples: int,
    epochs: int,
    drop_epochs: tuple[int, ...],
    paper_examples: int,
    paper_warmup: int = WARMUP_STEPS,
) -> Recipe:
    """Fills the steps, warm-up and boundaries that are still None.

    Boundaries keep their place as fractions of the run.  Warm-up is the paper's
    (BiT: 5000 steps), but never a larger part of the run than it was in the
    paper: on a dataset that needs 2000 steps, 5000 would never reach the
    learning rate.

    Args:
        recipe: With `schedule.steps` and the others None, or set by the user.
        num_examples: Training images of the dataset at hand.
        epochs: Length of the paper's run.
        drop_epochs: Epochs after which the paper's rate drops.
        paper_examples: Training images in the paper.
        paper_warmup: Steps of warm-up in the paper.

    Returns:
        The recipe with a complete schedule.

    Raises:
        ValueError: If there is nothing to train on or for.
    """
    if num_examples < 1:
        raise ValueError(f"num_examples must be >= 1; got {num_examples}.")
    schedule = recipe.schedule
    steps = schedule.steps
    if steps is None:
        steps = whole_steps(epochs, num_examples)
    if steps < 1:
        raise ValueError(f"schedule.steps must be >= 1; got {steps}.")
    warmup_steps = schedule.warmup_steps
    if warmup_steps is None:
        paper_steps = whole_steps(epochs, paper_examples)
        in_proportion = round(paper_warmup * steps / paper_steps)
        warmup_steps = min(paper_warmup, in_proportion)
    boundaries = schedule.boundaries
    if boundaries is None:
        epochs_of_drops = drop_epochs if schedule.shape == "drops" else ()
        boundaries = tuple(round(steps * e / epochs) for e in epochs_of_drops)
    return dataclasses.replace(
        recipe,
        schedule=dataclasses.replace(
            schedule,
            steps=steps,
            warmup_steps=warmup_steps,
            boundaries=boundaries,
        ),
    )
