"""DICOM: single pictures, stacks of frames and series, made here; what is in the header of the patient stays there."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from kdmri_monai.data.dicom_header import ELEMENTS
from kdmri_monai.data.dicom_series import DicomFile
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.scans import ScanSlice, scan_slices

PATIENT = {"PatientName": "Doe^Jane", "PatientID": "ID-4711", "PatientBirthDate": "19700101"}
PATIENT |= {"InstitutionName": "St Elsewhere", "AccessionNumber": "ACC-0815", "StudyDate": "20240229"}
AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]


def write(path: Path, pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **given) -> Path:
    """An MR image as a scanner leaves it; a keyword that is ``...`` is left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax if syntax != RLELossless else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data = FileDataset(str(path), {}, b"\0" * 128, meta, syntax == ImplicitVRLittleEndian, order == "<")
    bits = 8 * pixels.dtype.itemsize
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    shape = pixels.shape[:2] if colour else pixels.shape[-2:]
    known = PATIENT | {
        "SOPClassUID": MRImageStorage,
        "Rows": shape[0],
        "Columns": shape[1],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelSpacing": [0.5, 0.5],
        "NumberOfFrames": len(pixels) if pixels.ndim == 3 and not colour else ...,
        "PlanarConfiguration": 0 if colour else ...,
    }
    for keyword, value in (known | given).items():
        if value is not ...:
            setattr(data, keyword, value)
    data.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data["PixelData"].VR = "OW" if bits > 8 else "OB"
    if syntax == RLELossless:
        data.compress(RLELossless)
    data.save_as(path, enforce_file_format=True)
    return path


def read(*paths, **given):
    found = list(scan_slices(paths, **given))
    return [one for one in found if isinstance(one, ScanSlice)], [one for one in found if isinstance(one, Finding)]


@pytest.fixture
def blob(picture_of_a_blob):
    return picture_of_a_blob()[0]


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless], ids=str
)
def test_a_picture_is_as_the_scanner_shows_it(tmp_path, blob, syntax):
    (one,), findings = read(write(tmp_path / "a.dcm", blob, syntax, ImageOrientationPatient=CORONAL))
    assert not findings
    np.testing.assert_array_equal(one.pixels, blob)
    assert (one.index, one.plane, one.name) == (None, "coronal", str(tmp_path / "a.dcm"))


@pytest.mark.parametrize(("along", "plane"), [(AXIAL, "axial"), (SAGITTAL, "sagittal"), (..., None), ([0] * 6, None)])
def test_the_plane_is_read_where_the_file_says_it(tmp_path, blob, along, plane):
    (one,), _ = read(write(tmp_path / "a.dcm", blob, ImageOrientationPatient=along))
    assert one.plane == plane


def test_dicom_is_known_by_its_content(tmp_path, blob):
    write(tmp_path / "IM000001", blob)
    write(tmp_path / "1.2.840.113.7", blob)
    (tmp_path / "README").write_text("no")
    (tmp_path / "false.dcm").write_bytes(b"no" * 200)
    slices, findings = read(tmp_path)
    assert [one.name for one in slices] == ["1.2.840.113.7", "IM000001"]
    assert {one.name: one.reason for one in findings}["false.dcm"].startswith("is not DICOM")
    assert len(findings) == 2


def test_signed_values_of_few_bits_are_rescaled(tmp_path):
    stored = np.array([[-2048, -5, 0], [3, 7, 2047]], np.int16)
    path = write(
        tmp_path / "a.dcm", stored & 0x0FFF, BitsStored=12, HighBit=11, RescaleSlope="2.5", RescaleIntercept="-100"
    )
    (one,), _ = read(path)
    np.testing.assert_allclose(one.pixels, stored * 2.5 - 100)


@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": "3", "RescaleIntercept": "1"}])
@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint8])
def test_monochrome1_is_turned_bright_for_dark(tmp_path, kind, rescale):
    stored = np.array([[0, 50, 100], [120, 9, 30]], kind)
    (one,), _ = read(write(tmp_path / "a.dcm", stored, PhotometricInterpretation="MONOCHROME1", **rescale))
    factor = float(rescale.get("RescaleSlope", 1))
    steps = one.pixels.astype(float) - one.pixels.min()
    np.testing.assert_allclose(steps, factor * (120.0 - stored))


