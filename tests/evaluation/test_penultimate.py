"""Penultimate features: what the last linear layer makes the logits of, whatever the network."""

import pytest
import torch
from monai.networks.nets import DenseNet121, ViT, resnet10
from torch import nn

from kdmri_monai.evaluation.penultimate import NoLinearLayer, penultimate_features
from kdmri_monai.evaluation.slice_batches import SliceBatch, answer
from kdmri_monai.networks.adapters import FirstOutput
from kdmri_monai.networks.ensembles import TeacherEnsemble
from kdmri_monai.networks.geometry_classifier import GeometryClassifier

SIZE = 32


@pytest.fixture
def batch():
    torch.manual_seed(0)
    names = tuple("abcd")
    image, mask = torch.rand(4, 1, SIZE, SIZE), torch.zeros(4, 1, SIZE, SIZE)
    return SliceBatch(image, mask, torch.ones(4, dtype=torch.bool), torch.zeros(4).long(), names, names, names)


def small_cnn(width=6):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)
    )


def vit():
    network = ViT(1, (SIZE, SIZE), (8, 8), 16, 32, 2, 2, num_classes=3, classification=True, post_activation=None,
                  spatial_dims=2)  # fmt: skip
    return FirstOutput(network)


NETWORKS = {
    "resnet": (lambda: resnet10(spatial_dims=2, n_input_channels=1, num_classes=3), "fc"),
    "densenet": (lambda: DenseNet121(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2)), "class_layers.out"),
    "vit": (vit, "network.classification_head"),
    "a hidden layer before": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 7), nn.ReLU(), nn.Linear(7, 3)),
        "3",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_are_linear_in_the_features(batch, name):
    make, last = NETWORKS[name]
    network = make().train()
    features = penultimate_features(network, batch)
    layer = network.get_submodule(last)
    layer = layer if isinstance(layer, nn.Linear) else layer[0]
    assert features.shape == (4, layer.in_features)
    assert torch.allclose(layer(features), answer(network, batch), atol=1e-5)
    assert not features.requires_grad
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_features_of_all_layers_whose_outputs_are_added_stand_side_by_side(batch):
    student = GeometryClassifier(small_cnn(), ["0"], 3, (1, SIZE, SIZE))
    features = penultimate_features(student, batch)
    first, second = student.backbone[-1], student.head.classify
    assert features.shape[1] == first.in_features + second.in_features
    logits = first(features[:, : first.in_features]) + second(features[:, first.in_features :])
    assert torch.allclose(logits, answer(student, batch), atol=1e-5)
    members = small_cnn(4), small_cnn(5)
    assert penultimate_features(TeacherEnsemble(members), batch).shape == (4, 9)


def test_what_a_network_wants_beside_the_image_is_given(batch):
    class WithMask(nn.Module):
        privileged_keys = ("mask",)

        def __init__(self):
            super().__init__()
            self.last = nn.Linear(2, 3)

        def forward(self, image, mask):
            return self.last(torch.stack([image.mean((1, 2, 3)), mask.sum((1, 2, 3))], dim=1))

    assert torch.equal(penultimate_features(WithMask(), batch)[:, 1], torch.zeros(4))


def test_a_network_without_a_linear_layer_is_refused_and_left_without_hooks(batch):
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(NoLinearLayer, match=r"Sequential has no linear layer that gives logits of shape \(4, 3\)"):
        penultimate_features(network, batch)
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 6), nn.Unflatten(1, (3, 2)), nn.AvgPool1d(2), nn.Flatten())
    with pytest.raises(NoLinearLayer):
        penultimate_features(network, batch)
    assert not any(module._forward_hooks for module in network.modules())
