"""Every kind of source, from files on disk to the dataset folder. Reference: the pictures that were written."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from kdmri_monai.data.class_names import class_of_name, parse_label, parse_plane
from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions

REAL = Path(__file__).parents[2].parent / "shared" / "figshare"


def prepare(source, out, size=64, split=None, **options):
    split = split or SplitOptions(external=True)
    return prepare_dataset(
        source, out, PrepareOptions(store_size=size, workers=1, **options), split, progress=False
    ).datalist


def entries(datalist):
    return [entry for split in ("training", "validation", "test") for entry in datalist[split]]


def blob_box(image):
    """First and last row and column of what is bright."""
    rows, columns = np.nonzero(image > 200)
    return rows.min(), rows.max(), columns.min(), columns.max()


BLOB = (8, 15, 32, 55)  # of picture_of_a_blob at 64 x 64


def stored(out, entry, key="image"):
    file, row = entry[key].split("#")
    return np.load(out / file, mmap_mode="r")[int(row)]


# archives and .mat files


def outer_zip(folder, path, compression):
    with zipfile.ZipFile(path, "w", compression) as outer:
        for file in sorted(folder.iterdir()):
            outer.write(file, file.name)
    return path


@pytest.fixture
def published(four_archives, tmp_path):
    """The dataset folder of the four archives, and its datalist."""
    return tmp_path / "reference", prepare(four_archives, tmp_path / "reference")


def test_archives_give_slices_upright_with_patient_mask_and_border(published):
    out, datalist = published
    assert [entry["id"] for entry in entries(datalist)] == [str(n) for n in range(1, 13)]
    assert [entry["patient"] for entry in entries(datalist)] == [f"10{(n - 1) // 2}" for n in range(1, 13)]
    assert [entry["label"] for entry in entries(datalist)] == [(n - 1) // 2 % 3 for n in range(1, 13)]
    for entry in entries(datalist):
        assert blob_box(stored(out, entry)) == BLOB
        assert blob_box(255 * stored(out, entry, "mask")) == BLOB
    assert entries(datalist)[4]["source"] == "brainTumorDataPublic_7671532.zip/5.mat"
    assert json.loads((out / "borders.json").read_text())["5"] == [8.0, 7.0]  # (9, 8) counted from 1
    assert {entry["patient_source"] for entry in entries(datalist)} == {"cjdata/PID"}
    assert not any("plane" in entry for entry in entries(datalist))


def test_either_naming_the_outer_zip_and_unpacked_files_give_the_same_pixels(
    four_archives, twelve_slices, published, tmp_path
):
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for old, new in (("1766", "1-766"), ("7671532", "767-1532"), ("15332298", "1533-2298"), ("22993064", "2299-3064")):
        shutil.copy(four_archives / f"brainTumorDataPublic_{old}.zip", renamed / f"brainTumorDataPublic_{new}.zip")
    loose = tmp_path / "loose"
    for name, content in twelve_slices.items():
        folder = loose / "deep" / f"part{int(name[:-4]) % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    shutil.copy(four_archives / "cvind.mat", loose)
    sources = {
        "renamed": renamed,
        "stored": outer_zip(four_archives, tmp_path / "1512427.zip", zipfile.ZIP_STORED),
        "deflated": outer_zip(four_archives, tmp_path / "other.zip", zipfile.ZIP_DEFLATED),
        "loose": loose,
    }
    for name, source in sources.items():
        datalist = prepare(source, tmp_path / f"out-{name}")
        for file in ("images.npy", "masks.npy", "borders.json"):
            assert (tmp_path / f"out-{name}" / file).read_bytes() == (published[0] / file).read_bytes(), (name, file)
        assert datalist["skipped"] == []
    names = [entry["source"] for entry in entries(json.loads((tmp_path / "out-stored" / "datalist.json").read_text()))]
    assert names[0] == "1512427.zip/brainTumorDataPublic_1766.zip/1.mat"


def test_a_deflated_inner_archive_leaves_no_copy_behind(four_archives, tmp_path):
    source = outer_zip(four_archives, tmp_path / "1512427.zip", zipfile.ZIP_DEFLATED)
    prepare(source, tmp_path / "out")
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == [".prepare/records.jsonl", "borders.json", "datalist.json", "images.npy", "masks.npy"]


def test_an_outer_zip_beside_its_parts_is_not_read_twice(four_archives, tmp_path):
    outer_zip(four_archives, tmp_path / "1512427.zip", zipfile.ZIP_STORED).rename(four_archives / "1512427.zip")
    datalist = prepare(four_archives, tmp_path / "out")
    assert len(entries(datalist)) == 12
    assert datalist["counts"]["remark_groups"][0]["first"] == ["1512427.zip"]


def test_one_archive_or_one_file_is_a_source_too(four_archives, twelve_slices, tmp_path):
    assert len(entries(prepare(four_archives / "brainTumorDataPublic_1766.zip", tmp_path / "a"))) == 3
    (tmp_path / "7.mat").write_bytes(twelve_slices["7.mat"])
    assert entries(prepare(tmp_path / "7.mat", tmp_path / "b"))[0]["id"] == "7"


def test_images_of_512_and_256_and_oblong_ones_share_a_store(tmp_path, cjdata, picture_of_a_blob):
    for number, shape in enumerate([(512, 512), (256, 256), (256, 128)], start=1):
        image, mask = picture_of_a_blob(*shape)
        (tmp_path / f"{number}.mat").write_bytes(cjdata(image, mask))
    datalist = prepare(tmp_path, tmp_path / "out", size=256)
    assert [entry["size"] for entry in entries(datalist)] == [[512, 512], [256, 256], [256, 128]]
    boxes = [blob_box(stored(tmp_path / "out", entry)) for entry in entries(datalist)]
    assert boxes == [(32, 63, 128, 223), (32, 63, 128, 223), (32, 63, 128, 175)]
    assert datalist["counts"]["sizes"] == {"512 x 512": 1, "256 x 256": 1, "256 x 128": 1}


def test_a_mat_file_may_lack_mask_and_border(tmp_path, cjdata):
    (tmp_path / "1.mat").write_bytes(cjdata(mask=..., border=...))
    datalist = prepare(tmp_path, tmp_path / "out")
    assert "mask" not in entries(datalist)[0]
    assert not (tmp_path / "out" / "masks.npy").exists()
    assert not (tmp_path / "out" / "borders.json").exists()


# the real set


@pytest.fixture(scope="module")
def real_archives(tmp_path_factory):
    if not (REAL / "build.py").is_file():
        pytest.skip("the published slices are not beside this project")
    folder = tmp_path_factory.mktemp("figshare")
    subprocess.run([sys.executable, REAL / "build.py", folder, "--patients", "2"], check=True, capture_output=True)
    return folder


def test_real_slices_equal_the_published_pictures_and_their_borders_lie_on_their_masks(real_archives, tmp_path):
    datalist = prepare(real_archives, tmp_path, size=256, split=SplitOptions(folds=2))
    index = {row["slice"]: row for row in csv.DictReader((REAL / "index.csv").read_text().splitlines())}
    borders = json.loads((tmp_path / "borders.json").read_text())
    assert len({entry["patient"] for entry in entries(datalist)}) == 6
    for entry in entries(datalist):
        row = index[entry["id"]]
        assert (entry["patient"], entry["label"] + 1) == (row["pid"], int(row["label"]))
        picture = np.asarray(Image.open(REAL / "slices" / f"{entry['id']}.jpg").convert("L"), float)
        small = picture.reshape(256, 2, 256, 2).mean((1, 3))
        assert np.corrcoef(small.ravel(), stored(tmp_path, entry).ravel())[0, 1] > 0.98
        mask = stored(tmp_path, entry, "mask")
        inner = np.zeros_like(mask)
        inner[3:-3, 3:-3] = np.min([np.roll(mask, s, a)[3:-3, 3:-3] for s in (-3, 3) for a in (0, 1)], axis=0)
        x, y = np.rint(np.array(borders[entry["id"]]).reshape(-1, 2).T).astype(int)
        near = np.max([np.roll(mask, s, a) for s in (-2, 0, 2) for a in (0, 1)], axis=0)
        assert near[y, x].mean() > 0.95  # on the tumour or next to it
        assert inner[y, x].mean() < 0.2  # but not deep inside


# pictures


def save_picture(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(image // 10, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def class_folders(tmp_path, picture_of_a_blob):
    root = tmp_path / "pictures"
    names = ["Training/glioma/g1.png", "Training/Pituitary_Tumor/p1.jpg", "Testing/MENINGIOMA/m1.jpeg"]
    for seed, name in enumerate([*names, "Training/notumor/n1.png", "Training/notumor/n2.png"]):
        save_picture(root / name, picture_of_a_blob(seed=seed)[0])
    return root


def test_folders_of_pictures_give_upright_slices_and_name_what_is_left_out(class_folders, tmp_path):
    datalist = prepare(class_folders, tmp_path / "out")
    found = {entry["id"]: entry["label"] for entry in entries(datalist)}
    assert found == {"Training/glioma/g1.png": 1, "Training/Pituitary_Tumor/p1.jpg": 2, "Testing/MENINGIOMA/m1.jpeg": 0}
    for entry in entries(datalist):
        assert np.abs(np.subtract(blob_box(stored(tmp_path / "out", entry)), BLOB)).max() <= 1  # JPEG blurs an edge
    assert datalist["skipped"] == [
        {
            "name": "Training/notumor",
            "field": "folder",
            "reason": "is not one of the classes meningioma, glioma, pituitary tumour: 2 pictures left out",
        }
    ]


def test_a_folder_left_out_is_nothing_to_stop_for(class_folders, tmp_path):
    assert len(entries(prepare(class_folders, tmp_path / "out", strict=True))) == 3


def test_pictures_without_patients_count_one_by_one_and_it_is_said_loudly(class_folders, tmp_path):
    datalist = prepare(class_folders, tmp_path / "out")
    assert len({entry["patient"] for entry in entries(datalist)}) == 3
    assert {e["patient_source"] for e in entries(datalist)} == {"none: every file counts as a patient of its own"}
    group = datalist["counts"]["remark_groups"][0]
    assert group["field"] == "patient"
    assert group["reason"].startswith("3 pictures without a patient id")


def test_folders_below_a_class_are_patients_and_a_mask_beside_a_picture_is_no_slice(tmp_path, picture_of_a_blob):
    root = tmp_path / "pictures"
    for number, name in enumerate(["glioma/p7/series1/a.png", "glioma/p7/b.png", "meningioma/p8/a.png"]):
        save_picture(root / name, picture_of_a_blob(seed=number)[0])
    save_picture(root / "glioma/p7/b_mask.png", 2550 * picture_of_a_blob()[1].astype(int))
    save_picture(root / "glioma/p7/lost_mask.png", 2550 * picture_of_a_blob()[1].astype(int))
    datalist = prepare(root, tmp_path / "out")
    assert [entry["patient"] for entry in entries(datalist)] == ["p7", "p7", "p8"]
    masked = [entry for entry in entries(datalist) if "mask" in entry]
    assert [entry["id"] for entry in masked] == ["glioma/p7/b.png"]
    assert blob_box(255 * stored(tmp_path / "out", masked[0], "mask")) == BLOB
    assert [entry["name"] for entry in datalist["skipped"]] == ["glioma/p7/lost_mask.png"]


def test_a_pattern_reads_the_patient_from_the_file_name(tmp_path, picture_of_a_blob):
    root = tmp_path / "pictures"
    for seed, name in enumerate(["glioma/pat12_1.png", "glioma/pat12_2.png", "meningioma/pat9_1.png", "glioma/x.png"]):
        save_picture(root / name, picture_of_a_blob(seed=seed)[0])
    datalist = prepare(root, tmp_path / "out", patient_pattern=r"pat(\d+)_")
    assert [entry["patient"] for entry in entries(datalist)] == ["12", "12", "9"]
    assert [(e["name"], e["field"]) for e in datalist["skipped"]] == [("glioma/x.png", "patient")]
    with pytest.raises(ValueError, match="patient_pattern '\\(' is no regular expression"):
        PrepareOptions(patient_pattern="(")


def test_a_deep_colour_or_turned_picture_shows_what_a_person_sees(tmp_path, picture_of_a_blob):
    image, _ = picture_of_a_blob()
    root = tmp_path / "glioma"
    root.mkdir()
    Image.fromarray(image.astype(np.uint16)).save(root / "deep.png")
    grey = np.clip(image // 10, 0, 255).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, -1)).save(root / "colour.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    Image.fromarray(np.rot90(grey)).save(root / "turned.png", exif=exif)
    datalist = prepare(tmp_path, tmp_path / "out")
    assert len(entries(datalist)) == 3
    for entry in entries(datalist):
        assert blob_box(stored(tmp_path / "out", entry)) == BLOB, entry["id"]


@pytest.mark.parametrize(
    ("name", "label"),
    [("Meningioma", 0), ("glioma_tumor", 1), ("GLIOMAS", 1), ("pituitary tumour", 2), ("Pituitary-Tumors", 2),
     ("no_tumor", None), ("notumor", None), ("glioma meningioma", None), ("1", None), ("", None), ("non-glioma", None)],
)  # fmt: skip
def test_class_names_are_read_tolerantly(name, label):
    assert class_of_name(name) == label


def test_labels_and_planes_of_tables():
    assert [parse_label(text) for text in ("1", " 2 ", "3", "Glioma", "pituitary tumor")] == [0, 1, 2, 1, 2]
    assert [parse_plane(text) for text in ("", "A", "Coronal", "sag")] == [None, "axial", "coronal", "sagittal"]
    with pytest.raises(ValueError, match=r"is '4', allowed are 1\.\.3 or meningioma, glioma, pituitary tumour"):
        parse_label("4")
    with pytest.raises(ValueError, match="is 'oblique', allowed are axial, coronal, sagittal or nothing"):
        parse_plane("oblique")


# tables


def test_a_table_gives_pictures_with_mask_plane_and_id(tmp_path, picture_of_a_blob):
    image, mask = picture_of_a_blob()
    save_picture(tmp_path / "files" / "a.png", image)
    save_picture(tmp_path / "files" / "m.png", 2550 * mask.astype(int))
    save_picture(tmp_path / "files" / "b.jpg", picture_of_a_blob(seed=1)[0])
    table = tmp_path / "mine.csv"
    table.write_text(
        "\ufeffPatient;Label;PATH;mask;plane;id\r\nP1;glioma;files/a.png;files/m.png;coronal;first\r\n\r\n"
        f"P2;3;{tmp_path}/files/b.jpg;;;\r\n"
    )
    datalist = prepare(table, tmp_path / "out")
    first, second = entries(datalist)
    assert (first["id"], first["label"], first["patient"], first["plane"]) == ("first", 1, "P1", "coronal")
    assert first["patient_source"] == "mine.csv, column patient"
    assert (second["id"], second["label"], "plane" in second) == (f"{tmp_path}/files/b.jpg", 2, False)
    assert blob_box(stored(tmp_path / "out", first)) == BLOB
    assert blob_box(255 * stored(tmp_path / "out", first, "mask")) == BLOB
    assert not stored(tmp_path / "out", {"mask": "masks.npy#1"}, "mask").any()


def test_bad_rows_of_a_table_are_named_by_line_and_column(tmp_path, picture_of_a_blob):
    save_picture(tmp_path / "a.png", picture_of_a_blob()[0])
    rows = ["a.png,glioma,P1,", "a.png,astrocytoma,P1,", "a.png,1,,", ",1,P1,", "a.bmp,1,P1,", "a.png,1,P1,oblique"]
    rows += ["gone.png,1,P1,", "b\tc.png,1,P1,"]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,patient,plane", *rows]))
    datalist = prepare(tmp_path, tmp_path / "out")
    assert [(e["name"], e["field"]) for e in datalist["skipped"]] == [
        ("labels.csv line 3 (a.png)", "label"),
        ("labels.csv line 4 (a.png)", "patient"),
        ("labels.csv line 5", "path"),
        ("labels.csv line 6 (a.bmp)", "path"),
        ("labels.csv line 7 (a.png)", "plane"),
        ("labels.csv line 9 (b\\tc.png)", "path"),
        ("gone.png", "file"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na.png,1\n", "has no column patient (columns are: path, label)"),
        (b"path,label,patient,path\n", "column path stands twice"),
        (b"path,label,patient\n", "has 0 rows"),
        (b"", "has no column path, label, patient (columns are: none)"),
        (b"path,label,patient\n\xff\xfe,1,2\n", "is not a readable table"),
        (b'path,label,patient\n"a.png,1,2\n', "is not a readable table"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, content, message):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(BadSourceError, match=r"labels\.csv") as caught:
        prepare(tmp_path, tmp_path / "out")
    assert message in str(caught.value)


# volumes


def volume_of_a_head(shape=(40, 50, 30)):
    """RAS voxels: a head that is bright to the right, brighter in front, brightest above; tumour front right top."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    head = (x**2 + y**2 + z**2 < 0.9) * (100 + 20 * (x > 0) + 40 * (y > 0) + 80 * (z > 0))
    head = head + np.random.default_rng(0).integers(0, 5, shape)
    tumour = (np.abs(x - 0.4) < 0.2) & (np.abs(y - 0.5) < 0.1) & (np.abs(z - 0.5) < 0.1)
    return head.astype(np.int16), tumour.astype(np.uint8)


