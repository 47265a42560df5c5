"""Every form of a network says the same, and the same network gives the same bytes."""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from monai.networks.nets import DenseNet, ViT, resnet10
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

from kdmri_monai.networks import FirstOutput, PooledClassifier
from kdmri_monai.sharing.exports import FORMS, ONNX, PROGRAM, SCRIPT, STATE, ExportError, export_forms, with_texts
from kdmri_monai.sharing.parity import ParityError, check_parity, parity

SHAPE = (1, 32, 32)
IMAGES = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))


def resnet():
    return resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=0.125)


def densenet():
    return DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2))


def vit():
    sizes = {"hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 2}
    return FirstOutput(
        ViT(1, SHAPE[1:], (8, 8), spatial_dims=2, classification=True, num_classes=3, post_activation=None, **sizes)
    )


def swin():
    """TorchScript cannot compile it."""
    backbone = SwinTransformer(1, 6, (4, 4), (2, 2), (1, 1, 1, 1), (1, 2, 3, 3), spatial_dims=2)
    return PooledClassifier(backbone, 96, 3)


def trained(make):
    """A network whose statistics and outputs are not those of a new one."""
    torch.manual_seed(3)
    network = make()
    for value in network.parameters():
        nn.init.normal_(value, std=0.2)
    network.train()
    network(torch.rand(4, *SHAPE))
    return network.eval()


@pytest.fixture(scope="module")
def packed_resnet():
    network = trained(resnet)
    return network, export_forms(network, SHAPE)


@pytest.fixture(scope="module")
def other_forms():
    other = trained(resnet)
    with torch.no_grad():
        other.fc.bias[0] += 0.01
    return export_forms(other, SHAPE)


@pytest.mark.parametrize(
    "make", [densenet, pytest.param(vit, marks=pytest.mark.slow), pytest.param(swin, marks=pytest.mark.slow)]
)
def test_every_form_says_the_same_at_any_batch_size(make):
    network = trained(make)
    forms = export_forms(network, SHAPE)
    found = parity(network, forms, IMAGES, temperature=0.7)
    assert set(found) == set(FORMS)
    assert max(found.values()) <= 1e-5
    check_parity(found)


def test_every_form_of_the_packed_network_says_the_same(packed_resnet):
    network, forms = packed_resnet
    check_parity(parity(network, forms, IMAGES))


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_other_weights_is_told(packed_resnet, other_forms, name):
    network, _ = packed_resnet
    found = parity(network, {name: other_forms[name]}, IMAGES)
    with pytest.raises(ParityError, match=name.replace(".", r"\.")):
        check_parity(found)


def test_a_form_that_gives_no_number_is_told():
    with pytest.raises(ParityError, match="nan"):
        check_parity({"model.ts": float("nan")})


def test_the_same_network_gives_the_same_bytes_in_this_process_and_in_another(packed_resnet):
    network, forms = packed_resnet
    torch.jit.script(resnet())  # names of its types are taken now
    assert export_forms(network, SHAPE) == forms
    script = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1])\n"
        "if __name__ == '__main__':\n"
        "    from test_exports import FORMS, SHAPE, export_forms, resnet, trained\n"
        "    forms = export_forms(trained(resnet), SHAPE)\n"
        "    print(*(hashlib.sha256(forms[name]).hexdigest() for name in FORMS))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(Path(__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [hashlib.sha256(forms[name]).hexdigest() for name in FORMS]


@pytest.mark.slow
def test_a_traced_network_gives_the_same_bytes_again():
    network = trained(swin)
    assert export_forms(network, SHAPE) == export_forms(network, SHAPE)


def test_nothing_of_the_machine_is_in_the_bytes(packed_resnet):
    for name, content in packed_resnet[1].items():
        for stranger in (b"site-packages", str(Path.home()).encode() + b"/", str(Path(torch.__file__).parent).encode()):
            assert stranger not in content, name


def test_every_zip_has_no_times(packed_resnet):
    for name in (STATE, SCRIPT, PROGRAM):
        with zipfile.ZipFile(io.BytesIO(packed_resnet[1][name])) as archive:
            assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_torchscript_carries_the_texts_as_monai_reads_them(packed_resnet, tmp_path):
    (tmp_path / "model.ts").write_bytes(with_texts(packed_resnet[1][SCRIPT], {"metadata.json": b'{"version": "1"}'}))
    extra = {"metadata.json": ""}
    torch.jit.load(tmp_path / "model.ts", _extra_files=extra)
    assert extra["metadata.json"] == b'{"version": "1"}'


def test_onnx_names_input_and_output_and_leaves_the_batch_free(packed_resnet):
    graph = onnx.load_from_string(packed_resnet[1][ONNX]).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["image", "pred"]
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param


def test_the_state_dict_opens_without_running_code(packed_resnet):
    network, forms = packed_resnet
    state = torch.load(io.BytesIO(forms[STATE]), weights_only=True)
    assert list(state) == list(network.state_dict())


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image):
        return image.mean((2, 3)) * self.weight if image.sum().item() > 0 else image.amax((2, 3))


def test_a_network_that_cannot_be_exported_is_named():
    with pytest.raises(ExportError, match=r"Branching cannot be written as model\.(onnx|pt2)"):
        export_forms(Branching().eval(), SHAPE)
