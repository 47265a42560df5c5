"""The file of heat maps: what is written is read, in its place, and nothing else is accepted."""

import pickle

import numpy as np
import pytest
import torch

from kdmri_monai.evaluation.heat_file import FIELDS, HeatMaps, read_heat, small_heat, write_heat


def reference_blocks(heat, side):
    """Means over blocks of ``side`` pixels."""
    rows, columns = heat.shape
    return heat.reshape(rows // side, side, columns // side, side).mean(axis=(1, 3))


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    heat, maximum = small_heat(torch.from_numpy(rng.random((3, 1, 64, 96))))
    return HeatMaps(np.array(["a", "b", "ü c"]), heat, maximum, "grad_cam", "backbone.layer3")


def test_what_is_written_is_read(maps, tmp_path):
    write_heat(maps, tmp_path / "run" / "test_heat.npz")
    read = read_heat(tmp_path / "run" / "test_heat.npz")
    for name in ("id", "heat", "maximum"):
        before, after = getattr(maps, name), getattr(read, name)
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype
    assert (read.method, read.layer, len(read)) == ("grad_cam", "backbone.layer3", 3)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["test_heat.npz"]


def test_a_blob_in_the_upper_left_is_in_the_upper_left_in_the_file(tmp_path):
    heat = torch.zeros(1, 1, 64, 96)
    heat[0, 0, 4:12, 6:30] = 2.5  # wider than high
    small, maximum = small_heat(heat)
    assert small.shape == (1, 21, 32)
    write_heat(HeatMaps(np.array(["x"]), small, maximum, "grad_cam", "l"), tmp_path / "heat.npz")
    found = read_heat(tmp_path / "heat.npz").of("x")
    rows, columns = np.nonzero(found)
    assert (rows.min(), rows.max()) == (1, 3)
    assert (columns.min(), columns.max()) == (2, 9)
    assert found.max() == 1


@pytest.mark.parametrize("shape", [(16, 24), (32, 32), (96, 96), (64, 128)])
def test_heat_is_averaged_and_scaled_slice_by_slice(shape):
    rng = np.random.default_rng(1)
    heat = rng.random((4, 1, *shape)) * np.array([1e-9, 1, 50, 0])[:, None, None, None]
    small, maximum = small_heat(torch.from_numpy(heat))
    side = max(1, max(shape) // 32)
    for row in range(4):
        expected = reference_blocks(heat[row, 0], side)
        assert maximum[row] == pytest.approx(expected.max())
        np.testing.assert_allclose(small[row] / 255 * maximum[row], expected, atol=0.51 * maximum[row] / 255)
    assert maximum[3] == 0
    assert not small[3].any()
    assert small[:3].max(axis=(1, 2)).tolist() == [255, 255, 255]


def test_an_unknown_slice_has_no_heat(maps):
    with pytest.raises(KeyError, match="there is no heat for slice 'd'"):
        maps.of("d")


def test_an_older_file_stays_when_writing_fails(maps, tmp_path, monkeypatch):
    path = tmp_path / "heat.npz"
    write_heat(maps, path)
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez_compressed", half_a_file)
    with pytest.raises(OSError, match="disk full"):
        write_heat(maps, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["heat.npz"]


def half_a_file(file, **_arrays):
    file.write(b"PK")
    raise OSError("disk full")


def rewritten(maps, path, **changes):
    arrays = {"format": np.asarray("kdmri-heat-1")} | {name: np.asarray(getattr(maps, name)) for name in FIELDS}
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maximum": None}, "it lacks maximum"),
        ({"format": np.asarray("kdmri-heat-9")}, "format is kdmri-heat-9, this version reads kdmri-heat-1"),
        ({"heat": np.zeros((3, 4, 4))}, r"heat is float64 \(3, 4, 4\), expected 3 of u1 in 3 axes"),
        ({"heat": np.zeros((2, 4, 4), np.uint8)}, r"heat is uint8 \(2, 4, 4\)"),
        ({"heat": np.zeros((3, 0, 4), np.uint8)}, r"h and w of at least 1"),
        ({"id": np.array(["a", "a", "b"])}, "an id is empty or stands twice"),
        ({"id": np.array([1, 2, 3])}, r"id is int64 \(3,\)"),
        ({"maximum": np.array([1, np.nan, 1], np.float32)}, "a maximum is negative or not finite"),
        ({"id": np.array(["a", None, "b"], dtype=object)}, "Object arrays cannot be loaded"),
    ],
)
def test_wrong_contents_are_refused_by_name(maps, tmp_path, changes, message):
    rewritten(maps, tmp_path / "heat.npz", **changes)
    with pytest.raises(ValueError, match=rf"heat\.npz.*{message}"):
        read_heat(tmp_path / "heat.npz")


def test_other_files_are_refused(maps, tmp_path):
    path = tmp_path / "heat.npz"
    with pytest.raises(FileNotFoundError):
        read_heat(path)
    write_heat(maps, path)
    for content in (b"", b"id,heat\n", pickle.dumps({"heat": 1}), path.read_bytes()[:-40]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"heat\.npz is no file of heat maps"):
            read_heat(path)
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"plain\.npy is no file of heat maps"):
        read_heat(tmp_path / "plain.npy")


def test_flipped_bits_are_noticed(maps, tmp_path):
    path = tmp_path / "heat.npz"
    write_heat(maps, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="is no file of heat maps"):
        read_heat(path)
