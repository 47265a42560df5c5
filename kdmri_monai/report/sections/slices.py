"""Slices one by one: what was said, what is true, the border of the tumour and the heat, mistakes first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.store import open_store, split_reference
from kdmri_monai.evaluation.heat_file import HeatMaps, read_heat
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_grid import GridCell, prediction_grid
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Details, Section, SliceAnswer, SliceCard, SliceGrid, Text
from kdmri_monai.report.slice_cards import border_path, encode_heat, encode_image

MOST = 600
"""Slices that are shown at most; of more, all mistakes of the first network and an even share of the others."""

PAPER, ON_PAGE = 12, 6
"""Slices in the figure for papers, and in that of the page for readers without scripts."""


def section(material: Material, figures: FigureBlocks) -> Section:
    """Cards of the slices for the page, and a figure of some for papers."""
    if not material.entries:
        words = "The datalist was not found where the runs say; --data names its folder."
        return Section("slices", "Slices", "", (Text(words, "note"),))
    shown = _shown(material)
    tables = [aligned(one.tables[0], material.table) for one in shown]
    heats = [_heat(one, material.split) for one in shown]
    rows = chosen_rows(tables[0], MOST)
    cards = tuple(_card(int(row), material, tables, heats) for row in rows)
    n = len(material.table)
    caption = (
        f"{len(rows):,} of {n:,} slices. Line: border of the tumour as published. Heat: Grad-CAM of the predicted "
        "class, scaled by its maximum in the slice."
    )
    grid = SliceGrid("slices", "Every slice", caption, material.table.classes, tuple(one.name for one in shown), cards)
    cells = _paper_cells(rows, material, tables[0], heats[0])
    figures.keep("slices", prediction_grid(cells, total=n))
    words = f"Mistakes that the first run of {shown[0].name} is surest of, then right answers that it is least sure of."
    few = figures("slices_few", prediction_grid(cells[:ON_PAGE], columns=2, total=n), shown[0].name, words)
    return Section("slices", "Slices", "", (grid, Details("Some slices as a figure", (few,))))


def chosen_rows(table: Predictions, most: int) -> NDArray[np.intp]:
    """Rows to show, mistakes first and the surest of them before the others; at most ``most``.

    Args:
        table: One row a slice.
        most: Of more slices, mistakes are kept first; the rest is spread evenly over the right answers.
    """
    confidence = table.probabilities.max(axis=1)
    wrong = table.prediction != table.label
    mistakes = np.flatnonzero(wrong)
    mistakes = mistakes[np.argsort(-confidence[mistakes], kind="stable")][:most]
    right = np.flatnonzero(~wrong)
    right = right[np.argsort(confidence[right], kind="stable")]
    left = min(most - len(mistakes), len(right))
    places = np.linspace(0, len(right) - 1, left).round().astype(int) if left else np.array([], dtype=int)
    return np.concatenate([mistakes, right[places]])


def _shown(material: Material) -> list[Member]:
    leading = [one for one in (material.student, material.baseline, material.teacher) if one is not None]
    return leading or list(material.members[:1])


def _heat(member: Member, split: str) -> HeatMaps | None:
    path = Path(member.runs[0].path) / f"{split}_heat.npz"
    return read_heat(path) if path.is_file() and len(member.arm.folds) == 1 else None


def _card(row: int, material: Material, tables: Sequence[Predictions], heats: Sequence[HeatMaps | None]) -> SliceCard:
    name = str(material.table.id[row])
    entry = material.entries[name]
    image, mask = pixels_of(entry)
    answers = tuple(
        SliceAnswer(
            predicted=int(table.prediction[row]),
            probabilities=tuple(round(float(value), 4) for value in table.probabilities[row]),
            heat=_encoded(heat, name),
        )
        for table, heat in zip(tables, heats, strict=True)
    )
    area = "" if mask is None else f"tumour {100 * float(mask.mean()):.1f}\N{NO-BREAK SPACE}% of the image"
    return SliceCard(
        id=name,
        patient=str(material.table.patient[row]),
        label=int(material.table.label[row]),
        image=encode_image(image),
        border="" if mask is None else border_path(mask),
        answers=answers,
        facts=", ".join(part for part in (str(entry.get("plane") or ""), area) if part),
    )


def _encoded(heat: HeatMaps | None, name: str) -> bytes | None:
    found = heat_of(heat, name)
    return None if found is None else encode_heat(found)


def heat_of(heat: HeatMaps | None, name: str) -> NDArray[np.float64] | None:
    """Heat of one slice at its small size, 0..1; ``None`` for a slice that has none."""
    return heat.of(name) if heat is not None and name in heat.id else None


def pixels_of(entry: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Stored pixels and mask of an entry, shape ``(S, S)``; no mask where there is none."""
    path, row = split_reference(entry["image"])
    image = np.array(open_store(path)[row])
    if "mask" not in entry:
        return image, None
    path, row = split_reference(entry["mask"])
    return image, np.array(open_store(path)[row]) > 0


def _paper_cells(
    rows: NDArray[np.intp], material: Material, table: Predictions, heat: HeatMaps | None
) -> list[GridCell]:
    cells = []
    for row in rows[:PAPER].tolist():
        name = str(material.table.id[row])
        image, mask = pixels_of(material.entries[name])
        predicted = int(table.prediction[row])
        cells.append(
            GridCell(
                image=image,
                true=table.classes[int(table.label[row])],
                predicted=table.classes[predicted],
                probability=float(table.probabilities[row, predicted]),
                mask=mask,
                heat=_enlarged(heat_of(heat, name), image.shape),
            )
        )
    return cells


def _enlarged(heat: NDArray[np.float64] | None, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    if heat is None:
        return None
    from skimage.transform import resize

    return resize(heat, shape, order=1, mode="edge", anti_aliasing=False)
