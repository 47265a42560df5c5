"""The walk over an expression's syntax tree."""

import ast

from kdmri_monai.sharing.allowed_targets import is_enumeration, located, target_verdict
from kdmri_monai.sharing.audit_allowed import (
    BUILTINS,
    BY_NAME,
    CHECKED_CALLS,
    CONSTANTS,
    FLAGS,
    FUNCTIONS,
    MODULES,
    NEVER,
    SHARP,
)
from kdmri_monai.sharing.audit_attributes import ATTRIBUTES
from kdmri_monai.sharing.audit_checked_calls import RefusedError, check_call, check_method, is_checked_method
from kdmri_monai.sharing.audit_substitution import REFERENCES, SEPARATOR

_PLAIN = (
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Dict, ast.Set, ast.List, ast.Tuple, ast.Compare, ast.Starred),
    *(ast.JoinedStr, ast.FormattedValue, ast.Slice, ast.keyword, ast.comprehension),
    *(ast.operator, ast.boolop, ast.unaryop, ast.cmpop, ast.expr_context),
)
"""Nodes that are harmless when their parts are."""

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Judge:
    """Walks an expression and raises ``RefusedError`` at what is not known to be harmless.

    Args:
        names: Dotted names by the name that an import binds.
        tainted: First parts of the ids whose items hold imported modules.
    """

    def __init__(self, names: dict[str, tuple[str, ...]], tainted: frozenset[str]) -> None:
        self.names, self.tainted = names, tainted
        self.local: set[str] = set()

    def judge(self, tree: ast.expr) -> None:
        """Judges a whole expression.

        Args:
            tree: Its syntax tree.

        Raises:
            RefusedError: Why it can run arbitrary code.
        """
        for node in ast.walk(tree):
            if isinstance(node, ast.arg):
                self._bind(node.arg)
            elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self._bind(node.id)
        self._visit(tree)

    def _bind(self, name: str) -> None:
        if name in self.names or name in BUILTINS or name in CHECKED_CALLS or name.startswith("__"):
            raise RefusedError(f"gives the name {name} another meaning")
        self.local.add(name)

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            return
        if isinstance(node, ast.Name):
            self._name(node)
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Subscript):
            self._subscript(node)
        elif isinstance(node, (*_PLAIN, *_COMPREHENSIONS, ast.Lambda, ast.NamedExpr, ast.arguments, ast.arg)):
            for part in ast.iter_child_nodes(node):
                self._visit(part)
        else:
            raise RefusedError(f"has a part that is not known to be harmless ({type(node).__name__})")

    def _name(self, node: ast.Name) -> None:
        if node.id in self.local or node.id in BUILTINS:
            return
        if node.id not in self.names:
            raise RefusedError(f"uses {node.id}, which is not known to be harmless")
        self._values(self.names[node.id])

    def _subscript(self, node: ast.Subscript) -> None:
        if not (isinstance(node.value, ast.Name) and node.value.id == REFERENCES):
            self._visit(node.value)
            self._visit(node.slice)
            return
        if not (isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)):
            raise RefusedError("reaches into the configuration by a computed name")
        first = node.slice.value.split(SEPARATOR)[0]
        if first in self.tainted or not first:
            raise RefusedError(f"takes an imported module out of the configuration (@{node.slice.value})")

    def _dotted(self, node: ast.expr) -> list[str] | None:
        """Dotted names that a chain of attributes may stand for, ``None`` where it starts at something else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in self.local:
            return None
        if node.id in self.names:
            return [".".join([source, *parts]) for source in self.names[node.id]]
        return [node.id] if node.id in CHECKED_CALLS and not parts else None

    def _attribute(self, node: ast.Attribute) -> None:
        """An attribute that is not called where it stands."""
        dotted = self._dotted(node)
        if dotted is None:
            self._member(node)
            if is_checked_method(node.attr):
                raise RefusedError(f"hands on the method {node.attr}, which is harmless only where it is called")
            return
        inner = self._known_prefix(dotted)
        if inner is None:
            self._values(dotted)
            return
        if node.attr not in ATTRIBUTES and not inner.startswith("enum "):
            raise RefusedError(f"uses {dotted[0]}, which is not known to be harmless")

    def _known_prefix(self, dotted: list[str]) -> str | None:
        """What an attribute is asked of, where that is a constant or an enumeration and not a module."""
        for name in dotted:
            owner, _, member = name.rpartition(".")
            if name in CONSTANTS or name in FUNCTIONS:
                continue
            if is_enumeration(located(owner)) and not member.startswith("_"):
                return f"enum {owner}"
            if owner in CONSTANTS and owner != "torch.backends.cudnn":
                return owner
        return None

    def _member(self, node: ast.Attribute) -> None:
        value = node.value
        if node.attr == "__name__" and isinstance(value, ast.Call) and self._dotted(value.func) == ["type"]:
            self._arguments(value)
            return
        if node.attr not in ATTRIBUTES:
            raise RefusedError(f"asks for the attribute {node.attr}, which is not known to be harmless")
        self._visit(value)

    def _values(self, dotted: tuple[str, ...] | list[str]) -> None:
        """Names that are used as values: functions and classes may be handed on, modules may not."""
        for name in dotted:
            if name in CONSTANTS and name != "torch.backends.cudnn":
                continue
            if name in MODULES or name in CHECKED_CALLS:
                raise RefusedError(f"hands on {name}")
            self._known(name)

    def _known(self, name: str) -> None:
        if name in FUNCTIONS:
            return
        verdict = target_verdict(name)
        if not verdict.harmless:
            raise RefusedError(f"uses {name}: {verdict.reason}")
        if name.rpartition(".")[2].startswith(SHARP):
            raise RefusedError(f"uses {name}, whose arguments can be judged only where it is a _target_")

    def _call(self, node: ast.Call) -> None:
        dotted = self._dotted(node.func)
        if dotted is not None and any(name in CHECKED_CALLS for name in dotted):
            check_call(dotted[0], node)
            if dotted[0] == "type":
                raise RefusedError("uses type(...) for more than its name")
        elif dotted is not None and self._known_prefix(dotted) is None:
            self._values(dotted)
        elif isinstance(node.func, ast.Attribute):
            if dotted is None and not (isinstance(node.func.value, ast.Constant) and node.func.attr == "format"):
                self._member(node.func)
            check_method(node.func, node)
        else:
            self._visit(node.func)
        self._arguments(node)

    def _arguments(self, node: ast.Call) -> None:
        plain_dict = isinstance(node.func, ast.Name) and node.func.id == "dict"
        cudnn = self._dotted(node.func) == ["setattr"]
        for keyword in node.keywords:
            if keyword.arg is None and not plain_dict:
                raise RefusedError("hands on arguments whose names cannot be seen (**)")
            _check_keyword(keyword)
        for part in (*node.args[cudnn:], *(keyword.value for keyword in node.keywords)):
            self._visit(part)


def _check_keyword(keyword: ast.keyword) -> None:
    name = keyword.arg or ""
    if name in NEVER or name in BY_NAME:
        raise RefusedError(f"gives the argument {name}, which {NEVER.get(name, 'is imported by its text')}")
    closed = isinstance(keyword.value, ast.Constant) and keyword.value.value is FLAGS.get(name)
    if name in FLAGS and not closed:
        raise RefusedError(f"gives {name} another value than {FLAGS[name]}")
