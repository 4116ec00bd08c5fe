"""Weight files: official .npz, TF2's .h5, Keras' .weights.h5 and .keras."""

from pathlib import Path

import numpy as np
from damage import damaged
from good_weights import base, model
from hostile_hdf5 import H5
from hostile_keras import KERAS
from hostile_npz import NPZ
from hypothesis import strategies as st
from judge import Case

from bit_keras import checkpoints
from bit_keras.export import source


def warm_up() -> None:
    """Makes the good files, which are no part of any case."""
    for ending in (".npz", ".weights.h5", ".keras", ".h5"):
        base(ending)
    model()


def attempt(case: Case, path: Path) -> str:
    """Loads the file, or exports from it; a failure must change nothing."""
    if case.options == ("export",):
        source.load(path)
        return "accepted"
    before = [np.array(v) for v in model().weights]
    try:
        checkpoints.load(model(), path, head="keep")
    except Exception:
        for old, v in zip(before, model().weights, strict=True):
            if not np.array_equal(old, np.array(v)):
                return f"changed {v.path}, though it was refused"
        raise
    if not all(np.isfinite(np.array(v)).all() for v in model().weights):
        return "loaded NaN or Inf"
    return "accepted"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draws a damaged weight file, or one that was made to do harm."""
    if draw(st.booleans()):
        ending = draw(st.sampled_from((".npz", ".weights.h5", ".keras", ".h5")))
        how, data = draw(damaged(base(ending)))
        # Building a network from a file takes a hundred times as long.
        export = ending != ".h5" and draw(st.integers(0, 15)) == 0
        options = ("export",) if export else ()
        return Case(f"{ending} {how}", f"case{ending}", data, options)
    kind, ending, made = draw(
        st.sampled_from(
            [
                *[(k, ".npz", f) for k, f in NPZ.items()],
                *[(k, ".weights.h5", f) for k, f in H5.items()],
                *[(k, ".keras", f) for k, f in KERAS.items()],
            ]
        )
    )
    data = made(draw)
    export = ending == ".keras" or draw(st.integers(0, 7)) == 0
    options = ("export",) if export else ()
    return Case(f"{ending} {kind}", f"case{ending}", data, options)
