"""The size of images that a run was trained on, for whoever evaluates it."""

from os import PathLike
from pathlib import Path

from kdmri_monai.data.json_object import read_json_object
from kdmri_monai.engines.run_record import FILE


def recorded_image_size(folder: str | PathLike[str], otherwise: int) -> int:
    """Rows of the images that a run was trained on, so that it is not judged on others unasked.

    Args:
        folder: Folder of the run.
        otherwise: What is taken where there is no record, or one that does not say.

    Returns:
        ``settings.image_size`` of ``run.json``, pixels.

    Raises:
        ValueError: ``run.json`` is no JSON object, or its size is no positive whole number.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return otherwise
    settings = read_json_object(path).get("settings")
    size = settings.get("image_size", otherwise) if isinstance(settings, dict) else otherwise
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"{path}: settings.image_size is {size!r}, expected a positive whole number")
    return size
