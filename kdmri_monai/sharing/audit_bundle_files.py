"""Files of a bundle that are no configuration and no weights: programs, licences, documents."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, OK, REMARK, WARNING, AuditFinding

_IMPORTABLE = ".py .pyc .pyo .pyd .so .pyx .pyw .dll .dylib .egg .whl"
IMPORTABLE = frozenset(_IMPORTABLE.split())
"""What Python or its loader takes up by name; the bundle's root is put into ``sys.path`` by ``monai.bundle run``."""

_PROGRAMS = ".sh .bash .zsh .bat .cmd .ps1 .exe .com .js .jar .vbs .ipynb .command .desktop .lnk .msi"
PROGRAMS = frozenset(_PROGRAMS.split())
_HOOKS = frozenset((".git", ".hg", ".svn", ".vscode", ".idea", ".devcontainer", ".github"))
_LICENCES = (
    ("Apache-2.0", r"apache license.{0,40}version 2\.0"),
    ("MIT", r"permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("BSD-3-Clause", r"redistribution and use in source and binary forms.*neither the name"),
    ("BSD-2-Clause", r"redistribution and use in source and binary forms"),
    ("GPL-3.0", r"gnu general public license.{0,40}version 3"),
    ("MPL-2.0", r"mozilla public license.{0,20}2\.0"),
    ("CC-BY-NC-SA-4.0", r"attribution-noncommercial-sharealike 4\.0"),
    ("CC-BY-NC-4.0", r"attribution-noncommercial 4\.0"),
    ("CC-BY-SA-4.0", r"attribution-sharealike 4\.0"),
    ("CC-BY-4.0", r"attribution 4\.0 international|cc by 4\.0|cc-by-4\.0"),
)
_TEXT = 1 << 18


def program_findings(files: Mapping[str, Path]) -> Iterator[AuditFinding]:
    """What in a bundle is a program.

    Args:
        files: Of the bundle, by name.

    Yields:
        A danger for what Python would import and what a tool runs by itself, a warning for other programs.
    """
    for name in files:
        parts = PurePosixPath(name).parts
        suffixes = {suffix.lower() for suffix in PurePosixPath(name).suffixes}
        if hooks := _HOOKS & set(parts[:-1]):
            reason = f"lies in {sorted(hooks)[0]}, whose settings a tool runs when it enters the folder"
            yield AuditFinding(DANGER, "files", name, verdict=ARBITRARY, reason=reason)
        elif suffixes & IMPORTABLE:
            reason = "code that Python imports by its name: monai.bundle puts the bundle's folder into sys.path"
            yield AuditFinding(DANGER, "files", name, verdict=ARBITRARY, reason=reason)
        elif suffixes & PROGRAMS:
            yield AuditFinding(
                WARNING, "files", name, reason="a program; nothing of MONAI runs it, do not run it yourself"
            )
        elif PurePosixPath(name).name.lower() in ("large_files.yml", "large_files.yaml", "large_files.json"):
            reason = "names files that monai.bundle download_large_files fetches; what it fetches was not judged"
            yield AuditFinding(WARNING, "files", name, reason=reason)


def licence_findings(files: Mapping[str, Path]) -> Iterator[AuditFinding]:
    """Which licences a bundle states: for its code and weights, and for the data behind them.

    Args:
        files: Of the bundle, by name.

    Yields:
        A finding for each of the two.
    """
    yield _licence(files, ("LICENSE", "LICENSE.txt", "LICENSE.md"), "licence")
    yield _licence(files, ("docs/data_license.txt", "docs/license.txt", "data_license.txt"), "data licence")


def _licence(files: Mapping[str, Path], names: tuple[str, ...], what: str) -> AuditFinding:
    name = next((name for name in names if name in files), None)
    if name is None:
        return AuditFinding(REMARK, "licence", reason=f"no {what} ({' or '.join(names[:2])})")
    with files[name].open("rb") as file:
        kind = licence_name(file.read(_TEXT).decode("utf-8", "replace"))
    if kind is None:
        return AuditFinding(REMARK, "licence", name, reason=f"{what} whose text is not recognised; read it")
    return AuditFinding(OK, "licence", name, text=kind, reason=f"{what}: {kind}")


def licence_name(text: str) -> str | None:
    """SPDX name of a licence by words of its text, ``None`` where they are of no common one."""
    words = re.sub(r"\s+", " ", text.lower())
    return next((name for name, pattern in _LICENCES if re.search(pattern, words)), None)
