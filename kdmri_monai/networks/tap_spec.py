"""What a tap says: which module, its output or its input, and how its features lie in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Layout = Literal["channel_first", "channel_last", "tokens", "class_token", "vector"]
Side = Literal["output", "input"]

INPUT_SUFFIX = ":input"
"""Ending of a name that asks for what the module is given: ``fc:input``."""


@dataclass(frozen=True)
class Tap:
    """One place to read features, or, by a pattern, several.

    Attributes:
        module: Name of the module as ``network.named_modules()`` gives it, e.g. ``backbone.layers2.0``, or a pattern
            of such names (``layer*``, ``blocks.[135]``), in which ``*`` and ``?`` stop at a dot.
        layout: How the features lie: ``channel_first`` maps ``(B, C, *spatial)``, ``channel_last`` maps
            ``(B, *spatial, C)``, ``tokens`` ``(B, L, C)``, which are laid out as maps, ``class_token``, the first
            of the tokens ``(B, L, C)`` as a vector, or ``vector`` ``(B, C)``. By default tensors of two dimensions
            are vectors, those of three tokens, all others channel first.
        prefix_tokens: Class and register tokens at the front of a token sequence; they are dropped.
        at: ``output`` of the module, or its first positional ``input``.
        item: Which item to take where a module gives a tuple or a list.
        grid: Sizes of the grid of the tokens, row first, e.g. ``(14, 14)``; by default found from their number.

    Raises:
        ValueError: An unknown layout or side, a negative count, a grid for what are no tokens.
    """

    module: str
    layout: Layout | None = None
    prefix_tokens: int = 0
    at: Side = "output"
    item: int | None = None
    grid: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in get_args(Layout):
            raise ValueError(f"tap {self.module}: layout {self.layout!r} is none of {', '.join(get_args(Layout))}")
        if self.at not in get_args(Side):
            raise ValueError(f"tap {self.module}: at is {self.at!r}, it must be output or input")
        if self.prefix_tokens < 0:
            raise ValueError(f"tap {self.module}: prefix_tokens is {self.prefix_tokens}, it must not be negative")
        if self.grid is None:
            return
        if self.layout not in (None, "tokens") or not self.grid or min(self.grid) < 1:
            raise ValueError(f"tap {self.module}: a grid belongs to tokens and has positive sizes, got {self.grid}")
        object.__setattr__(self, "grid", tuple(self.grid))  # a list, when it comes from a bundle, has no hash

    @property
    def label(self) -> str:
        """Name for tables and messages: ``layer1``, ``fc:input``, ``backbone[2]``."""
        suffix = INPUT_SUFFIX if self.at == "input" else ""
        return f"{self.module}{suffix}" + ("" if self.item is None else f"[{self.item}]")


TapSpec = str | Tap | Mapping[str, Any]


def as_tap(spec: TapSpec) -> Tap:
    """A tap from its name, its fields or itself; a name may end in ``:input``.

    Raises:
        ValueError: A mapping with other fields than those of ``Tap``, or without a module.
    """
    if isinstance(spec, Tap):
        return spec
    if isinstance(spec, str):
        name = spec.removesuffix(INPUT_SUFFIX)
        return Tap(name) if name == spec else Tap(name, at="input")
    allowed = [field.name for field in fields(Tap)]
    if "module" not in spec or set(spec) - set(allowed):
        raise ValueError(f"a tap has a module and may have {', '.join(allowed[1:])}; got {dict(spec)}")
    return Tap(**spec)
