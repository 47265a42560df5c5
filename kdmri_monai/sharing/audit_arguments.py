"""Arguments of components that decide whether a known component stays harmless."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kdmri_monai.sharing.allowed_targets import target_verdict
from kdmri_monai.sharing.audit_allowed import BY_NAME, FLAGS, FREE_NAMES, NEVER, PLAIN_NAMES, SHARP, TEXT_SUFFIXES
from kdmri_monai.sharing.audit_config_items import EXPRESSION, MACRO, REFERENCE, Item
from kdmri_monai.sharing.audit_findings import ARBITRARY, HARMLESS, KNOWN, Verdict
from kdmri_monai.sharing.audit_substitution import with_references

MODE, MODES = "_mode_", ("default", "callable")
_SHAPE = re.compile(r"\s*(\*|[0-9np\s*+\-/()]+)\s*\Z", re.ASCII)
_FILE_NAMES = ("filename", "mapping_file_path")
_PATH = re.compile(r"[A-Za-z_][\w.]*\Z", re.ASCII)


def argument_verdicts(item: Item, targets: Sequence[str], is_component: Callable[[str], bool]) -> Iterator[Verdict]:
    """Judges one item as an argument.

    Args:
        item: Of a configuration.
        targets: What the component is that it is an argument of, in any configuration; empty where that is not seen.
        is_component: Whether an id is a known component wherever the bundle defines it.

    Yields:
        Verdicts, only where the key is one that matters.
    """
    if item.key in NEVER and item.value not in (None, False):
        yield Verdict(ARBITRARY, NEVER[item.key])
    if item.key in FLAGS and item.value is not FLAGS[item.key] and item.value is not None:
        yield Verdict(ARBITRARY, f"gives {item.key} another value than {FLAGS[item.key]}")
    if item.key in BY_NAME and isinstance(item.value, str):
        yield _by_name(item.key, item.value, is_component)
    if item.key == "spatial_shape" and isinstance(item.value, str) and not _is_shape(item.value):
        yield Verdict(ARBITRARY, "MONAI evaluates the parts of a spatial_shape, and this is no arithmetic")
    if item.key in _FILE_NAMES and item.above and _any_begins(targets, FREE_NAMES):
        yield _file_name(item.value)
    if item.key == MODE:
        yield _mode(item.value, targets)


def _is_shape(text: str) -> bool:
    """Whether a size is arithmetic with ``n`` and ``p``; expressions and references are judged as such."""
    return text.startswith((EXPRESSION, REFERENCE)) or bool(_SHAPE.match(text))


def _any_begins(targets: Sequence[str], names: tuple[str, ...]) -> bool:
    """Whether a target may be one of some classes; one that is not seen may be any."""
    return not targets or any(target.rpartition(".")[2].startswith(names) for target in targets)


def _mode(mode: Any, targets: Sequence[str]) -> Verdict:
    """Judges ``_mode_``: the component is made, or handed on to be called by something else."""
    if not isinstance(mode, str) or mode.strip() not in MODES:
        return Verdict(ARBITRARY, f"_mode_ {mode!r} is not one of {', '.join(MODES)}; another opens a debugger")
    if mode.strip() == "callable" and _any_begins(targets, SHARP):
        return Verdict(ARBITRARY, "hands on a component whose arguments cannot be judged where it is called")
    return Verdict(HARMLESS)


def _by_name(key: str, value: str, is_component: Callable[[str], bool]) -> Verdict:
    if value.startswith(REFERENCE) and is_component(value[1:]):
        return Verdict(KNOWN)
    if value.startswith((REFERENCE, MACRO)):
        return Verdict(ARBITRARY, f"{key} is imported by its name, and the name is chosen elsewhere ({value})")
    if value.startswith(EXPRESSION):
        computed = not _PATH.match(value[1:])
        reason = f"{key} is imported by its name, and the name is computed"
        return Verdict(ARBITRARY, reason) if computed else Verdict(HARMLESS)
    if value.lower() not in PLAIN_NAMES and not _known_name(key, value):
        return Verdict(ARBITRARY, f"{key} is imported by its name, and {value!r} is not a known component")
    return Verdict(KNOWN)


def _known_name(key: str, name: str) -> bool:
    return target_verdict(name).harmless if "." in name else target_verdict(f"{BY_NAME[key]}.{name}").harmless


def _file_name(value: Any) -> Verdict:
    if value is None or (isinstance(value, str) and _ends_well(value)):
        return Verdict(HARMLESS)
    return Verdict(ARBITRARY, f"writes text to a file that is not seen to end in {', '.join(TEXT_SUFFIXES)}")


def _ends_well(value: str) -> bool:
    if not value.startswith((EXPRESSION, REFERENCE, MACRO)):
        return value.endswith(TEXT_SUFFIXES)
    if not value.startswith(EXPRESSION):
        return False
    try:
        return _node_ends_well(ast.parse(with_references(value[1:]), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _node_ends_well(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value.endswith(TEXT_SUFFIXES)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _node_ends_well(node.right)
    if isinstance(node, ast.JoinedStr) and node.values:
        return _node_ends_well(node.values[-1])
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.path.join" and node.args:
        return not node.keywords and _node_ends_well(node.args[-1])
    return False
