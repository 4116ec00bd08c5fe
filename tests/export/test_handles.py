"""Handles: each kind resolves to the directory of its SavedModel."""

import hashlib
import http.server
import io
import re
import socket
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from bit_keras import released
from bit_keras.export import archive, handles, hub_cache

# Its bytes change from place to place, so that a wrong resume shows.
CONTENT = b"".join(i.to_bytes(4) for i in range(50_000))


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Our cache and hub's, both in the test's own folder."""
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def model(tmp_path):
    """A directory that looks like a SavedModel."""
    folder = tmp_path / "exports" / "tiny" / "1"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(CONTENT)
    return folder


@pytest.fixture
def packed(model, tmp_path):
    archive.pack(model, tmp_path / "tiny-1.tar.gz")
    return tmp_path / "tiny-1.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content` by path, with the faults the test asks for."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        body = server.content.get(self.path.split("?")[0])
        if body is None:
            return self.send_error(404)
        start = 0
        if server.ranges and "Range" in self.headers:
            start = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1])
            self.send_response(206)
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.send_header("Content-Range", span)
        else:
            self.send_response(200)
        if server.says_length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : server.cut])
        self.close_connection = True

    def log_message(self, *args):
        return


@pytest.fixture
def server(packed):
    """A server with the packed model at /google/tiny/1."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content = {"/google/tiny/1": packed.read_bytes()}
    server.ranges, server.says_length = True, True
    server.cut, server.requests = None, []
    server.handle = f"http://127.0.0.1:{server.server_port}/google/tiny/1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def weights(path):
    return (path / "variables" / "variables.index").read_bytes()


def test_needs_no_tensorflow():
    program = (
        "import sys, bit_keras.export.handles;"
        "sys.exit(bool({'tensorflow', 'tensorflow_hub', 'keras'}"
        " & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_directories(model, monkeypatch):
    assert handles.resolve(model) == model
    assert handles.resolve(str(model)) == model
    assert handles.resolve(model.as_uri()) == model
    monkeypatch.setenv("HOME", str(model.parent))
    assert handles.resolve("~/1") == model


def test_a_file_url_may_hold_escapes(model):
    spaced = model.rename(model.with_name("my model"))
    assert "%20" in spaced.as_uri()
    assert handles.resolve(spaced.as_uri()) == spaced


@pytest.mark.parametrize("url", ["file://elsewhere/a", "file:a", "file://a"])
def test_a_file_url_of_elsewhere(url):
    with pytest.raises(ValueError, match="file:///absolute/path"):
        handles.resolve(url)


def test_the_version_folder_is_named(model):
    with pytest.raises(ValueError, match=re.escape(f'mean "{model}"?')):
        handles.resolve(model.parent)
    with pytest.raises(ValueError, match=re.escape(f'mean "{model}"?')):
        handles.resolve(model.parent.parent)
    for version in ("9", "10", "old"):
        other = model.with_name(version)
        other.mkdir()
        (other / "saved_model.pb").touch()
    newest = re.escape(f'mean "{model.with_name("10")}"?')
    with pytest.raises(ValueError, match=newest):
        handles.resolve(model.parent)


def test_a_directory_that_is_no_saved_model(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(ValueError, match="no SavedModel.$"):
        handles.resolve(run)
    (run / "recipe.json").touch()
    with pytest.raises(ValueError, match=f"bit_keras.export {run}$"):
        handles.resolve(run)


def test_what_is_close_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match='Did you mean "tiny"') as error:
        handles.resolve(tmp_path / "exports" / "tinny" / "1")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match='Did you mean "exports"'):
        handles.resolve(tmp_path / "export" / "tiny" / "1")
    with pytest.raises(FileNotFoundError, match='xyz".* It must be'):
        handles.resolve(tmp_path / "xyz")
    with pytest.raises(FileNotFoundError, match="It must be"):
        handles.resolve(model / "saved_model.pb" / "1")


