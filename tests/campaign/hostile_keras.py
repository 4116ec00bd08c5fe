"""Hostile .keras: a zip with the configuration of a model, naming classes."""

import base64
import io
import json
import marshal
import zipfile
from collections.abc import Callable

from good_weights import base
from hostile_hdf5 import external
from hostile_npz import NAMES, PAYLOAD, bomb, npz
from hypothesis import strategies as st


def _edit_keras(changes: dict[str, bytes | None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(base(".keras"))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = {k: v for k, v in (members | changes).items() if v is not None}
    return npz(list(members.items()))


def _config() -> dict:
    with zipfile.ZipFile(io.BytesIO(base(".keras"))) as archive:
        return json.loads(archive.read("config.json"))


def _lambda(draw: st.DrawFn) -> bytes:
    code = marshal.dumps(compile(PAYLOAD, "lambda", "eval"))
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
    config = draw(st.sampled_from([PAYLOAD, [], {"args": [PAYLOAD]}, None]))
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
        return bomb("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    data = {"missing": None, "text": b"hello"}.get(how)
    if how == "external":
        data = external(draw)
    return _edit_keras({"model.weights.h5": data})


def _extra(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from([n for n in NAMES if n]))
    return _edit_keras({name: b"x" * 100})


KERAS: dict[str, Callable[[st.DrawFn], bytes]] = {
    "Lambda layer": _lambda,
    "other class": _class,
    "wrong fields": _fields,
    "no JSON": _text,
    "weights": _weights,
    "extra member": _extra,
}
