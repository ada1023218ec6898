import threading
from collections.abc import Iterator
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.models.data.files import PublishedFile, fetch, write_atomically
from bench.models.problem import DataError

CONTENTS = b"what was published" * 100
FILE = PublishedFile("some", "some.gz", md5(CONTENTS).hexdigest(), "unused")


class Mirror(BaseHTTPRequestHandler):
    """Answers /good/, /wrong/ (other bytes), /cut/ (hangs up half-way), /silent/; else 404."""

    released = threading.Event()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        place = self.path.split("/")[1]
        if place == "silent":
            self.released.wait(10)
            return
        if place not in ("good", "wrong", "cut"):
            self.send_error(404)
            return
        body = CONTENTS[::-1] if place == "wrong" else CONTENTS
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:100] if place == "cut" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.asked = []
        Mirror.released.clear()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        Mirror.released.set()
        server.shutdown()
        thread.join()


def url(server: ThreadingHTTPServer, place: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{place}/"


def test_download(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    to = tmp_path / "new" / "folder"
    assert list(fetch([FILE], to, [url(server, "good")])) == [(to / "some.gz", True)]
    assert (to / "some.gz").read_bytes() == CONTENTS
    assert [p.name for p in to.iterdir()] == ["some.gz"]


def test_what_is_there_and_right_is_kept(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "some.gz").write_bytes(CONTENTS)
    assert list(fetch([FILE], tmp_path, [url(server, "good")])) == [(tmp_path / "some.gz", False)]
    assert server.asked == []


def test_what_is_damaged_is_replaced(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "some.gz").write_bytes(CONTENTS[:50])
    assert list(fetch([FILE], tmp_path, [url(server, "good")])) == [(tmp_path / "some.gz", True)]
    assert (tmp_path / "some.gz").read_bytes() == CONTENTS


@pytest.mark.parametrize("first", ["wrong", "cut", "absent", "silent"])
def test_next_mirror(server: ThreadingHTTPServer, tmp_path: Path, first: str) -> None:
    mirrors = [url(server, first), url(server, "good")]
    assert list(fetch([FILE], tmp_path, mirrors, timeout=0.3)) == [(tmp_path / "some.gz", True)]
    assert [path.split("/")[1] for path in server.asked] == [first, "good"]


def test_all_mirrors_fail(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "some.gz").write_bytes(b"old")
    mirrors = [url(server, "wrong"), url(server, "absent"), "http://127.0.0.1:1/"]
    with pytest.raises(DataError) as error:
        list(fetch([FILE], tmp_path, mirrors))
    for part in (
        f"some.gz (MD5 {FILE.md5}) could not be downloaded",
        f"{url(server, 'wrong')}some.gz: 1,800 bytes with the wrong MD5",
        f"{url(server, 'absent')}some.gz: status 404",
        "http://127.0.0.1:1/some.gz: ",
        "--data-dir",
    ):
        assert part in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["some.gz"]
    assert (tmp_path / "some.gz").read_bytes() == b"old"


def test_unwritable_folder(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file/some.gz cannot be written .*--to FOLDER"):
        list(fetch([FILE], tmp_path / "file", [url(server, "good")]))


def test_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"half of ", b"it")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
