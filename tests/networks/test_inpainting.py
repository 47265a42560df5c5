"""Inpainting: harmonic, from the surroundings alone, for all images at once."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve

from kdmri_monai.networks.inpainting import dilate, inpaint


def laplace_fill(image, hole):
    """The exact solution on the graph of direct neighbours; SciPy's direct solver."""
    number = np.arange(image.size).reshape(image.shape)
    pairs = [(np.delete(number, -1, axis).ravel(), np.delete(number, 0, axis).ravel()) for axis in range(number.ndim)]
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    upper = sparse.coo_array((np.ones(len(one)), (one, other)), shape=(image.size, image.size))
    adjacency = (upper + upper.T).tocsr()
    laplacian = (sparse.diags_array(adjacency.sum(axis=1)) - adjacency).tocsr()
    flat, inside = image.astype(float).ravel(), hole.ravel()
    flat[inside] = spsolve(laplacian[inside][:, inside].tocsc(), -laplacian[inside][:, ~inside] @ flat[~inside])
    return flat.reshape(image.shape)


def textured(*shape, seed=0):
    """Slow waves and noise, about 0 to 1."""
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    waves = 0.5 + 0.4 * np.sin(rows / 9.0) * np.cos(columns / 14.0)
    return waves + np.random.default_rng(seed).normal(0, 0.05, shape)


def disc(size, row, column, radius):
    rows, columns = np.mgrid[:size, :size]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


HOLES = {
    "none": np.zeros((96, 96), bool),
    "small": disc(96, 40, 50, 8),
    "large": disc(96, 45, 50, 40),
    "at the corner": disc(96, 5, 90, 30),
    "two": disc(96, 20, 20, 12) | disc(96, 70, 60, 20),
    "nearly all": ~disc(96, 10, 10, 3),
}


@pytest.mark.parametrize(("iterations", "tolerance"), [(40, 0.01), (200, 1e-4)])
def test_the_fill_solves_laplaces_equation_for_every_image_of_a_batch(iterations, tolerance):
    images = textured(len(HOLES), 2, 96, 96)
    holes = np.stack(list(HOLES.values()))[:, None]
    got = inpaint(torch.tensor(images, dtype=torch.float32), torch.tensor(holes), iterations).numpy()
    for image, filled, (name, hole) in zip(images, got, HOLES.items(), strict=True):
        for channel in range(2):
            exact = laplace_fill(image[channel], hole)
            atol = 0.02 if name == "nearly all" else tolerance  # 9,000 unknowns hang on 25 pixels
            np.testing.assert_allclose(filled[channel], exact, rtol=0, atol=atol, err_msg=name)


def test_a_volume_is_filled_in_all_three_directions():
    volume = textured(12, 14, 16)
    hole = np.zeros(volume.shape, bool)
    hole[3:9, 4:11, 5:12] = True
    got = inpaint(torch.tensor(volume)[None, None], torch.tensor(hole)[None, None], 100)
    np.testing.assert_allclose(got[0, 0].numpy(), laplace_fill(volume, hole), atol=1e-8)


def test_a_harmonic_surface_is_restored():
    rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, 65, dtype=torch.float64)] * 2, indexing="ij")
    hole = torch.tensor(disc(65, 30, 36, 20))[None, None]
    for surface in (rows, rows * columns, rows**2 - columns**2):
        got = inpaint(surface[None, None].masked_fill(hole, 7.0), hole, 150)
        assert (got[0, 0] - surface).abs().max() < 1e-6


def test_nothing_inside_the_mask_matters_and_nothing_outside_it_changes():
    image = torch.tensor(textured(1, 1, 48, 48), dtype=torch.float32)
    hole = torch.tensor(disc(48, 20, 30, 9))[None, None]
    fills = [inpaint(image.masked_fill(hole, value), hole) for value in (0.0, 1e6, float("nan"))]
    assert torch.equal(fills[0], fills[1])
    assert torch.equal(fills[0], fills[2])
    assert torch.equal(fills[0][~hole], image[~hole])
    around = image[dilate(hole, 1) & ~hole]
    assert around.min() - 1e-3 <= fills[0][hole].min() <= fills[0][hole].max() <= around.max() + 1e-3
    assert torch.equal(inpaint(image, hole.float()), inpaint(image, hole))


def test_each_image_is_filled_as_if_it_were_alone():
    images = torch.tensor(textured(3, 1, 33, 47), dtype=torch.float32)
    holes = torch.zeros(3, 1, 33, 47, dtype=torch.bool)
    holes[0, 0, 3:20, 8:30], holes[2, 0, 30:, 40:] = True, True
    together = inpaint(images, holes)
    for place in range(3):
        alone = inpaint(images[place : place + 1], holes[place : place + 1])
        torch.testing.assert_close(together[place : place + 1], alone, atol=1e-5, rtol=0)
    assert torch.equal(together[1], images[1])


def test_half_precision_is_kept_and_computed_in_float32():
    image = torch.tensor(textured(1, 1, 64, 64), dtype=torch.float32)
    hole = torch.tensor(disc(64, 30, 30, 20))[None, None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = inpaint(image.bfloat16(), hole)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, inpaint(image.bfloat16().float(), hole).bfloat16(), atol=0, rtol=0)


def test_an_image_without_surroundings_and_wrong_shapes_are_refused():
    image = torch.zeros(2, 1, 8, 8)
    hole = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    hole[1] = True
    with pytest.raises(ValueError, match="masked as a whole"):
        inpaint(image, hole)
    with pytest.raises(ValueError, match=r"mask is \(2, 8, 8\), for images \(2, 1, 8, 8\) expected \(B, 1"):
        inpaint(image, hole[:, 0])


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_a_dilated_mask_has_grown_in_every_direction(pixels):
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 6, 8] = 1.0
    expected = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    expected[..., 6 - pixels : 7 + pixels, 8 - pixels : 9 + pixels] = True
    assert torch.equal(dilate(mask, pixels), expected)
    assert torch.equal(dilate(mask.bool(), pixels), expected)
