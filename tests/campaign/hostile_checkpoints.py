"""Weight files: official .npz, TF2's .h5, Keras' .weights.h5 and .keras."""

import base64
import functools
import io
import json
import marshal
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
from damage import damaged
from hypothesis import strategies as st
from judge import Case

from bit_keras import checkpoints, models
from bit_keras.checkpoint_names import official_keys
from bit_keras.export import source

_CLASSES = 3
_NAMES = (
    "../../escaped",
    "/etc/passwd",
    "a\nb",
    "\x1b[31mred",
    "",
    "x" * 5000,
    "resnet/root_block/standardized_conv2d_7/kernel",
)
# Opened as a file by whoever runs it.
_PAYLOAD = 'open("ran", "w")'


@functools.cache
def model() -> keras.Model:
    """The network that all cases are loaded into."""
    return models.create("bit_nano", num_classes=_CLASSES)


@functools.cache
def _values() -> dict[str, np.ndarray]:
    made = models.create("bit_nano", num_classes=_CLASSES)
    keys = official_keys(v.path for v in made.weights)
    return {keys[v.path]: np.array(v) for v in made.weights}


@functools.cache
def base(ending: str) -> bytes:
    """A good file of each format."""
    if ending == ".h5":
        return _tf2()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"good{ending}")
        checkpoints.save(models.create("bit_nano", _CLASSES), path)
        return path.read_bytes()


def warm_up() -> None:
    """Makes the good files, which are no part of any case."""
    for ending in (".npz", ".weights.h5", ".keras", ".h5"):
        base(ending)
    model()


def _tf2() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made.attrs["layer_names"] = ["bit"]
        group = made.create_group("bit")
        names = []
        for number, (key, value) in enumerate(_values().items()):
            # A name that occurs twice would overwrite the first.
            names.append(f"{number}/{key.rpartition('/')[2]}:0")
            group[names[-1]] = value
        group.attrs["weight_names"] = names
    return file.getvalue()


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
                *[(k, ".npz", f) for k, f in _NPZ.items()],
                *[(k, ".weights.h5", f) for k, f in _H5.items()],
                *[(k, ".keras", f) for k, f in _KERAS.items()],
            ]
        )
    )
    data = made(draw)
    export = ending == ".keras" or draw(st.integers(0, 7)) == 0
    options = ("export",) if export else ()
    return Case(f"{ending} {kind}", f"case{ending}", data, options)


# .npz: a zip of .npy files, whose header is a Python literal.


def _npy(value: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, value, allow_pickle=True)
    return file.getvalue()


def _npz(members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        # Of names that are there twice.
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def _members() -> list[tuple[str, bytes]]:
    return [(f"{name}.npy", _npy(value)) for name, value in _values().items()]


def _with(draw: st.DrawFn, data: bytes) -> bytes:
    """A good file but for one member."""
    members = _members()
    place = draw(st.integers(0, len(members) - 1))
    members[place] = members[place][0], data
    return _npz(members)


def _other_type(draw: st.DrawFn) -> bytes:
    kinds = ["i4", "u1", "?", "c8", "U5", "S3", "f2", "f8", ">f4", "M8[s]"]
    members = _members()
    place = draw(st.integers(0, len(members) - 1))
    value = list(_values().values())[place]
    kind = np.dtype(draw(st.sampled_from(kinds)))
    members[place] = members[place][0], _npy(np.zeros(value.shape, kind))
    return _npz(members)


def _objects(draw: st.DrawFn) -> bytes:
    class Payload:
        def __reduce__(self) -> tuple:
            return exec, (_PAYLOAD,)

    payload = np.array([Payload()], object)
    return _with(draw, _npy(payload))


def _literal(draw: st.DrawFn) -> bytes:
    """A header that says anything, and few bytes after it."""
    number = st.sampled_from(
        ["-1", "0", "1", "10**9", "99999999", "2" * 30, "9" * 5000, "1.5"]
    )
    shape = draw(st.lists(number, max_size=40))
    shapes = ["(" + "".join(f"{n}," for n in shape) + ")", "[3]", "None"]
    kinds = ["'<f4'", "'O'", "'|V9999999999'", "[('a','<f4')]", "'x'", "3"]
    kinds.append("'<U99999999'")
    text = draw(
        st.one_of(
            st.sampled_from(_BOMBS),
            st.builds(
                "{{'descr':{},'fortran_order':{},'shape':{}}}".format,
                st.sampled_from(kinds),
                st.sampled_from(["False", "True", "0"]),
                st.sampled_from(shapes),
            ),
        )
    ).encode()
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
    form = "<H" if version == (1, 0) else "<I"
    size = min(len(text), 65535)
    head = b"\x93NUMPY" + bytes(version) + struct.pack(form, size)
    return _with(draw, head + text[:size])


_BOMBS = (
    "(" * 9000,
    "-" * 9000 + "1",
    "[" * 90 + "]" * 90,
    "{'descr':" * 3000,
    "'" + "a" * 60000 + "'",
    "\x00",
    "__import__('os').system('touch ran')",
    "{'descr':'<f4','fortran_order':False,'shape':(3L,)}",
)


@functools.cache
def _bomb(name: str, start: bytes) -> bytes:
    """A zip of some MB; its member of 1.5 GB is never all in memory."""
    file = io.BytesIO()
    # The least effort, which is enough for spaces.
    packed = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed as archive:
        with archive.open(name, "w", force_zip64=True) as member:
            member.write(start)
            for _ in range(1500):
                member.write(b" " * 1_000_000)
    return file.getvalue()


def _header_bomb(draw: st.DrawFn) -> bytes:
    size = draw(st.sampled_from([20_000, 1_500_000_000]))
    name = "resnet/group_norm/beta.npy"
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", size)
    if size < 1_000_000:
        return _npz([(name, head + b" " * size)])
    return _bomb(name, head)


def _huge(draw: st.DrawFn) -> bytes:
    """All shapes of a network a thousand times as wide."""
    factor = draw(st.sampled_from([64, 1000, 10**6]))
    members = []
    for name, value in _values().items():
        shape = (*value.shape[:-1], value.shape[-1] * factor)
        head = io.BytesIO()
        about = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, about)
        members.append((f"{name}.npy", head.getvalue()))
    return _npz(members)


