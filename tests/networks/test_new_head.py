"""A body with old weights and a head for other classes. Reference: the tensors that were saved."""

import pickle

import pytest
import torch
from monai.networks.nets import DenseNet, ViT, resnet10
from torch import nn

from kdmri_monai.networks import GeometryClassifier
from kdmri_monai.networks.new_head import load_pretrained
from kdmri_monai.networks.weights import WeightsError

RESNET = {"spatial_dims": 2, "n_input_channels": 1, "conv1_t_stride": 2, "widen_factor": 0.125}


def resnet(classes, seed):
    torch.manual_seed(seed)
    return resnet10(num_classes=classes, **RESNET)


def vit(classes, seed):
    torch.manual_seed(seed)
    return ViT(1, 16, 8, 24, 48, 2, 3, classification=True, num_classes=classes, spatial_dims=2, post_activation=None)


def dense(classes, seed):
    torch.manual_seed(seed)
    return DenseNet(2, 1, classes, init_features=8, growth_rate=4, block_config=(1, 1))


def geometry(classes, seed):
    return GeometryClassifier(resnet(classes, seed), ["layer1", "layer2"], classes, (1, 32, 32))


HEADS = {
    resnet: {"fc.weight", "fc.bias"},
    vit: {"classification_head.weight", "classification_head.bias"},
    dense: {"class_layers.out.weight", "class_layers.out.bias"},
    geometry: {"backbone.fc.weight", "backbone.fc.bias", "head.classify.weight", "head.classify.bias"},
}


@pytest.fixture
def saved(tmp_path):
    def save(network):
        torch.save(network.state_dict(), tmp_path / "model.pt")
        return tmp_path / "model.pt"

    return save


def copied(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def differing(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize(("old", "new"), [(3, 2), (2, 5), (3, 3)])
@pytest.mark.parametrize("build", HEADS)
def test_the_body_is_that_of_the_file_and_the_head_stays_as_it_was_drawn(build, old, new, saved):
    source, network = build(old, 0), build(new, 1)
    before = copied(network)
    found = load_pretrained(network, saved(source), new)
    assert set(found.names) == HEADS[build]
    assert not found.kept
    now = network.state_dict()
    for name, value in now.items():
        assert torch.equal(value, before[name] if name in HEADS[build] else source.state_dict()[name]), name
    sizes = {name: value.numel() for name, value in now.items()}
    assert found.share == pytest.approx(1 - sum(sizes[name] for name in HEADS[build]) / sum(sizes.values()))


def test_a_head_of_the_same_classes_may_be_kept(saved):
    source, network = resnet(3, 0), resnet(3, 1)
    found = load_pretrained(network, saved(source), 3, keep_head=True)
    assert found.kept
    assert found.share == 1
    assert not differing(source.state_dict(), network.state_dict())


@pytest.mark.parametrize("wrapped", [{}, {"key": "state_dict"}, {"prefix": "module."}])
def test_files_are_read_as_elsewhere(wrapped, tmp_path):
    source, network = resnet(3, 0), resnet(2, 1)
    state = {wrapped.get("prefix", "") + name: value for name, value in source.state_dict().items()}
    torch.save({wrapped["key"]: state} if "key" in wrapped else state, tmp_path / "model.pt")
    load_pretrained(network, tmp_path / "model.pt", 2)
    assert differing(source.state_dict(), {**network.state_dict()}) == HEADS[resnet]


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was executed",))


def wider():
    return resnet10(num_classes=3, **RESNET | {"widen_factor": 0.25})


@pytest.mark.parametrize(
    ("source", "given", "message"),
    [
        (wider, {}, r"holds the weights of another network than ResNet: other shape .*conv1\.weight"),
        (lambda: nn.Sequential(resnet(3, 0)), {}, "missing conv1.weight.*unexpected 0.conv1.weight"),
        (lambda: resnet(3, 0), {"keep_head": True}, r"cannot be kept: fc\.weight \(3, 64\) instead of \(2, 64\)"),
        (lambda: resnet(3, 0), {"min_share": 1.0}, r"fills 99\.\d% of the parameters of ResNet, at least 100\.0%"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(source, given, message, saved):
    network = resnet(2, 1)
    before = copied(network)
    with pytest.raises(WeightsError, match=message):
        load_pretrained(network, saved(source()), 2, **given)
    assert not differing(before, network.state_dict())


def test_a_head_that_differs_in_its_inputs_is_no_head(saved):
    source = resnet(3, 0)
    source.fc = nn.Linear(60, 3)
    with pytest.raises(WeightsError, match=r"other shape fc\.weight \(3, 60\) instead of \(2, 64\)"):
        load_pretrained(resnet(2, 1), saved(source), 2)


def test_a_network_without_a_linear_layer_of_its_classes_has_no_head_to_replace(saved):
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(WeightsError, match="Sequential has no linear layer of 3 outputs"):
        load_pretrained(network, saved(network), 3)


def test_a_share_that_is_none_is_refused(saved):
    with pytest.raises(ValueError, match="min_share is 0, allowed are shares above 0 up to 1"):
        load_pretrained(resnet(2, 1), saved(resnet(3, 0)), 2, min_share=0)


def test_a_pickle_is_never_executed(tmp_path):
    with (tmp_path / "model.pt").open("wb") as file:
        pickle.dump({"fc.weight": Bomb()}, file, protocol=2)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_pretrained(resnet(2, 1), tmp_path / "model.pt", 2)
