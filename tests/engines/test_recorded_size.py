"""Images of an evaluation have the size of the training, as the run remembers it."""

import json

import pytest
from monai.bundle import ConfigParser

from kdmri_monai.engines import recorded_image_size


@pytest.mark.parametrize(
    ("record", "size"),
    [({"settings": {"image_size": 128}}, 128), ({"settings": {}}, 96), ({"settings": None}, 96), ({}, 96), (None, 96)],
)
def test_the_record_of_the_run_tells_where_there_is_one(tmp_path, record, size):
    if record is not None:
        (tmp_path / "run.json").write_text(json.dumps(record))
    assert recorded_image_size(tmp_path, 96) == size


@pytest.mark.parametrize("size", ["128", 0, 1.5, True, None])
def test_a_size_that_is_none_is_refused(tmp_path, size):
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"image_size": size}}))
    with pytest.raises(ValueError, match=r"run\.json: settings\.image_size is .* expected a positive whole number"):
        recorded_image_size(tmp_path, 96)


@pytest.mark.parametrize("name", ["evaluate", "evidence"])
def test_without_a_record_the_size_is_that_of_training_by_default(name):
    overlay = ConfigParser.load_config_file(f"bundles/kd/configs/{name}.json")
    size = ConfigParser.load_config_file("bundles/kd/configs/train.json")["image_size"]
    assert overlay["image_size"].endswith(f", {size})")
