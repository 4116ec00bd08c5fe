"""TensorFlow Hub, which cannot always be imported."""

import importlib
import warnings
from types import ModuleType


def import_hub() -> ModuleType:
    """Returns the module `tensorflow_hub`.

    Raises:
        ImportError: With the repair, where the installed setuptools is newer
            than tensorflow-hub can bear.

    Example:

    >>> import_hub().__name__
    'tensorflow_hub'
    """
    try:
        with warnings.catch_warnings():
            # On pkg_resources, which tensorflow-hub 0.16.1 imports.
            warnings.simplefilter("ignore")
            return importlib.import_module("tensorflow_hub")
    except ModuleNotFoundError as error:
        if error.name != "pkg_resources":
            raise
        raise ImportError(
            "tensorflow_hub imports pkg_resources, which setuptools 82 "
            "dropped. Repair: pip install 'setuptools<82'. Or do without it: "
            "bit_keras.SavedModelLayer and tf.saved_model.load need no hub."
        ) from error
