"""A teacher's answers kept in files, for runs that show it the same views again: other students, other seeds.

Answers to another view than the one at hand teach a student to overfit, so they are kept by sample and epoch, the
augmentation must be one that is replayed, and every answer carries what its view looked like. Source: Beyer et al.,
"Knowledge distillation: a good teacher is patient and consistent", CVPR 2022, section 3 (fixed teacher targets).
"""

import hashlib
import io
import json
import logging
import re
import zipfile
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.engines.replay import ReplayedAugmentation, numbered

logger = logging.getLogger(__name__)

FINGERPRINT = "fingerprint.json"
LOOK_SIZE = 4
"""Cells a side of the coarse picture that is kept of a view."""
LOOK_TOLERANCE = 1e-3
"""How far a cell may differ, in units of the image: rounding between devices is far below, another view far above."""

Row = tuple[Tensor, Tensor]


class CachedTeacher(nn.Module):
    """Asks a teacher about every view once and reads the answer from a file afterwards.

    Within a run every view comes once, so the first run is as slow as ever. Give it to the trainer's handlers too, so
    that the last epoch is written. It has logits only: terms on features cannot use it.

    Args:
        teacher: Any network that gives logits ``(B, K)``, with its weights.
        folder: Where the answers are; made where it is missing. One file an epoch and process.
        augmentation: The trainer's augmentation; ``None`` where images are not augmented, then one file serves all
            epochs.
        datalist: ``datalist.json`` that the ids belong to.
        image_size: Rows of the images, pixels.

    Raises:
        ValueError: An augmentation that is not replayed, or a folder of answers of another teacher, augmentation,
            seed, image size or datalist; the message says which.
    """

    gives_features = False

    def __init__(
        self,
        teacher: nn.Module,
        folder: str | PathLike[str],
        augmentation: ReplayedAugmentation | None,
        datalist: str | PathLike[str],
        image_size: int,
    ) -> None:
        super().__init__()
        if augmentation is not None and not isinstance(augmentation, ReplayedAugmentation):
            raise ValueError(
                f"a cached teacher wants a ReplayedAugmentation, got {type(augmentation).__name__}: its views never "
                "come again, and the answers to others would be wrong"
            )
        self.teacher = teacher
        self.folder = Path(folder)
        self._read_epoch = (lambda: 0) if augmentation is None else (lambda: augmentation.epoch)
        self._epoch: int | None = None
        self._answers: dict[str, Row] = {}
        self._computed = 0
        _open_folder(self.folder, _fingerprint(teacher, augmentation, Path(datalist), image_size))

    @property
    def privileged_keys(self) -> tuple[str, ...]:
        """Keys of the batch that ``forward`` wants beside the image."""
        return tuple(dict.fromkeys(["id", *getattr(self.teacher, "privileged_keys", ())]))

    def attach(self, engine: Engine) -> None:
        """Write after every epoch of the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _trainer: self.save())

    def forward(self, image: Tensor, id: list[str], **privileged: Any) -> Tensor:
        """Logits, shape ``(B, K)``, float32 or better.

        Args:
            image: The augmented view, shape ``(B, C, *spatial)``.
            id: Id of every sample.
            **privileged: What the teacher wants beside the image: tensors ``(B, ...)`` or sequences of B items.

        Raises:
            ValueError: The augmentation knows no epoch, not one id a sample, or an answer that belongs to another view
                of the sample (mixing or erasing that is not replayed).
        """
        self._turn_to(self._read_epoch())
        if len(id) != len(image):
            raise ValueError(f"{len(id)} ids for {len(image)} images")
        keys = [f"{number} {name}" for name, number in numbered(id)]
        looks = look_of(image).cpu()
        new = [place for place, key in enumerate(keys) if key not in self._answers]
        if new:
            wanted = getattr(self.teacher, "privileged_keys", ())
            given = {"id": id, **privileged}
            logits = self.teacher(_share(image, new), **{key: _share(given[key], new) for key in wanted})
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).detach().cpu()
            self._answers.update({keys[place]: (row, looks[place]) for place, row in zip(new, logits, strict=True)})
            self._computed += len(new)
        rows = [self._answers[key] for key in keys]
        self._refuse_other_views(id, looks, torch.stack([look for _, look in rows]))
        return torch.stack([logits for logits, _ in rows]).to(image.device)

    def save(self) -> None:
        """Write the answers of the epoch, if there are new ones; those of before are kept.

        Raises:
            OSError: The folder cannot be written to.
        """
        if self._epoch is None or not self._computed:
            return
        content = io.BytesIO()
        logits, looks = (torch.stack(column).numpy() for column in zip(*self._answers.values(), strict=True))
        np.savez(content, keys=np.array(list(self._answers)), logits=logits, looks=looks)
        path = self.folder / f"epoch-{self._epoch:05d}-of-{idist.get_rank()}.npz"
        write_atomically(path, content.getvalue())
        logger.info("%s: %d answers, %d of them new", path, len(self._answers), self._computed)
        self._computed = 0

    def _turn_to(self, epoch: int | None) -> None:
        if epoch is None:
            raise ValueError("the augmentation knows no epoch: put it among the trainer's handlers, or set_epoch")
        if epoch == self._epoch:
            return
        self.save()
        self._answers, self._epoch = {}, epoch
        for path in sorted(self.folder.glob(f"epoch-{epoch:05d}-of-*.npz")):
            self._answers.update(_read(path))

    def _refuse_other_views(self, ids: list[str], looks: Tensor, kept: Tensor) -> None:
        other = ~((looks - kept).abs() <= LOOK_TOLERANCE).flatten(start_dim=1).all(dim=1)
        if other.any():
            name = ids[int(other.nonzero()[0])]
            raise ValueError(
                f"{self.folder} holds the teacher's answer to another view of {name!r} in epoch {self._epoch} than the "
                "one at hand: something that is not replayed changes the images (mixing, erasing, an augmentation "
                "beside the replayed one). Turn it off, or do without the cache"
            )


def look_of(image: Tensor) -> Tensor:
    """A coarse picture of every view by which it is known again, shape ``(B, C, 4, ...)``: means over cells."""
    size = (LOOK_SIZE,) * (image.ndim - 2)
    return nn.functional.interpolate(image.float(), size=size, mode="area")


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of what a network is made of and of its weights, 64 hexadecimal digits."""
    digest = hashlib.sha256(re.sub(r"\b0x[0-9a-f]+", "", repr(network)).encode())  # without addresses of functions
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _fingerprint(
    teacher: nn.Module, augmentation: ReplayedAugmentation | None, datalist: Path, image_size: int
) -> dict[str, Any]:
    return {
        "teacher": weights_digest(teacher),
        "augmentation": None if augmentation is None else repr(augmentation.augmentation),
        "seed of the augmentation": None if augmentation is None else augmentation.seed,
        "image size": image_size,
        "datalist": hashlib.sha256(datalist.read_bytes()).hexdigest(),
        "kornia": version("kornia"),
    }


def _open_folder(folder: Path, fingerprint: dict[str, Any]) -> None:
    path = folder / FINGERPRINT
    if not path.is_file():
        if any(folder.glob("epoch-*.npz")):
            raise ValueError(f"{folder} holds answers of a teacher but no {FINGERPRINT}: whose they are is not known")
        write_atomically(path, f"{json.dumps(fingerprint, indent=1)}\n".encode())
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    stale = [name for name, value in fingerprint.items() if before.get(name) != value]
    if stale:
        raise ValueError(
            f"{folder} holds answers for another {', another '.join(stale)}: they are stale. Remove the folder, or "
            "choose another one"
        )


def _read(path: Path) -> dict[str, Row]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            columns = content["keys"].tolist(), torch.from_numpy(content["logits"]), torch.from_numpy(content["looks"])
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, its answers are then computed anew") from error
    return {key: (logits, look) for key, logits, look in zip(*columns, strict=True)}


def _share(value: Any, places: list[int]) -> Any:
    if len(places) == len(value):
        return value
    return value[places] if isinstance(value, Tensor) else [value[place] for place in places]
