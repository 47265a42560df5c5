"""The check with random weights. References: SciPy's Spearman; structural similarity written from Wang et al. 2004."""

import numpy as np
import pytest
import torch
from monai.networks.nets import ViT, resnet10
from scipy.ndimage import uniform_filter
from scipy.stats import spearmanr
from torch import nn

from kdmri_monai.evaluation.localisation import grad_cam
from kdmri_monai.evaluation.randomised import heat_ssim, randomised_copy, rank_correlation


def reference_ssim(one, other):
    """Windows of 7 x 7 pixels of equal weight, sample covariances, range 1, mean over windows inside the image."""

    def windows(values):
        return uniform_filter(values, 7)[3:-3, 3:-3]

    first, second = windows(one), windows(other)
    sample = 49 / 48
    products = [windows(a * b) for a, b in ((one, one), (other, other), (one, other))]
    means = (first * first, second * second, first * second)
    var_one, var_other, both = (sample * (product - mean) for product, mean in zip(products, means, strict=True))
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * first * second + c1) * (2 * both + c2)
    return (similarity / ((first**2 + second**2 + c1) * (var_one + var_other + c2))).mean()


@pytest.fixture
def trained():
    """A network with weights and batch statistics that no initialisation gives."""
    torch.manual_seed(0)
    net = resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, widen_factor=0.125, conv1_t_stride=2)
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(2, 3)
    return net


@pytest.fixture
def vit():
    torch.manual_seed(0)
    net = ViT(1, 24, 8, 24, 48, 2, 2, classification=True, num_classes=3, spatial_dims=2, post_activation=None)
    with torch.no_grad():
        net.patch_embedding.position_embeddings.normal_(3.0, 0.5)
        net.cls_token.normal_(-1.0, 2.0)
    return net


def test_nothing_learned_is_left(trained):
    fresh = randomised_copy(trained, 0)
    for (name, before), after in zip(trained.state_dict().items(), fresh.state_dict().values(), strict=True):
        if before.is_floating_point():
            assert not torch.isclose(before, after).any(), name
    assert all((norm.running_mean == 0).all() for norm in fresh.modules() if isinstance(norm, nn.BatchNorm2d))
    bound = 1 / np.sqrt(trained.fc.in_features)  # PyTorch's own initialisation of a linear layer
    assert fresh.fc.weight.abs().max() <= bound


def test_positions_keep_their_spread_and_lose_their_values(vit):
    fresh = randomised_copy(vit, 3)
    before, after = (net.patch_embedding.position_embeddings.detach().flatten().numpy() for net in (vit, fresh))
    assert after.mean() == pytest.approx(3, abs=0.15)
    assert after.std() == pytest.approx(0.5, abs=0.1)
    assert abs(np.corrcoef(before, after)[0, 1]) < 0.25
    assert not torch.isclose(vit.cls_token, fresh.cls_token).any()


def test_the_network_and_the_random_numbers_are_untouched(trained):
    trained.train()
    trained.layer1.eval()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    state = torch.get_rng_state()
    fresh = randomised_copy(trained, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert fresh.training
    assert not fresh.layer1.training
    assert {id(p) for p in trained.parameters()}.isdisjoint(id(p) for p in fresh.parameters())


def test_a_seed_says_which_weights(vit):
    one, same, other = (torch.cat([p.flatten() for p in randomised_copy(vit, seed).parameters()]) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert (one != other).float().mean() > 0.9


def test_a_copy_still_gives_heat(trained):
    images = torch.rand(2, 1, 48, 48)
    heat = grad_cam(randomised_copy(trained, 0), images, "layer2", torch.tensor([0, 1]))
    assert heat.isfinite().all()
    assert heat.shape == images.shape


def test_rank_correlation_is_scipys():
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(4, 1, 9, 11, generator=generator)
    other = (one + torch.rand(4, 1, 9, 11, generator=generator)).relu()
    other[1] = (4 * other[1]).round()  # ties
    other[2] = -one[2]
    other[3] = 0.7
    found = rank_correlation(one, other)
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one[:3], other[:3], strict=True)]
    np.testing.assert_allclose(found[:3], expected, rtol=1e-12)
    assert found[2] == pytest.approx(-1)
    assert np.isnan(found[3])


def test_structural_similarity_is_that_of_the_paper_whatever_the_scale():
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(3, 1, 16, 20, generator=generator, dtype=torch.float64)
    other = one.roll(2, dims=3) + 0.3 * torch.rand(3, 1, 16, 20, generator=generator, dtype=torch.float64)
    expected = [
        reference_ssim((a / a.max()).numpy()[0], (b / b.max()).numpy()[0]) for a, b in zip(one, other, strict=True)
    ]
    np.testing.assert_allclose(heat_ssim(100 * one, other), expected, rtol=1e-9)
    np.testing.assert_allclose(heat_ssim(one, 3 * one), 1)
    assert np.isnan(heat_ssim(one, 0 * one)).all()


def test_heats_of_other_shapes_are_refused():
    heat = torch.rand(2, 1, 8, 8)
    for measure in (rank_correlation, heat_ssim):
        with pytest.raises(ValueError, match=r"heats are \(2, 1, 8, 8\) and \(1, 1, 8, 8\)"):
            measure(heat, heat[:1])
