"""Hostile HDF5: links, data in other files, shapes with nothing behind them."""

import io
from collections.abc import Callable

import h5py
import numpy as np
from good_weights import base
from hypothesis import strategies as st


def _edit_h5(edit: Callable[[h5py.File], None]) -> bytes:
    file = io.BytesIO(base(".weights.h5"))
    with h5py.File(file, "r+") as opened:
        edit(opened)
    return file.getvalue()


def _datasets(file: h5py.File) -> list[str]:
    found: list[str] = []

    def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(name)

    file.visititems(note)
    return sorted(found)


def _replace(draw: st.DrawFn, make: Callable) -> bytes:
    """Puts what `make(file, name, old)` makes in the place of one array."""

    def edit(file: h5py.File) -> None:
        names = _datasets(file)
        name = names[draw(st.integers(0, len(names) - 1))]
        old = file[name][()]
        del file[name]
        make(file, name, old)

    return _edit_h5(edit)


def external(draw: st.DrawFn) -> bytes:
    return _replace(
        draw,
        lambda file, name, old: file.create_dataset(
            name, old.shape, old.dtype, external=[("/etc/passwd", 0, 1 << 30)]
        ),
    )


def _link(draw: st.DrawFn) -> bytes:
    link = draw(
        st.sampled_from(
            [
                h5py.ExternalLink("/etc/hostname", "/"),
                h5py.ExternalLink("case.weights.h5", "/layers"),
                h5py.SoftLink("/nowhere"),
                h5py.SoftLink("/"),
                h5py.SoftLink("."),
            ]
        )
    )

    def make(file: h5py.File, name: str, old: np.ndarray) -> None:
        file[name] = link

    return _replace(draw, make)


def _loop(draw: st.DrawFn) -> bytes:
    """A group within itself, by a hard link."""

    def edit(file: h5py.File) -> None:
        name = draw(st.sampled_from(sorted(file["layers"])))
        file[f"layers/{name}/again"] = file["layers"]
        file[f"layers/{name}/layers"] = file["layers"]

    return _edit_h5(edit)


def _deep(draw: st.DrawFn) -> bytes:
    def edit(file: h5py.File) -> None:
        group = file["layers"]
        for _ in range(draw(st.sampled_from([200, 1500]))):
            group = group.create_group("layers")
            group.create_group("vars").attrs["name"] = "x"

    return _edit_h5(edit)


def _virtual(draw: st.DrawFn) -> bytes:
    def make(file: h5py.File, name: str, old: np.ndarray) -> None:
        layout = h5py.VirtualLayout(old.shape, old.dtype)
        layout[...] = h5py.VirtualSource("other.h5", "a", shape=old.shape)
        file.create_virtual_dataset(name, layout)

    return _replace(draw, make)


def _unwritten(draw: st.DrawFn) -> bytes:
    """Terabytes that are declared, but not there."""
    side = draw(st.sampled_from([1 << 16, 1 << 20]))

    def make(file: h5py.File, name: str, old: np.ndarray) -> None:
        shape = (*old.shape[:-1], old.shape[-1] * side)
        file.create_dataset(name, shape, "f4", chunks=True, compression="gzip")

    return _replace(draw, make)


def _other_h5(draw: st.DrawFn) -> bytes:
    kinds = ["i8", "f2", "c8", "S5", "f8", "bool", "V3"]
    kinds += [h5py.string_dtype(), h5py.ref_dtype, h5py.vlen_dtype("f4")]
    kind = draw(st.sampled_from(kinds))
    return _replace(
        draw,
        lambda file, name, old: file.create_dataset(name, old.shape, kind),
    )


def _attributes(draw: st.DrawFn) -> bytes:
    value = draw(
        st.sampled_from(["\x1b[31m", "", "x" * 9000, 3, [1, 2], "../..", None])
    )

    def edit(file: h5py.File) -> None:
        name = draw(st.sampled_from(sorted(file["layers"])))
        group = file[f"layers/{name}/vars"]
        if value is None:
            del group.attrs["name"]
        else:
            group.attrs["name"] = value

    return _edit_h5(edit)


def _variables(draw: st.DrawFn) -> bytes:
    index = draw(st.sampled_from(["-1", "abc", "99", "٣", "1e3", "9" * 5000]))

    def edit(file: h5py.File) -> None:
        name = draw(st.sampled_from(sorted(file["layers"])))
        file[f"layers/{name}/vars/{index}"] = np.zeros(3, "f4")

    return _edit_h5(edit)


H5: dict[str, Callable[[st.DrawFn], bytes]] = {
    "data in another file": external,
    "links": _link,
    "loop": _loop,
    "deep groups": _deep,
    "virtual data": _virtual,
    "huge shapes": _unwritten,
    "other type": _other_h5,
    "attributes": _attributes,
    "variables": _variables,
}
