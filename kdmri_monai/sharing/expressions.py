"""Which ``$`` expression of a configuration is harmless.

MONAI evaluates an expression with Python's ``eval`` and all built-in functions. Here its syntax tree is walked, and all
that is not on a list is taken for dangerous: literals, operators, comprehensions and lambdas of harmless parts; listed
functions; references; and of objects that nothing is known of, the attributes of ``audit_attributes`` only.
"""

import ast
import io
import tokenize
from collections.abc import Iterable, Mapping

from kdmri_monai.sharing.allowed_targets import located, target_verdict
from kdmri_monai.sharing.audit_allowed import BUILTINS, FUNCTIONS, MODULES, ROOTS
from kdmri_monai.sharing.audit_checked_calls import RefusedError
from kdmri_monai.sharing.audit_findings import ARBITRARY, HARMLESS, Verdict
from kdmri_monai.sharing.audit_substitution import import_statement, with_references
from kdmri_monai.sharing.audit_syntax import Judge

STANDARD = {"monai": ("monai",), "torch": ("torch",), "np": ("numpy",), "numpy": ("numpy",)}
"""Names that MONAI gives every expression."""

LONGEST = 4000
"""Characters of an expression; a longer one is not read."""

Names = Mapping[str, tuple[str, ...]]
"""What imports bind, by name; several where configurations of one bundle differ."""


def expression_verdict(text: str, names: Names | None = None, tainted: Iterable[str] = ()) -> Verdict:
    """Judges an expression.

    Args:
        text: With or without its leading ``$``; relative ids made absolute beforehand.
        names: What the imports of the configuration bind, see ``bound_names``. By default, the names that MONAI gives,
            and ``os``, ``glob`` and other harmless modules by their own names.
        tainted: First parts of the ids whose items hold imported modules.

    Returns:
        A harmless expression, or why it can run arbitrary code.
    """
    text = text.removeprefix("$")
    if len(text) > LONGEST:
        return Verdict(ARBITRARY, f"is longer than the {LONGEST:,} characters that are read")
    code = with_references(text)
    try:
        _only_ascii_names(code)
        statements = ast.parse(code).body
        if statements and isinstance(statements[0], (ast.Import, ast.ImportFrom)):
            return import_verdict(statements)
        tree = ast.parse(code.lstrip(" \t"), mode="eval")
        Judge({**STANDARD, **(_harmless_modules() if names is None else names)}, frozenset(tainted)).judge(tree.body)
    except RefusedError as refused:
        return Verdict(ARBITRARY, str(refused))
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        return Verdict(ARBITRARY, f"cannot be read as an expression ({type(error).__name__})")
    return Verdict(HARMLESS)


def import_verdict(statements: list[ast.stmt]) -> Verdict:
    """Judges an import: harmless where each module is known, since every use of one is judged where it is used."""
    if len(statements) > 1:
        return Verdict(ARBITRARY, "has more than one statement")
    for bound, source in _bindings(statements[0]):
        if bound in BUILTINS or bound.startswith("_"):
            return Verdict(ARBITRARY, f"hides the built-in name {bound}")
        if bound in STANDARD and (source,) != STANDARD[bound]:
            return Verdict(ARBITRARY, f"gives {source} the name {bound}")
        if not _is_known_import(source):
            return Verdict(ARBITRARY, f"imports {source}, which is not known: the bundle or anybody may supply it")
    return Verdict(HARMLESS)


def bound_names(expressions: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What the import statements among expressions bind.

    Args:
        expressions: With or without their leading ``$``.

    Returns:
        Dotted names by bound name, several where statements differ.
    """
    bound: dict[str, set[str]] = {}
    for text in expressions:
        statement = import_statement(text)
        for name, source in _bindings(statement) if statement else ():
            bound.setdefault(name, set()).add(source)
    return {name: tuple(sorted(sources)) for name, sources in bound.items()}


def _bindings(statement: ast.stmt) -> list[tuple[str, str]]:
    """Bound name and dotted source of each part of an import; MONAI runs the first, all are judged."""
    if isinstance(statement, ast.Import):
        return [(alias.asname or alias.name, alias.name) for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        module = "." * statement.level + (statement.module or "")
        return [(alias.asname or alias.name, f"{module}.{alias.name}") for alias in statement.names]
    return []


def _is_known_import(source: str) -> bool:
    if source in MODULES or source in FUNCTIONS or target_verdict(source).harmless:
        return True
    head = source.split(".")[0]
    return head in ROOTS and not source.endswith("*") and type(located(source)).__name__ == "module"


def _harmless_modules() -> dict[str, tuple[str, ...]]:
    return {module: (module,) for module in MODULES if "." not in module}


def _only_ascii_names(code: str) -> None:
    """Python reads many letters as one (NFKC): a name that is not ASCII is there to look like another."""
    if code.isascii():
        return
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if (
            token.type != tokenize.STRING
            and not token.string.isascii()
            and "FSTRING" not in tokenize.tok_name[token.type]
        ):
            raise RefusedError("has letters outside ASCII in a name, which Python reads as another name")
