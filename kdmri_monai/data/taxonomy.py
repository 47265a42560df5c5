"""Names of classes, planes and splits, in one place.

Files of the Figshare set number the classes 1..3; in memory they are 0..2, in the order of ``CLASSES``. Other data have
other classes, which their datalist names.
"""

from typing import Literal

CLASSES: tuple[str, ...] = ("meningioma", "glioma", "pituitary tumour")
PLANES: tuple[str, ...] = ("axial", "coronal", "sagittal")
SPLITS: tuple[str, ...] = ("training", "validation", "test")

Split = Literal["training", "validation", "test"]
