"""finetune.json as shipped: a student of three classes becomes one of two, with a teacher and without."""

import csv
import json
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from kdmri_monai.data.datalist import read_datalist
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.engines.class_check import check_run_classes
from kdmri_monai.engines.fine_tuning import FrozenBody, fine_tuning_groups
from kdmri_monai.engines.pretrained_files import pretrained_files
from kdmri_monai.engines.run_student import run_student

GRADES = ("low grade", "high grade")
HEAD = {"fc.weight", "fc.bias"}
NARROW = {"teacher_def#backbone#embed_dim": 12, "teacher_def#num_features": 192}


def cause_of(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@pytest.fixture(scope="module")
def start(bundle, dataset, tmp_path_factory):
    """Run folder of a student of three classes, and what it starts others with."""
    folder = tmp_path_factory.mktemp("start")
    bundle.train("without_teacher", dataset_dir=str(dataset), output_dir=str(folder))
    return folder


def write_pictures(folder, prefix):
    """Two slices of ten patients of two grades, which differ in the size of a blob."""
    rng, rows = np.random.default_rng(1), [["path", "label", "patient"]]
    folder.mkdir(parents=True)
    for number in range(40):
        image, size = rng.normal(60, 12, (64, 64)), 5 + 12 * (number // 2 % 2)
        row, column = rng.integers(8, 40, 2)
        image[row : row + size, column : column + size] += 120
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        rows.append([f"{number}.png", GRADES[number // 2 % 2], f"{prefix}{number // 2:02d}"])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    """A dataset folder of two classes, of patients whom nobody has seen."""
    home = tmp_path_factory.mktemp("grades")
    options = PrepareOptions(store_size=64, workers=1, classes=GRADES)
    prepare_dataset(write_pictures(home / "source", "new"), home / "D", options, SplitOptions(), progress=False)
    return home / "D"


@pytest.fixture(scope="module")
def tuned(bundle, start, grades, tmp_path_factory):
    """A fine-tuned run of two epochs, the first with a frozen body, its workflow, and weights after every epoch."""
    folder = tmp_path_factory.mktemp("tuned")
    given = {"dataset_dir": str(grades), "output_dir": str(folder), "pretrained": str(start / "model.pt")}
    workflow = bundle.open("without_teacher", "finetune", **given, max_epochs=2, freeze_epochs=1)
    assert workflow.check_properties() == []
    network, weights = bundle.part(workflow, "network"), []
    first = {name: value.clone() for name, value in network.state_dict().items()}

    def keep(engine):
        weights.append({name: value.clone() for name, value in network.state_dict().items()})

    bundle.part(workflow, "train#trainer").add_event_handler(Events.EPOCH_COMPLETED, keep)
    workflow.run()
    bundle.evaluate("without_teacher", "finetune", "evaluate", **given, bootstrap_replicates=50)
    return SimpleNamespace(folder=folder, first=first, weights=weights, workflow=workflow, given=given)


def test_the_body_starts_from_the_file_and_stands_still_while_it_is_frozen(bundle, start, tuned):
    before = bundle.weights(start)
    assert set(before) == set(tuned.first)
    assert all(torch.equal(tuned.first[name], before[name]) for name in before.keys() - HEAD)
    assert tuned.first["fc.weight"].shape[0] == 2
    one, two = tuned.weights
    assert all(torch.equal(one[name], before[name]) for name in before.keys() - HEAD)  # batch statistics too
    assert not torch.equal(one["fc.weight"], tuned.first["fc.weight"])
    changed = {name for name in before.keys() - HEAD if not torch.equal(two[name], before[name])}
    assert {"conv1.weight", "bn1.running_mean", "layer4.0.conv2.weight"} <= changed


def test_the_record_says_what_it_was_made_of(bundle, start, tuned):
    facts = bundle.settings(tuned.folder)["pretrained"]
    assert facts["file"] == str(start / "model.pt")
    assert facts["classes"] == ["meningioma", "glioma", "pituitary tumour"]
    assert (set(facts["head"]), facts["head_kept"]) == (HEAD, False)
    assert facts["training_data"] == "run.json"
    assert 0.99 < facts["share"] < 1
    record = json.loads((tuned.folder / "run.json").read_text())
    assert record["data"]["classes"] == list(GRADES)
    assert record["settings"]["freeze_epochs"] == 1


def test_the_head_learns_faster_than_the_body_by_one_schedule(bundle, tuned):
    head, body = bundle.part(tuned.workflow, "optimizer").param_groups
    assert body["initial_lr"] == pytest.approx(0.1 * head["initial_lr"])
    assert body["lr"] == pytest.approx(0.1 * head["lr"])
    assert sum(p.numel() for p in head["params"]) == 2 * 192 + 2
    assert bundle.curves(tuned.folder)[0]["lr"] == pytest.approx(0.0001)  # that of the head, in its warm-up


def test_predictions_and_metrics_are_of_the_new_classes(tuned):
    with (tuned.folder / "test_predictions.csv").open() as file:
        assert next(csv.reader(file))[-2:] == ["p_low_grade", "p_high_grade"]
    metrics = json.loads((tuned.folder / "test_metrics.json").read_text())
    assert metrics["classes"] == list(GRADES)
    assert metrics["slices"]["strata"] == {}


def test_the_network_of_the_run_is_found_where_its_data_are_gone(bundle, tuned, tmp_path):
    folder = shutil.copytree(tuned.folder, tmp_path / "run")
    files = bundle.files("without_teacher", "finetune")
    (folder / "config.json").write_text(json.dumps(ConfigParser.load_config_files(files)))
    record = json.loads((folder / "run.json").read_text())
    record["command"] = ["run", "training", "--dataset_dir", str(tmp_path / "gone"), "--image_size", "64"]
    (folder / "run.json").write_text(json.dumps(record))
    student = run_student(folder, files)
    assert student.network.fc.out_features == 2
    student.network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))


def test_it_can_be_resumed(bundle, tuned, tmp_path):
    folder = shutil.copytree(tuned.folder, tmp_path / "run")
    given = tuned.given | {"output_dir": str(folder), "max_epochs": 3, "freeze_epochs": 1, "resume": True}
    bundle.train("without_teacher", "finetune", **given)
    assert [row["epoch"] for row in bundle.curves(folder)] == [1, 2, 3]


def test_a_teacher_of_the_labs_own_classes_teaches_it(bundle, start, grades, tmp_path):
    given = {"dataset_dir": str(grades)} | NARROW
    bundle.train("teacher", **given, output_dir=str(tmp_path / "teacher"))
    given |= {"teacher_ckpt": str(tmp_path / "teacher" / "model.pt"), "pretrained": str(start / "model.pt")}
    workflow = bundle.train("finetune", **given, output_dir=str(tmp_path / "taught"))
    assert {"task", "kd", "hcl"} <= bundle.curves(tmp_path / "taught")[0]["training"].keys()
    head, _ = bundle.part(workflow, "optimizer").param_groups
    trained = sum(p.numel() for p in bundle.part(workflow, "distiller").parameters())
    assert sum(p.numel() for p in head["params"]) == 2 * 192 + 2 + trained
    assert trained > 0


def test_a_teacher_of_other_classes_is_refused(bundle, start, grades, tmp_path):
    shutil.copy(start / "model.pt", tmp_path)
    record = json.loads((start / "run.json").read_text())
    record["data"]["classes"] = ["high grade", "low grade"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"classes high grade, low grade; .* has low grade, high grade"):
        check_run_classes(tmp_path / "model.pt", grades / "datalist.json", "teacher_ckpt")
    check_run_classes(None, grades / "datalist.json")
    check_run_classes(grades / "model.pt", grades / "datalist.json")


def test_evaluation_on_data_of_other_classes_is_refused(bundle, start, grades):
    with pytest.raises(RuntimeError) as told:
        bundle.evaluate("without_teacher", "evaluate", dataset_dir=str(grades), output_dir=str(start))
    assert "was trained for the classes meningioma, glioma, pituitary tumour" in str(cause_of(told.value))


def test_another_number_of_classes_than_the_data_have_is_refused(bundle, grades, tmp_path):
    with pytest.raises(RuntimeError) as told:
        bundle.open("without_teacher", dataset_dir=str(grades), output_dir=str(tmp_path / "run"), num_classes=3)
    assert "has 2 classes (low grade, high grade), num_classes is 3" in str(cause_of(told.value))
    assert not (tmp_path / "run").exists()


def opened(bundle, source, dataset, folder, **given):
    """Facts of a student that would start from a source."""
    given |= {"dataset_dir": str(dataset), "output_dir": str(folder), "pretrained": str(source)}
    return bundle.part(bundle.open("without_teacher", "finetune", **given), "pretrained_facts")


@pytest.fixture(scope="module")
def packed(bundle, start, tmp_path_factory):
    """A packed bundle as far as fine-tuning reads it, as a folder and as a zip, and metadata that can be changed."""
    root = tmp_path_factory.mktemp("packed") / "student"
    (root / "models").mkdir(parents=True)
    (root / "configs").mkdir()
    save_file(bundle.weights(start), root / "models" / "model.safetensors")
    classes = ("meningioma", "glioma", "pituitary tumour")
    digest = json.loads((start / "run.json").read_text())["data"]["sha256"]
    metadata = {
        "network_data_format": {"outputs": {"pred": {"channel_def": {str(k): name for k, name in enumerate(classes)}}}},
        "training": {"datalist_sha256": digest},
    }
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    archive = root.parent / "student.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            file.write(path, path.relative_to(root.parent))
    return SimpleNamespace(folder=root, zip=archive, weights=root / "models" / "model.safetensors")


@pytest.mark.parametrize("form", ["folder", "zip", "weights"])
def test_every_form_of_a_packed_student_is_a_start(bundle, packed, grades, tmp_path, form):
    facts = opened(bundle, getattr(packed, form), grades, tmp_path / "run")
    assert facts["classes"] == ["meningioma", "glioma", "pituitary tumour"]
    assert facts["training_data"] == "unknown"
    assert not facts["head_kept"]


def test_the_head_is_kept_for_the_same_classes_and_the_same_split_is_no_leak(bundle, packed, dataset, start, tmp_path):
    facts = opened(bundle, packed.zip, dataset, tmp_path / "a")
    assert (facts["head_kept"], facts["training_data"]) == (True, "the same datalist")
    facts = opened(bundle, packed.zip, dataset, tmp_path / "b", keep_head="false")
    assert not facts["head_kept"]
    (tmp_path / "bare").mkdir()
    shutil.copy(start / "model.pt", tmp_path / "bare")
    facts = opened(bundle, tmp_path / "bare" / "model.pt", dataset, tmp_path / "c")
    assert (facts["classes"], facts["head_kept"], facts["training_data"]) == (None, False, "unknown")


def with_families(start, folder, families, **data):
    """A run that says that it has learned from these families, of a datalist that is not there any more."""
    folder.mkdir()
    shutil.copy(start / "model.pt", folder)
    record = json.loads((start / "run.json").read_text())
    record["data"] |= {"training_families": families, "datalist": "gone.json", **data}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_as_many_classes_of_other_names_get_a_new_head(bundle, start, dataset, tmp_path):
    record = json.loads((start / "run.json").read_text())["data"]
    same = with_families(start, tmp_path / "same", record["training_families"])
    assert opened(bundle, same, dataset, tmp_path / "a")["head_kept"]
    other = ["glioma", "meningioma", "pituitary tumour"]
    turned = with_families(start, tmp_path / "turned", record["training_families"], classes=other)
    facts = opened(bundle, turned, dataset, tmp_path / "b")
    assert (facts["head_kept"], set(facts["head"])) == (False, HEAD)


def test_patients_that_were_learned_from_and_are_held_out_here_are_refused(bundle, start, grades, tmp_path):
    content = read_datalist(grades / "datalist.json")
    held, learned = content["test"][0]["family"], content["training"][0]["family"]
    leaking = with_families(start, tmp_path / "leaking", [held, learned, "somebody"])
    with pytest.raises(RuntimeError) as told:
        opened(bundle, leaking, grades, tmp_path / "run")
    error = cause_of(told.value)
    assert type(error).__name__ == "LeakageError"
    assert "was trained on 1 patient families" in str(error)
    assert held in str(error)
    assert not (tmp_path / "run").exists()
    facts = opened(bundle, leaking, grades, tmp_path / "run", other_patients="true")
    assert facts["training_data"] == "other patients, as was stated"
    sound = with_families(start, tmp_path / "sound", [learned, "somebody"])
    assert opened(bundle, sound, grades, tmp_path / "other")["training_data"] == "run.json"


def test_images_that_were_learned_from_are_refused_whatever_the_patients_are_called(bundle, start, tmp_path):
    options = PrepareOptions(store_size=64, workers=1, classes=GRADES)
    datasets = []
    for name, split in (("a", SplitOptions(fold=0)), ("b", SplitOptions(fold=1))):
        source = write_pictures(tmp_path / name / "source", name)
        prepare_dataset(source, tmp_path / name / "D", options, split, progress=False)
        datasets.append(tmp_path / name / "D" / "datalist.json")
    data = {"datalist": str(datasets[0]), "sha256": pretrained_digest(datasets[0])}
    families = [entry["family"] for entry in read_datalist(datasets[0])["training"]]
    before = with_families(start, tmp_path / "before", families, **data)
    with pytest.raises(RuntimeError) as told:
        opened(bundle, before, datasets[1].parent, tmp_path / "run", other_patients="true")
    assert "images that" in str(cause_of(told.value))


def pretrained_digest(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_a_fine_tuned_student_learned_from_before_is_not_known(bundle, tuned, tmp_path):
    folder = with_families(tuned.folder, tmp_path / "twice", ["somebody"])
    dataset = tuned.given["dataset_dir"]
    assert opened(bundle, folder, dataset, tmp_path / "run")["training_data"] == "unknown"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "there is no file or folder"),
        (lambda folder: folder.mkdir(), "has none of model.pt, models/model.pt, models/model.safetensors"),
    ],
)
def test_a_source_without_weights_is_refused_by_name(tmp_path, make, message):
    make(tmp_path / "source")
    with pytest.raises(FileNotFoundError, match=message), pretrained_files(tmp_path / "source"):
        pass


def test_an_archive_that_climbs_out_is_refused_whole(packed, tmp_path):
    evil = shutil.copy(packed.zip, tmp_path / "evil.zip")
    with zipfile.ZipFile(evil, "a") as file:
        file.writestr("student/../../escaped", b"x")
    with pytest.raises(ValueError, match="climbs out of the archive"), pretrained_files(evil):
        pass


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, values):
        return self.head(self.norm(self.body(values)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"body_rate": 0.0}, "body_rate is 0.0, allowed are shares above 0 up to 1"),
        ({"body_rate": 2.0}, "body_rate is 2.0"),
        ({"head": ["fc.weight"]}, r"the head \(fc\.weight\) names no parameter"),
    ],
)
def test_rates_and_heads_that_make_no_sense_are_refused(given, message):
    given = {"head": ["head.weight", "head.bias"], "learning_rate": 0.1} | given
    with pytest.raises(ValueError, match=message):
        fine_tuning_groups(Small(), **given)
    with pytest.raises(ValueError, match="freeze_epochs is -1"):
        FrozenBody(Small(), ["head.weight"], -1)


def test_a_frozen_body_keeps_its_statistics_in_training_mode_and_is_released():
    network = Small().train()
    frozen = FrozenBody(network, ["head.weight", "head.bias"], 2)
    for epoch, still in ((1, True), (2, True), (3, False)):
        frozen(SimpleNamespace(state=SimpleNamespace(epoch=epoch)))
        network.train()
        before = network.norm.running_mean.clone()
        network(torch.randn(8, 3, generator=torch.Generator().manual_seed(epoch)) + 5).sum().backward()
        assert torch.equal(network.norm.running_mean, before) is still
        assert (network.body.weight.grad is None) is still
        assert network.head.weight.grad is not None
    assert not network._forward_pre_hooks