def save_volume(path, ras, codes=("R", "A", "S"), zooms=(1, 1, 1)):
    """The same head stored along other axes, as scanners do."""
    image = nib.Nifti1Image(ras, np.diag([*zooms, 1.0]))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    nib.save(image.as_reoriented(turn), path)


@pytest.mark.parametrize("codes", [("R", "A", "S"), ("L", "P", "S"), ("P", "S", "R"), ("S", "L", "A")])
@pytest.mark.parametrize(
    ("plane", "axis"), [("axial", 2), ("coronal", 1), ("sagittal", 0)]
)  # axis of the RAS volume across the plane
def test_volumes_of_any_orientation_give_radiological_pictures(tmp_path, codes, plane, axis):
    head, tumour = volume_of_a_head()
    save_volume(tmp_path / "head.nii.gz", head, codes)
    save_volume(tmp_path / "tumour.nii.gz", tumour, codes)
    (tmp_path / "labels.tsv").write_text(
        f"path\tlabel\tpatient\tmask\tplane\nhead.nii.gz\t1\tP\ttumour.nii.gz\t{plane}\n"
    )
    datalist = prepare(tmp_path, tmp_path / "out")
    touched = np.flatnonzero(tumour.any(axis=tuple({0, 1, 2} - {axis})))
    assert [entry["id"] for entry in entries(datalist)] == [f"head.nii.gz/{k:03d}" for k in touched]
    assert {entry["plane"] for entry in entries(datalist)} == {plane}
    mask = stored(tmp_path / "out", entries(datalist)[0], "mask")
    rows, columns = np.nonzero(mask)
    # the tumour is front, right, top: up in every picture; on the left of all three (right is left, front is left)
    assert rows.max() < 32
    assert columns.max() < 32
    image = stored(tmp_path / "out", entries(datalist)[0]).astype(int)
    assert image[12:32, 12:52].mean() > image[32:52, 12:52].mean()
    assert image[12:52, 12:32].mean() > image[12:52, 32:52].mean()


