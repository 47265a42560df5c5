"""The report as one HTML file: no network, light and dark, on a phone, on paper, and without scripts."""

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.report.page_model import Block, Cell, Details, FigureBlock, Page, SliceGrid
from kdmri_monai.report.safe_svg import safe_svg

RESERVED = ("theme",)
"""Ids of the page itself."""


def write_page(page: Page, path: Path) -> None:
    """Writes the page; a file that is there stays whole until then.

    Raises:
        ValueError: As ``render``.
        OSError: The file cannot be written.
    """
    write_atomically(path, render(page).encode())


def render(page: Page) -> str:
    """The page as HTML.

    Args:
        page: Texts are escaped; only figures are taken as they are, after they were looked through.

    Raises:
        ValueError: A figure that holds a script, a handler or a reference to elsewhere, a table whose rows differ from
            its columns in number, or a key that stands twice.
    """
    _check_keys(page)
    environment = Environment(
        loader=PackageLoader("kdmri_monai.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        svg=lambda text: Markup(safe_svg(text)),
        kind=lambda block: type(block).__name__,
        sort=_sort_value,
        data=_grid_data,
        groupwise=_groups,
    )
    style, script = (Markup(_source(environment, name)) for name in ("page.css", "page.js"))
    return environment.get_template("page.html.j2").render(
        page=page, style=style, script=script, policy=_policy(style, script), columns=_check_columns
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _policy(style: str, script: str) -> str:
    """Content security policy: what stands in the page and nothing else."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


@dataclass(frozen=True)
class _Group:
    """Blocks that follow each other: figures stand side by side where there is room."""

    figures: bool
    blocks: tuple[Block, ...]


def _groups(blocks: tuple[Block, ...]) -> list[_Group]:
    parts = groupby(blocks, key=lambda block: isinstance(block, FigureBlock))
    return [_Group(figures, tuple(part)) for figures, part in parts]


def _sort_value(cell: Cell) -> str:
    """What a cell is sorted by: a number, a text in small letters, or nothing, which comes last."""
    if cell.sort is None:
        return cell.text.lower()
    if isinstance(cell.sort, str):
        return cell.sort.lower()
    return "" if math.isnan(cell.sort) else repr(float(cell.sort))


def _grid_data(grid: SliceGrid) -> Markup:
    """Slices as JSON that no text in it can end."""
    content: dict[str, Any] = {
        "classes": grid.classes,
        "runs": grid.runs,
        "cards": [
            {
                "id": card.id,
                "patient": card.patient,
                "label": card.label,
                "image": _base64(card.image),
                "border": card.border,
                "facts": card.facts,
                "answers": [
                    {"p": one.predicted, "q": one.probabilities, "h": None if one.heat is None else _base64(one.heat)}
                    for one in card.answers
                ],
            }
            for card in grid.cards
        ],
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _base64(picture: bytes) -> str:
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg" if picture.startswith(b"\xff\xd8") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _check_columns(table: Any) -> str:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(f"table {table.key!r} has {len(table.columns)} columns and a row of {len(row)} cells")
    return ""


def _check_keys(page: Page) -> None:
    """Keys of sections are ids of the page; those of blocks have a letter of their kind before them."""
    sections = [section.key for section in page.sections]
    blocks = [(type(block).__name__, block.key) for section in page.sections for block in _keyed(section.blocks)]
    for keys in ([("Section", key) for key in (*sections, *RESERVED)], blocks):
        kind, twice = next((key for key in keys if keys.count(key) > 1), ("", None))
        if twice is not None:
            raise ValueError(f"the key {twice!r} stands twice in the page, for a {kind}")


def _keyed(blocks: tuple[Block, ...]) -> Iterator[Any]:
    for block in blocks:
        if isinstance(block, Details):
            yield from _keyed(block.blocks)
        elif isinstance(block, FigureBlock) or hasattr(block, "key"):
            yield block
