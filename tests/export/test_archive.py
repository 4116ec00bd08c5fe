"""Archives: packed the same each time, unpacked whole or not at all."""

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import PurePath

import pytest

from bit_keras.export import archive

# Cannot be compressed, so that a cut at any length cuts something.
WEIGHTS = os.urandom(50_000)
GOOD = {"saved_model.pb": b"graph", "variables/variables.index": WEIGHTS}


@pytest.fixture
def model(tmp_path):
    """A directory with the files of a SavedModel."""
    folder = tmp_path / "model"
    for name, content in {**GOOD, "assets/words.txt": b"word"}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "assets.extra").mkdir()
    return folder


def tree(folder):
    """Returns every path below a folder, with the content of files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def entry(name, content=b"", **fields):
    """Returns one member of an archive and its content."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def good():
    return [entry(name, content) for name, content in GOOD.items()]


def write(path, entries, mode="w:gz"):
    """Writes any archive, however hostile."""
    with tarfile.open(path, mode) as tar:
        for member, content in entries:
            tar.addfile(member, io.BytesIO(content))
    return path


def assert_refused(path, pattern, tmp_path):
    """Checks that nothing at all is written, and the message."""
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=pattern) as error:
        archive.unpack(path, tmp_path / "deep" / "target")
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert tree(tmp_path) == before


def test_there_and_back(model, tmp_path):
    packed, copy = tmp_path / "new" / "a.tar.gz", tmp_path / "far" / "copy"
    archive.pack(model, packed)
    assert [p.name for p in packed.parent.iterdir()] == ["a.tar.gz"]
    archive.unpack(packed, copy)
    assert tree(copy) == tree(model)
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_others_may_read_what_was_unpacked(model, tmp_path):
    archive.pack(model, tmp_path / "a.tar.gz")
    umask = os.umask(0o022)
    archive.unpack(tmp_path / "a.tar.gz", tmp_path / "copy")
    os.umask(umask)
    modes = {
        path.name: path.stat().st_mode & 0o777
        for path in (tmp_path / "copy", *(tmp_path / "copy").iterdir())
    }
    assert modes["copy"] == modes["variables"] == 0o755
    assert modes["saved_model.pb"] == 0o644


def test_the_same_files_give_the_same_bytes(model, tmp_path):
    first, second = tmp_path / "a.tar.gz", tmp_path / "b.tar.gz"
    archive.pack(model, first)
    os.utime(model / "saved_model.pb", (1, 1))
    (model / "saved_model.pb").chmod(0o600)
    archive.pack(model, second)
    assert first.read_bytes() == second.read_bytes()
    # RFC 1952, section 2.3: no file name; the time of packing is unknown.
    assert first.read_bytes()[3:8] == bytes(5)


def test_the_root_and_the_order_that_hub_needs(model, tmp_path):
    archive.pack(model, tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names, key=PurePath) and "saved_model.pb" in names
    # Hub makes no parents of its own.
    assert names.index("variables") < names.index("variables/variables.index")
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {
        (0, 0, 0, "")
    }


def test_tensorflow_hub_unpacks_it(model, tmp_path):
    from tensorflow_hub import file_utils

    archive.pack(model, tmp_path / "a.tar.gz")
    (tmp_path / "hub").mkdir()
    with open(tmp_path / "a.tar.gz", "rb") as file:
        file_utils.extract_tarfile_to_destination(file, str(tmp_path / "hub"))
    assert tree(tmp_path / "hub") == tree(model)


