"""One published file: got with resume and retries, and given its name only when its checksum is right."""

import errno
import hashlib
import http.client
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tqdm import tqdm

from kdmri_monai.data.errors import FetchError
from kdmri_monai.data.http_transport import RangeRefusedError, RefusedError, UnavailableError, answer, chunks
from kdmri_monai.data.partial_download import PartialFile

logger = logging.getLogger(__name__)

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class RemoteFile:
    """A file as its publisher lists it.

    Attributes:
        name: File name.
        size: Bytes.
        md5: MD5 that the publisher states, 32 hexadecimal digits. It guards against damage, not against forgery.
        urls: Addresses of the file, best first.
    """

    name: str
    size: int
    md5: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Transfer:
    """How patient a download is.

    Attributes:
        timeout: Seconds without any byte after which the server counts as silent.
        retries: Failures in a row, without a new byte between them, after which the download gives up.
        pause: Seconds before the first new attempt; doubled each time, up to a minute.
    """

    timeout: float = 30.0
    retries: int = 5
    pause: float = 1.0


def file_digests(path: Path) -> dict[str, str]:
    """MD5 and SHA-256 of a file, read once.

    Args:
        path: The file.

    Returns:
        ``{"md5": ..., "sha256": ...}``, hexadecimal.
    """
    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with path.open("rb") as file:
        while piece := file.read(2**20):
            for digest in digests.values():
                digest.update(piece)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def partial_file(remote: RemoteFile, folder: Path) -> PartialFile:
    """The part of a file that a folder may hold from an earlier run."""
    return PartialFile(folder / remote.name, {"md5": remote.md5, "size": remote.size})


def download(remote: RemoteFile, folder: Path, transfer: Transfer, progress: bool) -> dict[str, str]:
    """Downloads a file, going on from what an interrupted run has left.

    Args:
        remote: The file.
        folder: Where it goes; an earlier file of that name is replaced.
        transfer: How patient to be.
        progress: Whether to show a progress bar.

    Returns:
        Its digests, as ``file_digests``.

    Raises:
        FetchError: The server refuses or stays away, the disk is full (what was got is kept for the next run), or
            the checksum is wrong (what was got is removed).
    """
    part, target = partial_file(remote, folder), folder / remote.name
    with tqdm(
        total=remote.size, unit="B", unit_scale=True, unit_divisor=1024, desc=remote.name, disable=not progress
    ) as bar:
        for may_begin_again in (True, False):
            _get_bytes(remote, part, transfer, bar)
            digests = file_digests(part.path)
            if digests["md5"] == remote.md5:
                part.finish(target)
                return digests
            part.discard()
            told = f"{target}: wrong checksum, expected MD5 {remote.md5}, found {digests['md5']}"
            if not (part.pieced and may_begin_again):
                break
            logger.warning("%s; it was put together from pieces and is downloaded anew", told)
    raise FetchError(f"{told}; what was downloaded is removed")


def _get_bytes(remote: RemoteFile, part: PartialFile, transfer: Transfer, bar: "tqdm[None]") -> None:
    """Fills the part, from the first address that hands out the file."""
    for url in remote.urls:
        try:
            return _get_from(url, remote, part, transfer, bar)
        except RefusedError as error:
            logger.warning("%s", error)
            refusal = error
    raise FetchError(f"{refusal}; download {remote.name} with a browser into {part.path.parent} and run again")


def _get_from(url: str, remote: RemoteFile, part: PartialFile, transfer: Transfer, bar: "tqdm[None]") -> None:
    failures, most = 0, part.size()
    while True:
        reason, wait = f"{url}: the connection ended early", None
        try:
            _attempt(url, remote, part, transfer.timeout, bar)
        except UnavailableError as error:
            reason, wait = str(error), error.wait
        except RangeRefusedError as error:
            reason = str(error)
            part.discard()  # longer than the file on the server: begin again
        if part.path.exists() and part.size() == remote.size:
            return
        failures = 1 if part.size() > most else failures + 1
        most = max(most, part.size())  # bytes that were got before and thrown away are no progress
        if failures > transfer.retries:
            raise FetchError(f"{remote.name}: given up after {failures} failures: {reason}; run again to go on")
        seconds = min(transfer.pause * 2 ** (failures - 1), 60.0) if wait is None else wait
        logger.warning("%s: %s; again in %.1f s", remote.name, reason, seconds)
        time.sleep(seconds)


def _attempt(url: str, remote: RemoteFile, part: PartialFile, timeout: float, bar: "tqdm[None]") -> None:
    """One request, from where the part ends; it may end early."""
    have = part.size()
    if have > remote.size:
        part.discard()
        have = 0
    if have == remote.size and have > 0:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    validator = part.validator()
    if have and validator is not None:
        headers["If-Range"] = validator
    with answer(url, headers, timeout) as response:
        goes_on = response.status == 206
        if goes_on and not _continues(response, have, remote.size):
            part.discard()
            raise UnavailableError(f"{url}: the server sends other bytes than asked for")
        have = have if goes_on else 0
        _check_length(url, response, remote, have)
        bar.reset(remote.size)
        bar.update(have)
        pieces = chunks(response, remote.size - have)
        with _room_for(part), part.resume() if goes_on else part.begin(_validator(response)) as file:
            for piece in pieces:
                _write(file, piece)
                bar.update(len(piece))


def _continues(response: http.client.HTTPResponse, have: int, size: int) -> bool:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == have > 0 and match[2] in ("*", str(size))


def _check_length(url: str, response: http.client.HTTPResponse, remote: RemoteFile, have: int) -> None:
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) != remote.size - have:
        raise FetchError(f"{url}: has {have + int(length)} bytes, listed are {remote.size}: not the published file")


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What If-Range may carry: a strong ETag, or a date (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag")
    return response.headers.get("Last-Modified") if etag is None or etag.startswith("W/") else etag


def _write(file: IO[bytes], piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


@contextmanager
def _room_for(part: PartialFile) -> Iterator[None]:
    """A full disk, told so that a person can go on; errors of the network do not pass through here."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        reason = f"{error.strerror}; {part.size()} bytes are kept, make room and run again"
        raise FetchError(f"{part.path}: {reason}") from error
