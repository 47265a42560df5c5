"""Costs against closed forms, and clocks that leave things as they were."""

import pytest
import torch
from monai.networks.blocks import SABlock
from torch import nn

from kdmri_monai.evaluation import latency as clock
from kdmri_monai.evaluation.efficiency import efficiency, multiply_accumulates, state_bytes
from kdmri_monai.evaluation.latency import WARM_UP, latency


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        assert not self.training
        return self.head(self.norm(self.conv(image)).mean(dim=(2, 3)))


class WantsMask(Pooled):
    privileged_keys = ("mask", "has_mask")

    def forward(self, image, mask, has_mask):
        assert mask.shape == image.shape
        assert has_mask.dtype == torch.bool
        return super().forward(image)


def test_multiply_accumulates_of_convolution_and_linear_layer():
    assert multiply_accumulates(Pooled(), (1, 32, 32)) == 16 * 16 * 8 * 9 + 8 * 3


def test_multiply_accumulates_of_attention():
    tokens, width = 20, 24

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = SABlock(width, num_heads=4)

        def forward(self, image):
            return self.block(image[:, 0])

    products = tokens * width * 3 * width + tokens * width * width  # query, key, value; output
    scores = 2 * tokens * tokens * width  # similarity and weighted sum
    assert multiply_accumulates(Attention(), (1, tokens, width)) == products + scores


@pytest.mark.parametrize("whole_layer", [False, True])
def test_attention_in_fused_kernels_is_counted_too(whole_layer):
    tokens, width, hidden = 20, 24, 48

    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(width, 4, hidden, batch_first=True)
            self.block = layer if whole_layer else layer.self_attn

        def forward(self, image):
            x = image[:, 0]
            return self.block(x) if whole_layer else self.block(x, x, x, need_weights=False)[0]

    attention = 4 * tokens * width * width + 2 * tokens * tokens * width  # projections; similarity and weighted sum
    before = torch.backends.mha.get_fastpath_enabled()
    found = multiply_accumulates(Fused(), (1, tokens, width))
    assert found == attention + whole_layer * 2 * tokens * width * hidden
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_bytes_are_those_of_parameters_and_buffers():
    parameters, buffers = 8 * 9 + 8 + 8 + 8 + 24 + 3, 8 + 8
    assert state_bytes(Pooled()) == 4 * (parameters + buffers) + 8  # the counter of batches is int64
    assert state_bytes(Pooled().half()) == 2 * (parameters + buffers) + 8


@pytest.mark.parametrize("network", [Pooled(), WantsMask()])
def test_a_section_holds_size_and_time(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "model.pt")
    network.train()
    section = efficiency(network, (1, 16, 16), tmp_path / "model.pt", repeats=3)
    assert section["parameters"] == 8 * 9 + 8 + 16 + 27
    assert section["file_bytes"] == (tmp_path / "model.pt").stat().st_size
    assert section["image_shape"] == [1, 16, 16]
    assert {"device": "cpu", "threads": 1, "batch": 1}.items() <= section["latency"][0].items()
    assert all(0 < one["p50_ms"] <= one["p95_ms"] for one in section["latency"])
    assert network.training


def test_a_clock_warms_up_and_counts():
    network = Pooled()
    found = latency(network, (1, 16, 16), repeats=4)
    assert network.calls == WARM_UP + 4
    assert found["repeats"] == 4


@pytest.mark.parametrize(("asked", "done"), [(4, 4), (40, clock.FEWEST)])
def test_a_clock_that_has_run_too_long_still_has_enough_calls_for_a_percentile(asked, done, monkeypatch):
    monkeypatch.setattr(clock, "LONGEST", 0.0)
    assert latency(Pooled(), (1, 16, 16), repeats=asked)["repeats"] == done


def test_time_grows_with_the_work():
    class Slow(Pooled):
        def forward(self, image):
            deadline = torch.zeros(())
            for _ in range(3):
                deadline = deadline + torch.randn(400, 400).matmul(torch.randn(400, 400)).sum() * 0
            return super().forward(image) + deadline

    assert latency(Slow(), (1, 16, 16), repeats=5)["p50_ms"] > latency(Pooled(), (1, 16, 16), repeats=5)["p50_ms"]


def test_threads_are_as_they_were_even_after_a_failure():
    class Fails(Pooled):
        def forward(self, image):
            assert torch.get_num_threads() == 2
            raise RuntimeError("out of order")

    before = torch.get_num_threads()
    network = Fails().train()
    with pytest.raises(RuntimeError, match="out of order"):
        latency(network, (1, 16, 16), threads=2)
    assert torch.get_num_threads() == before
    assert network.training


@pytest.mark.parametrize("given", [{"batch": 0}, {"repeats": 0}, {"threads": 0}])
def test_numbers_below_one_are_refused(given):
    with pytest.raises(ValueError, match="at least 1 of each"):
        latency(Pooled(), (1, 16, 16), **given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_waited_for_and_the_network_comes_back():
    network = Pooled()
    found = latency(network, (1, 16, 16), "cuda", None)
    assert found["threads"] is None
    assert next(network.parameters()).device.type == "cpu"
