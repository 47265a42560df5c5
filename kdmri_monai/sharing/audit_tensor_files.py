"""Weights and arrays that hold numbers only, if they hold what they say: safetensors and NumPy files."""

import ast
import json
import struct
from collections.abc import Iterator
from typing import IO

from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, OK, AuditFinding

GROUP = "weights"
NUMPY = b"\x93NUMPY"
HEADER_BYTES = 100_000_000
_NUMPY_HEADER = 1 << 20
_WIDTHS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON header, then the header."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= min(size - 8, HEADER_BYTES)


def safetensors_audit(name: str, file: IO[bytes], size: int) -> list[AuditFinding]:
    """Checks that a safetensors file is what it says: a header and the bytes of its tensors, without rest or overlap.

    Args:
        name: Path in the bundle.
        file: At its beginning.
        size: Bytes.

    Returns:
        One finding.
    """
    try:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(min(length, HEADER_BYTES)).decode("utf-8"))
        spans = sorted(_span(entry) for key, entry in header.items() if key != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        return [AuditFinding(DANGER, GROUP, name, verdict=ARBITRARY, reason=f"damaged safetensors header: {error}")]
    end = 0
    for start, stop in spans:
        if start != end:
            return [AuditFinding(DANGER, GROUP, name, verdict=ARBITRARY, reason="safetensors with gaps or overlaps")]
        end = stop
    if 8 + length + end != size:
        reason = f"safetensors with {size - 8 - length - end:,} bytes that belong to no tensor"
        return [AuditFinding(DANGER, GROUP, name, verdict=ARBITRARY, reason=reason)]
    return [AuditFinding(OK, GROUP, name, reason=f"safetensors, {len(spans):,} tensors: numbers only")]


def _span(entry: dict[str, list[int]]) -> tuple[int, int]:
    start, stop = entry["data_offsets"]
    count = 1
    for side in entry["shape"]:
        if side < 0:
            raise ValueError("a negative size")
        count *= side
    width = _WIDTHS.get(str(entry["dtype"]))
    if width is not None and stop - start != count * width:
        raise ValueError("a tensor whose bytes do not fit its shape")
    return start, stop


def numpy_audit(name: str, file: IO[bytes]) -> Iterator[AuditFinding]:
    """Judges a ``.npy`` file by its header: an array of objects is a pickle.

    Args:
        name: Path in the bundle, members of an ``.npz`` after a colon.
        file: At its beginning.

    Yields:
        One finding.
    """
    try:
        file.read(6)
        major = file.read(2)[0]
        form, size = ("<H", 2) if major == 1 else ("<I", 4)
        length = struct.unpack(form, file.read(size))[0]
        if length > _NUMPY_HEADER:
            raise ValueError("its header is too long")
        header = ast.literal_eval(file.read(length).decode("latin-1").strip())
        kind = str(header["descr"])
    except (
        ValueError,
        SyntaxError,
        KeyError,
        TypeError,
        IndexError,
        struct.error,
        RecursionError,
        MemoryError,
    ) as error:
        yield AuditFinding(DANGER, GROUP, name, verdict=ARBITRARY, reason=f"damaged NumPy file: {error}")
        return
    if "O" in kind:
        reason = "NumPy array of Python objects, which are pickled: np.load runs it where allow_pickle is true"
        yield AuditFinding(DANGER, GROUP, name, verdict=ARBITRARY, reason=reason)
    else:
        yield AuditFinding(OK, GROUP, name, reason="NumPy array of numbers")
