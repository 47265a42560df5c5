"""Exported programs (``.pt2``): what ``torch.export.load`` evaluates, imports and looks up from their JSON.

Read in PyTorch 2.13: sizes go to SymPy's ``sympify``, which evaluates Python; ``module()`` executes ``guards_code``; a
tree's ``default_factory`` is imported; an operator's name is followed attribute by attribute from ``torch``.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kdmri_monai.sharing.audit_arithmetic import is_arithmetic, is_guard
from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, WARNING, AuditFinding, shown

GROUP = "weights"
DEPTH = 200
_OPERATOR = re.compile(
    r"(torch\.ops\.(aten|prims?|higher_order|quantized_decomposed)\.\w+(\.\w+)?"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_|pos|abs)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.(_?sym_\w+))\Z"
)
_FILES = re.compile(r"torch\.ops\.aten\.(from_file|save|load|_?load\w*)\b")
_TREES = ("in_spec", "out_spec")
_CONTAINERS = frozenset((None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"))


def exported_audit(name: str, texts: Mapping[str, bytes]) -> Iterator[AuditFinding]:
    """Judges the JSON of an exported program.

    Args:
        name: Path of the program in the bundle.
        texts: Its JSON members, by name.

    Yields:
        What could run code, or, where nothing could, what reading it does.
    """
    bad = False
    for member, data in texts.items():
        place = f"{name}:{member}"
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            yield AuditFinding(DANGER, GROUP, place, verdict=ARBITRARY, reason=f"is not JSON: {error}")
            bad = True
            continue
        for text, reason in _problems(content):
            bad = True
            yield AuditFinding(DANGER, GROUP, place, text=shown(text), verdict=ARBITRARY, reason=reason)
    if not bad:
        reason = (
            "an exported program (.pt2): torch.export.load reads a graph of PyTorch's operators, evaluates its sizes "
            "and unpickles parts of it; all of them were judged"
        )
        yield AuditFinding(WARNING, GROUP, name, reason=reason)


def _problems(content: Any) -> Iterator[tuple[str, str]]:
    """Text and reason of what is not plain arithmetic, a plain tree or a plain operator."""
    for key, value in _pairs(content):
        if key == "expr_str" and not (isinstance(value, str) and is_arithmetic(value)):
            yield str(value), "a size that torch.export.load evaluates as Python, and it is no arithmetic"
        elif key == "range_constraints" and isinstance(value, dict):
            for symbol in value:
                if not is_arithmetic(symbol):
                    yield symbol, "a size that torch.export.load evaluates as Python, and it is no arithmetic"
        elif key == "guards_code":
            for line in value if isinstance(value, list) else [value]:
                if line is not None and not (isinstance(line, str) and is_guard(line)):
                    yield str(line), "Python code that the program's module() executes"
        elif key == "target" and isinstance(value, str) and (not _OPERATOR.match(value) or _FILES.match(value)):
            yield value, "an operator that is looked up by its name, and is none of PyTorch's for tensors"
        elif key in _TREES and not _is_plain_tree(value):
            yield str(value), "a tree of inputs or outputs whose parts are imported by their names"


def _pairs(content: Any) -> Iterator[tuple[str, Any]]:
    stack = [content]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield from node.items()
            stack += node.values()
        elif isinstance(node, list):
            stack += node


def _is_plain_tree(value: Any) -> bool:
    """Whether a tree of PyTorch's ``pytree`` consists of Python's own containers."""
    try:
        content = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value == ""
    kinds = [kind for key, kind in _pairs(content) if key == "type"]
    return all(kind in _CONTAINERS for kind in kinds)
