"""Calls that are harmless in one form only."""

import ast
import string

from kdmri_monai.sharing.audit_attributes import ATTRIBUTES

PROCESS_GROUP = frozenset(("backend", "timeout"))
"""Arguments of ``init_process_group`` that cannot name another computer: the peers of a group unpickle each other."""

SWITCHES = frozenset(("benchmark", "deterministic", "enabled", "allow_tf32"))
"""What may be set, on ``torch.backends.cudnn`` alone."""

_ARITY = {"replace": (2, 3), "copy": (0, 0), "eval": (0, 0)}
"""Fewest and most arguments: ``str.replace`` takes two, ``Path.replace``, which moves files, one."""


class RefusedError(Exception):
    """An expression is not known to be harmless; the message says why."""


def is_checked_method(name: str) -> bool:
    """Whether a method is harmless only with the arguments that ``check_method`` sees."""
    return name in _ARITY


def check_method(function: ast.Attribute, call: ast.Call) -> None:
    """Refuses forms of methods that belong to other objects than the ones meant.

    Args:
        function: The method.
        call: Its call.

    Raises:
        RefusedError: The number of arguments is another one's; or a format text reaches into its arguments.
    """
    if function.attr == "format":
        _check_format(function.value)
    if function.attr not in _ARITY:
        return
    fewest, most = _ARITY[function.attr]
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    if starred or call.keywords or not fewest <= len(call.args) <= most:
        raise RefusedError(f"calls {function.attr} in a form that is not known to be harmless")


def check_call(name: str, call: ast.Call) -> None:
    """Refuses the dangerous forms of ``CHECKED_CALLS``.

    Args:
        name: Which of them.
        call: Its call.

    Raises:
        RefusedError: It is not the one harmless form.
    """
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if None in given or any(isinstance(argument, ast.Starred) for argument in call.args):
        raise RefusedError(f"calls {name} with arguments that cannot be seen")
    if name == "torch.load" and not _is_true(given.get("weights_only")):
        raise RefusedError("calls torch.load without weights_only=True, which unpickles before PyTorch 2.6")
    if name == "getattr" and not (len(call.args) > 1 and _text(call.args[1]) in ATTRIBUTES):
        raise RefusedError("calls getattr for an attribute that is not known to be harmless")
    if name == "setattr" and not _sets_a_switch(call):
        raise RefusedError("calls setattr on something else than a switch of torch.backends.cudnn")
    if name == "torch.distributed.init_process_group" and (len(call.args) > 1 or not set(given) <= PROCESS_GROUP):
        raise RefusedError("joins a process group that the bundle names; its members unpickle what others send")


def _check_format(value: ast.expr) -> None:
    text = _text(value)
    if text is None:
        raise RefusedError("formats a text that cannot be seen")
    for _, field, spec, _ in string.Formatter().parse(text):
        if set(field or "") & set(".[") or "{" in (spec or ""):
            raise RefusedError("formats a text that reaches into its arguments")


def _sets_a_switch(call: ast.Call) -> bool:
    if len(call.args) != 3 or call.keywords:
        return False
    owner, name, value = call.args
    plain = isinstance(value, ast.Constant)
    return ast.unparse(owner) == "torch.backends.cudnn" and _text(name) in SWITCHES and plain


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True
