"""Zip archives of PyTorch: checkpoints, TorchScript programs and exported programs (``.pt2``)."""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import IO

from kdmri_monai.sharing.audit_exported import exported_audit
from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, OK, WARNING, AuditFinding, shown
from kdmri_monai.sharing.audit_pickle import UnreadablePickleError, pickled_globals, unsafe

GROUP = "weights"
MEMBER_BYTES = 256 << 20
"""Most bytes of a member that are read: code, pickles and JSON are far smaller."""

_SCRIPT_MODULE = "__torch__."
_FILES = re.compile(
    r"\b(?:torch|ops\.aten)\.(from_file|save|load|_?load\w*|hash_\w*|open)\b|\bprim::rpc\w*|\brpc_\w+\("
)
_OPERATORS = re.compile(r"\bops\.(\w+)\.|torch\.ops\.(\w+)\.|\btorch\.classes\.([\w.]+)")
_KNOWN_OPERATORS = frozenset(("aten", "prim", "quantized", "prims", "image", "torchvision", "_caffe2"))


def torch_zip_audit(name: str, archive: zipfile.ZipFile) -> Iterator[AuditFinding]:
    """Judges an archive of PyTorch.

    Args:
        name: Path in the bundle.
        archive: Open, its structure checked.

    Yields:
        What it is and what loading it does, worst findings included.
    """
    names = archive.namelist()
    inner = [member.split("/", 1)[1] if "/" in member else member for member in names]
    exported = "archive_format" in inner or any(member.endswith("models/model.json") for member in inner)
    script = not exported and ("constants.pkl" in inner or any(member.startswith("code/") for member in inner))
    dangers = list(_dangers(name, archive, script))
    yield from dangers
    if exported:
        texts = {member: _content(archive, member) for member in names if member.endswith(".json")}
        yield from exported_audit(name, texts)
    elif script:
        reason = (
            "a TorchScript program, run by PyTorch's interpreter, not by Python: it computes with tensors; "
            "operators that read or write files are named where it has any"
        )
        yield AuditFinding(WARNING, GROUP, name, reason=reason)
    elif not dangers:
        yield AuditFinding(OK, GROUP, name, reason="PyTorch checkpoint that weights_only reads")


def embedded_configs(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """JSON texts that ``ckpt_export`` puts into a TorchScript file, by member: MONAI reads them as configuration."""
    return {
        member: _content(archive, member)
        for member in archive.namelist()
        if "/extra/" in f"/{member}" and member.lower().endswith((".json", ".yaml", ".yml"))
    }


def _dangers(name: str, archive: zipfile.ZipFile, script: bool) -> Iterator[AuditFinding]:
    for info in archive.infolist():
        member, place = info.filename, f"{name}:{info.filename}"
        if member.endswith(".pkl") or "custom_obj" in member:
            yield from _pickle(place, _content(archive, member), script)
        elif "/code/" in f"/{member}" and member.endswith(".py"):
            yield from _code(place, _content(archive, member).decode("utf-8", "replace"))
        elif member.endswith((".so", ".o", ".cpp", ".cu", ".cubin", ".dll", ".dylib")):
            yield AuditFinding(DANGER, GROUP, place, verdict=ARBITRARY, reason="compiled code, which loading runs")
        else:
            yield from _hidden(place, archive, member, script)


def _hidden(place: str, archive: zipfile.ZipFile, member: str, script: bool) -> Iterator[AuditFinding]:
    """Pickles and archives under other names: ``torch.export.load`` unpickles weights that say so."""
    with archive.open(member) as file:
        head = file.read(4)
    if head == b"PK\3\4":
        inner = io.BytesIO(_content(archive, member))
        try:
            with zipfile.ZipFile(inner) as nested:
                yield from _dangers(place, nested, script=False)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            yield AuditFinding(DANGER, GROUP, place, verdict=ARBITRARY, reason=f"damaged inner archive: {error}")
    elif head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        try:
            found_globals = pickled_globals(_content(archive, member))
        except UnreadablePickleError:
            return  # raw numbers that begin like a pickle; unpickled, they would fail before any global
        yield from _globals(place, found_globals, script)


def _pickle(place: str, data: bytes, script: bool) -> Iterator[AuditFinding]:
    try:
        yield from _globals(place, pickled_globals(data), script)
    except UnreadablePickleError as error:
        yield AuditFinding(DANGER, GROUP, place, verdict=ARBITRARY, reason=f"a pickle that cannot be read: {error}")


def _globals(place: str, names: set[str], script: bool) -> Iterator[AuditFinding]:
    for one in unsafe(names):
        if script and (one.startswith((_SCRIPT_MODULE, "torch.jit._pickle."))):
            continue  # a class of the program itself, or PyTorch's own marker of a list
        reason = "a pickle that calls what weights_only refuses; loading it otherwise runs it"
        yield AuditFinding(DANGER, GROUP, place, text=shown(one), verdict=ARBITRARY, reason=reason)


def _code(place: str, text: str) -> Iterator[AuditFinding]:
    for match in _FILES.finditer(text):
        reason = "TorchScript operator that reads or writes files, or calls other computers"
        yield AuditFinding(DANGER, GROUP, place, text=shown(match.group(0)), verdict=ARBITRARY, reason=reason)
    for match in _OPERATORS.finditer(text):
        space = next(filter(None, match.groups()))
        if space not in _KNOWN_OPERATORS:
            reason = f"operators of {space}, which are not PyTorch's own: compiled code must be loaded for them"
            yield AuditFinding(DANGER, GROUP, place, text=shown(match.group(0)), verdict=ARBITRARY, reason=reason)


def _content(archive: zipfile.ZipFile, member: str) -> bytes:
    with archive.open(member) as file:
        data = file.read(MEMBER_BYTES + 1)
    if len(data) > MEMBER_BYTES:
        raise ValueError(f"{member} has more than {MEMBER_BYTES:,} bytes")
    return data


def read_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Opens an archive that lies in a bundle; raises ``ValueError`` where it is damaged."""
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise ValueError(f"damaged zip archive: {error}") from error
