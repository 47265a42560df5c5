"""Manifest and signature of a bundle: whether its files are those that its maker listed and signed."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from kdmri_monai.sharing.audit_findings import DANGER, OK, REMARK, WARNING, AuditFinding
from kdmri_monai.sharing.manifest import MANIFEST, SIGNATURE, UNLISTED, ManifestCheck, read_manifest
from kdmri_monai.sharing.signature import SignatureError, verify

MANIFEST_BYTES = 16 << 20
SHOWN = 5


def manifest_findings(files: Mapping[str, Path]) -> Iterator[AuditFinding]:
    """Compares files with the manifest.

    Args:
        files: Of the bundle, by name.

    Yields:
        A danger where something differs; a remark where there is no manifest.
    """
    if MANIFEST not in files:
        yield AuditFinding(REMARK, "manifest", reason="no manifest.json: changes since the packing cannot be seen")
        return
    try:
        listed = read_manifest(_small(files[MANIFEST]))
    except ValueError as error:
        yield AuditFinding(DANGER, "manifest", MANIFEST, reason=str(error))
        return
    there = {name: _entry(path) for name, path in files.items() if name not in UNLISTED}
    check = ManifestCheck(
        tuple(sorted(listed.keys() - there.keys())),
        tuple(sorted(there.keys() - listed.keys())),
        tuple(sorted(name for name in listed.keys() & there.keys() if listed[name] != there[name])),
    )
    differing = (("missing", check.missing), ("not listed", check.extra), ("changed", check.changed))
    for what, names in differing:
        for name in names[:SHOWN]:
            yield AuditFinding(DANGER, "manifest", name, reason=f"{what}, going by manifest.json")
        if len(names) > SHOWN:
            yield AuditFinding(DANGER, "manifest", reason=f"{len(names) - SHOWN} more files {what}")
    if check:
        yield AuditFinding(OK, "manifest", MANIFEST, reason=f"lists all {len(listed):,} files, as they are")


def signature_findings(files: Mapping[str, Path], key: Path | None) -> Iterator[AuditFinding]:
    """Checks the signature of the manifest.

    Args:
        files: Of the bundle, by name.
        key: Public key of the maker; without one, nothing can be said.

    Yields:
        With a key, a danger where the signature is missing or wrong, or could not be checked.

    Raises:
        FileNotFoundError: There is no such key.
    """
    signed = SIGNATURE in files and MANIFEST in files
    if key is None:
        if signed:
            yield AuditFinding(WARNING, "signature", SIGNATURE, reason="not checked; give the maker's key with --key")
        else:
            yield AuditFinding(REMARK, "signature", reason="not signed")
        return
    manifest = _small(files[MANIFEST]) if MANIFEST in files else b""
    try:
        verify(manifest, _small(files[SIGNATURE]) if signed else b"", key)
    except SignatureError as error:
        reason = str(error) if signed else "not signed, and a key was given"
        yield AuditFinding(DANGER, "signature", SIGNATURE if signed else "", reason=reason)
    else:
        yield AuditFinding(OK, "signature", SIGNATURE, reason=f"made by the owner of {key.name}")


def _small(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MANIFEST_BYTES + 1)
    if len(data) > MANIFEST_BYTES:
        raise ValueError(f"{path.name} has more than {MANIFEST_BYTES:,} bytes")
    return data


def _entry(path: Path) -> dict[str, str | int]:
    """As ``manifest.entry``, the file read in blocks (``hashlib.file_digest`` came with Python 3.11)."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {"sha256": digest.hexdigest(), "bytes": size}
