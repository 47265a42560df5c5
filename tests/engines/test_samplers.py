"""Balanced sampling: even classes and patients, and the same draws whenever an epoch is repeated."""

from collections import Counter

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from scipy import stats

from kdmri_monai.data.balance import balanced_weights
from kdmri_monai.engines.samplers import BalancedSampler, balanced_sampler


def uneven(count=200):
    """Nine of ten slices are of class 0; one patient has most of them."""
    return [
        {"label": 0 if i % 10 else 1 + i // 10 % 2, "patient": "A" if i % 3 else f"P{i % 7}", "place": i}
        for i in range(count)
    ]


def draws(sampler, epochs):
    drawn = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        drawn.append(list(sampler))
    return drawn


def test_what_is_drawn_follows_the_weights():
    entries = uneven()
    drawn = np.concatenate(draws(balanced_sampler(entries, seed=0), range(100)))
    expected = np.array(balanced_weights(entries)) * 100
    assert len(drawn) == 20_000
    assert stats.chisquare(np.bincount(drawn, minlength=200), expected).pvalue > 0.01
    classes = Counter(entries[place]["label"] for place in drawn)
    assert all(abs(classes[label] / 20_000 - 1 / 3) < 0.015 for label in range(3))


def test_an_epoch_depends_on_seed_and_number_alone():
    entries = uneven()
    straight = draws(balanced_sampler(entries, seed=3), [1, 2, 3, 4])
    torch.manual_seed(12345)
    resumed = balanced_sampler(entries, seed=3)
    assert draws(resumed, [3, 4]) == straight[2:]
    assert draws(resumed, [4]) == straight[3:]
    assert len({tuple(epoch) for epoch in straight}) == 4
    assert draws(balanced_sampler(entries, seed=4), [1, 2]) != straight[:2]
    assert draws(balanced_sampler(entries, seed=4), [0]) != straight[:1]


def test_two_passes_at_once_do_not_disturb_each_other():
    sampler = balanced_sampler(uneven(), seed=0)
    one, other = iter(sampler), iter(sampler)
    assert [next(one) for _ in range(50)] == [next(other) for _ in range(50)]


def test_torchs_own_random_numbers_are_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(balanced_sampler(uneven(), seed=1))
    assert torch.equal(before, torch.get_rng_state())


def test_an_epoch_may_be_shorter_or_longer_than_the_data_set():
    for number in (7, 500):
        sampler = balanced_sampler(uneven(), 0, num_samples=number)
        assert len(sampler) == len(list(sampler)) == number
    assert len(balanced_sampler(uneven(), 0)) == 200


def test_processes_draw_from_parts_that_do_not_overlap_and_change():
    samplers = [balanced_sampler(uneven(), 0, ("class",), num_replicas=2, rank=rank) for rank in (0, 1)]
    epochs = [draws(sampler, [1, 2]) for sampler in samplers]
    assert not set(epochs[0][0]) & set(epochs[1][0])
    assert set(epochs[0][0]) & set(epochs[1][1])
    assert len(epochs[0][0]) == 100


def seen_in(study, tmp_path, epochs, stop_after=None, resume=False):
    """Labels of every epoch of a small run on a balanced loader, and its student."""
    generator = torch.Generator().manual_seed(1)
    data = [{"image": torch.randn(1, 16, 16, generator=generator), "label": max(0, i - 37)} for i in range(40)]
    sampler = balanced_sampler([{"label": item["label"], "patient": str(i)} for i, item in enumerate(data)], seed=5)
    loader = DataLoader(Dataset(data), batch_size=8, sampler=sampler)
    run = study(tmp_path, epochs=epochs, resume=resume, train_data_loader=loader)
    seen = {}
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda e: seen.setdefault(e.state.epoch, []).extend(e.state.output["label"].tolist()),
    )
    if stop_after is not None:
        run.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=stop_after), lambda e: e.terminate())
    run.trainer.run()
    return seen, run.student.state_dict()


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(study, tmp_path):
    straight, weights = seen_in(study, tmp_path / "straight", 4)
    first, _ = seen_in(study, tmp_path / "broken", 4, stop_after=2)
    second, again = seen_in(study, tmp_path / "broken", 4, resume=True)
    assert first | second == straight
    assert list(second) == [3, 4]
    assert len({tuple(labels) for labels in straight.values()}) == 4, "the epoch was told to the sampler"
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert sum(labels.count(0) for labels in straight.values()) < 100  # of 160; all but eight without balance


def test_weights_that_do_not_fit_the_data_set_are_refused():
    with pytest.raises(ValueError, match="there are 3 weights for 4 elements"):
        BalancedSampler(range(4), [1.0, 1.0, 1.0], seed=0)
