"""The list of a bundle's files with their SHA-256."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
FORMAT = "kdmri-manifest-1"
UNLISTED = (MANIFEST, SIGNATURE)
"""Files that no manifest lists: it cannot hold its own checksum, and the signature is made of it."""


class ManifestError(ValueError):
    """A manifest that cannot be read."""


@dataclass(frozen=True)
class ManifestCheck:
    """How a bundle differs from its manifest; all empty where it does not.

    Attributes:
        missing: Files that the manifest lists and the bundle lacks.
        extra: Files that the bundle holds and the manifest does not list.
        changed: Files whose length or checksum is another one.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return not (self.missing or self.extra or self.changed)


def build_manifest(name: str, files: Mapping[str, bytes]) -> bytes:
    """The manifest of a bundle: the same files give the same bytes.

    Args:
        name: Name of the bundle.
        files: Content by path below the bundle's folder, with forward slashes; manifest and signature are left out.

    Returns:
        JSON in UTF-8: keys sorted, a line a value, a newline at the end.
    """
    entries = {path: entry(content) for path, content in files.items() if path not in UNLISTED}
    tree = {"format": FORMAT, "name": name, "files": entries}
    return (json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def entry(content: bytes) -> dict[str, str | int]:
    """Checksum and length of one file."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def read_manifest(content: bytes) -> dict[str, dict[str, str | int]]:
    """Checksum and length by path.

    Args:
        content: ``manifest.json``.

    Raises:
        ManifestError: Not such a file; the message says what is wrong.
    """
    try:
        tree = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{MANIFEST} is no JSON: {error}") from error
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise ManifestError(f"{MANIFEST} is not of the form {FORMAT!r}")
    files = tree.get("files")
    if not isinstance(files, dict) or not all(_is_entry(value) for value in files.values()):
        raise ManifestError(f"{MANIFEST}: files wants sha256 and bytes for every path")
    return files


def check_manifest(content: bytes, files: Mapping[str, bytes]) -> ManifestCheck:
    """Compare a bundle with its manifest.

    Args:
        content: ``manifest.json``.
        files: Content by path, as for ``build_manifest``.

    Raises:
        ManifestError: The manifest cannot be read.
    """
    listed = read_manifest(content)
    held = {path: entry(data) for path, data in files.items() if path not in UNLISTED}
    return ManifestCheck(
        tuple(sorted(listed.keys() - held.keys())),
        tuple(sorted(held.keys() - listed.keys())),
        tuple(sorted(path for path in listed.keys() & held.keys() if listed[path] != held[path])),
    )


def _is_entry(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"sha256", "bytes"}:
        return False
    digest, size = value["sha256"], value["bytes"]
    return isinstance(digest, str) and len(digest) == 64 and isinstance(size, int) and not isinstance(size, bool)
