"""Hub's folder: what we put there hub finds, and the other way round."""

import dataclasses
import re

import pytest
import tensorflow as tf
import tensorflow_hub as hub

from bit_keras.export import handles, hub_cache, manifest

FEATURES = "https://tfhub.dev/google/bit/m-r50x1/1"
LOGITS = "https://tfhub.dev/google/bit/s-r50x1/ilsvrc2012_classification/1"

MANIFEST = manifest.Manifest(
    name="bit_r50x1",
    version=1,
    model="bit_r50x1",
    architecture={},
    parameters=1,
    num_features=2048,
    num_classes=1000,
    endpoints={},
    folded=False,
    output="features",
    activation="softmax",
    upstream=None,
    init=None,
    weights="final",
    recipe=None,
    data=None,
    metrics=[],
    preprocessing={"resolution": 32},
    input={},
    licence="Apache-2.0",
    code_version="0",
    versions={},
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A SavedModel that holds the number 2."""
    path = tmp_path_factory.mktemp("saved")
    tf.saved_model.save(tf.train.Checkpoint(number=tf.Variable(2.0)), path)
    return path


@pytest.fixture
def export(saved):
    """The SavedModel with a model.json."""
    manifest.write(saved, MANIFEST)
    return saved


def change(export, **fields):
    manifest.write(export, dataclasses.replace(MANIFEST, **fields))


def install(export, handle, **arguments):
    """Returns the entry and the warnings."""
    said = []
    path = hub_cache.install(export, handle, say=said.append, **arguments)
    return path, said


def test_hub_finds_what_we_install(export):
    entry, said = install(export, "bit/m-r50x1/1")
    assert said == []
    assert hub.resolve(FEATURES) == str(entry)
    assert hub.load(FEATURES).number.numpy() == 2.0
    assert handles.resolve("bit/m-r50x1/1") == entry


def test_we_find_what_hub_downloads(saved, cache, tmp_path, monkeypatch):
    # Hub's own bookkeeping, without its download.
    from tensorflow_hub import compressed_module_resolver, resolver

    def download(handle, folder):
        tf.io.gfile.copy(f"{saved}/saved_model.pb", f"{folder}/saved_model.pb")

    theirs = resolver.atomic_download(
        FEATURES, download, compressed_module_resolver._module_dir(FEATURES)
    )
    assert str(handles.resolve(FEATURES)) == theirs
    names = {path.name for path in cache.iterdir()}
    entry = hub_cache.hub_entry(FEATURES)
    assert names == {entry.name, f"{entry.name}.descriptor.txt"}


@pytest.mark.parametrize(
    "handle", [FEATURES, f"{FEATURES}/", f"{FEATURES}?key=1", f"{FEATURES}#a"]
)
def test_entries_are_named_as_hub_names_them(handle):
    from tensorflow_hub.compressed_module_resolver import _module_dir

    assert str(hub_cache.hub_entry(handle)) == _module_dir(handle)


def test_the_default_folder_is_hubs(monkeypatch):
    from tensorflow_hub import resolver

    monkeypatch.delenv("TFHUB_CACHE_DIR")
    theirs = resolver.tfhub_cache_dir(use_temp=True)
    assert str(hub_cache.hub_cache_dir()) == theirs


def test_a_folder_of_another_machine(monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", "gs://bucket/models")
    with pytest.raises(ValueError, match="gs://bucket/models"):
        hub_cache.hub_cache_dir()


def test_all_official_handles():
    # bit.md 2.4: five networks, -S and -M, features and classifiers.
    found = set()
    for size in "sm":
        for network in ("r50x1", "r50x3", "r101x1", "r101x3", "r152x4"):
            name = f"bit/{size}-{network}"
            kinds = ["", "/ilsvrc2012_classification"]
            kinds += ["/imagenet21k_classification"] * (size == "m")
            for kind in kinds:
                short = f"{name}{kind}/1"
                full = f"https://tfhub.dev/google/{short}"
                for form in (short, f"google/{short}", full, f"{full}/"):
                    assert hub_cache.official_handle(form) == full
                found.add(full)
    assert len(found) == 25


@pytest.mark.parametrize(
    "name, meant",
    [
        ("bit/m-r50x1", "bit/m-r50x1/1"),
        ("m-r101x3", "bit/m-r101x3/1"),
        ("google/bit/m-r152x2/1", "bit/m-r152x4/1"),
        (
            "bit/s-r50x1/imagenet21k_classification/1",
            "bit/m-r50x1/imagenet21k_classification/1",
        ),
    ],
)
def test_unknown_handles(name, meant):
    with pytest.raises(ValueError, match=f'Did you mean "{meant}"') as error:
        hub_cache.official_handle(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields, short",
    [
        ({"upstream": "ImageNet-21k"}, "bit/m-r50x1/1"),
        (
            {"upstream": "ILSVRC-2012", "output": "logits"},
            "bit/s-r50x1/ilsvrc2012_classification/1",
        ),
        (
            {
                "upstream": "ImageNet-21k",
                "output": "logits",
                "num_classes": 21843,
                "model": "bit_r152x4",
            },
            "bit/m-r152x4/imagenet21k_classification/1",
        ),
    ],
)
def test_the_handle_that_an_export_is_like(export, fields, short):
    change(export, **fields)
    handle = hub_cache.handle_of(export)
    assert handle == hub_cache.official_handle(short)
    assert install(export, handle)[1] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"upstream": None},
        {"upstream": "ImageNet-21k", "model": "bit_tiny"},
        {"upstream": "ImageNet-21k", "model": None},
        {"upstream": "ImageNet-21k", "output": "logits", "num_classes": 10},
    ],
)
def test_an_export_that_is_like_no_official_model(export, fields):
    change(export, **fields)
    with pytest.raises(ValueError, match="--handle, such as bit/m-r50x1/1"):
        hub_cache.handle_of(export)


def test_install_copies(export, cache):
    entry, _ = install(export, FEATURES)
    assert entry.parent == cache and not entry.is_symlink()
    assert manifest.verify(entry) == []
    for path in entry.rglob("*"):
        if path.is_file():
            source = export / path.relative_to(entry)
            assert not path.is_symlink() and not path.samefile(source)
            assert path.read_bytes() == source.read_bytes()
    assert len(list(entry.rglob("*"))) == len(list(export.rglob("*")))
    text = (cache / f"{entry.name}.descriptor.txt").read_text()
    assert FEATURES in text and str(export) in text


def test_install_follows_links(export, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in export.iterdir():
        (linked / path.name).symlink_to(path)
    entry, _ = install(linked, FEATURES)
    assert not [path for path in entry.rglob("*") if path.is_symlink()]
    assert manifest.verify(entry) == []


def test_install_refuses_to_replace(export):
    entry, _ = install(export, FEATURES)
    (entry / "mark").touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        install(export, FEATURES)
    assert (entry / "mark").exists()
    install(export, FEATURES, overwrite=True)
    assert not (entry / "mark").exists()
    assert hub.load(FEATURES).number.numpy() == 2.0


def test_an_install_that_fails_keeps_the_old_entry(export, cache, monkeypatch):
    entry, _ = install(export, FEATURES)
    (entry / "mark").touch()
    before = sorted(cache.iterdir())

    def full(source, target, **arguments):
        (target / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr(hub_cache.shutil, "copytree", full)
    with pytest.raises(OSError, match="disk full"):
        install(export, FEATURES, overwrite=True)
    assert sorted(cache.iterdir()) == before
    assert (entry / "mark").exists()


def test_install_checks_what_a_call_returns(export, cache):
    with pytest.raises(ValueError, match="--output logits"):
        install(export, LOGITS)
    change(export, output="logits")
    with pytest.raises(ValueError, match="--output features"):
        install(export, FEATURES)
    assert not cache.exists()
    _, said = install(export, LOGITS)
    assert said == []


@pytest.mark.parametrize(
    "fields, handle, warning",
    [
        (
            {"model": "bit_tiny"},
            FEATURES,
            "is a bit_r50x1, this export a bit_t",
        ),
        ({"model": None}, FEATURES, "a network without a name"),
        ({"folded": True}, FEATURES, "folded export cannot"),
        ({"num_classes": 10, "output": "logits"}, LOGITS, "1000.* export 10."),
    ],
)
def test_install_warns_and_does_it(export, fields, handle, warning):
    change(export, **fields)
    entry, said = install(export, handle)
    assert len(said) == 1
    assert re.search(warning, said[0])
    assert handles.resolve(handle) == entry


def test_install_refuses_what_is_no_export(export, tmp_path, cache):
    with pytest.raises(FileNotFoundError, match="not an export"):
        install(tmp_path, FEATURES)
    manifest.write(tmp_path, MANIFEST)
    with pytest.raises(ValueError, match="--format savedmodel"):
        install(tmp_path, FEATURES)
    with pytest.raises(ValueError, match="Did you mean"):
        install(export, "bit/m-r50x1/2")
    assert not cache.exists()
