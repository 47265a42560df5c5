"""Symbolic sizes of an exported program: ``torch.export.load`` hands their text to SymPy, which evaluates it as Python.

Source: PyTorch 2.13, ``torch/_export/serde/serialize.py``, ``_parse_sym_expr``; SymPy, ``sympify`` ("uses eval").
"""

import ast
import re

LONGEST = 2000
_SYMBOL = re.compile(r"(s|u|zuf|zf|d|i)\d+\Z")
_WORD = re.compile(r"\w+\Z", re.ASCII)
_NAMES = """
    Symbol Integer Float Rational Add Mul Pow Mod Max Min Eq Ne Lt Le Gt Ge And Or Not Piecewise floor ceiling sqrt
    Equality Unequality StrictLessThan StrictGreaterThan LessThan GreaterThan true false True False oo int_oo
    FloorDiv ModularIndexing Where PythonMod CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural FloatPow
    FloatTrueDiv IntTrueDiv IsNonOverlappingAndDenseIndicator TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat
    Identity Abs Infinity NegativeInfinity IntInfinity NegativeIntInfinity Half One Zero NegativeOne
"""
_KNOWN = frozenset(_NAMES.split())
_NODES = (
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Tuple, ast.Load, ast.operator, ast.unaryop, ast.boolop),
    *(ast.cmpop, ast.Call, ast.keyword, ast.Name, ast.Constant),
)


def is_arithmetic(text: str) -> bool:
    """Whether a text is a size and nothing else: numbers, symbols, operators and SymPy's functions by name.

    Args:
        text: As an exported program has it, e.g. ``Symbol('s77', positive=True, integer=True)`` or ``s0*2``.
    """
    if len(text) > LONGEST:
        return False
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_plain(node) for node in ast.walk(tree))


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _KNOWN or bool(_SYMBOL.match(node.id))
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name)
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, (str, bytes)) or (
            isinstance(node.value, str) and bool(_WORD.match(node.value))
        )
    return isinstance(node, _NODES)


def is_guard(text: str) -> bool:
    """Whether a text compares sizes of inputs and does nothing else, such as ``L['x'].size()[1] == 3``.

    Args:
        text: One line of ``guards_code``, which the exported program's ``module()`` executes.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_guard_part(node) for node in ast.walk(tree))


def _is_guard_part(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id == "L"
    if isinstance(node, ast.Attribute):
        return node.attr in ("size", "shape", "ndim")
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "size" and not node.keywords
    return isinstance(node, (ast.Subscript, *_NODES))