def test_a_scheme_that_cannot_be_read():
    with pytest.raises(ValueError, match="gs://bucket/m.*legal are https://"):
        handles.resolve("gs://bucket/m")


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "final.npz").touch()
    with pytest.raises(ValueError, match="final.npz.*neither.*tar.gz"):
        handles.resolve(tmp_path / "final.npz")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_archives_are_unpacked_once(packed, model, tmp_path, name):
    path = packed.rename(tmp_path / name)
    if name == "a.tar":
        with tarfile.open(path, "w") as tar:
            tar.add(model, ".")
    found = handles.resolve(path)
    assert found.parent == released.default_cache() / "archives"
    assert weights(found) == CONTENT
    made = found.stat().st_ctime_ns
    # The content counts, not the name or the place.
    moved = path.rename(tmp_path / "exports" / name)
    assert handles.resolve(moved) == found
    assert handles.resolve(moved.as_uri()) == found
    assert found.stat().st_ctime_ns == made


def test_a_hostile_archive_leaves_no_entry(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("saved_model.pb"))
        tar.addfile(tarfile.TarInfo("../evil"))
    with pytest.raises(ValueError, match="leads out"):
        handles.resolve(tmp_path / "a.tar")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_download(server, tmp_path):
    found = handles.resolve(server.handle)
    assert found == hub_cache.hub_entry(server.handle)
    assert weights(found) == CONTENT
    wanted = "/google/tiny/1?tf-hub-format=compressed"
    assert server.requests == [(wanted, None)]
    left = sorted(p.name for p in (tmp_path / "hub").iterdir())
    assert left == [found.name, f"{found.name}.descriptor.txt"]
    # The second time needs no network.
    server.content.clear()
    assert handles.resolve(server.handle) == found
    assert len(server.requests) == 1


def test_cache_dir(server, tmp_path):
    found = handles.resolve(server.handle, tmp_path / "other")
    assert found.parent == tmp_path / "other"
    assert not (tmp_path / "hub").exists()


def test_a_query_is_kept(server):
    handles.resolve(f"{server.handle}?key=a%2Fb&empty=#part")
    wanted = "/google/tiny/1?key=a%2Fb&empty=&tf-hub-format=compressed"
    assert server.requests == [(wanted, None)]


def test_a_cut_download_resumes(server):
    server.cut = 60_000
    with pytest.raises(ConnectionError, match="60000 of"):
        handles.resolve(server.handle)
    assert not hub_cache.hub_entry(server.handle).exists()
    server.cut = None
    assert weights(handles.resolve(server.handle)) == CONTENT
    assert server.requests[1][1] == "bytes=59999-"


def test_a_server_without_ranges_starts_over(server):
    server.cut = 60_000
    with pytest.raises(ConnectionError):
        handles.resolve(server.handle)
    server.cut, server.ranges = None, False
    assert weights(handles.resolve(server.handle)) == CONTENT


def test_a_cut_that_no_length_betrays(server):
    server.says_length, server.cut = False, 60_000
    with pytest.raises(ValueError, match="tiny/1: .*not a whole") as error:
        handles.resolve(server.handle)
    assert "\n" not in str(error.value)
    # Not kept, or it would be found again for ever.
    server.cut = None
    assert weights(handles.resolve(server.handle)) == CONTENT


def test_a_log_in_page(server, tmp_path):
    server.content["/google/tiny/1"] = b"<html>Please log in</html>"
    with pytest.raises(ConnectionError, match="not a .tar.gz archive"):
        handles.resolve(server.handle)
    assert list((tmp_path / "hub").iterdir()) == []


def test_a_handle_with_a_checksum(server, packed):
    right = hashlib.sha256(packed.read_bytes()).hexdigest()
    for wrong in ("0" * 64, "1" * 63, ""):
        with pytest.raises((ConnectionError, ValueError), match="sha256"):
            handles.resolve(f"{server.handle}#sha256={wrong}")
    found = handles.resolve(f"{server.handle}#sha256={right}")
    assert weights(found) == CONTENT
    assert all("#" not in str(asked) for asked in server.requests)


