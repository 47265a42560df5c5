"""The published brain tumour data set, fetched from Figshare.

Source: J. Cheng, "brain tumor dataset", doi 10.6084/m9.figshare.1512427, licence CC BY 4.0. Names, sizes and
checksums come from the publisher's own list each time; nothing of them is written down here.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.data.download import RemoteFile, Transfer, download, file_digests, partial_file
from kdmri_monai.data.errors import FetchError
from kdmri_monai.data.figshare_listing import Listing, read_listing

FIGSHARE_API = "https://api.figshare.com/v2"
FIGSHARE_ARTICLE = 1512427
CHECKSUMS = "checksums.json"


def fetch_figshare(
    out: Path,
    base_url: str = FIGSHARE_API,
    progress: bool = True,
    article: int = FIGSHARE_ARTICLE,
    transfer: Transfer | None = None,
) -> list[Path]:
    """Downloads every file of the article; going on where an earlier run was interrupted.

    Files that are there and have the published checksum are left alone. ``checksums.json`` beside them says of each:
    name, size, MD5 as published, SHA-256, address, date.

    Args:
        out: Folder; made where it is missing.
        base_url: Address of the Figshare API.
        progress: Whether to show a progress bar a file.
        article: Number of the article.
        transfer: How patient to be; ``Transfer()`` by default.

    Returns:
        The files, in the order of the publisher's list.

    Raises:
        FetchError: The server refuses or stays away; its list is not to be trusted; a checksum is wrong; the disk
            has not enough room; ``out`` has another file of a published name, or another process fetches into it.
            Whatever was got is kept for the next run.
        OSError: ``out`` cannot be written to.
    """
    transfer = transfer or Transfer()
    out = Path(out)
    listing = read_listing(base_url, article, transfer)
    out.mkdir(parents=True, exist_ok=True)
    with _alone_in(out):
        present = [remote for remote in listing.files if (out / remote.name).exists()]
        missing = [remote for remote in listing.files if remote not in present]
        known = _rows_of_earlier_runs(out)
        rows = {remote.name: _check_present(remote, out, known) for remote in present}
        _check_room(missing, out)
        _write_checksums(out, listing, rows)
        for remote in missing:
            rows[remote.name] = _row(remote, download(remote, out, transfer, progress))
            _write_checksums(out, listing, rows)
    return [out / remote.name for remote in listing.files]


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Two processes that write one part would spoil it."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError(f"{out}: another process is fetching into this folder") from error
        yield
    finally:
        os.close(descriptor)


def _check_present(remote: RemoteFile, out: Path, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The row of a file that is there; a file that is not the published one is nobody's to overwrite."""
    path = out / remote.name
    digests = file_digests(path) if path.is_file() else {"md5": "none, it is not a file"}
    if digests["md5"] != remote.md5:
        raise FetchError(
            f"{path}: there already, and not the published file: expected MD5 {remote.md5}, found {digests['md5']}; "
            "move it away and run again"
        )
    fresh, known = _row(remote, digests), rows.get(remote.name, {})
    return dict(known) if known == {**fresh, "url": known.get("url"), "date": known.get("date")} else fresh


def _check_room(missing: list[RemoteFile], out: Path) -> None:
    needed = sum(remote.size - min(partial_file(remote, out).size(), remote.size) for remote in missing)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise FetchError(f"{out}: {needed / 1e6:,.1f} MB are to be downloaded, the disk has {free / 1e6:,.1f} MB free")


def _row(remote: RemoteFile, digests: Mapping[str, str]) -> dict[str, Any]:
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"name": remote.name, "size": remote.size, **digests, "url": remote.urls[0], "date": date}


def _rows_of_earlier_runs(out: Path) -> dict[str, dict[str, Any]]:
    """Name to row; what is not ours to read counts as nothing, for every file is checked anew anyway."""
    try:
        rows = json.loads((out / CHECKSUMS).read_bytes())["files"]
        return {row["name"]: dict(row) for row in rows}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _write_checksums(out: Path, listing: Listing, rows: Mapping[str, Any]) -> None:
    content = {**listing.about, "files": [rows[remote.name] for remote in listing.files if remote.name in rows]}
    write_atomically(out / CHECKSUMS, f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode())
