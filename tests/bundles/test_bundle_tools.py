"""MONAI's own tools on the bundle as it is shipped: metadata, shapes, properties, exports; as users type them."""

import copy
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, onnx_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "kd"
CONFIGS = BUNDLE / "configs"
META = CONFIGS / "metadata.json"
SCHEMA = ROOT / "tests" / "data" / "meta_schema.json"
RESULTS = ROOT / "docs" / "results" / "evaluation" / "comparison.json"
CLOSE = 1e-5
"""How far probabilities of an exported form may lie from those of the network."""

pytestmark = pytest.mark.filterwarnings(
    "ignore:No hash value provided:UserWarning",  # the schema lies in this repository
    "ignore::torch.jit.TracerWarning",  # shapes that MONAI's Swin transformer compares in Python
    "ignore:__array_wrap__ must accept context:DeprecationWarning",  # likewise
    "ignore:# 'dynamic_axes' is not recommended:UserWarning",  # the only name that MONAI has for it
    "ignore:from_dynamic_axes_to_dynamic_shapes is deprecated:DeprecationWarning",
    "ignore:unclosed file:ResourceWarning",  # the temporary file of MONAI's onnx_export
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning",  # the same, when collected
    "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning",  # PyTorch's exporter of its own
)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def metadata():
    return json.loads(META.read_text())


def check_metadata(content, tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps(content))
    verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


def test_metadata_is_as_the_specification_wants_it(metadata, tmp_path):
    before = SCHEMA.read_bytes()
    check_metadata(metadata, tmp_path)
    assert SCHEMA.read_bytes() == before  # nothing was downloaded over it


@pytest.mark.parametrize(
    "spoil",
    [
        lambda meta: meta.pop("task"),
        lambda meta: meta.update(version="first"),
        lambda meta: meta.update(eval_metrics={"accuracy": "good"}),
        lambda meta: meta["network_data_format"].pop("outputs"),
        lambda meta: meta["network_data_format"]["inputs"]["image"].update(dtype="float"),
        lambda meta: meta["network_data_format"]["inputs"]["image"].update(value_range=[0]),
        lambda meta: meta["network_data_format"]["outputs"]["pred"].update(channel_def={"first": "glioma"}),
    ],
)
def test_the_schema_refuses_what_the_specification_does(metadata, tmp_path, spoil):
    spoil(metadata)
    with pytest.raises(ValueError, match="Failed validating"):
        check_metadata(metadata, tmp_path)


def test_metadata_agrees_with_itself_the_configuration_and_the_packages(metadata):
    assert metadata["version"] in metadata["changelog"]
    train = ConfigParser(ConfigParser.load_config_file(str(CONFIGS / "train.json")))
    classes = train.get_parsed_content("num_classes")
    image = metadata["network_data_format"]["inputs"]["image"]
    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert image["spatial_shape"] == [train["image_size"]] * 2
    assert pred["num_channels"] == classes == len(pred["channel_def"])
    assert pred["spatial_shape"] == [1, classes]
    wanted = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    named = metadata["required_packages_version"] | {name: metadata[key] for name, key in wanted.items()}
    for name, stated in named.items():
        assert version(name).split("+")[0].split(".")[:2] == stated.split(".")[:2], name


def test_metrics_of_the_metadata_are_those_that_were_measured(metadata):
    rows = {row["name"]: row for row in json.loads(RESULTS.read_text())["rows"]}
    found = {}
    for arm in ("distilled", "baseline", "teacher"):
        for level in ("slices", "patients"):
            measured = rows[arm][level]["metrics"]["balanced_accuracy"]["value"]
            found[f"{arm}_{level}_balanced_accuracy"] = round(measured, 4)
    assert metadata["eval_metrics"] == found


@pytest.mark.parametrize("folder", [ROOT, BUNDLE], ids=["repository", "bundle"])
def test_a_bundle_without_weights_is_of_the_shapes_that_it_states(folder, monkeypatch):
    monkeypatch.chdir(folder)
    verify_net_in_out("network_def", str(META), str(CONFIGS / "inference.json"), device="cpu")


def test_another_number_of_classes_is_noticed():
    given = {"_meta_#network_data_format#outputs#pred#num_channels": 4}
    with pytest.raises(ValueError, match="doesn't match"):
        verify_net_in_out("network_def", str(META), str(CONFIGS / "inference.json"), device="cpu", **given)


