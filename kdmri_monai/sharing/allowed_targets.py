"""Which ``_target_`` of a configuration is a known component.

MONAI hands a target to ``pydoc.locate``, which imports whatever is named and follows any attribute: ``torch.optim.os``
is the module ``os``. Here only packages of ``ROOTS``, which are installed, are imported; the way to the object may lead
through their own modules alone; and the object must be a class defined in one of ``PACKAGES``, or a function of a list.
"""

import enum
import importlib
import re
import sys
import warnings
from functools import cache
from types import ModuleType
from typing import Any

from kdmri_monai.sharing.audit_allowed import CONSTANTS, DENIED, FUNCTIONS, PACKAGES, ROOTS
from kdmri_monai.sharing.audit_findings import ARBITRARY, KNOWN, Verdict

_DOTTED = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*\Z")
_CODE = {
    "torch.load": "unpickles; it is harmless only with weights_only true",
    "torch.jit.load": "runs a TorchScript program",
    "torch.export.load": "unpickles and evaluates text",
}


def is_known_target(name: str) -> bool:
    """Whether a ``_target_`` names a component that is known and runs no code of the bundle's maker.

    Args:
        name: Dotted path, or the name alone of something in MONAI, as MONAI looks it up.
    """
    return target_verdict(name).harmless


@cache
def target_verdict(name: str) -> Verdict:
    """Judges a ``_target_``.

    Args:
        name: As ``is_known_target``.

    Returns:
        A known component, or why it can run arbitrary code.
    """
    if not _DOTTED.match(name):
        return Verdict(ARBITRARY, "is not a plain dotted name, which MONAI's look-up bends")
    if "." in name:
        return _dotted_verdict(name)
    places = _short_names().get(name, ())
    if not places:
        return Verdict(ARBITRARY, "unknown component: MONAI has none of this name, Python may have")
    verdicts = [_dotted_verdict(f"{place}.{name}") for place in places]
    return next((verdict for verdict in verdicts if not verdict.harmless), verdicts[0])


def located(name: str) -> Any | None:
    """The object that a dotted name stands for, where the way leads through allowed packages' own modules alone.

    Args:
        name: Dotted path.

    Returns:
        A module, or an object directly in one; ``None`` for anything else. Only packages of ``ROOTS`` are imported.
    """
    parts = name.split(".")
    if parts[0] not in ROOTS:
        return None
    found: Any = _imported(parts[0])
    for end, part in enumerate(parts[1:], start=2):
        if not isinstance(found, ModuleType):
            return None
        path = ".".join(parts[:end])
        own = vars(found).get(part)
        if own is None or isinstance(own, ModuleType):
            own = sys.modules.get(path) or (_imported(path) if hasattr(found, "__path__") else None)
            if own is None or getattr(own, "__name__", None) != path:
                return None
        found = own
    return found


def defined_in(name: str, packages: tuple[str, ...] = PACKAGES) -> bool:
    """Whether a dotted name lies in one of the packages."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def is_enumeration(found: Any) -> bool:
    """Whether an object is an enumeration, such as Ignite's ``Events``."""
    return isinstance(found, type) and issubclass(found, enum.Enum)


def _dotted_verdict(name: str) -> Verdict:
    if name in FUNCTIONS and name.split(".")[0] not in ROOTS:
        return Verdict(KNOWN)
    found = located(name)
    if found is None:
        return Verdict(ARBITRARY, _why_unknown(name))
    home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    for denied, reason in DENIED.items():
        if defined_in(home, (denied,)) or defined_in(name, (denied,)):
            return Verdict(ARBITRARY, reason)
    if isinstance(found, type) and defined_in(home):
        return Verdict(KNOWN)
    if name in FUNCTIONS or home in _functions():
        return Verdict(KNOWN)
    if isinstance(found, ModuleType):
        return Verdict(ARBITRARY, "is a module, not a component")
    return Verdict(ARBITRARY, _CODE.get(name, f"is not on the list of known components (defined as {home})"))


def _why_unknown(name: str) -> str:
    root = name.split(".")[0]
    if root not in ROOTS:
        return f"unknown component: {root} is not one of {', '.join(ROOTS)}, and MONAI would import it"
    return _CODE.get(name, "unknown component: not found in the installed packages, or behind another module's name")


@cache
def _functions() -> frozenset[str]:
    """Where the listed functions are defined; the same function may be reached by several names."""
    found = (located(name) for name in FUNCTIONS if name.split(".")[0] in ROOTS)
    return frozenset(f"{one.__module__}.{one.__qualname__}" for one in found if one is not None and _is_named(one))


def _is_named(found: Any) -> bool:
    return isinstance(getattr(found, "__module__", None), str) and isinstance(getattr(found, "__qualname__", None), str)


@cache
def _short_names() -> dict[str, tuple[str, ...]]:
    """Modules of MONAI by name of the classes and functions defined in them, as its ``ComponentLocator`` finds them."""
    _imported("monai")
    table: dict[str, tuple[str, ...]] = {}
    for module_name, module in sorted(sys.modules.items()):
        if not defined_in(module_name, ("monai",)) or not isinstance(module, ModuleType):
            continue
        for name, found in vars(module).items():
            if callable(found) and getattr(found, "__module__", None) == module_name:
                table[name] = (*table.get(name, ()), module_name)
    return table


@cache
def _imported(name: str) -> ModuleType | None:
    """An installed module on the way to, or in, an allowed package; others are not imported to be looked at."""
    if not (defined_in(name, _homes()) or any(home.startswith(f"{name}.") for home in _homes())):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what an installed package says at its import is not about the bundle
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


@cache
def _homes() -> tuple[str, ...]:
    modules = {name.rpartition(".")[0] for name in (*FUNCTIONS, *CONSTANTS) if name.split(".")[0] in ROOTS}
    return (*PACKAGES, *(module for module in modules if "." in module))
