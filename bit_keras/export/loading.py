"""Keras models from files, with all classes of this package known."""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def load_model(path: str | os.PathLike) -> "keras.Model":
    """Loads a `.keras` file that holds layers or models of this package.

    `keras.saving.load_model` does the same once the classes are imported,
    which `import bit_keras` alone does not do.

    Args:
        path: Of the `.keras` file.  If the model contains a `SavedModelLayer`,
            its export must still be where it was.

    Example:

    >>> from bit_keras import models
    >>> models.create("bit_tiny", num_classes=10).save("tiny.keras")
    >>> load_model("tiny.keras").num_classes
    10
    """
    import keras

    from bit_keras import models

    if keras.backend.backend() == "tensorflow":
        # Registers SavedModelLayer, which the other backends cannot have.
        importlib.import_module("bit_keras.export.layer")
    return models.load(path)