TAUGHT = {"teacher_def#backbone#embed_dim": 12, "teacher_def#num_features": 192}
GEOMETRY = {"teacher_def#backbone#embed_dim": 12}
OVERLAYS = {
    (): TAUGHT,
    ("evaluate",): TAUGHT,
    ("evidence",): TAUGHT,
    ("baseline",): {},
    ("without_teacher", "geometry_head"): TAUGHT,
    ("teacher",): TAUGHT,
    ("geometry_teacher", "teacher"): GEOMETRY,
    ("geometry_teacher", "image_teacher", "teacher"): GEOMETRY,
    ("geometry_teacher", "terms_kd", "mixup"): GEOMETRY,
    ("geometry_teacher", "geometry_head", "all_terms", "evaluate"): GEOMETRY,
    ("terms_fusion", "balanced"): TAUGHT,
    ("terms_kd", "class_weights", "source_breaking"): TAUGHT,
    ("cnn_to_vit", "erase_tumour"): {},
    ("cached_teacher",): TAUGHT,
    ("calibrated_teacher",): TAUGHT,
    ("ensemble",): TAUGHT,
    ("crossfit",): TAUGHT,
    ("imagenet_teacher", "rings"): {},
}
"""Every overlay that is laid over ``train.json`` by itself, in a company that it is made for."""
ELSEWHERE = {"metadata", "train", "inference", "federated", "multi_gpu_train", "multi_gpu_evaluate", "finetune"}


def test_every_overlay_is_checked():
    shipped = {path.stem for path in CONFIGS.glob("*.json")} - ELSEWHERE
    assert {name for names in OVERLAYS for name in names} == shipped


@pytest.fixture
def networks(masked_dataset, tmp_path):
    """Overrides that name weights of untrained networks: a check builds everything and runs nothing."""

    def overrides(names, given):
        parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / f"{n}.json") for n in ("train", *names)]))
        parser.update(given | {"image_size": 64, "device": "cpu"})
        entries = json.loads((masked_dataset / "datalist.json").read_text())["training"]
        families = sorted({entry["family"] for entry in entries})
        teachers = []
        for part in range(2):
            folder = tmp_path / f"teacher_{part}"
            folder.mkdir()
            teacher = parser.get_parsed_content("teacher_def")
            torch.save(teacher.state_dict(), folder / "model.pt")
            record = {"settings": {"image_size": 64}, "data": {"training_families": families[part::2]}}
            (folder / "run.json").write_text(json.dumps(record))
            teachers.append(str(folder / "model.pt"))
        torch.save(parser.get_parsed_content("network_def").state_dict(), tmp_path / "student.pt")
        several = {"teacher_ckpts": teachers} if {"ensemble", "crossfit"} & set(names) else {}
        own = {"checkpoint": str(tmp_path / "student.pt")} if {"evaluate", "evidence"} & set(names) else {}
        cache = {"teacher_cache": str(tmp_path / "cache")} if "cached_teacher" in names else {}
        return {"teacher_ckpt": teachers[0], **several, **own, **cache}

    return overrides


@pytest.mark.filterwarnings("ignore:.* with 3 classes:UserWarning", "ignore:the temperature fitted:UserWarning")
@pytest.mark.parametrize(("names", "given"), OVERLAYS.items(), ids=lambda value: "-".join(value) or "train")
def test_properties_of_every_overlay_are_clean_and_it_initialises_twice(
    names, given, networks, masked_dataset, tmp_path
):
    """Federated clients of MONAI initialise every workflow twice, before and after they say where the bundle is."""
    small = {"image_size": 64, "max_epochs": 1, "batch_size": 12, "device": "cpu", "progress": False}
    paths = {"dataset_dir": str(masked_dataset), "output_dir": str(tmp_path / "run")}
    workflow = ConfigWorkflow(
        config_file=[str(CONFIGS / f"{name}.json") for name in ("train", *names)],
        workflow_type="train",
        **small | paths | given | networks(names, given),
    )
    workflow.initialize()
    workflow.initialize()
    assert workflow.check_properties() == []


NETWORKS = {
    "resnet": ("train#student_def", {}),
    "swin": ("train#teacher_def", {"teacher_def#backbone#embed_dim": 12, "teacher_def#num_features": 192}),
    "vit": ("train,cnn_to_vit#student_def", {}),
}


