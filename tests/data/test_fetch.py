"""Fetching against a real HTTP server on this machine that breaks off, refuses, changes and lies on demand."""

import errno
import fcntl
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kdmri_monai.data.download import Transfer
from kdmri_monai.data.errors import FetchError
from kdmri_monai.data.fetch import fetch_figshare
from kdmri_monai.data.http_transport import _SameSecurity, _wait, check_url

ARTICLE = 77
QUICK = Transfer(timeout=5, retries=3, pause=0.01)
ONCE = Transfer(timeout=5, retries=0, pause=0.01)


def md5(content):
    return hashlib.md5(content).hexdigest()


class Figshare(ThreadingHTTPServer):
    """An article of Figshare: its list, its files, and what goes wrong with the next requests for each path."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        rng = random.Random(0)
        self.bodies = {"one.zip": rng.randbytes(700_001), "cvind.mat": rng.randbytes(26_424)}
        self.listing = [self.entry(number, name) for number, name in enumerate(self.bodies)]
        self.tags = dict.fromkeys(self.bodies, '"v1"')
        self.faults = {}  # path: list of functions of the handler, one for each of the next requests
        self.log = []  # (path, header fields, bytes of the body sent)

    def entry(self, number, name):
        content = self.bodies[name]
        return {
            "id": number,
            "name": name,
            "size": len(content),
            "is_link_only": False,
            "download_url": f"{self.url}/files/{name}",
            "computed_md5": md5(content),
            "supplied_md5": md5(content),
        }

    def asked(self, name):
        """Header fields of the requests for a file."""
        return [headers for path, headers, _ in self.log if path == f"/files/{name}"]

    def sent(self, name):
        """Bytes sent for each request for a file."""
        return [row[2] for row in self.log if row[0] == f"/files/{name}"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.row = [self.path, dict(self.headers.items()), 0]
        self.server.log.append(self.row)
        faults = self.server.faults.get(self.path, [])
        if faults:
            return faults.pop(0)(self)
        if self.path == f"/v2/articles/{ARTICLE}":
            article = {"title": "brain tumor dataset", "doi": "10/x", "version": 5, "license": {"name": "CC BY 4.0"}}
            return self.answer(json.dumps({**article, "files": self.server.listing}).encode())
        if self.path.startswith("/v2/file/download/"):
            name = self.server.listing[int(self.path.rsplit("/", 1)[1])]["name"]
            return self.answer(b"", 302, {"Location": f"{self.server.url}/mirror/{name}"})
        return self.file()

    def file(self, ranges=True, cut=None, tag=True, stall=False):
        """The file as a server of objects hands it out: ranges, If-Range, ETag."""
        name = self.path.rsplit("/", 1)[1]
        body, etag = self.server.bodies[name], self.server.tags[name]
        fields = {"ETag": etag} if tag else {}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not ranges or asked is None or self.headers.get("If-Range", etag) != etag:
            return self.answer(body, 200, fields, cut, stall)
        start = int(asked[1])
        fields["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self.answer(body[start:], 206, fields, cut, stall)

    def answer(self, body, status=200, fields=None, cut=None, stall=False):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(fields or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.row[2] = len(body[:cut])
        self.wfile.write(body[:cut])
        if stall:
            self.wfile.flush()
            self.server.released.wait(30)
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Figshare()
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(server, out, transfer=QUICK, progress=False):
    return fetch_figshare(out, f"{server.url}/v2", progress, ARTICLE, transfer)


def assert_complete(server, out):
    assert {path.name for path in out.iterdir()} == {*server.bodies, "checksums.json"}
    for name, body in server.bodies.items():
        assert (out / name).read_bytes() == body
    sums = json.loads((out / "checksums.json").read_text())
    assert {row["name"]: row["sha256"] for row in sums["files"]} == {
        name: hashlib.sha256(body).hexdigest() for name, body in server.bodies.items()
    }


def fault(status, **fields):
    return lambda handler: handler.answer(b"", status, fields)


def broken_off(after):
    return lambda handler: handler.file(cut=after)


def test_every_listed_file_arrives_with_its_checksums(server, tmp_path):
    paths = fetch(server, tmp_path / "new" / "folder")
    out = tmp_path / "new" / "folder"
    assert paths == [out / "one.zip", out / "cvind.mat"]
    assert_complete(server, out)
    sums = json.loads((out / "checksums.json").read_text())
    assert {key: sums[key] for key in ("title", "doi", "version", "license")} == {
        "title": "brain tumor dataset",
        "doi": "10/x",
        "version": 5,
        "license": "CC BY 4.0",
    }
    row = sums["files"][0]
    assert row["size"] == 700_001
    assert row["md5"] == md5(server.bodies["one.zip"])
    assert row["url"] == f"{server.url}/files/one.zip"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["date"])


def test_a_second_run_downloads_nothing_and_changes_nothing(server, tmp_path):
    fetch(server, tmp_path)
    dated = re.sub('"date": "20..', '"date": "19..', (tmp_path / "checksums.json").read_text())
    (tmp_path / "checksums.json").write_text(dated)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.[zm]*")}
    sums = (tmp_path / "checksums.json").read_bytes()
    server.log.clear()
    assert fetch(server, tmp_path) == [tmp_path / "one.zip", tmp_path / "cvind.mat"]
    assert [path for path, _, _ in server.log] == [f"/v2/articles/{ARTICLE}"]
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.[zm]*")} == before
    assert (tmp_path / "checksums.json").read_bytes() == sums


def test_only_the_missing_file_is_downloaded(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / "cvind.mat").unlink()
    server.log.clear()
    fetch(server, tmp_path)
    assert server.asked("one.zip") == []
    assert len(server.asked("cvind.mat")) == 1
    assert_complete(server, tmp_path)


def test_an_interrupted_run_is_gone_on_with_from_the_last_byte(server, tmp_path):
    server.faults["/files/one.zip"] = [broken_off(300_000)]
    with pytest.raises(FetchError, match=r"one\.zip: given up after 1 failures: .*; run again to go on"):
        fetch(server, tmp_path, ONCE)
    assert (tmp_path / "one.zip.part").read_bytes() == server.bodies["one.zip"][:300_000]
    assert not (tmp_path / "one.zip").exists()
    fetch(server, tmp_path, ONCE)
    again = server.asked("one.zip")[1]
    assert (again["Range"], again["If-Range"]) == ("bytes=300000-", '"v1"')
    assert server.sent("one.zip") == [300_000, 400_001]
    assert_complete(server, tmp_path)


def test_a_killed_process_is_gone_on_with(server, tmp_path):
    server.faults["/files/one.zip"] = [lambda handler: handler.file(cut=500_000, stall=True)]
    code = (
        "import pathlib, sys; from kdmri_monai.data.fetch import fetch_figshare\n"
        f"fetch_figshare(pathlib.Path(sys.argv[1]), sys.argv[2], False, {ARTICLE})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), f"{server.url}/v2"])
    part, deadline = tmp_path / "one.zip.part", time.monotonic() + 20
    while not (part.exists() and part.stat().st_size == 500_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.released.set()
    fetch(server, tmp_path)
    assert server.sent("one.zip") == [500_000, 200_001]
    assert_complete(server, tmp_path)


def test_a_connection_that_breaks_again_and_again_is_gone_on_with_as_long_as_bytes_come(server, tmp_path):
    server.faults["/files/one.zip"] = [broken_off(100_000)] * 6
    fetch(server, tmp_path, Transfer(timeout=5, retries=1, pause=0.01))
    assert [headers.get("Range") for headers in server.asked("one.zip")] == [
        None,
        *(f"bytes={100_000 * i}-" for i in range(1, 7)),
    ]
    assert_complete(server, tmp_path)


def test_a_server_that_ignores_ranges_gives_the_same_bytes(server, tmp_path):
    server.faults["/files/one.zip"] = [broken_off(300_000), lambda handler: handler.file(ranges=False)]
    fetch(server, tmp_path)
    assert server.asked("one.zip")[1]["Range"] == "bytes=300000-"
    assert server.sent("one.zip") == [300_000, 700_001]
    assert_complete(server, tmp_path)


def test_a_weak_tag_is_not_sent_as_a_condition_but_the_date_is(server, tmp_path):
    date = formatdate(0, usegmt=True)
    body = server.bodies["one.zip"]
    weak = {"ETag": 'W/"v1"', "Last-Modified": date}
    server.faults["/files/one.zip"] = [lambda handler: handler.answer(body, 200, weak, cut=10)]
    fetch(server, tmp_path)
    assert server.asked("one.zip")[1]["If-Range"] == date
    assert_complete(server, tmp_path)


def test_a_file_that_changed_on_the_server_is_not_glued_to_its_old_half(server, tmp_path):
    server.faults["/files/one.zip"] = [broken_off(300_000)]
    with pytest.raises(FetchError):
        fetch(server, tmp_path, ONCE)
    server.bodies["one.zip"], server.tags["one.zip"] = bytes(700_001), '"v2"'
    with pytest.raises(
        FetchError, match=rf"expected MD5 {server.listing[0]['computed_md5']}, found {md5(bytes(700_001))}"
    ):
        fetch(server, tmp_path)  # the list still has the old checksum
    assert server.sent("one.zip") == [300_000, 700_001]
    server.listing[0] = server.entry(0, "one.zip")
    fetch(server, tmp_path)
    assert_complete(server, tmp_path)


def test_half_of_another_version_in_the_list_is_not_gone_on_with(server, tmp_path):
    server.faults["/files/one.zip"] = [broken_off(300_000)]
    with pytest.raises(FetchError):
        fetch(server, tmp_path, ONCE)
    server.bodies["one.zip"] = bytes(700_001)
    server.listing[0] = server.entry(0, "one.zip")
    fetch(server, tmp_path)
    assert "Range" not in server.asked("one.zip")[1]
    assert_complete(server, tmp_path)


def test_halves_that_do_not_fit_are_downloaded_anew_once(server, tmp_path):
    good = server.bodies["one.zip"]
    other = bytes(len(good))

    def first_half_of_another(handler):
        handler.answer(other, 200, {}, cut=300_000)  # no tag and no date: the change cannot be seen

    server.faults["/files/one.zip"] = [first_half_of_another]
    fetch(server, tmp_path)
    assert server.sent("one.zip") == [300_000, 400_001, 700_001]
    assert_complete(server, tmp_path)


@pytest.mark.parametrize("note", [None, b"", b"[]", b'{"md5": "x"}'])
def test_a_part_without_a_sound_note_is_not_gone_on_with(server, tmp_path, note):
    (tmp_path / "one.zip.part").write_bytes(b"something else")
    if note is not None:
        (tmp_path / "one.zip.part.json").write_bytes(note)
    fetch(server, tmp_path)
    assert "Range" not in server.asked("one.zip")[0]
    assert_complete(server, tmp_path)


def test_a_wrong_checksum_names_the_file_and_both_sums_and_leaves_nothing(server, tmp_path):
    server.listing[0]["computed_md5"] = server.listing[0]["supplied_md5"] = "0" * 32
    with pytest.raises(FetchError, match="wrong checksum") as caught:
        fetch(server, tmp_path)
    for told in (str(tmp_path / "one.zip"), "0" * 32, md5(server.bodies["one.zip"])):
        assert told in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checksums.json"]
    assert json.loads((tmp_path / "checksums.json").read_text())["files"] == []
    assert server.sent("one.zip") == [700_001]


def test_a_file_of_another_length_is_refused_before_it_is_loaded(server, tmp_path):
    server.listing[0]["size"] = 700_002
    with pytest.raises(FetchError, match="has 700001 bytes, listed are 700002: not the published file"):
        fetch(server, tmp_path)
    assert len(server.asked("one.zip")) == 1


@pytest.mark.parametrize("status", [404, 400, 410, 501])
def test_an_error_that_stays_is_told_at_once(server, tmp_path, status):
    server.faults["/files/one.zip"] = [fault(status)]
    with pytest.raises(FetchError, match=rf"/files/one\.zip: the server answers {status}"):
        fetch(server, tmp_path)
    assert len(server.asked("one.zip")) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_error_that_passes_is_tried_again(server, tmp_path, status):
    server.faults["/files/one.zip"] = [fault(status), fault(status)]
    server.faults[f"/v2/articles/{ARTICLE}"] = [fault(status)]
    fetch(server, tmp_path)
    assert len(server.asked("one.zip")) == 3
    assert_complete(server, tmp_path)


def test_the_wait_that_a_server_asks_for_is_kept(server, tmp_path):
    server.faults["/files/one.zip"] = [fault(503, **{"Retry-After": "1"})]
    started = time.monotonic()
    fetch(server, tmp_path)
    assert time.monotonic() - started >= 1


def test_a_wait_may_be_a_date_and_is_never_endless():
    assert _wait("7") == 7
    assert _wait("99999") == 120
    assert _wait(formatdate(time.time() + 50, usegmt=True)) == pytest.approx(50, abs=3)
    assert _wait(formatdate(0, usegmt=True)) == 0
    assert _wait("soon") is None
    assert _wait(None) is None


def test_a_server_that_stays_away_is_given_up_on_and_the_pauses_grow(server, tmp_path):
    server.faults["/files/one.zip"] = [fault(503)] * 9
    started = time.monotonic()
    with pytest.raises(FetchError, match=r"one\.zip: given up after 4 failures: .*503"):
        fetch(server, tmp_path, Transfer(timeout=5, retries=3, pause=0.1))
    assert len(server.asked("one.zip")) == 4
    assert time.monotonic() - started >= 0.1 + 0.2 + 0.4


def test_a_machine_without_a_server_is_given_up_on(tmp_path, server):
    url = server.url.rsplit(":", 1)[0] + ":9"
    with pytest.raises(FetchError, match=r"given up after 4 failures: .*refused"):
        fetch_figshare(tmp_path / "out", url, False, ARTICLE, QUICK)
    assert not (tmp_path / "out").exists()


def test_a_silent_server_is_left_and_tried_again(server, tmp_path):
    server.faults["/files/one.zip"] = [lambda handler: handler.file(cut=300_000, stall=True)]
    started = time.monotonic()
    fetch(server, tmp_path, Transfer(timeout=0.3, retries=2, pause=0.01))
    assert time.monotonic() - started < 10
    assert server.sent("one.zip") == [300_000, 400_001]
    assert_complete(server, tmp_path)


def test_a_server_that_sends_more_than_listed_is_not_listened_to(server, tmp_path):
    def more(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(server.bodies["one.zip"] + bytes(10))

    server.faults["/files/one.zip"] = [more]
    fetch(server, tmp_path, ONCE)
    assert_complete(server, tmp_path)


def test_bytes_that_are_thrown_away_again_and_again_are_no_progress(server, tmp_path):
    wrong = {"Content-Range": "bytes 0-1/2"}
    server.faults["/files/one.zip"] = [broken_off(1000), lambda handler: handler.answer(b"xx", 206, wrong)] * 20
    with pytest.raises(FetchError, match="given up after 4 failures"):
        fetch(server, tmp_path)


@pytest.mark.parametrize("status", [202, 403])
def test_an_address_that_wants_a_browser_gives_way_to_the_one_of_the_api(server, tmp_path, status, caplog):
    server.faults["/files/one.zip"] = [fault(status)]
    fetch(server, tmp_path)
    assert [path for path, _, _ in server.log if "one" in path or "/0" in path] == [
        "/files/one.zip",
        "/v2/file/download/0",
        "/mirror/one.zip",
    ]
    assert f"the server answers {status}" in caplog.text
    assert_complete(server, tmp_path)


def test_where_every_address_wants_a_browser_the_message_says_what_to_do(server, tmp_path):
    server.faults["/files/one.zip"] = [fault(202)]
    server.faults["/v2/file/download/0"] = [fault(202)]
    with pytest.raises(FetchError, match=rf"download one\.zip with a browser into {tmp_path} and run again"):
        fetch(server, tmp_path)
    (tmp_path / "one.zip").write_bytes(server.bodies["one.zip"])
    fetch(server, tmp_path)
    assert_complete(server, tmp_path)


def test_a_range_survives_a_redirect(server, tmp_path):
    server.listing[0]["download_url"] = f"{server.url}/v2/file/download/0"
    server.faults["/mirror/one.zip"] = [broken_off(123)]
    fetch(server, tmp_path)
    rows = [row for row in server.log if row[0] == "/mirror/one.zip"]
    assert [row[1].get("Range") for row in rows] == [None, "bytes=123-"]
    assert_complete(server, tmp_path)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_out_of_the_web_is_not_followed(server, tmp_path, target):
    server.faults["/files/one.zip"] = [fault(302, Location=target)]
    with pytest.raises(FetchError):
        fetch(server, tmp_path)
    assert not (tmp_path / "one.zip").exists()


def test_security_is_not_given_up_on_the_way():
    redirect = _SameSecurity().redirect_request
    secure = urllib.request.Request("https://example.org/a")
    with pytest.raises(FetchError, match="allowed are https"):
        redirect(secure, None, 302, "Found", {}, "http://example.org/b")
    assert redirect(secure, None, 302, "Found", {}, "https://example.org/b").full_url == "https://example.org/b"
    with pytest.raises(FetchError, match="allowed are https"):
        check_url("http://example.org", secure=True)


@pytest.mark.parametrize("content_range", ["bytes 0-700000/700001", "bytes 300000-700001/700002", "bytes x", ""])
def test_a_range_other_than_the_one_asked_for_is_not_taken(server, tmp_path, content_range):
    tail = server.bodies["one.zip"][300_000:]
    wrong = {"Content-Range": content_range}
    server.faults["/files/one.zip"] = [broken_off(300_000), lambda handler: handler.answer(tail, 206, wrong)]
    fetch(server, tmp_path)
    assert "Range" not in server.asked("one.zip")[2]
    assert_complete(server, tmp_path)


def test_a_refused_range_begins_again(server, tmp_path):
    server.faults["/files/one.zip"] = [broken_off(300_000), fault(416)]
    fetch(server, tmp_path)
    assert [headers.get("Range") for headers in server.asked("one.zip")] == [None, "bytes=300000-", None]
    assert_complete(server, tmp_path)


def test_a_part_that_is_whole_already_is_only_checked(server, tmp_path):
    server.faults["/files/one.zip"] = [broken_off(300_000)]
    with pytest.raises(FetchError):
        fetch(server, tmp_path, ONCE)
    (tmp_path / "one.zip.part").write_bytes(server.bodies["one.zip"])
    fetch(server, tmp_path)
    assert len(server.asked("one.zip")) == 1
    assert_complete(server, tmp_path)


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    server.faults["/files/one.zip"] = [broken_off(300_000)]
    with pytest.raises(FetchError):
        fetch(server, tmp_path, ONCE)
    (tmp_path / "one.zip.part").write_bytes(bytes(700_002))
    fetch(server, tmp_path, ONCE)
    assert "Range" not in server.asked("one.zip")[1]
    assert_complete(server, tmp_path)


def test_a_body_packed_unasked_is_refused(server, tmp_path):
    server.faults["/files/one.zip"] = [fault(200, **{"Content-Encoding": "gzip"})]
    with pytest.raises(FetchError, match=r"packs the file \(gzip\) unasked"):
        fetch(server, tmp_path)


def test_an_empty_file_arrives(server, tmp_path):
    server.bodies["cvind.mat"] = b""
    server.listing[1] = server.entry(1, "cvind.mat")
    server.faults["/files/cvind.mat"] = [fault(503)]
    fetch(server, tmp_path)
    assert_complete(server, tmp_path)


def test_another_file_of_a_published_name_is_not_overwritten(server, tmp_path):
    (tmp_path / "cvind.mat").write_bytes(b"mine")
    with pytest.raises(FetchError, match=r"cvind\.mat: there already, and not the published file") as caught:
        fetch(server, tmp_path)
    assert md5(b"mine") in str(caught.value)
    assert (tmp_path / "cvind.mat").read_bytes() == b"mine"
    assert server.asked("one.zip") == []


def test_a_file_that_somebody_else_brought_is_checked_and_kept(server, tmp_path):
    (tmp_path / "one.zip").write_bytes(server.bodies["one.zip"])
    (tmp_path / "checksums.json").write_text("not ours")
    fetch(server, tmp_path)
    assert server.asked("one.zip") == []
    assert_complete(server, tmp_path)


def test_a_second_process_in_the_same_folder_is_refused(server, tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(FetchError, match="another process is fetching into this folder"):
            fetch(server, tmp_path)
    finally:
        os.close(descriptor)
    fetch(server, tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here, the device that is always full")
def test_a_full_disk_is_told_with_what_to_do(server, tmp_path):
    (tmp_path / "one.zip.part").symlink_to("/dev/full")
    with pytest.raises(
        FetchError, match=r"one\.zip\.part: No space left on device; .* make room and run again"
    ) as caught:
        fetch(server, tmp_path)
    assert caught.value.__cause__.errno == errno.ENOSPC
    (tmp_path / "one.zip.part").unlink()
    fetch(server, tmp_path)
    assert_complete(server, tmp_path)


def test_what_was_got_before_the_disk_was_full_is_kept(server, tmp_path):
    code = (
        "import pathlib, resource, sys; from kdmri_monai.data.errors import FetchError\n"
        "from kdmri_monai.data.fetch import fetch_figshare\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400000, 400000))\n"
        f"try:\n    fetch_figshare(pathlib.Path(sys.argv[1]), sys.argv[2], False, {ARTICLE})\n"
        "except FetchError as error:\n    sys.exit(0 if '400000 bytes are kept' in str(error) else str(error))\n"
        "sys.exit('no error')"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path), f"{server.url}/v2"]
    assert subprocess.run(arguments, check=False, capture_output=True, text=True).stderr == ""
    fetch(server, tmp_path)
    assert server.asked("one.zip")[1]["Range"] == "bytes=400000-"
    assert_complete(server, tmp_path)


def test_a_download_that_cannot_fit_is_not_begun(server, tmp_path):
    server.listing[0]["size"] = 2**60
    with pytest.raises(FetchError, match=r"1,152,921,504,606\.9.* MB are to be downloaded, the disk has"):
        fetch(server, tmp_path)
    assert server.asked("cvind.mat") == server.asked("one.zip") == []


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "..",
        ".",
        "",
        ".hidden",
        " x",
        "x ",
        "a\0b",
        "a\nb",
        "a..b",
        "c:x",
        "n" * 201,
        "checksums.json",
        "Checksums.JSON",
        "one.zip.part",
        "one.zip.part.json",
        None,
        5,
    ],
)
def test_a_file_name_that_is_not_plain_is_refused(server, tmp_path, name):
    server.listing[1]["name"] = name
    with pytest.raises(FetchError, match="is not a safe file name"):
        fetch(server, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["brainTumorDataPublic_1-766.zip", "Jun's data, v2 (final).zip", "données.mat", "README"]
)
def test_ordinary_names_are_accepted(server, tmp_path, name):
    server.listing[1]["name"] = name
    fetch(server, tmp_path)
    assert (tmp_path / name).read_bytes() == server.bodies["cvind.mat"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"download_url": "file:///etc/passwd"}, "no address that files are fetched from"),
        ({"download_url": "ftp://127.0.0.1/x"}, "no address that files are fetched from"),
        ({"download_url": "http://"}, "no address that files are fetched from"),
        ({"download_url": "http://[::1"}, "is no address"),
        ({"download_url": None}, "no address that files are fetched from"),
        ({"size": -1}, "size of one.zip is -1"),
        ({"size": "12"}, "size of one.zip is '12'"),
        ({"size": True}, "size of one.zip is True"),
        ({"is_link_only": True}, "one.zip is only a link"),
        ({"computed_md5": "0" * 32}, "MD5 of one.zip is .*, expected one"),
        ({"computed_md5": "", "supplied_md5": ""}, r"MD5 of one.zip is \[\], expected one"),
        ({"computed_md5": "xyz", "supplied_md5": None}, r"MD5 of one.zip is \['xyz'\], expected one"),
        ({"name": "CVIND.mat"}, "lists one file name twice"),
    ],
)
def test_a_list_with_an_unsafe_entry_is_refused(server, tmp_path, change, message):
    server.listing[0] |= change
    with pytest.raises(FetchError, match=message):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "not a JSON file"),
        (b"[]", "has no list of files"),
        (b'{"files": []}', "has no list of files"),
        (b'{"files": ["x"]}', "lists 'x', expected an object"),
        (b" " * (4 * 2**20 + 1), "that is no list of files"),
    ],
)
def test_an_answer_that_is_no_list_is_refused(server, tmp_path, body, message):
    server.faults[f"/v2/articles/{ARTICLE}"] = [lambda handler: handler.answer(body)]
    with pytest.raises(FetchError, match=message):
        fetch(server, tmp_path)


def test_a_list_that_breaks_off_is_asked_for_again(server, tmp_path):
    body = b'{"files": ["' + b"x" * 100 + b'"]}'
    server.faults[f"/v2/articles/{ARTICLE}"] = [lambda handler: handler.answer(body, cut=50)]
    fetch(server, tmp_path)
    assert_complete(server, tmp_path)


def test_an_unknown_article_is_told_with_its_address(server, tmp_path):
    server.faults["/v2/articles/1"] = [fault(404)]
    with pytest.raises(FetchError, match="/v2/articles/1: the server answers 404"):
        fetch_figshare(tmp_path, f"{server.url}/v2/", False, 1, QUICK)


@pytest.mark.parametrize("shown", [True, False])
def test_the_progress_bar_names_each_file_and_reaches_its_end(server, tmp_path, capsys, shown):
    server.faults["/files/one.zip"] = [broken_off(300_000)]
    fetch(server, tmp_path, progress=shown)
    told = capsys.readouterr().err
    for name in server.bodies:
        assert bool(re.search(rf"{re.escape(name)}: 100%", told)) is shown
