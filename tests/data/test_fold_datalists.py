"""One image store, a datalist for every fold: those that ``kdmri prepare --fold`` writes."""

import json

import pytest

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.fold_datalists import fold_datalists
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions

FOLDS = 3


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("folds")
    write_phantoms(home / "source", patients=18, size=64, progress=False)
    return home


def prepared(home, name, **split):
    options = SplitOptions(**{"folds": FOLDS, "seed": 3, "validation": 0.2} | split)
    prepare_dataset(home / "source", home / name, PrepareOptions(store_size=32, workers=1), options, progress=False)
    return home / name / "datalist.json"


def test_every_list_is_the_one_that_prepare_makes(home):
    lists = fold_datalists(prepared(home, "D", fold=1))
    assert [path.name for path in lists] == [f"datalist.fold-{fold}-of-{FOLDS}.json" for fold in range(FOLDS)]
    for fold, path in enumerate(lists):
        assert path.read_bytes() == prepared(home, f"D{fold}", fold=fold).read_bytes()
        assert load_split(path, "test")


def test_every_slice_is_tested_once(home):
    tested = [
        entry["id"]
        for path in fold_datalists(prepared(home, "D", fold=1))
        for entry in json.loads(path.read_text())["test"]
    ]
    assert len(tested) == len(set(tested)) == json.loads((home / "D" / "datalist.json").read_text())["counts"]["slices"]


def test_the_same_bytes_again(home):
    first = [path.read_bytes() for path in fold_datalists(prepared(home, "D", fold=1))]
    assert first == [path.read_bytes() for path in fold_datalists(home / "D" / "datalist.json")]


@pytest.mark.parametrize("given", [{"external": True}, {"whole": True}])
def test_data_without_folds_are_refused(home, given):
    with pytest.raises(ValueError, match="has no folds of kdmri prepare"):
        fold_datalists(prepared(home, "_".join(given), **given))
