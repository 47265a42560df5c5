"""What a page of the report is made of: plain data, drawn by ``page``."""

from dataclasses import dataclass
from typing import Literal

Mark = Literal["", "good", "bad", "muted", "strong"]
Sort = float | str | None


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        words: Plain text.
        kind: A ``note`` stands back, a ``warning`` stands out.
    """

    words: str
    kind: Literal["plain", "note", "warning"] = "plain"


@dataclass(frozen=True)
class FigureBlock:
    """A figure.

    Attributes:
        key: Name, unique in the page.
        title: Heading above it.
        caption: What is seen, with n and what the intervals are.
        svg: An ``<svg>`` element, as ``themed_svg`` writes it.
    """

    key: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        numeric: Whether it is set flush right.
        hint: What the heading means, below it.

    Raises:
        ValueError: A heading without a word: it could not be read out, nor sorted by.
    """

    title: str
    numeric: bool = False
    hint: str = ""

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ValueError("a column has no heading")


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What is read.
        sort: What it is sorted by; the text where it is ``None``. NaN comes last.
        mark: How it stands out.
    """

    text: str
    sort: Sort = None
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """A table that readers can sort.

    Attributes:
        key: Name, unique in the page.
        title: Heading above it.
        caption: Units, n, what the intervals are.
        columns: At least one.
        rows: Cells, as many as columns in each.
    """

    key: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class SliceAnswer:
    """What one run says of one slice.

    Attributes:
        predicted: Class, 0..K-1.
        probabilities: K numbers.
        heat: Picture of the heat, as ``encode_heat`` writes it; ``None`` for none.
    """

    predicted: int
    probabilities: tuple[float, ...]
    heat: bytes | None


@dataclass(frozen=True)
class SliceCard:
    """One slice.

    Attributes:
        id: Name of the slice.
        patient: Its patient.
        label: True class, 0..K-1.
        image: Picture, as ``encode_image`` writes it.
        border: Path of the tumour's border in the unit square; empty without a mask.
        answers: One a run of the grid.
        facts: Further words, such as the plane.
    """

    id: str
    patient: str
    label: int
    image: bytes
    border: str
    answers: tuple[SliceAnswer, ...]
    facts: str


@dataclass(frozen=True)
class SliceGrid:
    """Slices to look through, mistakes first.

    Attributes:
        key: Name, unique in the page.
        title: Heading above it.
        caption: Which slices, what the line and the colours are.
        classes: The K names.
        runs: Names of the runs whose answers can be shown.
        cards: The slices.
    """

    key: str
    title: str
    caption: str
    classes: tuple[str, ...]
    runs: tuple[str, ...]
    cards: tuple[SliceCard, ...]


@dataclass(frozen=True)
class Tile:
    """A headline number.

    Attributes:
        label: What it is.
        value: The number with its unit.
        interval: Its bounds.
        note: Further words.
    """

    label: str
    value: str
    interval: str
    note: str


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away.

    Attributes:
        summary: What is inside.
        blocks: The blocks.
    """

    summary: str
    blocks: "tuple[Block, ...]"


Block = Text | FigureBlock | Table | SliceGrid | Details


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Attributes:
        key: Name, unique in the page; the link of the table of contents.
        title: Heading.
        intro: First paragraph; empty for none.
        blocks: What follows.
    """

    key: str
    title: str
    intro: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """The page.

    Attributes:
        title: Heading of the page.
        subtitle: What it is about.
        lead: The headline, a sentence each.
        tiles: The headline in numbers.
        sections: Its parts.
        footer: Last lines.
    """

    title: str
    subtitle: str
    lead: tuple[str, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    footer: tuple[str, ...]
