"""``kdmri pack``: a bundle that another laboratory runs with MONAI alone, and that says what the run says."""

import csv
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    load,
    load_bundle_config,
    run,
    verify_metadata,
    verify_net_in_out,
)
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    recall_score,
    roc_auc_score,
)
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.pixels import store_image
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.engines.run_config import run_config
from kdmri_monai.networks import GeometryClassifier
from kdmri_monai.sharing.allowed_targets import is_known_target
from kdmri_monai.sharing.audit import audit
from kdmri_monai.sharing.exports import FORMS
from kdmri_monai.sharing.expressions import expression_verdict
from kdmri_monai.sharing.local_paths import without_folders
from kdmri_monai.sharing.pack import pack
from kdmri_monai.sharing.pack_options import PackError, PackOptions
from kdmri_monai.sharing.packed_configs import preprocessing_steps
from kdmri_monai.sharing.packed_network import NotStockError, stock_definition
from kdmri_monai.sharing.packed_student import open_packed

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
STORE, SIDE = 64, 32
CLASSES = ["meningioma", "glioma", "pituitary tumour"]


def train_and_evaluate(dataset, out, *overlays):
    """A run as the command line leaves it: ``run.json`` remembers the words."""
    files = [str(CONFIGS / f"{name}.json") for name in ("train", *overlays)]
    given = {"dataset_dir": str(dataset), "output_dir": str(out), "image_size": SIDE, "max_epochs": 1}
    given |= {
        "batch_size": 16,
        "device": "cpu",
        "progress": False,
        "pictures_every": 0,
        "student_def#widen_factor": 0.125,
    }
    words = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setattr(sys, "argv", ["monai.bundle", "run", "training", "--config_file", repr(files), *words])
        run(run_id="training", config_file=files, **given)
        run(run_id="evaluating", config_file=[*files, str(CONFIGS / "evaluate.json")], **given)
        if not (out / "config.json").is_file():
            (out / "config.json").write_text(json.dumps(ConfigParser.load_config_files(files)))
    return out


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    write_phantoms(home / "source", patients=30, size=128, progress=False)
    prepare_dataset(
        home / "source", home / "D", PrepareOptions(store_size=STORE, workers=1), SplitOptions(), progress=False
    )
    return home / "D"


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    return train_and_evaluate(dataset, tmp_path_factory.mktemp("runs") / "student", "baseline")


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory):
    """The archive, and the folder that it was unpacked to."""
    home = tmp_path_factory.mktemp("packed")
    pack(trained, home / "lab_a.zip")
    with zipfile.ZipFile(home / "lab_a.zip") as archive:
        archive.extractall(home)
    return home / "lab_a.zip", home / "lab_a"


@pytest.fixture
def bundle(packed, tmp_path, monkeypatch):
    """An unpacked bundle of one's own, the working directory."""
    shutil.copytree(packed[1], tmp_path / "lab_a")
    monkeypatch.chdir(tmp_path / "lab_a")
    return tmp_path / "lab_a"


def table(path, header=False):
    with Path(path).open(newline="") as file:
        rows = list(csv.reader(file))[header:]
    return {Path(row[0]).name: [float(value) for value in row[1:]] for row in rows}


# what is in it


def test_a_bundle_holds_what_others_look_for(packed):
    found = {str(path.relative_to(packed[1])) for path in packed[1].rglob("*") if path.is_file()}
    assert found >= {
        "LICENSE",
        "manifest.json",
        *(f"configs/{name}" for name in ("metadata.json", "inference.json", "evaluate.json", "logging.conf")),
        *(f"docs/{name}" for name in ("README.md", "model_card.md", "data_license.txt")),
        *(f"models/{name}" for name in (*FORMS, "trust.safetensors")),
        *(f"smoke/{name}" for name in ("datalist.json", "expected.csv", "phantom_0.png")),
    }
    assert not [name for name in found if name.endswith((".py", ".sh", ".so"))]


