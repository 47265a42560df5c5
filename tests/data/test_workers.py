"""Reading processes: order, bounds, crashes. The items of this file stand for files that do terrible things."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.workers import read_in_order

MODULE = """
import os, signal, time
from dataclasses import dataclass
import numpy as np
from kdmri_monai.data.records import RawSlice

@dataclass(frozen=True)
class Item:
    number: int
    trouble: str = ""
    log: str = ""
    image_field = "pixels"

    @property
    def name(self):
        return f"item {self.number}"

    def slices(self):
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{self.number}\\n")
        if self.trouble == "slow":
            time.sleep(0.3)
        elif self.trouble == "bug":
            raise ZeroDivisionError("a bug")
        elif self.trouble:
            os.kill(os.getpid(), getattr(signal, self.trouble))
        image = np.arange(256).reshape(16, 16) + self.number
        yield RawSlice(str(self.number), image, 0, "p", "test")
"""


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    """The class ``Item`` of a module that other processes can import, too."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "items_of_test_workers.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    import items_of_test_workers

    yield items_of_test_workers.Item
    sys.path.remove(str(folder))


def read(items, workers=2, batch=2):
    return list(read_in_order(items, 16, workers, batch))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_keep_the_order_of_the_items(item, workers):
    results = read([item(n, "slow" if n == 0 else "") for n in range(30)], workers)
    assert [result.slices[0].record.id for result in results] == [str(n) for n in range(30)]


@pytest.mark.parametrize("crash", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_an_item_that_brings_down_its_worker_is_reported_and_all_others_are_read(item, crash):
    results = read([item(n, crash if n in (3, 4, 11) else "") for n in range(20)])
    assert [len(result.slices) for result in results] == [int(n not in (3, 4, 11)) for n in range(20)]
    (finding,) = results[3].skipped
    assert (finding.name, finding.field) == ("item 3", "file")
    assert f"brought down the process that read it ({crash})" in finding.reason


def test_a_worker_that_is_killed_from_outside_blames_no_file(item):
    with pytest.raises(RuntimeError, match=r"ended with SIGKILL over item 3; is memory short\?"):
        read([item(n, "SIGKILL" if n == 3 else "") for n in range(20)])


def test_a_bug_comes_back_with_its_traceback(item):
    with pytest.raises(RuntimeError, match=r"(?s)reading item 3 failed.*ZeroDivisionError: a bug"):
        read([item(n, "bug" if n == 3 else "") for n in range(20)])
    with pytest.raises(ZeroDivisionError):
        read([item(n, "bug" if n == 3 else "") for n in range(20)], workers=1)


def test_no_more_is_read_than_the_window_holds_until_results_are_taken(item, tmp_path):
    log = tmp_path / "log"
    results = read_in_order([item(n, log=str(log)) for n in range(400)], 16, 2, 5)
    next(results)
    time.sleep(0.7)
    assert len(log.read_text().splitlines()) <= 2 * 2 * 2 * 5  # twice two batches of five for two workers
    assert len(list(results)) == 399
    assert len(log.read_text().splitlines()) == 400


def test_a_slow_item_holds_back_those_behind_it(item, tmp_path):
    log = tmp_path / "log"
    results = read_in_order([item(n, "slow" if n == 0 else "", str(log)) for n in range(2000)], 16, 2, 5)
    next(results)
    assert len(log.read_text().splitlines()) <= 2 * 2 * 2 * 5
    results.close()


def children(pid):
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_workers_end_with_the_reading(item):
    before = children(os.getpid())
    results = read_in_order([item(n) for n in range(40)], 16, 3, 2)
    next(results)
    assert len(children(os.getpid())) == len(before) + 3
    results.close()
    assert children(os.getpid()) == before


def test_workers_load_neither_torch_nor_monai_nor_the_main_module_of_their_parent(tmp_path, four_archives):
    """A script without a guard, which has torch loaded, as a notebook has."""
    script = tmp_path / "unguarded.py"
    script.write_text(f"""
import torch, os, sys, time
from pathlib import Path
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.sources import recognise_source
from kdmri_monai.data.workers import read_in_order
print("main")
source = recognise_source(Path({str(four_archives)!r}), PrepareOptions())
items = source.list_items(Path("scratch")).items
results = read_in_order(items, 16, 2, 1)
next(results)
for child in Path(f"/proc/{{os.getpid()}}/task/{{os.getpid()}}/children").read_text().split():
    end = time.monotonic() + 30
    while "h5py" not in (maps := Path(f"/proc/{{child}}/maps").read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    print("worker", "torch" in maps, "h5py" in maps)
print(len(list(results)))
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split("\n") == ["main", "worker False True", "worker False True", "11", ""]


def test_what_workers_import_is_small():
    heavy = "{'torch', 'monai', 'scipy', 'sklearn', 'nibabel'}"
    code = f"import sys, kdmri_monai.data.workers; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_stored_slices_cross_the_pipe_unchanged(item):
    alone, crew = read([item(n) for n in range(10)], 1), read([item(n) for n in range(10)], 2)
    assert alone == crew


@dataclass(frozen=True)
class Blank:
    """An item of this process."""

    name: str = "blank"
    image_field: str = "voxels"

    def slices(self):
        yield RawSlice("1", np.r_[np.zeros(255), 1].reshape(16, 16), 0, "p", "test")


def test_a_slice_without_contrast_is_a_finding_of_its_item():
    (result,) = read([Blank()], 1)
    assert not result.slices
    assert (result.skipped[0].name, result.skipped[0].field) == ("blank", "voxels")
