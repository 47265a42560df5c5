"""One item of a source read, checked and brought to the form of the store."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import Finding, Remark
from kdmri_monai.data.pixels import store_image, store_mask, store_points
from kdmri_monai.data.records import RawSlice, SliceRecord
from kdmri_monai.data.source_contract import SliceItem


@dataclass(frozen=True)
class PreparedSlice:
    """One slice on its way to the store.

    Attributes:
        record: What is known of it; ``index`` is -1 until the store gives it a row.
        pixels: The stored image, ``S * S`` bytes, rows first.
        mask: The stored mask, one bit a pixel (``numpy.packbits``); ``None`` where there is none.
    """

    record: SliceRecord
    pixels: bytes
    mask: bytes | None


@dataclass
class ItemResult:
    """What one item gave."""

    slices: list[PreparedSlice] = field(default_factory=list)
    skipped: list[Finding] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


def read_item(item: SliceItem, size: int) -> ItemResult:
    """Read all slices of an item; a bad one becomes a finding.

    Args:
        item: What to read.
        size: Side ``S`` of the stored images.
    """
    result = ItemResult()
    try:
        for entry in item.slices():
            if isinstance(entry, Finding):
                result.skipped.append(entry)
            elif isinstance(entry, Remark):
                result.remarks.append(entry)
            else:
                _add_slice(result, entry, item, size)
    except BadSliceError as error:
        result.skipped.append(Finding.of(error))
    return result


def _add_slice(result: ItemResult, raw: RawSlice, item: SliceItem, size: int) -> None:
    try:
        pixels = store_image(raw.image, size, item.name, item.image_field)
    except BadSliceError as error:
        result.skipped.append(Finding.of(error))
        return
    mask, remarks = _stored_mask(raw, item.name, size)
    result.remarks.extend(remarks)
    content = pixels.tobytes()
    record = SliceRecord(
        id=raw.id,
        index=-1,
        label=raw.label,
        patient=raw.patient,
        patient_source=raw.patient_source,
        source=item.name,
        size=(int(raw.image.shape[0]), int(raw.image.shape[1])),
        sha256=hashlib.sha256(content).hexdigest(),
        has_mask=mask is not None,
        plane=raw.plane,
        border=None if raw.border is None else _flat_points(raw.border, raw.image.shape, size),
    )
    packed = None if mask is None else np.packbits(mask).tobytes()
    result.slices.append(PreparedSlice(record, content, packed))


def _stored_mask(raw: RawSlice, name: str, size: int) -> tuple[NDArray[np.bool_] | None, Iterator[Remark]]:
    """The mask for the store; one without tumour counts as none, for it contradicts the label."""
    if raw.mask is None:
        return None, iter(())
    if not raw.mask.any():
        return None, iter([Remark(name, "mask", "is empty: the slice is kept, without a mask")])
    mask = store_mask(raw.mask, size)
    if not mask.any():
        return None, iter([Remark(name, "mask", "vanishes at the stored size: the slice is kept, without a mask")])
    return mask, iter(())


def _flat_points(points: NDArray[np.float64], shape: tuple[int, ...], size: int) -> tuple[float, ...]:
    """x0, y0, x1, y1, ... to a hundredth of a stored pixel."""
    stored = store_points(points, (shape[0], shape[1]), size)
    return tuple(np.round(stored, 2).ravel().tolist())