def _names(draw: st.DrawFn) -> bytes:
    members = _members()
    how = draw(st.sampled_from(["missing", "extra", "renamed", "twice"]))
    place = draw(st.integers(0, len(members) - 1))
    if how == "missing":
        del members[place]
    elif how == "extra":
        name = draw(st.sampled_from(_NAMES))
        members.append((f"{name}.npy", members[place][1]))
    elif how == "twice":
        members.append(members[place])
    else:
        members[place] = draw(st.sampled_from(_NAMES)), members[place][1]
    return _npz(members)


def _not_finite(draw: st.DrawFn) -> bytes:
    members = _members()
    place = draw(st.integers(0, len(members) - 1))
    value = np.array(list(_values().values())[place], "float64")
    value.flat[draw(st.integers(0, value.size - 1))] = draw(
        st.sampled_from([np.nan, np.inf, -np.inf, 1e300])
    )
    members[place] = members[place][0], _npy(value)
    return _npz(members)


_NPZ: dict[str, Callable[[st.DrawFn], bytes]] = {
    "other type": _other_type,
    "pickled objects": _objects,
    "forged header": _literal,
    "header bomb": _header_bomb,
    "huge shapes": _huge,
    "names": _names,
    "not finite": _not_finite,
}


# HDF5: links, data in other files, and shapes that nothing stands behind.


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


def _external(draw: st.DrawFn) -> bytes:
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


_H5: dict[str, Callable[[st.DrawFn], bytes]] = {
    "data in another file": _external,
    "links": _link,
    "loop": _loop,
    "deep groups": _deep,
    "virtual data": _virtual,
    "huge shapes": _unwritten,
    "other type": _other_h5,
    "attributes": _attributes,
    "variables": _variables,
}


# .keras: a zip with the configuration of a model, which names classes.


def _edit_keras(changes: dict[str, bytes | None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(base(".keras"))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = {k: v for k, v in (members | changes).items() if v is not None}
    return _npz(list(members.items()))


def _config() -> dict:
    with zipfile.ZipFile(io.BytesIO(base(".keras"))) as archive:
        return json.loads(archive.read("config.json"))


def _lambda(draw: st.DrawFn) -> bytes:
    code = marshal.dumps(compile(_PAYLOAD, "lambda", "eval"))
    function = {
        "class_name": "__lambda__",
        "config": {
            "code": base64.b64encode(code).decode(),
            "defaults": None,
            "closure": None,
        },
    }
    layer = {
        "class_name": "Lambda",
        "module": "keras.layers",
        "registered_name": None,
        "config": {"name": "l", "function": function, "arguments": {}},
    }
    config = {
        "class_name": "Sequential",
        "module": "keras",
        "registered_name": None,
        "config": {"name": "s", "layers": [layer]},
        "build_config": {"input_shape": [None, 3]},
    }
    return _edit_keras({"config.json": json.dumps(config).encode()})


def _class(draw: st.DrawFn) -> bytes:
    names = [
        ("builtins", "exec"),
        ("os", "system"),
        ("subprocess", "Popen"),
        ("keras.utils", "get_file"),
        ("keras.src.utils.file_utils", "extract_archive"),
        ("keras", "Model"),
        ("bit_keras.export.layer", "SavedModelLayer"),
        ("__main__", "x"),
        ("", ""),
        ("..", "BiT"),
    ]
    module, name = draw(st.sampled_from(names))
    config = draw(st.sampled_from([_PAYLOAD, [], {"args": [_PAYLOAD]}, None]))
    made = {
        "class_name": name,
        "module": module,
        "registered_name": draw(st.sampled_from([None, name, "bit_keras>BiT"])),
        "config": config,
    }
    return _edit_keras({"config.json": json.dumps(made).encode()})


def _fields(draw: st.DrawFn) -> bytes:
    """Wrong values for what our own network is made of."""
    config = _config()
    name = draw(st.sampled_from(sorted(config["config"])))
    value = st.sampled_from(
        [None, -1, 0, "x", [], {}, 1e308, [10**9], [0], "\x1b[31m", [[1]]]
    )
    config["config"][name] = draw(value)
    return _edit_keras({"config.json": json.dumps(config).encode()})


def _text(draw: st.DrawFn) -> bytes:
    texts = [b"", b"[" * 100_000, b"null", b"[]", b"\xff\xfe", b'{"a":1}']
    name = draw(st.sampled_from(["config.json", "metadata.json"]))
    return _edit_keras({name: draw(st.sampled_from(texts))})


def _weights(draw: st.DrawFn) -> bytes:
    how = draw(st.sampled_from(["missing", "bomb", "text", "external"]))
    if how == "bomb":
        return _bomb("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    data = {"missing": None, "text": b"hello"}.get(how)
    if how == "external":
        data = _external(draw)
    return _edit_keras({"model.weights.h5": data})


def _extra(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from([n for n in _NAMES if n]))
    return _edit_keras({name: b"x" * 100})


_KERAS: dict[str, Callable[[st.DrawFn], bytes]] = {
    "Lambda layer": _lambda,
    "other class": _class,
    "wrong fields": _fields,
    "no JSON": _text,
    "weights": _weights,
    "extra member": _extra,
}