def test_the_manifest_lists_every_file_with_its_checksum(packed):
    listed = json.loads((packed[1] / "manifest.json").read_text())["files"]
    files = {str(path.relative_to(packed[1])) for path in packed[1].rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(listed) == files
    for name, told in listed.items():
        assert hashlib.sha256((packed[1] / name).read_bytes()).hexdigest() == told["sha256"]


def test_the_weights_are_those_of_the_run(packed, trained):
    ours = torch.load(trained / "model.pt", weights_only=True)
    theirs = torch.load(packed[1] / "models" / "model.pt", weights_only=True)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_metrics_are_those_of_the_runs_evaluation(packed, trained):
    told = json.loads((packed[1] / "configs" / "metadata.json").read_text())["eval_metrics"]
    metrics = json.loads((trained / "test_metrics.json").read_text())
    for kind in ("slices", "patients"):
        value = metrics[kind]["balanced_accuracy"]
        assert told[f"{kind}_balanced_accuracy"] == pytest.approx(value["value"], abs=5e-5)
        assert told[f"{kind}_balanced_accuracy_low"] == pytest.approx(value["low"], abs=5e-5)


def test_the_split_is_named_by_its_checksum(packed, dataset):
    told = json.loads((packed[1] / "configs" / "metadata.json").read_text())["training"]
    assert told["datalist_sha256"] == hashlib.sha256((dataset / "datalist.json").read_bytes()).hexdigest()


def test_nothing_of_the_machine_or_of_a_patient_is_in_it(packed, trained, dataset):
    record = json.loads((trained / "run.json").read_text())
    strangers = [str(trained), str(dataset), str(Path.home()) + "/", "site-packages"]
    strangers += [f'"{family}"' for family in record["data"]["training_families"]]
    for path in packed[1].rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in strangers if word.encode() in content], path


# reproducible


def test_the_same_run_gives_the_same_bytes_wherever_it_lies(packed, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "elsewhere")
    (tmp_path / "out").mkdir()
    pack(tmp_path / "elsewhere", tmp_path / "out" / "lab_a.zip")
    assert (tmp_path / "out" / "lab_a.zip").read_bytes() == packed[0].read_bytes()


# stock targets alone


def walked(tree):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key, value
            yield from walked(value)
    elif isinstance(tree, list):
        for value in tree:
            yield None, value
            yield from walked(value)


@pytest.mark.parametrize("name", ["inference", "evaluate"])
def test_every_target_and_expression_is_on_the_allow_list(packed, name):
    config = json.loads((packed[1] / "configs" / f"{name}.json").read_text())
    targets = [value for key, value in walked(config) if key == "_target_"]
    expressions = [value for _, value in walked(config) if isinstance(value, str) and value.startswith("$")]
    assert targets
    assert not [target for target in targets if not is_known_target(target) or "kdmri" in target]
    assert not [text for text in expressions if not expression_verdict(text).harmless]
    assert len(expressions) <= 30


def test_the_audit_calls_it_safe(packed):
    report = audit(packed[0])
    assert report.safe, [str(finding) for finding in report.findings]


# MONAI's own tools


def test_properties_are_those_that_monai_wants(bundle):
    files = [str(bundle / "configs" / "inference.json")]
    for overlays in ([], [str(bundle / "configs" / "evaluate.json")]):
        workflow = ConfigWorkflow(
            config_file=files + overlays, meta_file=str(bundle / "configs" / "metadata.json"), workflow_type="inference"
        )
        workflow.initialize()
        assert workflow.check_properties() == []


def test_the_network_is_as_the_metadata_says(bundle):
    verify_net_in_out(
        "network_def", meta_file="configs/metadata.json", config_file="configs/inference.json", device="cpu"
    )


@pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning")  # of the schema, which lies beside the tests
def test_the_metadata_are_as_monai_specifies(bundle):
    verify_metadata(meta_file="configs/metadata.json", filepath=str(ROOT / "tests" / "data" / "meta_schema.json"))


@pytest.mark.filterwarnings("ignore:.*TorchScript.*", "ignore:.*torch.jit.*")
def test_monai_exports_the_network_itself(bundle):
    ckpt_export(
        "network_def",
        filepath="models/again.ts",
        ckpt_file="models/model.pt",
        meta_file="configs/metadata.json",
        config_file="configs/inference.json",
    )
    image = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.jit.load("models/model.ts"), torch.jit.load("models/again.ts")
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-5)


def test_monai_loads_the_network_with_its_weights(packed):
    network = load("lab_a", bundle_dir=str(packed[1].parent), workflow_type="inference", source="github")
    ours = torch.load(packed[1] / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value.cpu(), ours[name]) for name, value in network.state_dict().items())


def test_monai_reads_the_configuration_from_torchscript(packed):
    parser = load_bundle_config(str(packed[1] / "models" / "model.ts"), "metadata.json", "inference.json")
    assert parser["_meta_"]["name"] == "lab_a"
    assert parser["network_def"]["num_classes"] == 3


# what it says


