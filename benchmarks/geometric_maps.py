#!/usr/bin/env python3
"""Time of ``GeometricMaps`` on a batch against a loop of SciPy and scikit-image over its samples, turn by turn.

    python benchmarks/geometric_maps.py [--size 128] [--batch_size 64] [--rounds 5] [--device cpu] [--threads 2]

Both compute the same channels (signed distance, rings, normals, curvature, coherence, orientation, shape index,
curvedness at three scales) of the same images in float32, in one process; their largest difference is printed too. On a
GPU the batch lies on it already, as it does in training. The ratio is that of the medians over the rounds after the
first: how many times as fast as the loop.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import ndimage  # noqa: E402
from skimage import feature  # noqa: E402

from kdmri_monai.networks.geometry.contour import FLAT  # noqa: E402
from kdmri_monai.networks.geometry.maps import CURVATURE_BAND, GeometricMaps  # noqa: E402

Image = NDArray[np.float32]


def maps_from_mask(mask: NDArray[np.bool_], maps: GeometricMaps) -> list[Image]:
    """Channels of one mask ``(H, W)``, of which at least one pixel is 0 and one is 1."""
    inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    reach = max(maps.distance_limit, CURVATURE_BAND + 4 * max(maps.scales))
    distance = np.where(mask, inside - 0.5, 0.5 - outside).clip(-reach, reach)
    channels = [distance.clip(-maps.distance_limit, maps.distance_limit) / maps.distance_limit]
    ring = np.digitize(distance, maps.ring_edges, right=True)
    channels += [ring == number for number in range(len(maps.ring_edges), -1, -1)]
    for scale in maps.scales:
        slope = np.stack(np.gradient(ndimage.gaussian_filter(distance, scale)))
        normal = -slope / np.sqrt((slope**2).sum(axis=0) + FLAT**2)
        divergence = np.gradient(normal[0], axis=0) + np.gradient(normal[1], axis=1)
        curvature = np.where(abs(distance) <= CURVATURE_BAND, scale * divergence.clip(-1 / scale, 1 / scale), 0)
        channels += [*normal, curvature]
    return [*channels, np.ones_like(distance)]


def maps_from_image(image: Image, maps: GeometricMaps) -> list[Image]:
    """Channels of one image ``(H, W)``."""
    channels = []
    for scale in maps.scales:
        rr, rc, cc = tensor = feature.structure_tensor(image, scale, mode="reflect")
        large, small = feature.structure_tensor_eigenvalues(tensor)
        angle = np.arctan2(2 * rc, cc - rr)
        second = feature.hessian_matrix(image, scale, mode="reflect", use_gaussian_derivatives=False)
        shape = feature.shape_index(image, scale, mode="reflect")
        bent = np.sqrt((np.stack(feature.hessian_matrix_eigvals(second)) ** 2).mean(axis=0))
        channels += [((large - small) / (large + small)) ** 2, np.cos(angle), np.sin(angle), shape, scale**2 * bent]
    return channels


def maps_by_loop(images: Image, masks: NDArray[np.bool_], maps: GeometricMaps) -> Image:
    """All channels ``(B, C, H, W)`` of images and masks ``(B, H, W)``, sample by sample."""
    samples = [
        [*maps_from_mask(mask, maps), *maps_from_image(image, maps)] for image, mask in zip(images, masks, strict=True)
    ]
    return np.stack([np.stack(sample).astype(np.float32) for sample in samples])


def random_batch(batch_size: int, size: int, seed: int = 0) -> tuple[Image, NDArray[np.bool_]]:
    """Smooth random images of 0 to 1 with noise, and elliptic tumours of a twelfth to a third of their width."""
    random = np.random.default_rng(seed)
    images = ndimage.gaussian_filter(random.random((batch_size, size, size)), (0, size / 40, size / 40))
    images = (images - images.min()) / np.ptp(images) + 0.02 * random.random(images.shape)
    row, column = np.mgrid[:size, :size]
    centres, radii = random.uniform(0.3, 0.7, (batch_size, 2)), random.uniform(1 / 24, 1 / 6, (batch_size, 2))
    masks = [
        ((row - y * size) / (h * size)) ** 2 + ((column - x * size) / (w * size)) ** 2 < 1
        for (y, x), (h, w) in zip(centres, radii, strict=True)
    ]
    return images.astype(np.float32), np.stack(masks)


def seconds(action: Callable[[], Any], device: str) -> float:
    began = time.perf_counter()
    action()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=None, help="of torch; its own choice if not given")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    maps = GeometricMaps()
    images, masks = random_batch(arguments.batch_size, arguments.size)
    image = torch.from_numpy(images)[:, None].to(arguments.device)
    mask = torch.from_numpy(masks)[:, None].to(arguments.device)
    difference = np.abs(maps(image, mask).cpu().numpy() - maps_by_loop(images, masks, maps)).max()
    actions = [("batched", lambda: maps(image, mask)), ("loop", lambda: maps_by_loop(images, masks, maps))]
    times: dict[str, list[float]] = {name: [] for name, _ in actions}
    for turn in range(arguments.rounds + 1):
        for name, action in actions if turn % 2 else actions[::-1]:
            times[name].append(seconds(action, arguments.device))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    result = {
        "ratio": round(medians["loop"] / medians["batched"], 2),
        "milliseconds per batch": {name: round(1e3 * value, 1) for name, value in medians.items()},
        "largest difference": float(difference),
        "channels": maps.out_channels,
        "size": arguments.size,
        "batch_size": arguments.batch_size,
        "rounds": arguments.rounds,
        "device": arguments.device,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
