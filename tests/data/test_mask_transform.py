"""Masks of a bundle: beside the image pixel by pixel, empty where a slice has none."""

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Resized

from kdmri_monai.data.readers import StoreReader
from kdmri_monai.data.transforms import LoadMaskd

SIZE = 48


def crooked_blob(rows, columns):
    """Symmetric in nothing: a triangle in the upper right with a tail to its lower left."""
    blob = np.zeros((rows, columns), bool)
    for row in range(rows // 8, rows // 2):
        blob[row, columns // 2 : columns // 2 + row * columns // rows // 2] = True
    blob[rows // 2 : rows // 2 + 5, columns // 3 : columns // 2 + 3] = True
    return blob


@pytest.fixture
def entries(tmp_path):
    blob = crooked_blob(SIZE, SIZE)
    np.save(tmp_path / "images.npy", np.stack([blob * 255, blob[::-1] * 255]).astype(np.uint8))
    masks = np.zeros((3, SIZE, SIZE), np.uint8)
    masks[0], masks[2, 7, 9] = blob, 1
    np.save(tmp_path / "masks.npy", masks)
    image, mask = f"{tmp_path}/images.npy", f"{tmp_path}/masks.npy"
    return [
        {"image": f"{image}#0", "mask": f"{mask}#0", "label": 0},
        {"image": f"{image}#1", "label": 1},
        {"image": f"{image}#1", "mask": f"{mask}#2", "label": 2},
    ]


def area_means(picture, size):
    """Mean over the area of every pixel of a smaller grid that divides the picture, or of a copy of each pixel."""
    rows = picture.shape[0]
    if size > rows:
        return np.kron(picture, np.ones((size // rows, size // rows)))
    return picture.reshape(size, rows // size, size, rows // size).mean(axis=(1, 3))


def pipeline(size):
    return Compose(
        [
            LoadImaged(keys="image", reader=StoreReader, image_only=True),
            EnsureChannelFirstd(keys="image", channel_dim="no_channel"),
            Resized(keys="image", spatial_size=[size, size], mode="area"),
            LoadMaskd(keys="mask", spatial_size=[size, size]),
        ]
    )


@pytest.mark.parametrize("size", [16, 24, 48, 96])
def test_the_mask_is_half_the_area_or_more_of_every_pixel(entries, size):
    mask = LoadMaskd("mask", [size, size])(entries[0])["mask"]
    expected = area_means(crooked_blob(SIZE, SIZE).astype(float), size) >= 0.5
    np.testing.assert_array_equal(mask[0].numpy(), expected)


@pytest.mark.parametrize("size", [20, 33, 48, 70])
def test_the_mask_lies_on_the_image_pixel_by_pixel(entries, size):
    loaded = pipeline(size)(entries[0])
    blob = loaded["image"].as_tensor() >= 127.5
    assert torch.equal(loaded["mask"].bool(), blob)
    for wrong in (blob.flip(1), blob.flip(2), blob.transpose(1, 2)):
        assert not torch.equal(loaded["mask"].bool(), wrong)


def test_slices_with_and_without_a_mask_are_collated(entries):
    batch = next(iter(DataLoader(Dataset(entries, pipeline(24)), batch_size=3)))
    assert batch["mask"].dtype == torch.uint8
    assert batch["mask"].shape == (3, 1, 24, 24)
    assert batch["has_mask"].dtype == torch.bool
    # the mask of one single pixel is less than half of any of the larger ones
    assert batch["has_mask"].tolist() == [True, False, False]
    assert batch["mask"].flatten(1).any(dim=1).tolist() == [True, False, False]


def test_tensors_are_plain_and_the_entry_itself_is_left_as_it_was(entries):
    before = dict(entries[0])
    loaded = LoadMaskd("mask", (24, 24))(entries[0])
    assert type(loaded["mask"]) is torch.Tensor
    assert type(loaded["has_mask"]) is torch.Tensor
    assert entries[0] == before
    assert set(loaded) == {*before, "has_mask"}


def test_a_reference_to_nothing_is_an_error_and_no_missing_mask(entries):
    load = LoadMaskd("mask", (24, 24))
    with pytest.raises(IndexError, match=r"masks\.npy has 3 rows, counted from 0; asked for is row 3"):
        load({"mask": entries[0]["mask"].replace("#0", "#3")})
    with pytest.raises(FileNotFoundError, match=r"gone\.npy"):
        load({"mask": entries[0]["mask"].replace("masks", "gone")})