def test_pack_refuses_what_is_no_saved_model(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no saved_model.pb"):
        archive.pack(tmp_path / "empty", tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


def test_pack_refuses_links(model, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (model / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="more.* is a link"):
        archive.pack(model, tmp_path / "a.tar.gz")


def test_pack_refuses_a_target_inside(model):
    with pytest.raises(ValueError, match="inside the directory"):
        archive.pack(model, model / "variables" / "a.tar.gz")


def test_a_pack_that_fails_keeps_the_old_archive(model, tmp_path, monkeypatch):
    target = tmp_path / "a.tar.gz"
    target.write_bytes(b"old")

    def full(file, directory, paths):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(archive, "_write", full)
    with pytest.raises(OSError, match="disk full"):
        archive.pack(model, target)
    assert target.read_bytes() == b"old"
    assert not (tmp_path / "a.tar.gz.tmp").exists()


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_archives_of_others(tmp_path, mode, tar_format):
    long = f"assets/{'x' * 150}"
    with tarfile.open(tmp_path / "a", mode, format=tar_format) as tar:
        for member, content in [
            entry(".", type=tarfile.DIRTYPE, mode=0o000),
            entry("./saved_model.pb", b"graph", uname="someone", mode=0o000),
            entry(long, b"word"),
        ]:
            tar.addfile(member, io.BytesIO(content))
    archive.unpack(tmp_path / "a", tmp_path / "copy")
    assert (tmp_path / "copy" / "saved_model.pb").read_bytes() == b"graph"
    assert (tmp_path / "copy" / long).read_bytes() == b"word"


def test_gnu_tar_as_the_message_advises(model, tmp_path):
    packed = tmp_path / "a.tar.gz"
    subprocess.run(["tar", "-C", model, "-czf", packed, "."], check=True)
    archive.unpack(packed, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(model)


@pytest.mark.parametrize(
    "extra, pattern",
    [
        ([entry("/evil", b"x")], "'/evil' is an absolute path"),
        ([entry("../evil", b"x")], "'../evil' leads out"),
        ([entry("assets/../../evil", b"x")], "leads out"),
        ([entry("l", type=tarfile.SYMTYPE, linkname="/etc")], "'l' is a link"),
        (
            [
                entry("l", type=tarfile.SYMTYPE, linkname=".."),
                entry("l/evil", b"x"),
            ],
            "'l' is a link",
        ),
        (
            [entry("l", type=tarfile.LNKTYPE, linkname="saved_model.pb")],
            "'l' is a link",
        ),
        ([entry("d", type=tarfile.CHRTYPE)], "'d' is no ordinary file"),
        ([entry("d", type=tarfile.BLKTYPE)], "'d' is no ordinary file"),
        ([entry("d", type=tarfile.FIFOTYPE)], "'d' is no ordinary file"),
        ([entry("d", type=tarfile.CONTTYPE)], "'d' is no ordinary file"),
        ([entry("saved_model.pb", b"x")], "'saved_model.pb' occurs twice"),
        ([entry("./saved_model.pb", b"x")], "occurs twice"),
        ([entry("saved_model.pb", type=tarfile.DIRTYPE)], "occurs twice"),
        ([entry("saved_model.pb/evil", b"x")], "lies in a file"),
        ([entry("new\nline", type=tarfile.FIFOTYPE)], r"'new\\nline'"),
    ],
)
@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_hostile(tmp_path, mode, extra, pattern):
    # At either end: what comes first must not have been written either.
    for index, entries in enumerate((good() + extra, extra + good())):
        path = write(tmp_path / f"{index}.tar", entries, mode)
        assert_refused(path, pattern, tmp_path)


def test_a_name_hidden_in_an_extended_header(tmp_path):
    hidden = entry("innocent", b"x", pax_headers={"path": "../../evil"})
    path = write(tmp_path / "a.tar.gz", [*good(), hidden])
    assert_refused(path, "leads out", tmp_path)


def test_a_sparse_file(tmp_path):
    headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,1"}
    sparse = entry("variables/x", b"x", pax_headers=headers)
    path = write(tmp_path / "a.tar.gz", [*good(), sparse])
    assert_refused(path, "no ordinary file", tmp_path)


def test_too_many_files(tmp_path):
    many = [entry(f"assets/{i}") for i in range(10_000)]
    path = write(tmp_path / "a.tar.gz", [*good(), *many])
    assert_refused(path, "more than 10,000 files", tmp_path)


def test_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_UNPACKED", 1 << 20)
    path = write(tmp_path / "a.tar.gz", [*good(), entry("x", bytes(20 << 20))])
    assert path.stat().st_size < 200_000
    assert_refused(path, "would become 21,0", tmp_path)


def test_zeros_of_a_new_head_are_no_bomb(tmp_path):
    zeros = entry("variables/variables.data-00000-of-00001", bytes(20 << 20))
    path = write(tmp_path / "a.tar.gz", [*good(), zeros])
    archive.unpack(path, tmp_path / "copy")
    assert (tmp_path / "copy" / zeros[0].name).stat().st_size == 20 << 20


def raw_archive(path, *blocks):
    with gzip.open(path, "wb", compresslevel=1) as file:
        for block in blocks:
            file.write(block)
    return path


def header(name, size, kind=tarfile.REGTYPE):
    """Returns a header that claims a size; GNU's format has negative ones."""
    member, _ = entry(name, type=kind)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "block, pattern",
    [
        # Refused before anything would be read: nothing follows the header.
        (header("x", 1 << 42), "would become 4,398,046,511,104 or more"),
        (header("x", -1024), "'x' has -1024 bytes"),
        (header("x", 1 << 33, tarfile.XHDTYPE), "header of 8589934592 bytes"),
        (header("x", -1024, tarfile.XHDTYPE), "header of -1024 bytes"),
        (header("x", 1 << 33, tarfile.GNUTYPE_LONGNAME), "header of 85899345"),
        (header("x", 0, tarfile.XHDTYPE) * 5000, "not a whole"),
    ],
)
def test_headers_that_lie(tmp_path, block, pattern):
    path = raw_archive(tmp_path / "a.tar.gz", block)
    assert_refused(path, pattern, tmp_path)


def test_a_long_tail(tmp_path):
    plain = write(tmp_path / "a.tar", good(), "w").read_bytes()
    path = raw_archive(tmp_path / "a.tar.gz", plain, bytes(2 << 20))
    assert_refused(path, "more after its end", tmp_path)


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_cut_off(tmp_path, mode):
    whole = write(tmp_path / "whole", good(), mode).read_bytes()
    # 10240: tar fills up its last record, after 1024 bytes that mark the end.
    end = len(whole) - (1 if mode == "w:gz" else 10_000)
    lengths = [0, 1, 2, 10, 100, 511, 512, 1024, 1536, 2048, 30_000, end - 8]
    for length in [*lengths, end]:
        path = tmp_path / f"{length}.tar.gz"
        path.write_bytes(whole[:length])
        assert_refused(path, "not a whole", tmp_path)
        path.unlink()


def test_damaged(tmp_path):
    content = bytearray(write(tmp_path / "a.tar.gz", good()).read_bytes())
    content[30_000] ^= 1
    (tmp_path / "a.tar.gz").write_bytes(content)
    assert_refused(tmp_path / "a.tar.gz", "not a whole", tmp_path)


@pytest.mark.parametrize(
    "content", [b"<html>Please log in</html>" * 100, b"PK\3\4" + bytes(1000)]
)
def test_not_an_archive(tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    assert_refused(tmp_path / "a.tar.gz", "not a whole", tmp_path)
    assert not archive.is_archive(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_is_archive(tmp_path, mode):
    assert archive.is_archive(write(tmp_path / "a", good(), mode))


def test_saved_model_in_a_folder(tmp_path):
    inner = [entry(f"bit_tiny/1/{name}", data) for name, data in GOOD.items()]
    path = write(tmp_path / "a.tar.gz", inner)
    advice = "tar -C 'bit_tiny/1' -czf NEW.tar.gz ."
    assert_refused(path, f"'bit_tiny/1'.*{advice}", tmp_path)


def test_no_saved_model(tmp_path):
    path = write(tmp_path / "a.tar.gz", [entry("weights.npz", b"x")])
    assert_refused(path, "holds no saved_model.pb", tmp_path)
    path = write(path, [entry("saved_model.pb", type=tarfile.DIRTYPE)])
    assert_refused(path, "holds no saved_model.pb", tmp_path)


def test_unpack_keeps_what_is_there(tmp_path):
    path = write(tmp_path / "a.tar.gz", good())
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match="copy exists already"):
        archive.unpack(path, tmp_path / "copy")
    assert tree(tmp_path) == before


def test_a_new_directory_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        with archive.new_directory(tmp_path / "a") as folder:
            (folder / "half").write_bytes(b"half")
            raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_in_place_of_another(tmp_path):
    old = tmp_path / "a"
    old.mkdir()
    (old / "old").touch()
    with pytest.raises(OSError, match="disk full"):
        with archive.new_directory(old, overwrite=True):
            raise OSError("disk full")
    assert tree(tmp_path) == {"a": None, "a/old": b""}
    with archive.new_directory(old, overwrite=True) as folder:
        (folder / "new").touch()
    assert tree(tmp_path) == {"a": None, "a/new": b""}


def test_a_failed_replacement_puts_the_old_one_back(tmp_path, monkeypatch):
    old = tmp_path / "a"
    old.mkdir()
    (old / "old").touch()
    rename = os.rename

    def fails_for_new(source, target):
        if source.name == "new":
            raise OSError("disk full")
        rename(source, target)

    monkeypatch.setattr(archive.os, "rename", fails_for_new)
    with pytest.raises(OSError, match="disk full"):
        with archive.new_directory(old, overwrite=True):
            assert (old / "old").exists()
    assert tree(tmp_path) == {"a": None, "a/old": b""}


def test_two_processes_make_the_same_directory(tmp_path):
    with pytest.raises(FileExistsError):
        with archive.new_directory(tmp_path / "a") as folder:
            (folder / "mine").touch()
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "theirs").touch()
    assert tree(tmp_path) == {"a": None, "a/theirs": b""}
