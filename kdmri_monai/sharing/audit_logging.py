"""``logging.conf``: ``logging.config.fileConfig`` evaluates parts of it as Python, before any configuration is read.

MONAI 1.6.1 reads ``class``, ``args`` and ``kwargs`` as they stand and refuses what is not a literal. ``fileConfig``
then puts other options into ``%(name)s``, so that a literal can become code: here such a place is refused as well.
"""

import ast
import configparser
import logging
import logging.handlers
import re

from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, OK, AuditFinding, shown
from kdmri_monai.sharing.audit_names import name_problem

GROUP = "configuration"
SUFFIXES = (".conf", ".cfg", ".ini")
BYTES = 1 << 18
_EVALUATED = ("class", "args", "kwargs")
_CLASSES = {
    "StreamHandler",
    "NullHandler",
    "FileHandler",
    "Formatter",
    "handlers.RotatingFileHandler",
    "handlers.TimedRotatingFileHandler",
}
_STREAMS = ("sys.stdout", "sys.stderr")
_LOGS = (".log", ".txt")
_WORD = re.compile(r"[A-Za-z0-9-]{1,12}\Z", re.ASCII)
"""A mode, an encoding or the like; as the name of a file it has no suffix, and nothing runs it."""


def logging_audit(file: str, data: bytes) -> list[AuditFinding]:
    """Judges a logging configuration.

    Args:
        file: Its path in the bundle.
        data: Content.

    Returns:
        A finding for every class and argument, and for a file that cannot be read.
    """
    parser = configparser.RawConfigParser()
    try:
        if len(data) > BYTES:
            raise ValueError(f"has more than {BYTES:,} bytes")
        parser.read_string(data.decode("utf-8"))
    except (configparser.Error, ValueError) as error:
        reason = f"cannot be read: {str(error).splitlines()[0]}"
        return [AuditFinding(DANGER, GROUP, file, verdict=ARBITRARY, reason=reason)]
    findings = []
    for section in [*parser.sections(), parser.default_section]:
        for option, value in parser[section].items():
            if option in _EVALUATED and value.strip():
                problem = _class_problem(value.strip()) if option == "class" else _literal_problem(value.strip())
                level, verdict = (DANGER, ARBITRARY) if problem else (OK, "harmless expression")
                findings.append(
                    AuditFinding(level, GROUP, file, f"{section}::{option}", shown(value), verdict, problem or "")
                )
    return findings


def _class_problem(value: str) -> str | None:
    name = value.removeprefix("logging.")
    if name in _CLASSES:
        return None
    short = name.rpartition(".")[2]
    known = getattr(logging.handlers, short, None) or getattr(logging, short, None)
    if isinstance(known, type) and issubclass(known, logging.Handler):
        return "sends what is logged to a place that the bundle can choose"
    return "is evaluated as Python, and is not a known class of the module logging"


def _literal_problem(value: str) -> str | None:
    if "%" in value:
        return "is evaluated as Python after other options are put in for %(name)s"
    try:
        tree = ast.parse(value, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "is evaluated as Python, and cannot be read"
    return next(filter(None, map(_node_problem, _parts(tree))), None)


def _parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, (ast.Tuple, ast.List)):
        return [part for one in node.elts for part in _parts(one)]
    if isinstance(node, ast.Dict):
        return [part for one in node.values for part in _parts(one)]
    return [node]


def _node_problem(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute) and ast.unparse(node) in _STREAMS:
        return None
    if not isinstance(node, ast.Constant):
        return "is evaluated as Python, and is not a literal"
    text = node.value
    if isinstance(text, str) and not _WORD.match(text) and (name_problem(text) or not text.endswith(_LOGS)):
        return f"logs to {shown(text)}, which is not a .log or .txt file inside the bundle"
    return None