@pytest.mark.parametrize("codes", [("R", "A", "S"), ("S", "L", "A")])
def test_a_volume_without_mask_gives_the_slices_with_enough_head_and_its_voxels_are_square(tmp_path, codes):
    head, _ = volume_of_a_head((40, 40, 20))
    head[:, :, :4] = 0
    save_volume(tmp_path / "head.nii", head, codes, zooms=(1, 1, 2))
    (tmp_path / "labels.csv").write_text("path,label,patient,plane\nhead.nii,2,P,axial\nhead.nii,2,P,coronal\n")
    datalist = prepare(tmp_path, tmp_path / "out")
    share = np.array([(head[:, :, k] > 15).mean() for k in range(20)])
    expected = [f"head.nii/{k:03d}" for k in np.flatnonzero(share >= 0.10)]
    axial = [entry for entry in entries(datalist) if entry["plane"] == "axial"]
    assert [entry["id"] for entry in axial] == expected
    assert min(int(name[-3:]) for name in expected) >= 4
    assert {tuple(e["size"]) for e in entries(datalist)} == {(40, 40)}  # 20 rows of 2 mm become 40 of 1 mm


@pytest.mark.parametrize(
    ("break_it", "field", "reason"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:3000]), "voxels", "truncated"),
        (lambda p: p.write_bytes(b"no volume"), "voxels", "not readable as NIfTI"),
        (
            lambda p: nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), p),
            "voxels",
            "4 x 4 x 4 x 2",
        ),
        (lambda p: nib.save(nib.Nifti1Image(np.zeros((4, 4), np.int16), np.eye(4)), p), "voxels", "three dimensions"),
        (lambda p: nib.save(nib.Nifti1Image(np.full((9, 9, 9), np.nan), np.eye(4)), p), "voxels", "all NaN"),
        (lambda p: nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.complex64), np.eye(4)), p), "voxels", "complex64"),
    ],
    ids=["truncated", "not nifti", "four dimensions", "two dimensions", "nan", "complex"],
)
def test_a_bad_volume_is_reported_and_the_other_kept(tmp_path, break_it, field, reason):
    head, _ = volume_of_a_head()
    save_volume(tmp_path / "good.nii.gz", head)
    save_volume(tmp_path / "bad.nii.gz", head)
    break_it(tmp_path / "bad.nii.gz")
    (tmp_path / "labels.csv").write_text("path,label,patient\nbad.nii.gz,1,P\ngood.nii.gz,2,Q\n")
    datalist = prepare(tmp_path, tmp_path / "out")
    assert {entry["patient"] for entry in entries(datalist)} == {"Q"}
    (found,) = datalist["skipped"]
    assert (found["name"], found["field"]) == ("bad.nii.gz", field)
    assert reason in found["reason"]