def build(name):
    """A network of the bundle with normalisation that has seen something, its weights and its configuration files."""
    source, given = NETWORKS[name]
    files, _, part = source.partition("#")
    paths = [str(CONFIGS / f"{file}.json") for file in files.split(",")]
    parser = ConfigParser(ConfigParser.load_config_files(paths))
    parser.update(given)
    torch.manual_seed(0)
    network = parser.get_parsed_content(part).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network, paths, part, given


@pytest.fixture
def images():
    return torch.rand(5, 1, 96, 96, generator=torch.Generator().manual_seed(1))


def answer(network, images):
    with torch.no_grad():
        return network(images).softmax(dim=1).numpy()


@pytest.fixture(params=["resnet", "vit", pytest.param("swin", marks=pytest.mark.slow)])
def exported(request, tmp_path):
    network, paths, part, given = build(request.param)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    common = {"net_id": part, "ckpt_file": str(tmp_path / "model.pt"), "meta_file": str(META), "config_file": paths}
    return request.param, network, common | given


def check_same(network, said, images):
    expected = answer(network, images)
    assert np.ptp(expected, axis=0).max() > 100 * CLOSE  # the images are told apart
    np.testing.assert_allclose(said, expected, atol=CLOSE)


@pytest.mark.parametrize("trace", [False, True], ids=["script", "trace"])
def test_torchscript_says_the_same(exported, images, tmp_path, trace):
    name, network, common = exported
    given = copy.deepcopy(common) | {"filepath": str(tmp_path / "model.ts"), "use_trace": trace}
    if trace:
        given["input_shape"] = [1, 1, 96, 96]
    if name == "swin" and not trace:
        with pytest.raises(RuntimeError):  # TorchScript cannot compile MONAI's Swin transformer: trace it
            ckpt_export(**given)
        return
    ckpt_export(**given)
    loaded, metadata, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=("train.json",))
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 3
    assert b"student_def" in extra["train.json"]
    check_same(network, answer(loaded, images), images)


def test_onnx_says_the_same_for_any_batch(exported, images, tmp_path):
    _, network, common = exported
    names = {"input_names": ["image"], "output_names": ["pred"]}
    free = names | {"dynamic_axes": {"image": {0: "batch"}, "pred": {0: "batch"}}}
    shape = [2, 1, 96, 96]
    onnx_export(**common, filepath=str(tmp_path / "model.onnx"), input_shape=shape, converter_kwargs=free)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        logits = session.run(["pred"], {"image": images[:count].numpy()})[0]
        said = torch.from_numpy(logits).softmax(dim=1).numpy()
        np.testing.assert_allclose(said, answer(network, images[:count]), atol=CLOSE)


def test_an_exported_program_says_the_same_for_any_batch(exported, images, tmp_path):
    _, network, _ = exported
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(network, (images[:2],), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2", extra_files={"metadata.json": META.read_text()})
    kept = {"metadata.json": ""}
    loaded = torch.export.load(tmp_path / "model.pt2", extra_files=kept).module()
    assert json.loads(kept["metadata.json"]) == json.loads(META.read_text())
    check_same(network, answer(loaded, images), images)


COMMANDS = [line.strip() for line in (BUNDLE / "docs" / "README.md").read_text().splitlines() if "monai.bundle" in line]


def typed(start, folder, **words):
    """A command of the README as it is typed, with the names of its placeholders put in; what it wrote."""
    (command,) = [line for line in COMMANDS if line.startswith(f"python -m monai.bundle {start}")]
    for name, value in words.items():
        command = command.replace(f" {name} ", f" {value} ").replace(f" {name}/", f" {value}/")
    if folder == BUNDLE:
        command = command.replace("bundles/kd/", "").replace("tests/", str(ROOT / "tests") + "/")
    parts = command.replace("python", f"{sys.executable} -W ignore", 1)
    done = subprocess.run(["bash", "-c", parts], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("folder", [ROOT, BUNDLE], ids=["repository", "bundle"])
def test_the_commands_of_the_readme_work_in_both_folders(tmp_path, folder):
    network = build("resnet")[0]
    torch.save(network.state_dict(), tmp_path / "model.pt")
    assert "metadata is verified with no error" in typed("verify_metadata", folder)
    assert "data shape of network is verified with no error" in typed("verify_net_in_out", folder)
    for start, name in (("ckpt_export", "model.ts"), ("onnx_export", "model.onnx")):
        told = typed(start, folder, S=str(tmp_path))
        assert f"exported to file: {tmp_path / name}" in told
        assert (tmp_path / name).is_file()
