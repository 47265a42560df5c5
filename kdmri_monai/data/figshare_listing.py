"""The list of files that Figshare publishes for an article.

Source: Figshare API v2, ``GET /articles/{id}``: a JSON object whose ``files`` have ``id``, ``name``, ``size``,
``is_link_only``, ``download_url``, ``supplied_md5`` and ``computed_md5``; and ``GET /file/download/{id}``.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdmri_monai.data.download import RemoteFile, Transfer
from kdmri_monai.data.errors import FetchError
from kdmri_monai.data.http_transport import RangeRefusedError, UnavailableError, answer, check_url, chunks

_MOST_BYTES = 4 * 2**20
_UNSAFE = re.compile(r"[/\\:]|\.\.|^[.\s]|[.\s]$")
_OURS = re.compile(r"checksums\.json|.*\.part(\.json)?", re.IGNORECASE)
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Listing:
    """An article as Figshare lists it.

    Attributes:
        about: What identifies the article: ``title``, ``doi``, ``version``, ``license``, where they are given.
        files: Its files.
    """

    about: dict[str, Any]
    files: tuple[RemoteFile, ...]


def read_listing(base_url: str, article: int, transfer: Transfer) -> Listing:
    """Asks Figshare for the files of an article.

    Args:
        base_url: Address of the API, http or https.
        article: Number of the article.
        transfer: How patient to be.

    Returns:
        The files, names and addresses checked.

    Raises:
        FetchError: The server stays away, or its list is not of the form above, or has a file name or an address
            that is not safe.
    """
    url = f"{base_url.rstrip('/')}/articles/{article}"
    content = _get(url, transfer)
    try:
        listed = json.loads(content)
    except ValueError as error:
        raise FetchError(f"{url}: not a JSON file: {error}") from error
    if not isinstance(listed, dict) or not isinstance(listed.get("files"), list) or not listed["files"]:
        raise FetchError(f"{url}: has no list of files")
    files = tuple(_remote_file(entry, base_url, url) for entry in listed["files"])
    names = [file.name.casefold() for file in files]
    if len(set(names)) < len(names):
        raise FetchError(f"{url}: lists one file name twice: {', '.join(sorted(names))}")
    licence = listed.get("license")
    about = {key: listed[key] for key in ("title", "doi", "version") if key in listed}
    if isinstance(licence, dict) and "name" in licence:
        about["license"] = licence["name"]
    return Listing(about, files)


def _get(url: str, transfer: Transfer) -> bytes:
    """A small answer, with retries."""
    failures = 0
    while True:
        try:
            with answer(url, {"Accept": "application/json"}, transfer.timeout) as response:
                content = b"".join(chunks(response, _MOST_BYTES + 1))
                length = response.headers.get("Content-Length", "")
            if length.isdigit() and len(content) < min(int(length), _MOST_BYTES):
                raise UnavailableError(f"{url}: the connection ended early")
            break
        except UnavailableError as error:
            failures += 1
            if failures > transfer.retries:
                raise FetchError(f"given up after {failures} failures: {error}") from error
            time.sleep(transfer.pause * 2 ** (failures - 1) if error.wait is None else error.wait)
        except RangeRefusedError as error:
            raise FetchError(str(error)) from error
    if len(content) > _MOST_BYTES:
        raise FetchError(f"{url}: more than {_MOST_BYTES} bytes, that is no list of files")
    return content


def _remote_file(entry: Any, base_url: str, place: str) -> RemoteFile:
    """One entry of the list, checked: it comes from outside, and its name becomes a path."""
    if not isinstance(entry, Mapping):
        raise FetchError(f"{place}: lists {entry!r}, expected an object")
    name, size, number = entry.get("name"), entry.get("size"), entry.get("id")
    if not isinstance(name, str) or not _is_safe(name):
        raise FetchError(f"{place}: lists a file named {name!r}, which is not a safe file name")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise FetchError(f"{place}: size of {name} is {size!r}, expected a whole number of bytes")
    if entry.get("is_link_only"):
        raise FetchError(f"{place}: {name} is only a link to {entry.get('download_url')!r}")
    sums = {entry[key].lower() for key in ("computed_md5", "supplied_md5") if isinstance(entry.get(key), str)} - {""}
    if len(sums) != 1 or not _MD5.fullmatch(next(iter(sums))):
        raise FetchError(f"{place}: MD5 of {name} is {sorted(sums)}, expected one of 32 hexadecimal digits")
    secure = base_url.startswith("https:")
    urls = [check_url(entry.get("download_url"), secure)]
    if isinstance(number, int) and not isinstance(number, bool):
        urls.append(check_url(f"{base_url.rstrip('/')}/file/download/{number}", secure))
    return RemoteFile(name, size, sums.pop(), tuple(urls))


def _is_safe(name: str) -> bool:
    """A plain, visible file name, none of those that this package writes itself, with room for ``.part.json``."""
    plain = name.isprintable() and 0 < len(name.encode("utf-8", "replace")) <= 200
    return plain and not _UNSAFE.search(name) and not _OURS.fullmatch(name)
