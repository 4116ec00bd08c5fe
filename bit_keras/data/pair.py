"""The training and the evaluation data of one recipe, checked together."""

from bit_keras.data import sources, subset
from bit_keras.data.sources import Source
from bit_keras.recipe import Recipe


def open_sources(recipe: Recipe) -> tuple[Source, Source | None]:
    """Opens the training and evaluation data of a recipe.

    Args:
        recipe: With `data.dataset` set.

    Returns:
        The (few-shot) training source and the evaluation source; None for the
        latter if the recipe or the dataset has none.

    Raises:
        ValueError, FileNotFoundError: If the data are not there or do not suit.

    Example:

    >>> from bit_keras.recipe import Data, Run
    >>> recipe = Recipe("demo", data=Data("digits"), run=Run(batch_size=32))
    >>> train, test = open_sources(recipe)
    >>> train.num_examples, test.num_examples
    (1297, 500)
    """
    data = recipe.data

    def opened(split: str) -> Source:
        return sources.open_source(
            data.dataset, split, data_dir=data.data_dir, label=data.label
        )

    train = opened(data.train_split)
    if data.examples_per_class is not None:
        train = subset.few_shot(
            train, data.examples_per_class, data.subset_seed
        )
    if data.eval_split == "auto":
        known = sources.split_names(data.dataset, data.data_dir)
        usual = ("test", "validation", "val")
        found = (opened(name) for name in usual if name in known)
        evaluation = next((s for s in found if _is_labelled(s)), None)
    elif data.eval_split == "none":
        evaluation = None
    else:
        evaluation = opened(data.eval_split)
        if not _is_labelled(evaluation):
            raise ValueError(
                f"{evaluation.name} ({evaluation.split}) has no labels, so "
                "that nothing can be measured on it. Use another --eval-split."
            )
    _check_sources(recipe, train, evaluation)
    return train, evaluation


def _is_labelled(source: Source) -> bool:
    """Whether the first example has a label; TFDS writes -1 for none."""
    if source.multi_label:
        return True
    first = next(iter(source.read().take(1)))
    return int(first["label"]) >= 0


# Folders that no other dataset has; objectnet.dev's terms.
_OBJECTNET = {"still_camera", "mixing_salad_bowl", "bottle_stopper"}


def _check_sources(
    recipe: Recipe, train: Source, evaluation: Source | None
) -> None:
    if _OBJECTNET <= set(train.class_names):
        raise ValueError(
            f"{train.name} is ObjectNet, which is for evaluation only: its "
            "licence forbids to tune the parameters of any model on it. "
            "python -m bit_keras.benchmarks objectnet measures on it."
        )
    if train.num_classes < 2:
        raise ValueError(
            f"{train.name} has only the class "
            f'"{", ".join(train.class_names)}": there is nothing to learn.'
        )
    if train.multi_label and recipe.loss == "softmax":
        raise ValueError(
            f"{train.name} has several labels per image, which softmax cannot "
            "learn. Add --set loss=sigmoid."
        )
    size = recipe.run.batch_size
    few_shot = recipe.data.examples_per_class is not None
    if train.num_examples < size and not few_shot:
        raise ValueError(
            f"{train.name} ({train.split}) has {train.num_examples} examples, "
            f"less than one batch of {size}. Use --batch-size "
            f"{train.num_examples} or less."
        )
    if evaluation and evaluation.class_names != train.class_names:
        raise ValueError(
            f"{train.name}: the classes of {evaluation.split} "
            f"({evaluation.num_classes}) are not those of {train.split} "
            f"({train.num_classes})."
        )