def test_a_slice_without_contrast_or_with_a_hole_is_named_and_an_unknown_orientation_is_said(tmp_path):
    head, tumour = volume_of_a_head()
    tumour[:, :, 3] = 1
    holed = head.astype(np.float32)
    holed[:, :, 3] = 7
    holed[20, 35, 22] = np.nan
    assert tumour[20, 35, 22] or tumour[:, :, 22].any()
    image = nib.Nifti1Image(holed, None)
    image.header.set_sform(None, code=0)
    image.header.set_qform(None, code=0)
    nib.save(image, tmp_path / "head.nii.gz")
    mask = nib.Nifti1Image(tumour, nib.load(tmp_path / "head.nii.gz").affine)
    nib.save(mask, tmp_path / "tumour.nii.gz")
    (tmp_path / "labels.csv").write_text("path,label,patient,mask\nhead.nii.gz,1,P,tumour.nii.gz\n")
    datalist = prepare(tmp_path, tmp_path / "out")
    assert [(entry["name"], entry["reason"][:11]) for entry in datalist["skipped"]] == [
        ("head.nii.gz slice 3", "is constant"),
        ("head.nii.gz slice 22", "has 1 of 20"),
    ]
    assert len(entries(datalist)) == tumour.any(axis=(0, 1)).sum() - 2
    assert datalist["counts"]["remark_groups"][0]["field"] == "orientation"


