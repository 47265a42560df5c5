"""``ResidentDataset``: the batches of a cached data set and a collating loader, without reading anything twice."""

import logging

import pytest
import torch
from monai.data import CacheDataset, DataLoader, MetaTensor

from kdmri_monai.engines import ResidentDataset, whole_batch

COUNT = 10


class Prepare:
    """Counts how often every sample is prepared."""

    def __init__(self):
        self.asked = []

    def __call__(self, entry):
        self.asked.append(entry["number"])
        image = MetaTensor(torch.full((1, 4, 4), float(entry["number"])))
        return {
            "image": image,
            "label": entry["number"] % 3,
            "has_mask": entry["number"] % 2 == 0,
            "id": f"s{entry['number']}",
        }


def entries(count=COUNT):
    return [{"number": number} for number in range(count)]


def batches(dataset, **settings):
    settings = {"batch_size": 4} | settings
    if isinstance(dataset, ResidentDataset):
        settings["collate_fn"] = whole_batch
    return list(DataLoader(dataset, **settings))


@pytest.mark.parametrize("max_bytes", [1e9, 0])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_a_cached_data_set(max_bytes, num_workers):
    ours = batches(ResidentDataset(entries(), Prepare(), max_bytes=max_bytes), num_workers=num_workers)
    theirs = batches(CacheDataset(entries(), Prepare(), progress=False))
    assert [len(batch["label"]) for batch in ours] == [4, 4, 2]
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one["id"] == other["id"]
        for key in ("image", "label", "has_mask"):
            torch.testing.assert_close(torch.as_tensor(one[key]), torch.as_tensor(other[key]), rtol=0, atol=0)
            assert one[key].dtype == other[key].dtype
        assert type(one["image"]) is torch.Tensor


def test_a_sampler_decides_the_order():
    order = [7, 3, 3, 0]
    (batch,) = batches(ResidentDataset(entries(), Prepare()), sampler=order)
    assert batch["id"] == [f"s{number}" for number in order]
    assert batch["image"][:, 0, 0, 0].tolist() == order


def test_everything_is_prepared_once_and_never_again():
    prepare = Prepare()
    dataset = ResidentDataset(entries(), prepare)
    for _ in range(3):
        batches(dataset)
    assert sorted(prepare.asked) == list(range(COUNT))


def test_what_does_not_fit_is_prepared_in_every_epoch_and_said_so(caplog):
    prepare = Prepare()
    with caplog.at_level(logging.WARNING):
        dataset = ResidentDataset(entries(), prepare, max_bytes=COUNT * 64 - 1)
    assert not dataset.resident
    assert dataset.bytes == COUNT * 64
    assert "more than max_bytes" in caplog.text
    prepare.asked.clear()
    for _ in range(2):
        batches(dataset)
    assert sorted(prepare.asked) == sorted([*range(COUNT)] * 2)


def test_a_batch_that_is_changed_leaves_the_data_as_they_are():
    dataset = ResidentDataset(entries(), Prepare())
    (batch,) = batches(dataset, batch_size=COUNT)
    batch["image"].zero_()
    assert dataset[5]["image"].mean() == 5
    assert dataset[5]["id"] == "s5"


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="split is empty"):
        ResidentDataset([], Prepare())


def test_samples_of_other_shapes_and_keys_are_named():
    def uneven(entry):
        return {"image": torch.zeros(1, 4 + (entry["number"] == 6), 4)}

    with pytest.raises(ValueError, match=r"image of sample 6 has shape \(1, 5, 4\), that of the first \(1, 4, 4\)"):
        ResidentDataset(entries(), uneven)
    with pytest.raises(ValueError, match="sample 3 has"):
        ResidentDataset(entries(), lambda entry: {"label": 0} | ({"more": 1} if entry["number"] == 3 else {}))


def test_an_error_of_a_transform_comes_through():
    def broken(entry):
        if entry["number"] == 8:
            raise OSError("slice 8 cannot be read")
        return {"label": 1}

    with pytest.raises(OSError, match="slice 8"):
        ResidentDataset(entries(), broken)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_batches_are_there_already():
    (batch,) = batches(ResidentDataset(entries(), Prepare(), device="cuda"), batch_size=COUNT)
    assert batch["image"].is_cuda
    assert batch["label"].is_cuda


def test_numbers_become_tensors_of_the_type_that_collating_gives():
    dataset = ResidentDataset(entries(2), lambda entry: {"weight": entry["number"] / 2})
    (batch,) = batches(dataset)
    assert batch["weight"].dtype == torch.float64
    assert batch["weight"].tolist() == [0.0, 0.5]