def test_metadata_says_who_packed_it_and_what_was_compared(trained, packed, tmp_path):
    forms = json.loads((packed[1] / "configs" / "metadata.json").read_text())["forms"]
    assert set(forms["largest_difference_of_a_probability"]) == set(FORMS)
    assert all(gap <= forms["tolerance"] for gap in forms["largest_difference_of_a_probability"].values())
    pack(trained, tmp_path / "small.zip", PackOptions(authors="Lab A", forms=()))
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        told = json.loads(archive.read("small/configs/metadata.json"))
    assert told["authors"] == told["copyright"] == "Lab A"
    assert list(told["forms"]["largest_difference_of_a_probability"]) == ["model.pt"]
    with pytest.raises(PackError, match="authors"):
        PackOptions(authors=" ")


def test_inference_gives_the_probabilities_of_the_package(bundle):
    run(run_id="inference", config_file="configs/inference.json")
    ours, theirs = table("smoke/expected.csv", header=True), table("eval/predictions.csv")
    assert set(ours) == set(theirs)
    for name, probabilities in ours.items():
        assert theirs[name] == pytest.approx(probabilities, abs=1e-5)
        assert sum(theirs[name]) == pytest.approx(1, abs=1e-6)


def test_evaluation_agrees_with_scikit_learn(bundle):
    files = ["configs/inference.json", "configs/evaluate.json"]
    run(run_id="evaluating", config_file=files, batch_size=4)  # the last batch is smaller
    with Path("eval/metrics.csv").open(newline="") as file:
        told = {name: float(value) for name, value in csv.reader(file)}
    answers = table("eval/predictions.csv")
    entries = json.loads(Path("smoke/datalist.json").read_text())["test"]
    label = [entry["label"] for entry in entries]
    decided = [int(np.argmax(answers[entry["image"]])) for entry in entries]
    assert told["accuracy"] == pytest.approx(accuracy_score(label, decided))
    assert told["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, decided))
    recalls = recall_score(label, decided, average=None, labels=[0, 1, 2], zero_division=0)
    for name, recall in zip(CLASSES, recalls, strict=True):
        assert told[f"recall_{name.replace(' ', '_')}"] == pytest.approx(recall)
    probabilities = [answers[entry["image"]] for entry in entries]
    assert told["macro_auroc"] == pytest.approx(roc_auc_score(label, probabilities, multi_class="ovr"))
    counts = confusion_matrix(label, decided, labels=[0, 1, 2])
    for row, column in np.ndindex(3, 3):
        true, called = (CLASSES[number].replace(" ", "_") for number in (row, column))
        assert told[f"{true}_called_{called}"] == counts[row, column]


def test_predict_says_the_same_of_a_bundle_as_of_its_run(packed, trained, tmp_path):
    files = [str(path) for path in sorted((packed[1] / "smoke").glob("*.png"))]
    for source, out in ((packed[0], "bundle"), (trained, "run")):
        result = CliRunner().invoke(app, ["predict", str(source), *files, "--out", str(tmp_path / out)])
        assert result.exit_code == 0, result.output
    expected = table(packed[1] / "smoke" / "expected.csv", header=True)
    for out in ("bundle", "run"):
        with (tmp_path / out / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            got = [float(row[name]) for name in row if name.startswith("p_")]
            assert got == pytest.approx(expected[Path(row["file"]).name], abs=1e-5)


def test_the_readme_runs_as_written_where_this_package_cannot_be_imported(bundle):
    commands = re.findall(r"^    (python .*)$", Path("docs/README.md").read_text(), re.MULTILINE)
    assert len(commands) == 4
    (bundle / "pictures").mkdir()
    shutil.copy("smoke/phantom_1.png", "pictures")
    block = bundle.parent / "blocked"
    block.mkdir()
    (block / "sitecustomize.py").write_text("import sys; sys.modules['kdmri_monai'] = None\n")
    said = ""
    for command in commands:
        words = shlex.split(command.replace("PICTURES", "pictures"))
        given = {"PYTHONPATH": str(block), "PATH": "/usr/bin:/bin", "HOME": str(bundle), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *words[1:]], env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert "all files are as packed" in said
    assert table("eval/predictions.csv").keys() == table("smoke/expected.csv", header=True).keys()
    assert table("OUT/predictions.csv")["phantom_1.png"] == pytest.approx(
        table("smoke/expected.csv", header=True)["phantom_1.png"], abs=1e-5
    )


# preprocessing


def stock_steps(store_size):
    """The steps of the bundle up to the stored image, without loading."""
    config = {"steps": {"_target_": "Compose", "transforms": preprocessing_steps(store_size)[1:-2]}, "image_size": SIDE}
    return ConfigParser({"imports": ["$import torch"], **config}).get_parsed_content("steps")


def as_stored(pixels, store_size=256):
    return np.asarray(stock_steps(store_size)({"image": torch.as_tensor(pixels.astype(np.float64))})["image"][0])


@pytest.mark.parametrize("side", [256, 512, 768])
@pytest.mark.parametrize("kind", ["int16", "uint8", "float32", "few levels"])
def test_stock_transforms_prepare_pictures_bit_by_bit_as_this_package_does(side, kind):
    rng = np.random.default_rng(side)
    for _ in range(3):
        pixels = rng.gamma(2, 200, (side, side)).clip(0, 4000)
        pixels = pixels.astype(np.int16) // 400 if kind == "few levels" else pixels.astype(kind)
        np.testing.assert_array_equal(as_stored(pixels), store_image(pixels, 256, "x", "pixels"))


@pytest.mark.parametrize("shape", [(512, 400), (300, 300), (640, 481), (200, 200), (97, 190), (257, 255)])
def test_pictures_of_other_sizes_agree_too(shape):
    pixels = np.random.default_rng(0).gamma(2, 200, shape).astype(np.int16)
    np.testing.assert_array_equal(as_stored(pixels), store_image(pixels, 256, "x", "pixels"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Teacher: /home/ann/runs/teacher/model.pt.", "Teacher: model.pt."),
        ("`/usr/lib/monai/bundle/__main__.py run --dataset_dir /data/D`", "`__main__.py run --dataset_dir D`"),
        ("Windows: C:\\Users\\ann\\run", "Windows: run"),
        ("doi 10.1371/journal.pone.0140381, https://a.org/b/c, 1/2, and/or, bundles/kd/train.json", None),
        ("| a | 12 / 34 |", None),
    ],
)
def test_folders_of_the_machine_are_left_out_of_texts(text, told):
    assert without_folders(text) == (told or text)


# what cannot be packed


@pytest.fixture
def headed(trained, tmp_path):
    """A run whose student has a geometry head, which MONAI alone cannot build."""
    out = tmp_path / "headed"
    shutil.copytree(trained, out)
    files = [str(CONFIGS / f"{name}.json") for name in ("train", "without_teacher", "geometry_head")]
    (out / "config.json").write_text(json.dumps(ConfigParser.load_config_files(files)))
    network = run_config(out).get_parsed_content("network_def")
    assert isinstance(network, GeometryClassifier)
    torch.save(network.state_dict(), out / "model.pt")
    for name in ("validation_predictions.csv", "temperature.json", "trust.safetensors"):
        (out / name).unlink(missing_ok=True)
    return out


def test_a_network_that_monai_cannot_build_is_named_and_nothing_is_written(headed, tmp_path):
    with pytest.raises(NotStockError, match=r"kdmri_monai\.networks\.GeometryClassifier.*--with-package.*--program"):
        pack(headed, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_the_exported_program_is_packed_in_its_place_when_asked_for(headed, tmp_path, monkeypatch):
    packed = pack(headed, tmp_path / "a.zip", PackOptions(program=True, forms=()))
    assert any("program" in remark for remark in packed.remarks)
    assert not audit(tmp_path / "a.zip").safe
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path / "a")
    run(run_id="inference", config_file="configs/inference.json")
    ours, theirs = table("smoke/expected.csv", header=True), table("eval/predictions.csv")
    for name, probabilities in ours.items():
        assert theirs[name] == pytest.approx(probabilities, abs=1e-5)


def test_a_network_of_this_package_is_packed_for_those_who_have_it_and_stays_safe(headed, tmp_path, monkeypatch):
    packed = pack(headed, tmp_path / "a.zip", PackOptions(with_package=True))
    assert max(packed.gaps.values()) < 1e-5
    assert any("MONAI alone cannot build it" in remark for remark in packed.remarks)
    assert audit(tmp_path / "a.zip").safe
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path)
    root = tmp_path / "a"
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    assert metadata["required_packages_version"]["kdmri-monai"] == version("kdmri-monai")
    assert "networks of the package kdmri-monai" in (root / "docs" / "README.md").read_text()
    student = open_packed(tmp_path / "a.zip")
    assert isinstance(student.network, GeometryClassifier)
    monkeypatch.chdir(root)
    run(run_id="inference", config_file="configs/inference.json")
    ours, theirs = table("smoke/expected.csv", header=True), table("eval/predictions.csv")
    for name, probabilities in ours.items():
        assert theirs[name] == pytest.approx(probabilities, abs=1e-5)


def test_a_network_of_somebody_else_is_refused_even_with_the_package(trained):
    config = run_config(trained)
    config["student_def"] = {"_target_": "torchvision.models.resnet18"}
    with pytest.raises(NotStockError, match=r"torchvision\.models\.resnet18.*have; --program"):
        stock_definition(config, with_package=True)


def test_a_bundle_on_stock_networks_does_not_ask_for_this_package(packed):
    metadata = json.loads((packed[1] / "configs" / "metadata.json").read_text())
    assert "kdmri-monai" not in metadata["required_packages_version"]


def test_a_definition_has_no_references_left(trained):
    definition = stock_definition(run_config(trained))
    assert definition["num_classes"] == 3
    assert definition["widen_factor"] == 0.125
    assert not [value for _, value in walked(definition) if isinstance(value, str) and value[:1] in "@$%"]


@pytest.mark.parametrize("name", ["a.tar", "a b.zip", "-a.zip", "ä.zip"])
def test_names_that_others_cannot_use_are_refused(trained, tmp_path, name):
    with pytest.raises(PackError, match="no name for a bundle"):
        pack(trained, tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "words"), [({"version": "1.10.0"}, "one digit"), ({"forms": ["model.h5"]}, r"model\.h5")]
)
def test_options_that_cannot_be_are_refused(arguments, words):
    with pytest.raises(PackError, match=words):
        PackOptions(**arguments)


