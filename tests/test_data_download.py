"""Downloads from a small server on this machine, which breaks off, forgets and refuses as real ones do."""

from __future__ import annotations

import hashlib
import logging
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fusion import progress as progress_module
from fusion.data import download as module
from fusion.data.download import download
from fusion.errors import DataError
from fusion.progress import LogLines

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
MD5 = hashlib.md5(CONTENT).hexdigest()
WHOLE = None


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, in the manner that the server is told."""

    timeout = 5

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        status = server.statuses.pop(0) if server.statuses else 200
        if status != 200:
            self.send_error(status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked and server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_body(start, CONTENT[start:])

    def send_body(self, start, body):
        server = self.server
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        server.gate.wait(5)
        self.wfile.write(body[: server.limits.pop(0) if server.limits else WHOLE])

    def log_message(self, *_):
        """Keep the output of the tests clean."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []  # of every request, None where it asked for the whole
        self.statuses = []  # of the next answers
        self.limits = []  # bytes after which the next answers break off
        self.knows_ranges = True
        self.tells_length = True
        self.gate = threading.Event()  # holds bodies back while it is clear
        self.gate.set()
        self.url = f"http://127.0.0.1:{self.server_port}/data.tar.gz"


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.gate.set()
        running.shutdown()
        thread.join(5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "data.tar.gz"


def get(server, path, md5=MD5, retries=2, **options):
    return download(server.url, path, md5, retries=retries, backoff=0, timeout=5, **options)


def files(path):
    return sorted(entry.name for entry in path.parent.iterdir()) if path.parent.exists() else []


def test_whole_file(server, path):
    assert get(server, path, MD5.upper()) == path
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert files(path) == ["data.tar.gz"]


def test_present_file_is_verified_and_not_asked_for(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert get(server, path) == path
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=f"expected {MD5}"):
        get(server, path)
    assert path.read_bytes() == b"something else"
    assert server.ranges == []


def test_resumes_after_a_break_off(server, path):
    server.limits = [256_000]
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=256000-"]


def test_resumes_what_an_earlier_run_left(server, path):
    server.limits = [100_000]
    with pytest.raises(DataError, match="broke off after 100,000 of 512,000 bytes"):
        get(server, path, retries=0)
    assert files(path) == ["data.tar.gz.part"]
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


def test_server_that_ignores_ranges(server, path):
    server.limits = [256_000]
    server.knows_ranges = False
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=256000-"]


def test_server_that_tells_no_length(server, path):
    server.tells_length = False
    get(server, path)
    assert path.read_bytes() == CONTENT


def test_part_that_is_already_whole(server, path):
    path.parent.mkdir()
    path.with_name("data.tar.gz.part").write_bytes(CONTENT)
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=512000-"]


def test_part_longer_than_the_file_starts_over(server, path):
    path.parent.mkdir()
    path.with_name("data.tar.gz.part").write_bytes(CONTENT + b"more")
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=512004-", None]


def test_wrong_md5_leaves_nothing(server, path):
    wrong = "0" * 32
    with pytest.raises(DataError, match=f"{MD5}, expected {wrong}.*data.url"):
        get(server, path, wrong)
    assert files(path) == []


def test_repeated_break_offs_end_in_an_error(server, path):
    server.limits = [100_000, 100_000, 100_000]
    with pytest.raises(DataError, match=r"after 300,000 of 512,000 bytes \(3 attempts\).*data\.url.*by hand") as caught:
        get(server, path)
    assert str(path) in str(caught.value)
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]
    assert not path.exists()


def test_refusal_is_not_tried_again(server, path):
    server.statuses = [404, 404]
    with pytest.raises(DataError, match="404 Not Found.*data.url.*by hand"):
        get(server, path)
    assert server.ranges == [None]
    assert files(path) == []


def test_passing_trouble_is_tried_again(server, path):
    server.statuses = [503, 429]
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert len(server.ranges) == 3


def test_attempts_wait_ever_longer(server, path, monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    server.statuses = [503] * 4
    with pytest.raises(DataError, match="4 attempts"):
        download(server.url, path, MD5, retries=3, backoff=0.5, timeout=5)
    assert pauses == [0.5, 1.0, 2.0]


def test_silent_server_times_out(server, path):
    server.gate.clear()
    with pytest.raises(DataError, match="timed out"):
        download(server.url, path, MD5, retries=0, timeout=0.2)


def test_unreachable_host_says_what_to_do(path):
    with socket.socket() as unused:  # bound but not listening: the connection is refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/data.tar.gz"
        with pytest.raises(DataError, match=r"no connection.*data\.url.*by hand") as caught:
            download(url, path, MD5, retries=1, backoff=0, timeout=5)
    assert str(path) in str(caught.value)


def test_other_kinds_of_address_are_refused(path):
    with pytest.raises(DataError, match="file:///etc/hostname.*https://"):
        download("file:///etc/hostname", path, MD5)


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot write.*data.dir"):
        get(server, tmp_path / "file" / "data.tar.gz")


def test_two_at_once_download_once(server, path):
    server.gate.clear()
    results = []
    threads = [threading.Thread(target=lambda: results.append(get(server, path)), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    threads[0].join(0.5)  # long enough for both to have asked, were they let
    server.gate.set()
    for thread in threads:
        thread.join(10)
    assert results == [path, path]
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert files(path) == ["data.tar.gz"]


def test_waiting_for_another_process_has_an_end(server, path):
    path.parent.mkdir()
    lock = path.with_name("data.tar.gz.lock")
    with module._exclusive(lock, 0), pytest.raises(DataError, match="another process has held"):
        get(server, path, wait=0)
    assert server.ranges == []


def test_lock_file_of_a_killed_process_does_not_block(server, path):
    path.parent.mkdir()
    path.with_name("data.tar.gz.lock").write_bytes(b"")
    get(server, path, wait=0)
    assert files(path) == ["data.tar.gz"]


def test_log_lines_come_at_every_tenth_of_a_long_way(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "fusion.progress")
    monkeypatch.setattr(progress_module, "PAUSE", 0.0)
    with LogLines("file", 1000, "B", done=250) as meter:
        for _ in range(75):
            meter.update(10)
    assert [record.getMessage()[:10] for record in caplog.records] == [f"file: {k}0 %"[:10] for k in range(3, 11)]


def test_short_way_has_a_line_at_its_end(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "fusion.progress")
    monkeypatch.setattr(progress_module, "PAUSE", 1e9)
    with LogLines("file", 100, "B") as meter:
        for _ in range(100):
            meter.update(1)
    assert [record.getMessage() for record in caplog.records] == ["file: 100 % of 100 B"]


def test_log_lines_without_a_total(caplog):
    caplog.set_level(logging.INFO, "fusion.progress")
    with LogLines("file", None, "B") as meter:
        meter.update(1234)
    assert [record.getMessage() for record in caplog.records] == ["file: 1,234 B"]


def test_progress_is_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress_module.sys.stderr, "isatty", lambda: True, raising=False)
    with progress_module.progress("file", 10, unit="B") as meter:
        meter.update(10)
    assert not isinstance(meter, LogLines)
    assert "file" in capsys.readouterr().err
