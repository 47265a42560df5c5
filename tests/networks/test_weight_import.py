"""Weights that others have published: renamed by rules, counted, refused below a share, never run."""

import pickle

import pytest
import torch
from monai.networks.nets import DenseNet121, resnet18
from safetensors.torch import save_file
from torch import nn

from kdmri_monai.networks import PooledClassifier, WeightsError, load_weights
from kdmri_monai.networks.key_map import KeyMapError, mapped_names, matching, unwrapped
from kdmri_monai.networks.weight_import import ImportRules, import_weights


def small(classes=3, channels=1):
    """A convolution, its normalisation and a head: 3 tensors and 2 buffers that count, and a counter that does not."""
    layers = {
        "stem": nn.Conv2d(channels, 4, 3, bias=False),
        "norm": nn.BatchNorm2d(4),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": nn.Linear(4, classes),
    }
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


@pytest.fixture
def path(tmp_path):
    return tmp_path / "published.pt"


def published(path, network, rename=lambda name: name, **extra):
    """The weights of a network as somebody else would name them."""
    state = {rename(name): value for name, value in network.state_dict().items()}
    torch.save(state | extra, path)
    return path


# the rules


def test_rules_are_applied_in_order_and_each_to_what_is_there_by_then():
    rules = {r"^encoder\.": "backbone.", r"^backbone\.block(\d)": r"backbone.layer\1"}
    assert mapped_names(["encoder.block1.w", "fc.w"], rules) == {
        "backbone.layer1.w": "encoder.block1.w",
        "fc.w": "fc.w",
    }


def test_a_rule_without_replacement_leaves_tensors_out():
    assert mapped_names(["fc.w", "fc.b", "conv.w"], {r"^fc\.": None}) == {"conv.w": "conv.w"}


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"^decoder": "x"}, r"the rule '\^decoder' matches no name in the file; there are a.w, b.w"),
        ({"(": "x"}, r"'\(' is no regular expression"),
        ({"^[ab]": "c"}, r"the rules give a.w and b.w the same name c.w"),
        ({"a": r"\2"}, r"cannot replace 'a' in a.w"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rules, told):
    with pytest.raises(KeyMapError, match=told):
        mapped_names(["a.w", "b.w"], rules)


def test_names_lose_the_wrapper_only_where_all_have_it():
    assert unwrapped(["module.a", "module.b"]) == {"a": "module.a", "b": "module.b"}
    assert unwrapped(["module.a", "b"]) == {"module.a": "module.a", "b": "b"}
    assert unwrapped(["module.module.a"]) == {"module.a": "module.module.a"}


def test_an_expression_that_leaves_out_nothing_is_refused():
    assert matching(["head.w", "stem.w"], ["^head"]) == ["head.w"]
    with pytest.raises(KeyMapError, match=r"'\^fc' matches no name of the network"):
        matching(["head.w", "stem.w"], ["^fc"])


# the import


def test_renamed_weights_come_in_bit_equal_and_are_counted(path):
    source, target = small(), small()
    published(path, source, lambda name: f"module.encoder.{name}")
    report = import_weights(target, path, ImportRules({r"^encoder\.": ""}))
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())
    assert (report.matched, report.tensors, report.parameters) == (7, 1.0, 1.0)
    assert (report.missing, report.unexpected, report.left_out, report.summed) == ([], [], [], "")