def test_a_folder_without_weights_is_refused(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("model.pt"))
    with pytest.raises(FileNotFoundError, match=r"model\.pt"):
        pack(tmp_path / "run", tmp_path / "a.zip")


def test_a_run_that_was_not_evaluated_says_so(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("test_*"))
    packed = pack(tmp_path / "run", tmp_path / "a.zip", PackOptions(forms=()))
    assert any("not evaluated" in remark for remark in packed.remarks)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert b"nothing is known" in archive.read("a/docs/README.md")
        assert json.loads(archive.read("a/configs/metadata.json"))["eval_metrics"] == {}


def test_the_licence_of_the_data_is_what_was_stated(trained, tmp_path, packed):
    assert "did not state" in (packed[1] / "docs" / "data_license.txt").read_text()
    assert "Cheng" not in (packed[1] / "configs" / "metadata.json").read_text()
    (tmp_path / "own.txt").write_text("Ours alone.")
    for given, told, cited in ((str(tmp_path / "own.txt"), "Ours alone.", False), ("figshare", "CC BY 4.0", True)):
        pack(trained, tmp_path / "a.zip", PackOptions(forms=(), data_license=given))
        with zipfile.ZipFile(tmp_path / "a.zip") as archive:
            assert told in archive.read("a/docs/data_license.txt").decode()
            assert ("Cheng" in archive.read("a/configs/metadata.json").decode()) is cited
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pack(trained, tmp_path / "a.zip", PackOptions(forms=(), data_license=str(tmp_path / "nowhere")))


