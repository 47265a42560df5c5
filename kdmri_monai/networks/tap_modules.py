"""Modules of a network by name or pattern, and networks whose modules cannot be watched."""

import difflib
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

SHOWN = 8
"""How many near names a message lists."""


def watchable(network: nn.Module) -> nn.Module:
    """The network inside a wrapper of ``DistributedDataParallel`` or ``DataParallel``.

    Raises:
        ValueError: ``torch.compile`` has been at the network or at a module of it. Compiled code runs the hooks that
            there were when it was compiled, so features would be missing or those of an earlier pass.
    """
    while isinstance(network, (DataParallel, DistributedDataParallel)):
        network = network.module
    for name, module in network.named_modules():
        # OptimizedModule, whose class is private to torch, keeps what it wraps as _orig_mod
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            where = f"its module {name!r}" if name else "it"
            raise ValueError(
                f"{type(network).__name__} cannot be tapped, since {where} was compiled by torch.compile: tap and run "
                "the original module, and compile what is exported after the training"
            )
    return network


def find_modules(network: nn.Module, pattern: str) -> dict[str, nn.Module]:
    """Modules by name, in the order of the network.

    Args:
        network: Any network.
        pattern: A name, or a pattern of ``fnmatch`` for every part of a name: ``layer*`` finds ``layer1`` and not
            ``layer1.0``.

    Raises:
        ValueError: There is none of that name; the message lists near names.
    """
    modules = {name: module for name, module in network.named_modules(remove_duplicate=False) if name}
    if pattern in modules:
        return {pattern: modules[pattern]}
    found = {name: module for name, module in modules.items() if _matches(name, pattern)}
    if found:
        return found
    near = difflib.get_close_matches(pattern, modules, n=SHOWN, cutoff=0.3) or list(modules)[:SHOWN]
    raise ValueError(f"{type(network).__name__} has no module {pattern!r}; near names: {', '.join(near)}")


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
