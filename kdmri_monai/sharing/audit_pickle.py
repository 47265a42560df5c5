"""Pickles, read opcode by opcode and never loaded: which globals they ask for, against those of weights_only.

Source: Python's ``pickletools``; PyTorch 2.13, ``torch/_weights_only_unpickler.py``.
"""

import pickletools
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

OPCODES = 5_000_000
"""Most opcodes that are read of one pickle."""

_TEXT_OPCODES = "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 STRING BINSTRING SHORT_BINSTRING"
_TEXT = frozenset(_TEXT_OPCODES.split())
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_NAMES = """
    collections.OrderedDict collections.Counter torch.nn.parameter.Parameter torch.serialization._get_layout torch.Size
    torch.Tensor torch.device torch._tensor._rebuild_from_type_v2 torch._utils._rebuild_tensor
    torch._utils._rebuild_tensor_v2 torch._utils._rebuild_tensor_v3 torch._utils._rebuild_parameter
    torch._utils._rebuild_parameter_with_state torch._utils._rebuild_sparse_tensor torch._utils._rebuild_qtensor
    torch._utils._rebuild_meta_tensor_no_storage torch._utils._rebuild_nested_tensor
    torch._utils._rebuild_wrapper_subclass torch._utils._rebuild_device_tensor_from_numpy
    torch._utils._rebuild_device_tensor_from_cpu_tensor
    monai.data.meta_tensor.MetaTensor monai.data.meta_obj.MetaObj monai.utils.enums.MetaKeys monai.utils.enums.SpaceKeys
    _codecs.encode builtins.bytearray builtins.set builtins.complex
    __builtin__.bytearray __builtin__.set __builtin__.complex
"""
_ALLOWED = frozenset(_NAMES.split())
_STORAGE = re.compile(r"torch(\.cuda|\.storage)?\.[A-Za-z0-9]+Storage\Z")
_DTYPE = re.compile(
    r"torch\.(q?u?int\d+(x\d+)?|b?float\d+\w*|complex\d+|half|double|float|long|short|int|bool|bits\w+)\Z"
)


class UnreadablePickleError(ValueError):
    """Not a pickle to the end, or one too long to be read."""


def pickled_globals(file: IO[bytes] | bytes) -> set[str]:
    """The globals that a pickle would look up.

    Args:
        file: Its content, or a file that stands at its beginning; afterwards it stands behind its end.

    Returns:
        Dotted names; ``?`` stands for one that is put together while unpickling.

    Raises:
        UnreadablePickleError: Not a pickle up to its last opcode, or longer than ``OPCODES``.
    """
    found: set[str] = set()
    recent: list[str | None] = []
    memo: dict[int, str | None] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count == OPCODES:
                raise UnreadablePickleError(f"is longer than {OPCODES:,} opcodes")
            _read(opcode.name, argument, recent, memo, found)
    except UnreadablePickleError:
        raise
    except Exception as error:
        raise UnreadablePickleError(f"is not a pickle: {type(error).__name__}") from error
    return found


def unsafe(names: Iterable[str]) -> list[str]:
    """Globals that ``torch.load`` with ``weights_only=True`` refuses, sorted."""
    return sorted(name for name in names if not (name in _ALLOWED or _STORAGE.match(name) or _DTYPE.match(name)))


def looks_pickled(head: bytes) -> bool:
    """Whether content begins as a pickle of protocol 2 or later does."""
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def pickle_series(file: IO[bytes], most: int = 8) -> Iterator[set[str]]:
    """The globals of pickles that follow each other, as in files of PyTorch before 1.6: up to ``most`` of them."""
    for _ in range(most):
        head = file.read(2)
        file.seek(-len(head), 1)
        if not looks_pickled(head):
            return
        yield pickled_globals(file)


def _read(name: str, argument: Any, recent: list[str | None], memo: dict[int, str | None], found: set[str]) -> None:
    """Follows the texts on the stack as far as a global's name needs them."""
    if name in ("GLOBAL", "INST"):
        found.add(".".join(str(argument).split(" ", 1)))
        recent.append(None)
    elif name == "STACK_GLOBAL":
        two = recent[-2:]
        found.add(f"{two[0]}.{two[1]}" if len(two) == 2 and None not in two else "?")
        recent.append(None)
    elif name in ("EXT1", "EXT2", "EXT4"):
        found.add("?")
        recent.append(None)
    elif name in _TEXT:
        recent.append(argument if isinstance(argument, str) else None)
    elif name == "MEMOIZE":
        memo[len(memo)] = recent[-1] if recent else None
    elif name in _PUTS:
        memo[int(argument)] = recent[-1] if recent else None
    elif name in _GETS:
        recent.append(memo.get(int(argument)))
    else:
        recent.append(None)
    del recent[:-4]
