"""Weights by what they are, not by what they are called: which formats can run code when they are read."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, REMARK, WARNING, AuditFinding, shown
from kdmri_monai.sharing.audit_onnx import looks_onnx, onnx_audit
from kdmri_monai.sharing.audit_pickle import (
    UnreadablePickleError,
    looks_pickled,
    pickle_series,
    pickled_globals,
    unsafe,
)
from kdmri_monai.sharing.audit_tensor_files import NUMPY, is_safetensors, numpy_audit, safetensors_audit
from kdmri_monai.sharing.audit_torch_zip import embedded_configs, read_archive, torch_zip_audit
from kdmri_monai.sharing.safe_archive import archive_problems

GROUP = "weights"
ZIP = b"PK\3\4"
_SUFFIXES = ".pt .pth .pkl .pickle .ckpt .bin .ts .pt2 .safetensors .onnx .npz .npy .joblib .dill .h5 .engine .plan"
SUFFIXES = frozenset(_SUFFIXES.split())
"""Names that promise weights."""

_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
_PROGRAMS = {b"\x7fELF": "ELF", b"MZ": "Windows", b"\xcf\xfa\xed\xfe": "Mach-O", b"\xca\xfe\xba\xbe": "Mach-O or Java"}
_TEXT_PICKLE = 1 << 20
"""Bytes of a file without a known beginning in which a pickle in text form (protocol 0) is looked for."""


def weights_audit(name: str, path: Path) -> tuple[list[AuditFinding], dict[str, bytes]]:
    """Judges a file by its content; nothing is unpickled or run.

    Args:
        name: Path in the bundle.
        path: Where it lies.

    Returns:
        Findings, none for a file that is not of a format of weights and not called as one; and configurations that
        were found inside, by ``name:member``.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(0)
        configs: dict[str, bytes] = {}
        if head.startswith(ZIP):
            return _archive(name, file)
        findings = list(_by_beginning(name, file, head, path.stat().st_size))
        if not findings and path.suffix.lower() == ".pth":
            findings.append(_danger(name, "holds no weights; Python runs a .pth file that lies among its packages"))
        elif not findings and path.suffix.lower() in SUFFIXES:
            reason = "is called as weights are, and is of no format that is known"
            findings.append(AuditFinding(WARNING, GROUP, name, reason=reason))
        return findings + list(_zip_at_the_end(name, file)), configs


def _by_beginning(name: str, file: IO[bytes], head: bytes, size: int) -> Iterator[AuditFinding]:
    program = next((kind for magic, kind in _PROGRAMS.items() if head.startswith(magic)), None)
    packed = next((kind for magic, kind in _ARCHIVES.items() if head.startswith(magic)), None)
    if program is not None:
        yield AuditFinding(DANGER, "files", name, verdict=ARBITRARY, reason=f"a compiled program ({program})")
    elif packed is not None and not name.lower().endswith(".nii.gz"):
        yield AuditFinding(WARNING, "files", name, reason=f"packed with {packed}; what is inside was not judged")
    elif looks_pickled(head):
        yield from _legacy(name, file)
    elif head.startswith(NUMPY):
        yield from numpy_audit(name, file)
    elif is_safetensors(head, size):
        yield from safetensors_audit(name, file, size)
    elif looks_onnx(head) or name.lower().endswith(".onnx"):
        yield from onnx_audit(name, file)
    else:
        yield from _text_pickle(name, file.read(_TEXT_PICKLE))


def _archive(name: str, file: IO[bytes]) -> tuple[list[AuditFinding], dict[str, bytes]]:
    try:
        with read_archive(file) as archive:
            if reasons := list(archive_problems(archive, file)):
                return [_danger(name, f"zip archive that is refused: {reasons[0]}")], {}
            return list(_members(name, archive)), {
                f"{name}:{member}": data for member, data in embedded_configs(archive).items()
            }
    except (ValueError, OSError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        return [_danger(name, str(error))], {}


def _members(name: str, archive: zipfile.ZipFile) -> Iterator[AuditFinding]:
    names = archive.namelist()
    if any(member.endswith((".pkl", "/version", "/.format_version", "archive_format")) for member in names):
        yield from torch_zip_audit(name, archive)
    elif names and all(member.endswith(".npy") for member in names):
        for member in names:
            with archive.open(member) as file:
                yield from numpy_audit(f"{name}:{member}", io.BytesIO(file.read(1 << 21)))
    else:
        yield AuditFinding(WARNING, "files", name, reason=f"zip archive of {len(names):,} files, not opened")


def _legacy(name: str, file: IO[bytes]) -> Iterator[AuditFinding]:
    found: set[str] = set()
    try:
        for names in pickle_series(file):
            found |= names
    except UnreadablePickleError as error:
        if not found:
            yield _danger(name, f"begins as a pickle and cannot be read as one: {error}")
            return
    dangers = unsafe(found)
    for one in dangers:
        yield _danger(name, "a pickle that calls what weights_only refuses; loading it otherwise runs it", shown(one))
    if not dangers:
        yield AuditFinding(REMARK, GROUP, name, reason="weights in PyTorch's old format, which weights_only reads")


def _text_pickle(name: str, data: bytes) -> Iterator[AuditFinding]:
    """A pickle of protocol 0 or 1 has no mark at its beginning."""
    try:
        found = unsafe(pickled_globals(data))
    except UnreadablePickleError:
        return
    for one in found:
        yield _danger(name, "a pickle in text form; loading it runs what it names", shown(one))


def _zip_at_the_end(name: str, file: IO[bytes]) -> Iterator[AuditFinding]:
    """A file of another format that is a zip archive as well: readers that look at the end see another content."""
    file.seek(0)
    if zipfile.is_zipfile(file):
        yield _danger(name, "is a zip archive behind something else: two readers see two contents")


def _danger(name: str, reason: str, text: str = "") -> AuditFinding:
    return AuditFinding(DANGER, GROUP, name, text=text, verdict=ARBITRARY, reason=reason)
