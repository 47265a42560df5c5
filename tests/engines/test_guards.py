"""Seeds that differ from epoch to epoch and not from run to run."""

import random

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from kdmri_monai.engines import EpochSeed


def drawn(seed, epochs=3):
    numbers = []
    engine = Engine(lambda *_: numbers.append((torch.rand(1).item(), random.random(), np.random.rand())))  # noqa: NPY002
    EpochSeed(seed).attach(engine)
    engine.run([0, 1], max_epochs=epochs)
    return numbers


def test_every_epoch_draws_other_numbers_and_every_run_the_same():
    assert drawn(0) == drawn(0)
    assert len({number for row in drawn(0) for number in row}) == 18


@pytest.mark.parametrize("other", [1, 2, 100_003])
def test_another_seed_draws_other_numbers(other):
    assert not {row[0] for row in drawn(0)} & {row[0] for row in drawn(other)}
