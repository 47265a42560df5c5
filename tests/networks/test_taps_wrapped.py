"""Taps under DDP, torch.compile, export, tracing, copying and pickling."""

import copy
import pickle

import pytest
import torch
from monai.networks.nets import ViT
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from kdmri_monai.networks import FeatureTaps, Tap


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.stage = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(6, 3)

    def forward(self, image):
        return self.fc(self.stage(self.stem(image)).mean(dim=(2, 3)))


class ReadsItself(nn.Module):
    """Adds a second head on features that it taps from its own backbone in ``forward``."""

    def __init__(self, backbone, tap, channels, image_shape=None):
        super().__init__()
        self.backbone = backbone
        self.taps = FeatureTaps(backbone, [tap], image_shape)
        self.head = nn.Conv2d(channels, 3, 1)

    def forward(self, image):
        with self.taps.collect() as features:
            logits = self.backbone(image)
        logits = logits if isinstance(logits, torch.Tensor) else logits[0]
        return logits + self.head(features[0]).amax(dim=(2, 3))


def on_a_cnn():
    return ReadsItself(Small(), "stem.1", 4)


def on_a_vit():
    vit = ViT(1, (16, 32), 8, 12, 24, 1, 3, classification=True, num_classes=3, spatial_dims=2)
    return ReadsItself(vit, Tap("blocks.0", prefix_tokens=1), 12, (1, 16, 32))


@pytest.fixture(params=[on_a_cnn, on_a_vit])
def reader(request):
    torch.manual_seed(0)
    return request.param().eval()


@pytest.fixture
def image():
    return torch.rand(2, 1, 16, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def one_process(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def gradients(network, call, taps, image):
    network.zero_grad()
    with taps.collect() as features:
        logits = call(image)
    (logits.square().sum() + sum(feature.square().sum() for feature in features)).backward()
    return [parameter.grad.clone() for parameter in network.parameters()], [f.detach() for f in features]


@pytest.mark.usefixtures("one_process")
def test_taps_read_by_plain_names_under_ddp(image):
    network = Small()
    expected, plain = gradients(network, network, FeatureTaps(network, ["stage", "fc:input"]), image)
    wrapped = DistributedDataParallel(network)
    got, features = gradients(network, wrapped, FeatureTaps(wrapped, ["stage", "fc:input"]), image)
    assert [tuple(f.shape) for f in features] == [(2, 6, 8, 16), (2, 6)]
    for mine, theirs in zip([*expected, *plain], [*got, *features], strict=True):
        torch.testing.assert_close(mine, theirs)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_compiled_network_is_refused():
    compiled = torch.compile(Small(), backend="eager")
    with pytest.raises(ValueError, match="OptimizedModule cannot be tapped, since it was compiled"):
        FeatureTaps(compiled, ["stage"])


def test_a_network_compiled_in_place_is_refused():
    network = Small()
    network.compile(backend="eager")
    with pytest.raises(ValueError, match="Small cannot be tapped, since it was compiled"):
        FeatureTaps(network, ["stage"])


@pytest.mark.parametrize("in_place", [True, False])
def test_a_compiled_part_is_refused_by_its_name(in_place):
    network = Small()
    if in_place:
        network.stage.compile(backend="eager")
    else:
        network.stage = torch.compile(network.stage, backend="eager")
    with pytest.raises(ValueError, match="Small cannot be tapped, since its module 'stage' was compiled"):
        FeatureTaps(network, ["fc"])


def test_compiling_after_tapping_gives_an_error_and_no_stale_features(image):
    network = Small().eval()
    taps = FeatureTaps(network, ["stage"])
    compiled = torch.compile(network, backend="eager")
    compiled(image)
    with pytest.raises(RuntimeError, match=r"stage did not run.*torch\.compile"), taps.collect():
        compiled(image)


def test_a_network_that_taps_itself_is_exported(reader, image):
    program = torch.export.export(reader, (image,), strict=False)
    torch.testing.assert_close(program.module()(image), reader(image))


def test_a_network_that_taps_itself_is_exported_for_any_batch(reader, image):
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(reader, (image,), dynamic_shapes=(batch,), strict=False)
    many = torch.rand(5, 1, 16, 32)
    torch.testing.assert_close(program.module()(many), reader(many))


def test_a_network_that_taps_itself_is_traced(reader, image):
    traced = torch.jit.trace(reader, (image,))
    many = torch.rand(5, 1, 16, 32)
    torch.testing.assert_close(traced(many), reader(many))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_taps_its_own_modules(reader, image, copied):
    twin = copied(reader)
    expected = reader(image)
    torch.testing.assert_close(twin(image), expected)
    with torch.no_grad():
        for parameter in reader.parameters():
            parameter.zero_()
    torch.testing.assert_close(twin(image), expected)
    assert not set(map(id, twin.taps._modules)) & set(map(id, reader.modules()))
