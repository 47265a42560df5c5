"""Which classes a person asks for: names, a file of names, or those that the source itself has."""

from collections.abc import Iterable
from pathlib import Path

from kdmri_monai.data.class_names import check_classes, spelt_class
from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.source_contract import files_below, natural_key
from kdmri_monai.data.source_manifest import find_table, read_table
from kdmri_monai.data.source_pictures import SUFFIXES
from kdmri_monai.data.taxonomy import CLASSES

FOUND = "found"
_SPLIT_WORDS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def chosen_classes(text: str | None, source: Path) -> tuple[str, ...]:
    """The classes of a data set, in the order of their labels.

    Args:
        text: Names with commas between them; a text file with one a line; or ``found``, for the names of the folders
            directly in ``source`` that hold pictures, or of the labels in its table, in natural order. ``None``: the
            three of the Figshare set. Underscores in a name become spaces.
        source: What is to be prepared.

    Raises:
        BadSourceError: ``found``, and there is neither a table nor a folder with pictures, or the folders are splits.
        ValueError: Names that ``check_classes`` refuses, or a file that is no UTF-8 text.
    """
    if text is None:
        return CLASSES
    if text == FOUND:
        names = _found(source)
    elif "," not in text and Path(text).is_file():
        names = _lines(Path(text))
    else:
        names = text.split(",")
    classes = tuple(spelt_class(name) for name in names)
    check_classes(classes)
    return classes


def _found(source: Path) -> list[str]:
    table = find_table(source)
    if table is not None:
        return _in_order(spelt_class(row["label"]) for row in read_table(table) if row["label"])
    pictures = files_below(source, SUFFIXES) if source.is_dir() else []
    folders = _in_order(parts[0] for parts in (file.relative_to(source).parts for file in pictures) if len(parts) > 1)
    if not folders:
        raise BadSourceError(f"{source}: has no table and no folders with pictures, whose names could be the classes")
    splits = [name for name in folders if name.casefold() in _SPLIT_WORDS]
    if splits:
        raise BadSourceError(
            f"{source}: its folders ({', '.join(folders)}) are not named after classes; give them: --classes NAME,NAME"
        )
    return folders


def _in_order(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=natural_key)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no UTF-8 text: {error}") from error
    return [line for line in text.splitlines() if line.strip()]
