"""Names of the released files, and their download from a local server."""

import gc
import hashlib
import http.server
import io
import re
import socket
import sys
import threading
import zipfile

import pytest

from bit_keras import download, released

NAME = "bit_r50x1.i21k"
FILE = "BiT-M-R50x1.npz"


def npz_bytes(size):
    """Returns a valid archive of about `size` bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", bytes(i * i % 251 for i in range(size)))
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`, with the faults the test asks for."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if self.path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[self.path])
            return self.end_headers()
        if self.path not in server.content:
            return self.send_error(404)
        body = server.content[self.path]
        start = 0
        if server.ranges and "Range" in self.headers:
            start = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1])
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            last = len(body) - 1
            self.send_header(
                "Content-Range", f"bytes {start}-{last}/{len(body)}"
            )
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : server.cut or None])
        self.close_connection = True

    def log_message(self, *args):
        return


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content = {f"/{FILE}": npz_bytes(300_000)}
    server.ranges, server.cut, server.requests = True, None, []
    server.redirects = {}
    server.base_url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def body(server):
    return server.content[f"/{FILE}"]


def test_download(server, tmp_path):
    path = released.fetch(NAME, tmp_path / "new", server.base_url)
    assert path == tmp_path / "new" / FILE
    assert path.read_bytes() == body(server)
    assert [p.name for p in path.parent.iterdir()] == [FILE]


def test_a_cached_file_needs_no_network(server, tmp_path):
    first = released.fetch(NAME, tmp_path, server.base_url)
    assert released.fetch(NAME, tmp_path, "http://127.0.0.1:9") == first
    assert len(server.requests) == 1


def test_a_cut_download_resumes(server, tmp_path):
    server.cut = 100_000
    with pytest.raises(ConnectionError, match="100000 of 300"):
        released.fetch(NAME, tmp_path, server.base_url)
    assert not (tmp_path / FILE).exists()
    server.cut = None
    path = released.fetch(NAME, tmp_path, server.base_url)
    assert path.read_bytes() == body(server)
    assert server.requests[1] == (f"/{FILE}", "bytes=99999-")
    assert not (tmp_path / f"{FILE}.part").exists()


def test_a_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / f"{FILE}.part").write_bytes(b"\0" * 100_000)
    server.ranges = False
    path = released.fetch(NAME, tmp_path, server.base_url)
    assert path.read_bytes() == body(server)


@pytest.mark.parametrize("extra", [0, 50])
def test_a_part_that_is_complete_or_too_long(server, tmp_path, extra):
    part = tmp_path / f"{FILE}.part"
    part.write_bytes(body(server) + b"\0" * extra)
    path = released.fetch(NAME, tmp_path, server.base_url)
    assert path.read_bytes() == body(server)
    assert len(server.requests) == (2 if extra else 1)


def assert_explains(error, url, path):
    text = str(error.value)
    assert "\n" not in text
    assert url in text and str(path) in text


def test_not_found(server, tmp_path):
    with pytest.raises(ConnectionError, match="HTTP 404") as error:
        released.fetch("bit_r50x1.i1k", tmp_path, server.base_url)
    file = "BiT-S-R50x1.npz"
    assert_explains(error, f"{server.base_url}/{file}", tmp_path / file)


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConnectionError, match="refused") as error:
        released.fetch(NAME, tmp_path, base)
    assert_explains(error, f"{base}/{FILE}", tmp_path / FILE)
    assert not (tmp_path / FILE).exists()


def test_a_log_in_page_is_not_kept(server, tmp_path):
    server.content[f"/{FILE}"] = b"<html>Please log in</html>"
    with pytest.raises(ConnectionError, match="not an .npz file"):
        released.fetch(NAME, tmp_path, server.base_url)
    assert list(tmp_path.iterdir()) == []


def fetch(server, folder, **options):
    source, target = f"{server.base_url}/{FILE}", folder / FILE
    download.download(
        source, target, "an .npz file", zipfile.is_zipfile, **options
    )
    return target


def test_only_https_but_for_this_machine(server, tmp_path):
    with pytest.raises(ValueError, match="not https"):
        released.fetch(NAME, tmp_path, "http://host.invalid")
    # Nor by a detour, after which nothing is kept.
    server.redirects[f"/{FILE}"] = f"http://host.invalid/{FILE}"
    with pytest.raises(ConnectionError, match="without https"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    # A connection left open would warn here.
    gc.collect()
    server.redirects = {f"/{FILE}": f"{server.base_url}/moved"}
    server.content["/moved"] = body(server)
    assert fetch(server, tmp_path).read_bytes() == body(server)


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_that_is_too_large(server, tmp_path, says_length, monkeypatch):
    monkeypatch.setattr(download, "_CHUNK", 1000)
    if not says_length:
        monkeypatch.setattr(download, "_range", lambda response: (0, None))
    with pytest.raises(ConnectionError, match="more than 5,000"):
        fetch(server, tmp_path, largest=5000)
    assert list(tmp_path.iterdir()) == []


def test_a_known_checksum(server, tmp_path):
    right = hashlib.sha256(body(server)).hexdigest()
    with pytest.raises(ConnectionError, match=f"sha256 is {right}, not 00"):
        fetch(server, tmp_path, sha256="00")
    assert list(tmp_path.iterdir()) == []
    assert fetch(server, tmp_path, sha256=right.upper()).exists()


def test_another_process_finishing_first_is_fine(server, tmp_path, monkeypatch):
    def other(source, part, largest):
        (tmp_path / FILE).write_bytes(body(server))

    monkeypatch.setattr(download, "_complete", other)
    path = released.fetch(NAME, tmp_path, server.base_url)
    assert path.read_bytes() == body(server)


def test_progress_is_lines_when_not_in_a_terminal(
    server, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(download, "_CHUNK", 10_000)
    released.fetch(NAME, tmp_path, server.base_url)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[4].startswith(f"{FILE}: 50 % of 300,")
    assert lines[-1].startswith(f"{FILE}: 100 % of")


def test_progress_is_a_bar_in_a_terminal(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    released.fetch(NAME, tmp_path, server.base_url)
    shown = capsys.readouterr().err
    assert FILE in shown and "━" in shown


def test_table():
    names = released.names()
    # README of google-research/big_transfer: 6 networks x S, M and
    # ILSVRC2012, 5 x 19 x 3 VTAB files, 2 students and 2 teachers.
    assert len(names) == 6 * 3 + 5 * 19 * 3 + 4
    assert len({released.url(name) for name in names}) == len(names)
    assert not [n for n in names if "r152x2" in n and "vtab" in n]


@pytest.mark.parametrize(
    "name, file, num_classes",
    [
        ("bit_r152x4.i1k", "BiT-S-R152x4.npz", 1000),
        ("bit_r101x3.i21k", "BiT-M-R101x3.npz", 21843),
        ("bit_r152x2.i21k_ft_i1k", "BiT-M-R152x2-ILSVRC2012.npz", 1000),
        (
            "bit_r50x3.i21k_ft_vtab_smallnorb_elevation_run2",
            "vtab/BiT-M-R50x3-run2-smallnorb-elevation.npz",
            9,
        ),
        ("bit_r50x1.distill_i1k_160", "distill/R50x1_160.npz", 1000),
        ("bit_r152x2.teacher_i1k_384", "distill/R152x2_T_384.npz", 1000),
    ],
)
def test_what_a_name_stands_for(name, file, num_classes):
    base = "https://storage.googleapis.com/bit_models"
    assert released.url(name) == f"{base}/{file}"
    assert released.num_classes(name) == num_classes
    assert released.model_name(name) == name.split(".")[0]


@pytest.mark.parametrize(
    "name, resolution",
    [
        # arXiv 1912.11370, section 3.3.
        ("bit_r101x3.i1k", 224),
        ("bit_r152x4.i21k", 224),
        ("bit_r152x4.i21k_ft_i1k", 480),
        ("bit_r152x2.i21k_ft_i1k", 384),
        ("bit_r50x1.i21k_ft_vtab_svhn_run1", 128),
        ("bit_r152x4.i21k_ft_vtab_dsprites_xpos_run0", 128),
        # 96 x 96 pixels are no fewer than 96 x 96.
        ("bit_r50x1.i21k_ft_vtab_smallnorb_azimuth_run2", 384),
        ("bit_r152x4.i21k_ft_vtab_dtd_run0", 480),
        # README of google-research/big_transfer, in the files' names.
        ("bit_r50x1.distill_i1k_160", 160),
        ("bit_r152x2.teacher_i1k_384", 384),
    ],
)
def test_the_resolution_of_training(name, resolution):
    assert released.resolution(name) == resolution


def test_the_loss_of_training():
    found = {n.split(".")[1]: released.activation(n) for n in released.names()}
    assert [tag for tag, end in found.items() if end != "softmax"] == ["i21k"]
    assert found["i21k"] == "sigmoid"


def test_every_name_is_of_a_known_model():
    from bit_keras import models

    for name in released.names():
        models.check_name(released.model_name(name))


@pytest.mark.parametrize(
    "function",
    [released.url, released.num_classes, released.model_name, released.fetch],
)
def test_unknown_name(function):
    with pytest.raises(ValueError, match='mean "bit_r50x1.i21k"'):
        function("bit_r50x1.i21")


def test_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path))
    assert released.default_cache() == tmp_path
    monkeypatch.delenv("BIT_KERAS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert released.default_cache() == tmp_path / ".cache" / "bit_keras"


def test_resolve(tmp_path, monkeypatch):
    assert released.resolve(tmp_path) == tmp_path
    cached = tmp_path / "distill" / "R50x1_224.npz"
    cached.parent.mkdir()
    cached.write_bytes(b"cached")
    name = "bit_r50x1.distill_i1k_224"
    assert released.resolve(name, tmp_path) == cached
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path))
    assert released.resolve(name) == cached


def test_resolve_explains_both_ways(tmp_path):
    with pytest.raises(ValueError) as error:
        released.resolve("bit_r50x1.i12k", tmp_path)
    text = str(error.value)
    assert "existing file" in text and "released" in text
    assert 'Did you mean "bit_r50x1.i21k"?' in text
    assert "\n" not in text
