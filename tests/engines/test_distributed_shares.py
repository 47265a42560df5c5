"""Which process sees what: every sample once, in the steps and in the order of a single process."""

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler, RandomSampler, SequentialSampler

from kdmri_monai.engines import (
    EpochSeed,
    ProcessShare,
    balanced_sampler,
    join_processes,
    process_device,
    share_of_batch,
    synchronise_batch_norm,
)
from kdmri_monai.engines.guards import epoch_seed


def shuffled(samples, seed=3):
    return DistributedSampler(range(samples), num_replicas=1, rank=0, shuffle=True, seed=seed)


def in_steps(indices, size):
    return [list(indices[start : start + size]) for start in range(0, len(indices), size)]


def steps_of(make, batch_size, processes, epoch):
    """Of every process its batches, as a data loader of its share would make them."""
    steps = []
    for rank in range(processes):
        share = ProcessShare(make(), batch_size, processes, rank)
        share.set_epoch(epoch)
        indices = list(share)
        assert len(indices) == len(share)
        steps.append(in_steps(indices, share_of_batch(batch_size, processes)))
    return steps


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("samples", [24, 25, 27, 29, 31, 33, 40, 47])
def test_step_by_step_all_processes_together_take_what_one_takes(samples, processes):
    for epoch in (1, 2):
        alone = shuffled(samples)
        alone.set_epoch(epoch)
        expected = in_steps(list(alone), 12)
        shared = steps_of(lambda: shuffled(samples), 12, processes, epoch)
        left_out = samples % 12 if 0 < samples % 12 < 2 * processes else 0
        assert {len(steps) for steps in shared} == {len(expected) - bool(left_out)}
        for number, step in enumerate(zip(*shared, strict=True)):
            together = [index for part in step for index in part]
            assert len(together) == len(set(together))
            assert set(together) == set(expected[number])
            assert min(len(part) for part in step) >= 2
            assert max(len(part) for part in step) - min(len(part) for part in step) <= 1


def test_other_epochs_have_other_orders_and_leave_others_out():
    seen = [{index for steps in steps_of(lambda: shuffled(27), 12, 2, epoch) for step in steps for index in step}
            for epoch in range(1, 9)]  # fmt: skip
    assert all(len(epoch) == 24 for epoch in seen)
    assert len({frozenset(epoch) for epoch in seen}) > 1


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("samples", [5, 12, 13, 31])
def test_of_validation_every_process_takes_a_stretch(samples, processes):
    shares = [list(ProcessShare(SequentialSampler(range(samples)), None, processes, rank)) for rank in range(processes)]
    assert [index for share in shares for index in share] == list(range(samples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_balanced_draws_are_shared_out_too():
    entries = [{"label": 0 if place % 5 else 1, "patient": f"P{place // 2}"} for place in range(40)]
    alone = balanced_sampler(entries, seed=1, num_samples=36)
    alone.set_epoch(4)
    expected = in_steps(list(alone), 12)
    shared = steps_of(lambda: balanced_sampler(entries, seed=1, num_samples=36), 12, 2, 4)
    for number, step in enumerate(zip(*shared, strict=True)):
        assert sorted([*step[0], *step[1]]) == sorted(expected[number])


def test_a_sampler_that_every_process_draws_otherwise_is_refused():
    with pytest.raises(ValueError, match="RandomSampler draws otherwise in every process"):
        ProcessShare(RandomSampler(range(10)), 4, 2, 0)


@pytest.mark.parametrize(("batch_size", "processes"), [(9, 2), (1, 2), (0, 2), (32, 3)])
def test_a_batch_that_cannot_be_shared_out_evenly_is_refused(batch_size, processes):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}, .* a multiple of {processes}"):
        ProcessShare(shuffled(40), batch_size, processes, 0)


@pytest.mark.parametrize(("samples", "batch_size"), [(3, 8), (2, None)])
def test_too_few_samples_are_refused(samples, batch_size):
    with pytest.raises(ValueError, match=f"{samples} samples are too few for [23] processes"):
        ProcessShare(shuffled(samples), batch_size, 2 if batch_size else 3, 0)


def test_processes_have_seeds_of_their_own_and_the_first_has_that_of_a_single_one():
    seeds = {epoch_seed(seed, epoch, rank) for seed in range(5) for epoch in range(1, 41) for rank in range(8)}
    assert len(seeds) == 5 * 40 * 8
    assert epoch_seed(3, 7) == 300016
    np.testing.assert_array_less(max(seeds), 2**32)
    assert EpochSeed(3).seed == 3


def test_without_torchrun_nothing_is_joined(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    join_processes("cpu")
    assert not torch.distributed.is_initialized()


def test_devices_that_processes_cannot_share_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match="device is cuda:0 in process 1 of this machine: leave --device away"):
        join_processes("cuda:0")
    with pytest.raises(ValueError, match="not on mps"):
        join_processes("mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="has 1 GPUs, which is too few"):
        join_processes("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert process_device() == "cuda:1"


def test_one_process_keeps_its_batch_normalisation():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    synchronise_batch_norm(network, "cpu")
    assert type(network[1]) is torch.nn.BatchNorm2d
