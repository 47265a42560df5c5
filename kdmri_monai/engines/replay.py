"""Random augmentation that can be replayed: a sample's view depends on seed, epoch and its id, and on nothing else.

Whoever computes the teacher's answers once and uses them for another view of the slice teaches answers to questions
that were not asked.

Source: Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022, section 3: teacher
    and student must see one and the same view.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine, Events
from kornia.augmentation import AugmentationSequential, MixAugmentationBaseV2, RandomGaussianNoise
from kornia.augmentation.container.params import ParamItem
from torch import Tensor, nn

PROBES = (5, 7)
"""Sizes of two batches whose random numbers tell which of them belong to samples."""


class ReplayedAugmentation(nn.Module):
    """An ``AugmentationSequential`` whose random numbers are drawn for every sample from a generator of its own.

    The numbers of all samples are put together and applied at once, so a sample is augmented as it would be alone,
    whatever batch it is in; images and masks agree up to rounding, and bit by bit where the batch is the same. The
    state of torch's generators is left as it was. An id that stands in a batch n times gets n views there; one that a
    sampler draws into several batches of an epoch gets the same view in each.

    Attach it to the trainer, which tells it the epoch, and name the samples by ``prepare`` before every call, as
    ``AugmentedBatch`` does.

    Args:
        augmentation: Random steps in a fixed order, each sample's on its own. Random numbers are drawn on the CPU in
            float32, wherever it is moved to.
        seed: Seed of the views.

    Raises:
        ValueError: Not an ``AugmentationSequential``, or one whose steps come in random order, mix samples or are
            the same for a whole batch.
    """

    def __init__(self, augmentation: AugmentationSequential, seed: int = 0) -> None:
        super().__init__()
        _refuse(augmentation)
        self.augmentation = augmentation
        self.seed = seed
        self.epoch: int | None = None
        self._ids: tuple[str, ...] | None = None
        self._probed: set[torch.Size] = set()

    def attach(self, engine: Engine) -> None:
        """Learn the epoch from the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda trainer: self.set_epoch(trainer.state.epoch))

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the views to come, counted from 1."""
        self.epoch = epoch

    def prepare(self, ids: Sequence[str]) -> None:
        """Name the samples of the next call, one id each."""
        self._ids = tuple(ids)

    def forward(self, *inputs: Tensor, **kwargs: Any) -> Any:
        """Augmented tensors, as the ``AugmentationSequential`` gives them.

        Args:
            *inputs: Images ``(B, C, *spatial)`` first, then what ``data_keys`` says.
            **kwargs: As for ``AugmentationSequential``: ``data_keys``.

        Raises:
            ValueError: No epoch, or not one id for each sample, was told; or a step draws for the batch as a whole, or
                draws while it is applied.
        """
        image = inputs[0]
        ids, self._ids = self._ids, None
        if self.epoch is None:
            raise ValueError("ReplayedAugmentation knows no epoch: put it among the trainer's handlers, or set_epoch")
        if ids is None or len(ids) != len(image):
            told = "none" if ids is None else len(ids)
            raise ValueError(f"ReplayedAugmentation wants an id for each of {len(image)} samples, told were {told}")
        params = self._draw(image, ids)
        before = _states(image.device)
        augmented = self.augmentation(*inputs, params=params, **kwargs)
        if any(not torch.equal(old, new) for old, new in zip(before, _states(image.device), strict=True)):
            raise ValueError("a step of the augmentation draws random numbers while it is applied: no replay of it")
        return augmented

    def extra_repr(self) -> str:
        """The seed."""
        return f"seed={self.seed}"

    def _apply(self, fn: Any, recurse: bool = True) -> "ReplayedAugmentation":
        super()._apply(fn, recurse)
        for module in self.augmentation.modules():  # kornia's steps draw where they were moved to
            if hasattr(module, "set_rng_device_and_dtype"):
                module.set_rng_device_and_dtype(torch.device("cpu"), torch.float32)
        return self

    def _draw(self, image: Tensor, ids: Sequence[str]) -> list[ParamItem]:
        shape = image.shape[1:]
        with _own_generator():
            if shape not in self._probed:
                _refuse_draws_of_batches(self.augmentation, shape)
                self._probed.add(shape)
            drawn = []
            for name, number in numbered(ids):
                torch.default_generator.manual_seed(view_seed(self.seed, self.epoch or 0, name, number))
                drawn.append(_draw(self.augmentation, torch.Size((1, *shape))))
        return [_together(items, image.device) for items in zip(*drawn, strict=True)]


def view_seed(seed: int, epoch: int, name: str, number: int = 0) -> int:
    """Seed of one sample's view: 63 bits of the SHA-256 of everything that the view depends on."""
    digest = hashlib.sha256(f"{seed} {epoch} {number} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numbered(ids: Sequence[str]) -> list[tuple[str, int]]:
    """Every id with how often it stood in the batch before."""
    seen: Counter[str] = Counter()
    pairs = []
    for name in ids:
        pairs.append((name, seen[name]))
        seen[name] += 1
    return pairs


def _draw(augmentation: AugmentationSequential, shape: torch.Size) -> list[ParamItem]:
    return [_with_noise(augmentation, item) for item in augmentation.forward_parameters(shape)]


def _with_noise(parent: nn.Module, item: ParamItem) -> ParamItem:
    """Kornia 0.8 draws noise when it is applied; here it is drawn before, for the samples that get any."""
    module = parent.get_submodule(item.name)
    if isinstance(item.data, list):
        return ParamItem(item.name, [_with_noise(module, inner) for inner in item.data])
    if isinstance(module, RandomGaussianNoise) and "gaussian_noise" not in item.data:
        size = (int((item.data["batch_prob"] > 0.5).sum()), *item.data["forward_input_shape"].tolist()[1:])
        item.data["gaussian_noise"] = torch.randn(size) * module.flags["std"] + module.flags["mean"]
    return item


def _together(items: Sequence[ParamItem], device: torch.device) -> ParamItem:
    """The random numbers of one step for a batch, from those of its samples."""
    name = items[0].name
    if any(item.name != name for item in items):
        raise ValueError(f"{name} is not the same step for all samples: steps in random order cannot be replayed")
    first = items[0].data
    if first is None:
        return items[0]
    if isinstance(first, list):
        return ParamItem(name, [_together(inner, device) for inner in zip(*(i.data for i in items), strict=True)])
    data = {key: torch.cat([item.data[key] for item in items]) for key in first if key != "forward_input_shape"}
    if "gaussian_noise" in data:
        data["gaussian_noise"] = data["gaussian_noise"].to(device)
    shape = first["forward_input_shape"].clone()
    shape[0] = len(items)
    return ParamItem(name, {**data, "forward_input_shape": shape})


def _refuse(augmentation: nn.Module) -> None:
    if not isinstance(augmentation, AugmentationSequential):
        raise ValueError(f"replay wants kornia's AugmentationSequential, got {type(augmentation).__name__}")
    for module in augmentation.modules():
        name = type(module).__name__
        if isinstance(module, MixAugmentationBaseV2):
            raise ValueError(f"{name} mixes samples, so the view of one depends on the others: no replay of it")
        if getattr(module, "random_apply", False):
            raise ValueError(f"{name} takes its steps in random order (random_apply): no replay of it")
        if getattr(module, "same_on_batch", False):
            raise ValueError(f"{name} does the same to a whole batch (same_on_batch): no replay of it")


def _refuse_draws_of_batches(augmentation: AugmentationSequential, shape: Sequence[int]) -> None:
    for samples in PROBES:
        for name, data in _steps(_draw(augmentation, torch.Size((samples, *shape)))):
            applied = int((data["batch_prob"] > 0.5).sum())  # kornia 0.8 draws for those samples only
            for key, value in data.items():
                if key != "forward_input_shape" and value.shape[:1] not in ((samples,), (applied,)):
                    raise ValueError(
                        f"{name} draws `{key}` for a batch as a whole, not for every sample: no replay of it"
                    )


def _steps(items: Sequence[ParamItem]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    for item in items:
        if isinstance(item.data, list):
            yield from _steps(item.data)
        elif item.data is not None:
            yield item.name, item.data


@contextmanager
def _own_generator() -> Iterator[None]:
    """What is drawn on the CPU inside the block leaves torch's generator as it was."""
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def _states(device: torch.device) -> list[Tensor]:
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.default_generator.get_state(), *on_device]