def test_shares_are_those_of_tensors_and_of_elements(path):
    source = small()
    state = {name: value for name, value in source.state_dict().items() if not name.startswith("norm.")}
    torch.save(state | {"decoder.w": torch.zeros(2)}, path)
    target = small()
    report = import_weights(target, path, ImportRules(min_match=0.4))
    assert report.tensors == 3 / 7  # stem, head and its bias, of those and four of the normalisation
    assert report.parameters == (36 + 12 + 3) / (36 + 12 + 3 + 16)
    assert report.missing == [f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    assert report.unexpected == ["decoder.w"]
    assert torch.equal(target.norm.weight, torch.ones(4))
    assert torch.equal(target.stem.weight, source.stem.weight)


def test_less_than_the_stated_share_is_refused_and_nothing_is_changed(path):
    torch.save({"stem.weight": torch.zeros(4, 1, 3, 3)}, path)
    target = small()
    before = target.stem.weight.clone()
    with pytest.raises(WeightsError, match=r"fills 1 tensors of Sequential: 14.3% of the tensors and 53.7% of the"):
        import_weights(target, path, ImportRules(min_match=0.5), role="teacher_ckpt")
    assert torch.equal(target.stem.weight, before)


def test_a_file_of_other_names_is_told_with_both(path):
    published(path, small(), lambda name: f"encoder.{name}")
    with pytest.raises(WeightsError, match=r"the file has encoder.stem.weight, .*; a key map can rename them"):
        import_weights(small(), path, ImportRules(min_match=0.01))


def test_a_head_of_other_classes_is_left_out_only_if_asked(path):
    source, target = small(classes=1000), small(classes=3)
    published(path, source)
    before = target.head.weight.clone()
    with pytest.raises(WeightsError, match=r"head.weight \(1000, 4\) instead of \(3, 4\), .*leave it out by name"):
        import_weights(target, path, ImportRules(min_match=0.5))
    report = import_weights(target, path, ImportRules(leave_out=["^head\\."]))
    assert report.left_out == ["head.weight", "head.bias"]
    assert report.tensors == 1.0
    assert torch.equal(target.head.weight, before)
    assert torch.equal(target.stem.weight, source.stem.weight)


def test_a_colour_stem_answers_a_grey_image_as_it_would_the_same_image_in_three_channels(path):
    source, target = small(channels=3).eval(), small().eval()
    published(path, source)
    with pytest.raises(WeightsError, match="ask for grey_stem"):
        import_weights(target, path)
    report = import_weights(target, path, ImportRules(grey_stem=True))
    assert report.summed == "stem.weight"
    image = torch.rand(2, 1, 9, 9)
    torch.testing.assert_close(target(image), source(image.expand(-1, 3, -1, -1)))


def test_a_grey_stem_where_there_is_none_is_refused(path):
    published(path, small())
    with pytest.raises(WeightsError, match=r"grey_stem wants one convolution .*there are 0"):
        import_weights(small(), path, ImportRules(grey_stem=True))


@pytest.mark.parametrize("share", [0.0, 1.5, -1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="min_match is"):
        ImportRules(min_match=share)


def test_a_slip_in_a_rule_names_the_file(path):
    published(path, small())
    with pytest.raises(WeightsError, match=r"teacher_ckpt .*published.pt: the rule '\^decoder' matches no name"):
        import_weights(small(), path, ImportRules({"^decoder": ""}), role="teacher_ckpt")


# the files


def test_safetensors_are_read_too(tmp_path):
    source, target = small(), small()
    save_file({name: value.contiguous() for name, value in source.state_dict().items()}, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert torch.equal(source.head.weight, target.head.weight)
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_weights(target, tmp_path / "w.safetensors")


def test_weights_of_a_parallel_wrapper_fit_the_bare_network(path):
    source, target = small(), small()
    published(path, nn.DataParallel(source))
    load_weights(target, path)
    assert torch.equal(source.head.weight, target.head.weight)


def test_code_in_published_weights_does_not_run(path, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "evil"), "w")

    path.write_bytes(pickle.dumps({"stem.weight": Evil()}, protocol=2))
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        import_weights(small(), path, ImportRules(min_match=0.1))
    assert not (tmp_path / "evil").exists()


# networks of MONAI


def torchvision_names(blocks=(2, 2, 2, 2)):
    """Names of torchvision's resnet18: ``ResNet`` of ``BasicBlock`` in its source, torchvision/models/resnet.py."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["conv1.weight", *(f"bn1.{part}" for part in norm), "fc.weight", "fc.bias"]
    for layer, count in enumerate(blocks, start=1):
        for block in range(count):
            for number in (1, 2):
                home = f"layer{layer}.{block}"
                names += [f"{home}.conv{number}.weight", *(f"{home}.bn{number}.{part}" for part in norm)]
        if layer > 1:
            names.append(f"layer{layer}.0.downsample.0.weight")
            names += [f"layer{layer}.0.downsample.1.{part}" for part in norm]
    return set(names)


def test_monais_resnet_has_torchvisions_names():
    given = {"spatial_dims": 2, "num_classes": 1000, "conv1_t_stride": 2, "bias_downsample": False}
    assert set(resnet18(n_input_channels=3, **given).state_dict()) == torchvision_names()


def test_colour_weights_of_a_resnet_make_a_grey_teacher(path):
    given = {"spatial_dims": 2, "conv1_t_stride": 2, "bias_downsample": False}
    source = resnet18(n_input_channels=3, num_classes=10, **given)
    target = resnet18(n_input_channels=1, num_classes=3, **given)
    published(path, source)
    report = import_weights(target, path, ImportRules(grey_stem=True, leave_out=["^fc"]))
    assert (report.tensors, report.summed) == (1.0, "conv1.weight")
    assert torch.equal(target.layer4[1].conv2.weight, source.layer4[1].conv2.weight)


def test_an_encoder_of_monai_goes_under_our_head(path):
    tiny = {"spatial_dims": 2, "in_channels": 1, "out_channels": 5, "init_features": 8, "growth_rate": 4}
    source = DenseNet121(**tiny, block_config=(1, 1))
    target = PooledClassifier(DenseNet121(**tiny, block_config=(1, 1)).features, num_features=8, num_classes=3)
    published(path, source)
    rules = ImportRules({r"^features\.": "backbone.", r"^class_layers\.": None}, leave_out=[r"^(?!backbone\.)"])
    report = import_weights(target, path, rules)
    assert report.tensors == 1.0
    assert report.left_out == ["norm.weight", "norm.bias", "head.weight", "head.bias"]
    assert torch.equal(target.backbone.conv0.weight, source.features.conv0.weight)
