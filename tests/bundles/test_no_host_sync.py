"""A step waits for nothing: on a GPU every ``.item()`` would stop the host until the device has caught up."""

import traceback
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from torch.utils._python_dispatch import TorchDispatchMode

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")

WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.equal", "aten.is_nonzero")
"""Operations whose result the host has to know."""


class Watch(TorchDispatchMode):
    """Notes where such operations are called from, but for those on tensors that rest on the host by design."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(str(func).startswith(name) for name in WAITING) and not _of_the_optimiser():
            frames = [
                f"{Path(frame.filename).parent.name}/{Path(frame.filename).name}:{frame.name}"
                for frame in traceback.extract_stack()
            ]
            self.seen.append(" < ".join(frames[-2:-9:-1]))
        return func(*args, **(kwargs or {}))


def _of_the_optimiser():
    """Its counter of steps rests on the host, where several tensors are updated at once, as on a GPU."""
    return any(frame.name == "_get_value" and "optim" in frame.filename for frame in traceback.extract_stack())


def watched(bundle, *overlays, **given):
    """What the second of three steps waits for, from the batch to the end of all handlers."""
    workflow = bundle.open(*overlays, **given)
    trainer, watch = bundle.part(workflow, "train#trainer"), Watch()
    trainer.add_event_handler(Events.ITERATION_STARTED(once=2), lambda: watch.__enter__())
    trainer.add_event_handler(Events.ITERATION_STARTED(once=3), lambda: watch.__exit__(None, None, None))
    workflow.run()
    return watch.seen


NOT_FOR_THE_CPU = {"train#handlers#2#every": 50, "gradient_norms_every": 1000}
"""On the CPU the guard against NaN looks at every step; on a GPU it and the norms of gradients do at every fiftieth."""


def test_a_step_of_a_student_alone_waits_for_nothing(bundle, home, data):
    given = {"output_dir": str(home / "watched"), "augmentations": []}
    assert watched(bundle, "baseline", **data, **given, **NOT_FOR_THE_CPU) == []


def test_of_the_augmentation_only_the_blur_waits(bundle, home, data):
    """Kornia's random blur reads the widths that it has drawn."""
    seen = watched(bundle, "baseline", **data, output_dir=str(home / "augmented"), **NOT_FOR_THE_CPU)
    assert [place for place in seen if "filters/gaussian.py:_gaussian_blur2d" not in place] == []


def test_of_a_distilled_step_only_the_distance_to_the_tumour_waits(bundle, home, taught):
    """It reads how far it has to look, which is cheaper than looking everywhere."""
    given = {"output_dir": str(home / "watched taught"), "augmentations": []}
    seen = watched(bundle, "geometry_teacher", **taught, **given, **NOT_FOR_THE_CPU)
    assert [place for place in seen if "_nearest_along" not in place] == []


def test_the_guard_looks_at_every_so_many_steps_only(bundle, home, data):
    given = {"output_dir": str(home / "guarded"), "augmentations": [], "gradient_norms_every": 1000}
    (place,) = watched(bundle, "baseline", **data, **given, **{"train#handlers#2#every": 2})
    assert "guards.py:_in_its_turn" in place


def test_the_watch_sees_what_it_should():
    with Watch() as watch:
        float(torch.ones(3).sum())
        torch.ones(3).nonzero()
    assert len(watch.seen) == 2
    assert "test_the_watch_sees" in watch.seen[0]
