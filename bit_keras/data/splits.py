"""Split slices, `train[:80%]`, in TFDS's syntax, for any source."""

from collections.abc import Mapping, Sequence

import tensorflow_datasets as tfds

from bit_keras.recipe import did_you_mean


def slice_split(
    name: str, split: str, shard_lengths: Mapping[str, Sequence[int]]
) -> list[tuple[str, int, int]]:
    """Resolves a split with slices, as TFDS does, against known sizes.

    Args:
        name: The dataset, for error messages.
        split: For example "train", "train[:80%]", "train[100:]+test".
        shard_lengths: For each split, the number of examples in each shard.

    Returns:
        `(split name, first, end)` for each summand, in order.

    Raises:
        ValueError: For unknown splits, unreadable slices, and if nothing is
            left.

    Example:

    >>> slice_split("mine", "train[:80%]+test", {"train": [10], "test": [4]})
    [('train', 0, 8), ('test', 0, 4)]
    """
    for part in split.split("+"):
        word = part.partition("[")[0].strip()
        if word not in shard_lengths and word != "all":
            raise ValueError(
                f'split: {name} has no split "{word}".'
                f"{did_you_mean(word, shard_lengths)} It has "
                f"{', '.join(shard_lengths)}."
            )
        if word == "all" and "[" in part and list(shard_lengths) != ["all"]:
            raise ValueError(
                f'split: "{part}" of {name} cannot be cut, for "all" is the '
                f"sum of its splits {', '.join(shard_lengths)}. Cut one of "
                f"these: {next(iter(shard_lengths))}[:80%]."
            )
    lengths, spec = dict(shard_lengths), split
    if list(lengths) == ["all"]:
        # TFDS reads "all" as the sum of all splits, which it cannot slice.
        lengths, spec = {"whole": lengths["all"]}, spec.replace("all", "whole")
    infos = {
        key: tfds.core.SplitInfo(name=key, shard_lengths=list(n), num_bytes=0)
        for key, n in lengths.items()
    }
    try:
        parts = tfds.core.ReadInstruction.from_spec(spec).to_absolute(infos)
    except (ValueError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f'split: cannot read "{split}" of {name}: {reason} Examples: '
            "train, train[:80%], train[100:], train+test."
        ) from None
    slices = []
    for part in parts:
        key = "all" if part.splitname == "whole" else part.splitname
        end = sum(lengths[part.splitname]) if part.to is None else part.to
        slices.append((key, part.from_ or 0, max(end, part.from_ or 0)))
    if not any(end > first for _, first, end in slices):
        sizes = ", ".join(f"{k} {sum(n)}" for k, n in shard_lengths.items())
        raise ValueError(
            f'split: "{split}" of {name} is empty; examples there: {sizes}.'
        )
    return slices
