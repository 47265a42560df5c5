"""The two MONAI readers, through MONAI's own LoadImage and DataLoader. Reference: the arrays that were written."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.readers import CJDataReader, StoreReader
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.data.store import open_store, split_reference

STORE, CJDATA = "kdmri_monai.data.readers.StoreReader", "kdmri_monai.data.readers.CJDataReader"
FORK = "ignore:.*multi-threaded, use of fork:DeprecationWarning"  # Python 3.12 on warns; DataLoader forks all the same
BLOB = (slice(8, 16), slice(32, 56))  # of picture_of_a_blob at 64 x 64: upper right


def outside(array):
    """A copy without the blob."""
    rest = np.asarray(array).copy()
    rest[BLOB] = 0
    return rest


@pytest.fixture
def dataset(four_archives, tmp_path):
    options = PrepareOptions(store_size=64, workers=1)
    prepare_dataset(four_archives, tmp_path / "out", options, SplitOptions(external=True), progress=False)
    return tmp_path / "out"


def test_the_blob_is_where_it_was_from_archive_to_monai(dataset):
    load = LoadImaged(keys=["image", "mask"], reader=STORE)
    for entry in load_split(dataset / "datalist.json", "test"):
        loaded = load(entry)
        image, mask = loaded["image"], loaded["mask"]
        assert isinstance(image, MetaTensor)
        assert (image.shape, str(image.dtype)) == ((64, 64), "torch.float32")
        assert np.asarray(image)[BLOB].min() > 200 > outside(image).max()
        assert np.asarray(mask)[BLOB].min() == 1
        assert not outside(mask).any()
        assert image.max() == 255


def test_values_are_those_of_the_file_row_by_row(dataset):
    images = np.load(dataset / "images.npy")
    for row in (0, 5, 11):
        loaded = LoadImage(reader=STORE)(f"{dataset}/images.npy#{row}")
        np.testing.assert_array_equal(np.asarray(loaded), images[row].astype(np.float32))


@pytest.mark.filterwarnings(FORK)
def test_stored_slices_go_through_monais_transforms_and_loader_with_workers(dataset):
    keys = ["image", "mask"]
    transform = Compose([LoadImaged(keys=keys, reader=STORE), EnsureChannelFirstd(keys=keys)])
    data = Dataset(load_split(dataset / "datalist.json", "test"), transform)
    serial, parallel = (list(DataLoader(data, batch_size=5, num_workers=workers)) for workers in (0, 2))
    assert [tuple(batch["image"].shape) for batch in serial] == [(5, 1, 64, 64), (5, 1, 64, 64), (2, 1, 64, 64)]
    for one, other in zip(serial, parallel, strict=True):
        assert (one["image"] == other["image"]).all()
        assert one["id"] == other["id"]


@pytest.mark.filterwarnings(FORK)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_store_may_be_open_before_a_process_is_started(dataset, method):
    reference = f"{dataset}/images.npy#3"
    here, _ = StoreReader().get_data((reference,))
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        np.testing.assert_array_equal(pool.submit(StoreReader().get_data, (reference,)).result()[0], here)


def test_readers_hold_nothing_and_can_be_pickled(dataset):
    reader = StoreReader()
    reader.get_data((f"{dataset}/images.npy#0",))
    assert len(pickle.dumps(reader)) < 200
    assert pickle.loads(pickle.dumps(CJDataReader("mask"))).part == "mask"


def test_a_store_is_mapped_once_and_anew_when_it_was_replaced(dataset):
    first = open_store(dataset / "images.npy")
    assert open_store(dataset / "images.npy") is first
    assert isinstance(first, np.memmap)
    assert not first.flags.writeable
    other = np.zeros((2, 64, 64), np.uint8)
    np.save(dataset / "new.npy", other)
    (dataset / "new.npy").replace(dataset / "images.npy")
    assert open_store(dataset / "images.npy").shape == (2, 64, 64)


def test_several_references_become_channels(dataset):
    loaded = LoadImage(reader=STORE)([f"{dataset}/images.npy#1", f"{dataset}/masks.npy#1"])
    assert loaded.shape == (2, 64, 64)
    assert loaded.meta["original_channel_dim"] == 0
    assert set(np.unique(loaded[1])) == {0, 1}


def test_a_wrong_reference_names_the_file_and_what_is_allowed(dataset, tmp_path):
    load = LoadImage(reader=STORE)
    with pytest.raises(IndexError, match=r"images\.npy has 12 rows, counted from 0; asked for is row 12"):
        load(f"{dataset}/images.npy#12")
    for bad in ("images.npy", "images.npy#", "#1", "images.npy#-1", "images.npy#x", "images.npy#\u00b2"):
        with pytest.raises(ValueError, match="is not a reference to a stored image"):
            load(bad)
    with pytest.raises(FileNotFoundError, match=r"gone\.npy"):
        load(f"{dataset}/gone.npy#1")
    assert split_reference("a#b/images.npy#17") == (tmp_path.__class__("a#b/images.npy"), 17)


def test_a_file_that_is_no_store_is_refused_and_no_pickle_is_loaded(tmp_path):
    np.save(tmp_path / "floats.npy", np.zeros((2, 4, 4)))
    np.save(tmp_path / "objects.npy", np.array([[[print]]], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("text")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.savez(tmp_path / "zip.npz", a=np.zeros(3))
    (tmp_path / "zip.npz").rename(tmp_path / "zip.npy")
    for name in ("floats", "objects", "text", "empty", "zip"):
        with pytest.raises(ValueError, match=rf"{name}\.npy is not an image store"):
            LoadImage(reader=STORE)(f"{tmp_path}/{name}.npy#0")


# cjdata files


def test_a_cjdata_file_loads_upright_with_label_patient_and_metadata(tmp_path, cjdata, picture_of_a_blob):
    image, mask = picture_of_a_blob(64, 48)
    (tmp_path / "1.mat").write_bytes(cjdata(image, mask, label=3, pid="MR024780G"))
    loaded = LoadImaged(keys=["image"], reader=CJDATA)({"image": str(tmp_path / "1.mat")})["image"]
    assert (loaded.shape, str(loaded.dtype)) == ((64, 48), "torch.float32")
    np.testing.assert_array_equal(np.asarray(loaded), image)
    assert (loaded.meta["label"], loaded.meta["patient"]) == (2, "MR024780G")
    assert list(loaded.meta["spatial_shape"]) == [64, 48]
    np.testing.assert_array_equal(loaded.affine, np.eye(4))
    assert loaded.meta["filename_or_obj"] == str(tmp_path / "1.mat")
    tumour = LoadImage(reader=CJDATA, part="mask")(tmp_path / "1.mat")
    np.testing.assert_array_equal(np.asarray(tumour), mask)
    assert EnsureChannelFirstd(keys="image")({"image": loaded})["image"].shape == (1, 64, 48)


def test_an_error_reaches_the_user_and_no_other_reader_is_tried(tmp_path, cjdata):
    (tmp_path / "1.mat").write_bytes(cjdata(label=9))
    with pytest.raises(BadSliceError, match=r"1\.mat: cjdata/label is 9, allowed are 1..3"):
        LoadImage(reader=CJDATA)(tmp_path / "1.mat")
    (tmp_path / "2.mat").write_bytes(pickle.dumps(print))  # MONAI's NumpyReader would load it
    with pytest.raises(BadSliceError, match=r"2\.mat: file is not HDF5"):
        LoadImage(reader=CJDATA)(tmp_path / "2.mat")
    (tmp_path / "3.mat").write_bytes(cjdata(mask=...))
    with pytest.raises(BadSliceError, match=r"3\.mat: cjdata/tumorMask is missing"):
        LoadImage(reader=CJDATA, part="mask")(tmp_path / "3.mat")
    with pytest.raises(BadSliceError, match=r"gone\.mat: file cannot be read: No such file"):
        LoadImage(reader=CJDATA)(tmp_path / "gone.mat")


def test_suffixes_tell_the_readers_apart():
    assert CJDataReader().verify_suffix(["a.mat", "b.mat"])
    assert not CJDataReader().verify_suffix("a.png")
    assert StoreReader().verify_suffix("x/images.npy#17")
    assert not StoreReader().verify_suffix(["x/images.npy#17", "x/images.npy"])
    with pytest.raises(ValueError, match="part is 'border', allowed are 'image', 'mask'"):
        CJDataReader("border")