def test_a_mask_on_another_grid_and_a_volume_that_declares_too_much_are_refused(tmp_path):
    head, tumour = volume_of_a_head()
    save_volume(tmp_path / "head.nii.gz", head)
    save_volume(tmp_path / "other.nii.gz", tumour, zooms=(1, 1, 2))
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.int16)
    buffer = io.BytesIO()
    header.write_to(buffer)
    (tmp_path / "huge.nii").write_bytes(buffer.getvalue() + bytes(100))
    (tmp_path / "labels.csv").write_text(
        "path,label,patient,mask,id\nhead.nii.gz,1,P,other.nii.gz,a\nhuge.nii,1,P,,\nhead.nii.gz,1,P,,b\n"
    )
    datalist = prepare(tmp_path, tmp_path / "out")
    assert [(e["name"], e["field"]) for e in datalist["skipped"]] == [("head.nii.gz", "mask"), ("huge.nii", "voxels")]
    assert "allowed are 536,870,912" in datalist["skipped"][1]["reason"]


# what is no source


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds nothing that can be read; allowed are"),
        ({"cvind.mat": b"x"}, "holds nothing that can be read"),
        ({"a.nii.gz": b"x"}, "holds NIfTI volumes but no labels.csv"),
        ({"some/a.png": b"x"}, "in no folder named meningioma, glioma or pituitary tumour"),
        ({"labels.csv": b"x", "manifest.csv": b"x"}, "more than one table, labels.csv and manifest.csv"),
    ],
)
def test_an_unknown_source_is_refused_and_what_is_allowed_is_said(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    os.makedirs(tmp_path / "in", exist_ok=True)
    with pytest.raises(BadSourceError) as caught:
        prepare(tmp_path / "in", tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadSourceError, match="nowhere: no such file or folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
