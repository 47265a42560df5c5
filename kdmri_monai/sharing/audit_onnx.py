"""ONNX files: where their data lies, and whether their operators are the standard's own."""

import importlib
from collections.abc import Iterator
from typing import IO, Any

from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, OK, WARNING, AuditFinding, shown
from kdmri_monai.sharing.audit_names import name_problem

GROUP = "weights"
STANDARD = frozenset(("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"))
ONNX_BYTES = 2 << 30


def looks_onnx(head: bytes) -> bool:
    """Whether content begins as an ONNX model does: its first field is the version of the format, a small number."""
    return (
        len(head) > 2
        and head[0] == 0x08
        and 1 <= head[1] <= 32
        and head[2] in (0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42)
    )


def onnx_audit(name: str, file: IO[bytes]) -> Iterator[AuditFinding]:
    """Judges an ONNX file; its graph is data, run by ONNX Runtime.

    Args:
        name: Path in the bundle.
        file: At its beginning.

    Yields:
        Operators that need compiled code, data outside the bundle; or that it could not be checked.
    """
    try:
        import onnx

        DecodeError = importlib.import_module("google.protobuf.message").DecodeError
    except ModuleNotFoundError:
        yield AuditFinding(WARNING, GROUP, name, reason="ONNX, not checked: the package onnx is not installed")
        return
    data = file.read(ONNX_BYTES + 1)
    model = onnx.ModelProto()
    try:
        if len(data) > ONNX_BYTES:
            raise ValueError("too large")
        model.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        yield AuditFinding(DANGER, GROUP, name, verdict=ARBITRARY, reason=f"damaged ONNX file: {error}")
        return
    found = [*_external(name, model), *_domains(name, model)]
    yield from found
    if not found:
        yield AuditFinding(OK, GROUP, name, reason="ONNX graph of standard operators, its weights inside")


def _external(name: str, model: Any) -> Iterator[AuditFinding]:
    from onnx import TensorProto

    tensors = (one for one in _messages(model, TensorProto) if one.data_location == one.EXTERNAL or one.external_data)
    places = {entry.value for one in tensors for entry in one.external_data if entry.key == "location"}
    for place in sorted(places):
        if problem := name_problem(place):
            reason = f"takes weights from a file outside the bundle: it {problem}"
            yield AuditFinding(DANGER, GROUP, name, text=shown(place), verdict=ARBITRARY, reason=reason)
        else:
            yield AuditFinding(WARNING, GROUP, name, text=shown(place), reason="keeps its weights in another file")


def _domains(name: str, model: Any) -> Iterator[AuditFinding]:
    from onnx import NodeProto

    own = {function.domain for function in model.functions}
    used = {node.domain for node in _messages(model, NodeProto)} - STANDARD - own
    for domain in sorted(used):
        reason = "operators that are not of the ONNX standard: compiled code must be loaded for them"
        yield AuditFinding(DANGER, GROUP, name, text=shown(domain), verdict=ARBITRARY, reason=reason)


def _messages(message: Any, kind: type) -> Iterator[Any]:
    """Every message of a kind inside another, without recursion."""
    stack = [message]
    while stack:
        one = stack.pop()
        if isinstance(one, kind):
            yield one
        for field, value in one.ListFields():
            if field.message_type is not None:
                stack += [value] if hasattr(value, "ListFields") else list(value)
