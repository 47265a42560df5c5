"""Taps of two networks paired over batches."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import ViT, resnet10
from torch import nn

from kdmri_monai.evaluation.cka import linear_cka
from kdmri_monai.evaluation.tap_pairing import pair_taps

CPU = torch.device("cpu")


def small_resnet(seed=0):
    torch.manual_seed(seed)
    return resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=0.125)


def batches(sizes=(8, 8), spatial=(32, 32)):
    generator = torch.Generator().manual_seed(0)
    return [{"image": MetaTensor(torch.rand(n, 1, *spatial, generator=generator)), "label": [0] * n} for n in sizes]


def test_a_network_is_paired_with_its_copy_tap_by_tap():
    network = small_resnet()
    result = pair_taps(network, small_resnet(), ["layer*"], ["conv1", "layer*"], batches(), CPU)
    assert result.student_names == ("layer1", "layer2", "layer3", "layer4")
    assert result.teacher_names == ("conv1", *result.student_names)
    assert result.pairs == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert result.samples == 16
    assert result.matrix.shape == (4, 5)
    np.testing.assert_allclose([result.matrix[i, j] for i, j in result.pairs], 1, rtol=1e-6)
    assert result.matrix[3, 0] < 0.99


def test_networks_are_in_eval_mode_and_get_theirs_back():
    student, teacher = small_resnet().train(), small_resnet(1).eval()
    student.layer2.eval()
    modes = [module.training for module in student.modules()]
    state = {name: value.clone() for name, value in student.state_dict().items()}
    pair_taps(student, teacher, ["layer1"], ["layer1"], batches(), CPU)
    assert [module.training for module in student.modules()] == modes
    assert not teacher.training
    assert all(torch.equal(value, state[name]) for name, value in student.state_dict().items())


def test_tokens_of_oblong_images_are_laid_out_by_the_images():
    vit = ViT(1, (16, 32), 8, 12, 24, 1, 3, classification=True, num_classes=3, spatial_dims=2)
    data = batches((8,), (16, 32))
    taps = [{"module": "blocks.0", "prefix_tokens": 1}, {"module": "blocks.0", "layout": "class_token"}]
    result = pair_taps(vit, small_resnet(), taps, ["layer1"], data, CPU)
    assert result.student_names == ("blocks.0", "blocks.0")
    assert len(result.pairs) == 1


def test_rests_of_a_data_set_are_left_out_and_logged(caplog):
    result = pair_taps(small_resnet(), small_resnet(1), ["layer1"], ["layer1"], batches((8, 3)), CPU)
    assert result.samples == 8
    assert "a batch of 3 samples is too small" in caplog.text


def test_what_a_teacher_is_privileged_to_see_is_passed():
    class SeesMask(nn.Module):
        privileged_keys = ("mask",)

        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, image, mask):
            return self.inner(image * mask)

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, image):
            return self.inner(image)

    image, mask = torch.rand(2, 8, 1, 4, 4)
    result = pair_taps(Plain(), SeesMask(), ["inner"], ["inner"], [{"image": image, "mask": mask}], CPU)
    blind = pair_taps(Plain(), Plain(), ["inner"], ["inner"], [{"image": image}], CPU)
    assert blind.matrix[0, 0] == pytest.approx(1)
    assert result.matrix[0, 0] < 0.95
    assert linear_cka(image, image * mask) < 0.95


def test_wrong_input_is_told():
    network = small_resnet()
    with pytest.raises(ValueError, match="a batch of at least 4 samples; there is none"):
        pair_taps(network, network, ["layer1"], ["layer1"], batches((3, 3)), CPU)
    with pytest.raises(ValueError, match="has no module 'layr1'"):
        pair_taps(network, network, ["layer1"], ["layr1"], batches(), CPU)
    with torch.no_grad():
        network.fc.weight.zero_()
    with pytest.raises(ValueError, match="cannot be compared: fc of the teacher"):
        pair_taps(small_resnet(1), network, ["layer1", "fc"], ["layer2", "fc"], batches(), CPU)