def write_keys(folder):
    folder.mkdir()
    key = Ed25519PrivateKey.generate()
    form = (forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    (folder / "lab.key").write_bytes(key.private_bytes(*form))
    public = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    (folder / "lab.pub").write_bytes(public)
    return folder / "lab.key", folder / "lab.pub"


def test_a_signed_bundle_is_told_from_one_of_another_maker_and_from_a_changed_one(trained, tmp_path):
    (private, public), (_, stranger) = write_keys(tmp_path / "ours"), write_keys(tmp_path / "theirs")
    pack(trained, tmp_path / "a.zip", PackOptions(forms=(), key=private))
    assert audit(tmp_path / "a.zip", public).safe
    assert not audit(tmp_path / "a.zip", stranger).safe
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path)
    (tmp_path / "a" / "docs" / "README.md").write_text("Something else.")
    assert not audit(tmp_path / "a", public).safe
    assert not audit(tmp_path / "a").safe


def test_an_opened_bundle_is_the_student(packed, trained):
    student = open_packed(packed[0])
    assert student.classes == tuple(CLASSES)
    ours = torch.load(trained / "model.pt", weights_only=True)
    assert all(torch.equal(value, ours[name]) for name, value in student.network.state_dict().items())


def test_the_command_tells_what_it_packed(trained, tmp_path):
    arguments = ["pack", str(trained), "--out", str(tmp_path / "a.zip"), "--forms", "model.safetensors"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "audit: safe" in result.output
    assert "models/model.safetensors" in result.output
    assert "models/model.onnx" not in result.output


def test_the_command_tells_errors_in_a_line(tmp_path):
    result = CliRunner().invoke(app, ["pack", str(tmp_path), "--out", str(tmp_path / "a.zip")])
    assert result.exit_code != 0
    assert not isinstance(result.exception, (ValueError, OSError))
