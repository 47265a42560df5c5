"""The tutorial scripts and every block of docs/own_networks.md, run with small settings."""

import importlib.util
import json
import re
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from torch import nn

from kdmri_monai.losses import Terms

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own_networks.md").read_text()
ARMS = ["teacher", "student alone", "student distilled"]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments), "--device", "cpu"])
    module.main()


def printed(capsys):
    return {line[:18].strip(): float(line[18:]) for line in capsys.readouterr().out.splitlines()}


def blocks():
    """Code of every block and what it is said to print: the block of text behind it, or nothing."""
    found = [*re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL), ("end", "")]
    return [
        (code, next_[1] if next_[0] == "text" else "") for (kind, code), next_ in pairwise(found) if kind == "python"
    ]


def ten_lines():
    source = (ROOT / "scripts" / "distil_own_networks.py").read_text()
    return textwrap.dedent(re.search(r"# the ten lines\n(.*)    # end of the ten lines", source, re.DOTALL)[1])


@pytest.fixture(scope="module")
def own():
    return script("distil_own_networks")


def test_own_networks_are_distilled_from_the_command_line(own, monkeypatch, capsys, tmp_path):
    run(own, monkeypatch, "--slices", 6, "--epochs", 1, "--out", tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert list(result) == ARMS
    assert printed(capsys) == pytest.approx(result, abs=5e-4)
    own.Student().load_state_dict(torch.load(tmp_path / "student.pt"))


def test_slices_of_a_dataset_folder_are_read_as_they_lie_and_scaled(own, monkeypatch, tmp_path):
    stored = np.zeros((2, 128, 128), np.uint8)
    stored[1, :64] = 255
    np.save(tmp_path / "images.npy", stored)
    entries = [{"image": f"{tmp_path / 'images.npy'}#{row}", "label": row} for row in (0, 1)]
    monkeypatch.setattr(
        own, "load_split", lambda path, split: {tmp_path / "datalist.json": {"test": entries}}[path][split]
    )
    dark, half = own.prepared(tmp_path, "test")
    assert set(half) == {"image", "label"}
    assert half["label"] == 1
    torch.testing.assert_close(dark["image"], torch.zeros(1, 64, 64))
    torch.testing.assert_close(half["image"], torch.cat([torch.ones(1, 32, 64), torch.zeros(1, 32, 64)], dim=1))


def test_volumes_are_distilled_from_the_command_line(monkeypatch, capsys, tmp_path):
    module = script("distil_volumes")
    run(module, monkeypatch, tmp_path, "--volumes", 4, "--epochs", 1)
    result = json.loads((tmp_path / "result.json").read_text())
    assert list(result) == ARMS
    assert printed(capsys) == pytest.approx(result, abs=5e-4)
    volume = nibabel.load(tmp_path / "learning" / "volume_000.nii.gz")
    assert volume.shape == (32, 32, 32)
    np.testing.assert_allclose(volume.header.get_zooms(), [1.5, 1.5, 2.0])


def test_both_kinds_of_volumes_hold_lumps_of_one_size():
    module = script("distil_volumes")
    sums = [[module.lump(label, np.random.default_rng(seed)).sum() for seed in range(20)] for label in (0, 1)]
    assert np.mean(sums[0]) == pytest.approx(np.mean(sums[1]), rel=0.1)


def test_the_ten_lines_are_ten_and_stand_in_the_page_as_they_run():
    assert len(ten_lines().splitlines()) == 10
    assert ten_lines() in blocks()[0][0]


def test_every_block_of_the_page_runs_and_prints_what_the_page_says(own, capsys):
    data = DataLoader(Dataset(own.phantoms(6, seed=0)), batch_size=3)
    given = {"student": own.Student(), "teacher": own.Teacher(), "data": data, "SIZE": own.SIZE}
    given |= {"loss": nn.CrossEntropyLoss(), "epochs": 1, "device": "cpu"}
    before = [parameter.clone() for parameter in given["student"].parameters()]
    for code, output in blocks():
        exec(compile(code, "own_networks.md", "exec"), given)
        assert capsys.readouterr().out == output
    after = given["student"].parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def rows_of_terms():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", PAGE, re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in rows}


def test_the_table_names_every_term():
    assert sorted(rows_of_terms()) == sorted(name.lower() for name in Terms.names)


@pytest.mark.filterwarnings("ignore:.* with 3 classes:UserWarning")
@pytest.mark.parametrize("name", [name.lower() for name in Terms.names])
def test_the_table_tells_what_a_term_reads_and_whether_it_learns(name):
    term = Terms[name]()
    shape = torch.Size([7, 8, 8])  # seven, as a geometry head gives
    term.build([shape], [shape], 3)
    teacher = "yes" if term.wants != "logits" and term.taps_teacher else "no"
    teacher = teacher if term.needs_teacher else "no teacher"
    learns = "yes" if any(True for _ in term.parameters()) else "no"
    assert rows_of_terms()[name][:3] == [term.wants, teacher, learns]