@pytest.mark.parametrize("form", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "padding", [{"PixelPaddingValue": -2000}, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}]
)
def test_padding_is_as_dark_as_the_darkest_pixel(tmp_path, form, padding):
    stored = np.array([[-2000, -1995, 40], [10, 90, -2000]], np.int16)
    (one,), _ = read(write(tmp_path / "a.dcm", stored, PhotometricInterpretation=form, **padding))
    limit = padding.get("PixelPaddingRangeLimit", -2000)
    padded = (stored >= -2000) & (stored <= limit)
    bright = stored.astype(float) * (1 if form == "MONOCHROME2" else -1)
    expected = np.where(padded, bright[~padded].min(), bright)
    np.testing.assert_allclose(one.pixels - one.pixels.min(), expected - expected.min())


def test_colour_becomes_its_luma(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    (one,), _ = read(write(tmp_path / "a.dcm", colour))
    np.testing.assert_allclose(one.pixels, colour @ [0.299, 0.587, 0.114], atol=1)


def test_pixels_are_made_square(tmp_path, blob):
    (one,), _ = read(write(tmp_path / "a.dcm", blob, PixelSpacing=[1.0, 0.5]))
    assert one.pixels.shape == (128, 64)
    (one,), _ = read(write(tmp_path / "b.dcm", blob, PixelSpacing=..., PixelAspectRatio=[1, 2]))
    assert one.pixels.shape == (64, 128)
    assert np.argmax(one.pixels.max(axis=0)) >= 60
    slices, findings = read(write(tmp_path / "c.dcm", blob, PixelSpacing=[1e6, 1e-3]))
    assert not slices
    assert "square pixels" in findings[0].reason


def test_frames_come_one_by_one_and_a_range_of_them(tmp_path, blob):
    frames = np.stack([blob, blob[::-1], blob[:, ::-1], blob + 5])
    path = write(tmp_path / "a.dcm", frames)
    slices, _ = read(path)
    assert [one.index for one in slices] == [0, 1, 2, 3]
    for one in slices:
        np.testing.assert_array_equal(one.pixels, frames[one.index])
    slices, _ = read(path, slices=(2, 9))
    assert [one.name for one in slices] == [f"{path} slice 2", f"{path} slice 3"]


def test_an_enhanced_file_says_it_frame_by_frame(tmp_path, blob):
    def one(**values):
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return item

    shared = one(
        PixelMeasuresSequence=Sequence([one(PixelSpacing=[0.5, 1.0])]),
        PlaneOrientationSequence=Sequence([one(ImageOrientationPatient=SAGITTAL)]),
    )
    frames = [
        one(PixelValueTransformationSequence=Sequence([one(RescaleSlope=k, RescaleIntercept=-1, RescaleType="US")]))
        for k in (1, 3)
    ]
    path = write(
        tmp_path / "a.dcm",
        np.stack([blob, blob]),
        SOPClassUID=EnhancedMRImageStorage,
        PixelSpacing=...,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
    )
    slices, _ = read(path)
    assert [(one.plane, one.pixels.shape) for one in slices] == [("sagittal", (64, 128))] * 2
    np.testing.assert_allclose(slices[1].pixels + 1, 3 * (slices[0].pixels + 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("along", "axis", "sign"),
    [(AXIAL, 2, 1), (CORONAL, 1, -1), (SAGITTAL, 0, -1)],
    ids=["axial", "coronal", "sagittal"],
)
def test_a_series_is_in_the_order_of_its_positions_as_volumes_are(tmp_path, blob, along, axis, sign):
    """From left, posterior, inferior on; DICOM counts to the left (x) and to the back (y)."""
    uid = generate_uid()
    for number, place in enumerate([4.0, -2.0, 10.0, 1.0]):
        position = [7.0, 7.0, 7.0]
        position[axis] = place * sign
        write(
            tmp_path / f"{number}.dcm",
            blob + number,
            SeriesInstanceUID=uid,
            ImageOrientationPatient=along,
            ImagePositionPatient=position,
            InstanceNumber=40 - number,
        )
    slices, _ = read(tmp_path)
    assert [one.name for one in slices] == ["1.dcm", "3.dcm", "0.dcm", "2.dcm"]
    assert [one.index for one in slices] == [0, 1, 2, 3]
    slices, _ = read(tmp_path, slices=(1, 2))
    assert [one.name for one in slices] == ["3.dcm", "0.dcm"]


def test_series_are_kept_apart_and_without_positions_numbers_count(tmp_path, blob):
    for uid, names in (("1.2.3", "ac"), ("1.2.4", "bd")):
        for number, name in enumerate(names):
            write(tmp_path / name, blob, SeriesInstanceUID=uid, InstanceNumber=9 - number)
    (tmp_path / "e.dcm").write_bytes((tmp_path / "a").read_bytes()[:300])
    slices, findings = read(tmp_path)
    assert [(one.name, one.index) for one in slices] == [("c", 0), ("a", 1), ("d", 0), ("b", 1)]
    assert [one.name for one in findings] == ["e.dcm"]


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"Rows": ...}, "Rows", "is missing: the file holds no picture"),
        ({"Rows": 9000}, "Rows", "at most 8192"),
        ({"NumberOfFrames": 10**7}, "NumberOfFrames", "allowed are"),
        ({"BitsAllocated": 1}, "BitsAllocated", "allowed are 8, 16, 32"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PhotometricInterpretation", "allowed are MONOCHROME1"),
        ({"Columns": 80}, "PixelData", "cannot be decoded"),
        ({"PixelSpacing": [0.5]}, "PixelSpacing", "is not 2 numbers"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_element(tmp_path, blob, given, field, said):
    slices, findings = read(write(tmp_path / "a.dcm", blob, **given))
    assert not slices
    assert [(one.name, one.field) for one in findings] == [(str(tmp_path / "a.dcm"), field)]
    assert said in findings[0].reason


def test_a_constant_picture_and_one_that_is_all_padding_are_told(tmp_path):
    for name, value in (("a.dcm", 7), ("b.dcm", 0)):
        write(tmp_path / name, np.full((8, 8), value, np.uint16), PixelPaddingValue=0)
    _, findings = read(tmp_path)
    assert [(one.name, one.field) for one in findings] == [("a.dcm", "PixelData"), ("b.dcm", "PixelData")]
    assert all("is constant" in one.reason for one in findings)


def test_a_compression_without_a_decoder_is_told_with_what_it_needs(tmp_path, blob, monkeypatch):
    from pydicom.pixels.decoders import JPEGLSLosslessDecoder

    path = write(tmp_path / "a.dcm", blob)
    data = path.read_bytes()
    native, compressed = b"UI\x14\x001.2.840.10008.1.2.1\x00", b"UI\x16\x001.2.840.10008.1.2.4.80"
    assert native in data
    path.write_bytes(data.replace(native, compressed))
    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    slices, findings = read(path)
    assert not slices
    assert findings[0].field == "TransferSyntaxUID"
    assert findings[0].reason.startswith("is JPEG-LS Lossless Image Compression, no decoder for it is installed: ")


def test_what_inflates_without_a_bound_is_refused(tmp_path, blob):
    path = write(tmp_path / "a.dcm", blob, DeflatedExplicitVRLittleEndian)
    _, findings = read(path)
    assert findings[0].field == "TransferSyntaxUID"
    assert "not read" in findings[0].reason


def test_limits_hold(tmp_path, blob):
    path = write(tmp_path / "a.dcm", np.stack([blob] * 4))
    for limits, field in ((ReadLimits(side=32), "Rows"), (ReadLimits(volume_bytes=3000), "file")):
        _, findings = read(path, limits=limits)
        assert findings[0].field == field


def test_nothing_of_the_patient_leaves_the_file(tmp_path, blob, caplog):
    write(tmp_path / "a.dcm", blob, ImageOrientationPatient=AXIAL, SOPClassUID=CTImageStorage)
    broken = write(tmp_path / "b.dcm", blob, PixelSpacing=[0.5])
    broken.write_bytes(broken.read_bytes().replace(b"19700101", b"Jane1970"))  # pydicom quotes what is not valid
    damaged = write(tmp_path / "c.dcm", blob, Rows=...)
    damaged.write_bytes(damaged.read_bytes().replace(b"ID-4711", b"ID-\xff\xfe11"))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        slices, findings = read(tmp_path)
    assert (len(slices), len(findings)) == (1, 2)
    messages = caplog.text + repr([str(one.message) for one in heard])
    said = pickle.dumps([vars(one) for one in (*slices, *findings)]) + messages.encode()
    header = DicomFile(tmp_path / "a.dcm", "a.dcm", ReadLimits()).header
    assert {found.keyword for found in header} <= set(ELEMENTS)  # not even in memory
    for secret in (*PATIENT.values(), "Jane", "Doe", "4711", "1970"):
        assert secret.encode() not in said