def test_a_hostile_download(server, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("saved_model.pb"))
        tar.addfile(tarfile.TarInfo("../evil"))
    server.content["/google/tiny/1"] = buffer.getvalue()
    with pytest.raises(ValueError, match="tiny/1: .*leads out"):
        handles.resolve(server.handle)
    assert list((tmp_path / "hub").iterdir()) == []


@pytest.fixture
def nowhere():
    """The address of a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/google/tiny/1"


def test_by_hand_as_the_error_asks(nowhere, packed):
    with pytest.raises(ConnectionError, match="refused") as error:
        handles.resolve(nowhere)
    text = str(error.value)
    assert "\n" not in text and f"{nowhere}?tf-hub-format=compressed" in text
    target = re.search(r'put it at "(.*?)"', text)[1]
    packed.rename(target)
    assert weights(handles.resolve(nowhere)) == CONTENT
    assert Path(target).exists()


def test_a_bad_file_put_there_by_hand_is_kept(nowhere):
    entry = hub_cache.hub_entry(nowhere)
    entry.parent.mkdir()
    file = entry.with_name(f"{entry.name}.tar.gz")
    file.write_bytes(b"half")
    with pytest.raises(ValueError, match=str(file)):
        handles.resolve(nowhere)
    assert file.exists()


def test_an_empty_entry_does_not_hide_the_error(nowhere):
    hub_cache.hub_entry(nowhere).mkdir(parents=True)
    with pytest.raises(ConnectionError, match="refused"):
        handles.resolve(nowhere)


def test_another_process_finishing_first_is_fine(server, model, monkeypatch):
    entry = hub_cache.hub_entry(server.handle)

    def other(source, file, *args):
        entry.parent.mkdir(exist_ok=True)
        model.rename(entry)
        raise ConnectionError("the .part file is gone")

    monkeypatch.setattr(handles, "download", other)
    assert weights(handles.resolve(server.handle)) == CONTENT


@pytest.mark.parametrize(
    "handle", ["http://", "https:///path", "http://host/a b", "http://ü.de/1"]
)
def test_not_a_complete_url(handle):
    with pytest.raises(ValueError, match="not a complete URL"):
        handles.resolve(handle)


def refuse(source, file, kind, check, sha256):
    raise ConnectionError(f"Download failed. Get {source}.")


@pytest.mark.parametrize(
    "handle, pattern",
    [
        ("bit/m-r50x1/1", "install-cache$"),
        ("google/bit/m-r50x1/1", "install-cache$"),
        ("https://tfhub.dev/google/bit/m-r50x1/1", "install-cache$"),
        ("https://tfhub.dev/google/bit/m-r50x1/1/", r'mean "\S+r50x1/1"\?$'),
        ("https://tfhub.dev/google/bit/m-r50x1", 'mean "bit/m-r50x1/1"'),
        ("https://tfhub.dev/google/nnlm-en-dim128/2", "compressed.$"),
    ],
)
def test_official_handles_without_network(handle, pattern, monkeypatch):
    monkeypatch.setattr(handles, "download", refuse)
    with pytest.raises(ConnectionError, match=pattern):
        handles.resolve(handle)


def test_short_forms(model, tmp_path, monkeypatch):
    entry = hub_cache.hub_entry("https://tfhub.dev/google/bit/m-r50x1/1")
    entry.parent.mkdir()
    model.rename(entry)
    assert handles.resolve("bit/m-r50x1/1") == entry
    assert handles.resolve("google/bit/m-r50x1/1") == entry
    with pytest.raises(ValueError, match='Did you mean "bit/m-r50x1/1"'):
        handles.resolve("bit/m-r50x1/2")
    # What is on disk comes first.
    monkeypatch.chdir(tmp_path)
    local = Path("bit/m-r50x1/1")
    local.mkdir(parents=True)
    (local / "saved_model.pb").touch()
    assert handles.resolve("bit/m-r50x1/1") == local
