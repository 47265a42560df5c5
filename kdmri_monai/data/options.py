"""What a person may choose when a data set is prepared."""

import os
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from kdmri_monai.data.class_names import check_classes
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.taxonomy import CLASSES

WORKER_MIB = 64
"""Memory of one reading process that has numpy, h5py and Pillow loaded, about 45 MiB, and a slice in hand."""
MEMORY_MIB = 1024


@dataclass(frozen=True)
class PrepareOptions:
    """Choices for ``prepare_dataset``.

    Attributes:
        store_size: Side ``S`` of the stored images, 16..1024 pixels.
        workers: Reading processes; 1 reads in this process. ``None``: as many as there are processors, at most as many
            as keep the peak memory below 1 GiB (14). The result does not depend on it.
        strict: Stop at the first bad slice or archive instead of reporting it and going on.
        overwrite: Replace a dataset folder that was made from another source or with other options, or is damaged.
        patient_pattern: For folders of pictures: a regular expression searched in the file name; its group named
            ``patient``, else its first group, else all it matches, is the patient id.
        classes: Names of the classes in the order of their labels; for folders of pictures and tables, other sources
            have the three of the Figshare set. See ``chosen_classes`` for how a person gives them.
        limits: What one file may ask for.
    """

    store_size: int = 256
    workers: int | None = None
    strict: bool = False
    overwrite: bool = False
    patient_pattern: str | None = None
    classes: tuple[str, ...] = CLASSES
    limits: ReadLimits = field(default_factory=ReadLimits)

    def __post_init__(self) -> None:
        if not 16 <= self.store_size <= 1024:
            raise ValueError(f"store_size must be 16..1024 pixels, got {self.store_size}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        check_classes(self.classes)
        if self.patient_pattern is not None:
            try:
                re.compile(self.patient_pattern)
            except re.error as error:
                raise ValueError(
                    f"patient_pattern {self.patient_pattern!r} is no regular expression: {error}"
                ) from error

    def worker_count(self) -> int:
        """Number of reading processes that ``workers`` comes to on this machine."""
        if self.workers is not None:
            return self.workers
        return max(1, min(len(os.sched_getaffinity(0)), MEMORY_MIB // WORKER_MIB - 2))

    def as_dict(self) -> dict[str, Any]:
        """Those choices that decide what the dataset folder holds; classes where they are others than the three."""
        return {
            "store_size": self.store_size,
            "patient_pattern": self.patient_pattern,
            "limits": asdict(self.limits),
            **({} if self.classes == CLASSES else {"classes": list(self.classes)}),
        }
