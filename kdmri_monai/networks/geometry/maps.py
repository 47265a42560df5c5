"""Geometric maps of a tumour and of its image, stacked as channels for a network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdmri_monai.networks.geometry.contour import border_normal, curvature_of_normal
from kdmri_monai.networks.geometry.distance import signed_distance
from kdmri_monai.networks.geometry.hessian import curvedness_of, hessian, shape_index_of
from kdmri_monai.networks.geometry.rings import RELATIVE_EDGES, check_ring_edges, relative_rings, ring_partition
from kdmri_monai.networks.geometry.structure import averaged_products, orientation_and_coherence_of, slope_products

MASK_MAPS = ("distance", "rings", "normal", "curvature")
IMAGE_MAPS = ("coherence", "orientation", "shape_index", "curvedness")
RING_EDGES = (-8.0, -4.0, 0.0, 4.0)
CURVATURE_BAND = 4.0
_AXES = {2: "yx", 3: "zyx"}


class GeometricMaps(nn.Module):
    """Channels that say where a pixel lies relative to the tumour, and what the image looks like around it.

    From the mask: ``distance`` to the border, -1 to 1 in units of the limit; ``rings`` of 0 and 1, innermost first; per
    scale the unit ``normal`` out of the tumour and the ``curvature`` near the border times the scale, -1 to 1. The
    channel ``has_mask`` tells zeros that mean "unknown" from zeros that are values. From the image alone, per scale:
    ``coherence`` 0 to 1, ``orientation`` as cosine and sine of the double angle, ``shape_index`` -1 to 1, and
    ``curvedness`` times the squared scale (normalised as in Lindeberg, IJCV 1998).

    There is nothing to learn. A network that is given maps from the mask cannot be deployed where there is none.

    Args:
        from_mask: Maps to draw from the mask, of ``MASK_MAPS``.
        from_image: Maps to draw from the image, of ``IMAGE_MAPS``; 2D only.
        scales: Standard deviations of the smoothing in pixels, for all maps but distance and rings.
        ring_edges: Limits between rings in pixels of signed distance, ascending. None cuts five rings relative to the
            tumour's own depth (``relative_rings``), which costs the unlimited distance.
        distance_limit: Pixels at which the distance is clipped.
        spatial_dims: 2 or 3.

    Attributes:
        channel_names: Of every channel, as in ``("distance", "ring_1", "normal_y_s2", "has_mask", "shape_index_s2")``.
        out_channels: Their number.

    Raises:
        ValueError: An unknown map, no map at all, maps from the image in 3D, scales or a limit that are not positive,
            or edges that do not ascend.
    """

    def __init__(
        self,
        from_mask: Sequence[str] = MASK_MAPS,
        from_image: Sequence[str] = IMAGE_MAPS,
        scales: Sequence[float] = (1.0, 2.0, 4.0),
        ring_edges: Sequence[float] | None = RING_EDGES,
        distance_limit: float = 32.0,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        self.from_mask = _chosen("from_mask", from_mask, MASK_MAPS)
        self.from_image = _chosen("from_image", from_image, IMAGE_MAPS)
        self.scales, self.distance_limit, self.spatial_dims = tuple(scales), distance_limit, spatial_dims
        self.ring_edges = None if ring_edges is None else tuple(ring_edges)
        self._check()
        self.channel_names: tuple[str, ...] = (*self._mask_names(), *self._image_names())
        self.out_channels = len(self.channel_names)

    def forward(
        self, image: Tensor | None = None, mask: Tensor | None = None, has_mask: Tensor | None = None
    ) -> Tensor:
        """Maps in the order of ``channel_names``.

        Args:
            image: Shape ``(B, 1, *spatial)``, intensities 0 to 1; may be missing where no map is drawn from it and
                there is a mask.
            mask: Booleans or 0 and 1, shape ``(B, 1, *spatial)``; None means that no sample has one.
            has_mask: Booleans, shape ``(B,)``; maps of samples without a mask are zero. None means that all have one,
                if there is ``mask``.

        Returns:
            Shape ``(B, out_channels, *spatial)``, float32 or better. Gradients flow to the image, never to the mask.

        Raises:
            ValueError: What is needed is missing, or the shapes do not fit.
        """
        given = self._check_inputs(image, mask, has_mask)
        maps = []
        if self.from_mask and mask is None:
            maps.append(torch.zeros(len(given), len(self._mask_names()), *given.shape[2:], device=given.device))
        elif self.from_mask and mask is not None:
            maps += self._mask_maps(mask)
            if has_mask is not None:
                valid = has_mask.float().reshape(-1, *[1] * (mask.ndim - 1))
                maps = [part * valid for part in maps]
        if self.from_image and image is not None:
            maps += self._image_maps(image)
        return torch.cat(maps, dim=1)

    def _mask_maps(self, mask: Tensor) -> list[Tensor]:
        distance = signed_distance(mask, self._reach())
        maps = []
        if "distance" in self.from_mask:
            limit = self.distance_limit
            maps.append(distance.clamp(-limit, limit) / limit)
        if "rings" in self.from_mask:
            edges = self.ring_edges
            maps.append(relative_rings(distance) if edges is None else ring_partition(distance, edges))
        for scale in self.scales if {"normal", "curvature"} & {*self.from_mask} else ():
            normal = border_normal(distance, scale)
            maps += [normal] if "normal" in self.from_mask else []
            if "curvature" in self.from_mask:
                maps.append(scale * curvature_of_normal(normal, distance, scale, CURVATURE_BAND))
        return [*maps, torch.ones_like(distance)]

    def _image_maps(self, image: Tensor) -> list[Tensor]:
        striped = bool({"coherence", "orientation"} & {*self.from_image})
        bent = bool({"shape_index", "curvedness"} & {*self.from_image})
        products = slope_products(image) if striped else None
        maps: list[Tensor] = []
        for scale in self.scales:
            drawn: dict[str, Tensor] = {}
            if products is not None:
                tensor = averaged_products(products, scale)
                drawn["orientation"], drawn["coherence"] = orientation_and_coherence_of(tensor)
            if bent:
                second = hessian(image, scale)
                drawn["shape_index"], drawn["curvedness"] = shape_index_of(second), scale**2 * curvedness_of(second)
            maps += [drawn[name] for name in self.from_image]
        return maps

    def _reach(self) -> float | None:
        """Distance that every map can do with; None where a ring may lie anywhere."""
        if "rings" in self.from_mask and self.ring_edges is None:
            return None
        edges = [abs(edge) for edge in self.ring_edges or ()]
        return max([self.distance_limit, CURVATURE_BAND + 4 * max(self.scales), *edges])

    def _mask_names(self) -> list[str]:
        rings = len(RELATIVE_EDGES if self.ring_edges is None else self.ring_edges) + 1
        plain = {"distance": ["distance"], "rings": [f"ring_{number}" for number in range(1, rings + 1)]}
        scaled = {"normal": [f"normal_{axis}" for axis in _AXES[self.spatial_dims]], "curvature": ["curvature"]}
        names = [name for kind in self.from_mask for name in plain.get(kind, [])]
        names += self._per_scale([name for kind in self.from_mask for name in scaled.get(kind, [])])
        return [*names, "has_mask"] if names else []

    def _image_names(self) -> list[str]:
        parts = {"orientation": ["orientation_cos", "orientation_sin"]}
        return self._per_scale([name for kind in self.from_image for name in parts.get(kind, [kind])])

    def _per_scale(self, names: list[str]) -> list[str]:
        return [f"{name}_s{scale:g}" for scale in self.scales for name in names]

    def _check(self) -> None:
        if self.spatial_dims not in _AXES or (self.spatial_dims == 3 and self.from_image):
            raise ValueError(
                f"maps from the image are 2D, maps from the mask 2D or 3D; spatial_dims is {self.spatial_dims}, "
                f"from_image {self.from_image}"
            )
        if not self.from_mask and not self.from_image:
            raise ValueError("no map is asked for: from_mask and from_image are both empty")
        if not self.scales or min(self.scales) <= 0 or self.distance_limit <= 0:
            raise ValueError(f"scales {self.scales} and distance_limit {self.distance_limit} must be positive")
        if self.ring_edges is not None:
            check_ring_edges(self.ring_edges)

    def _check_inputs(self, image: Tensor | None, mask: Tensor | None, has_mask: Tensor | None) -> Tensor:
        """The image, or the mask where there is no image."""
        given = mask if image is None else image
        if given is None or (image is None and self.from_image):
            raise ValueError(f"an image is needed for {list(self.from_image) or 'the size, as there is no mask'}")
        shapes = [tuple(maps.shape) for maps in (image, mask) if maps is not None]
        if given.ndim != self.spatial_dims + 2 or given.shape[1] != 1 or len({*shapes}) != 1:
            raise ValueError(f"image and mask must both be (B, 1) and {self.spatial_dims} axes, got {shapes}")
        if has_mask is not None and has_mask.shape != given.shape[:1]:
            raise ValueError(f"has_mask is {tuple(has_mask.shape)} for a batch of {len(given)}")
        return given


def _chosen(argument: str, names: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise ValueError(f"{argument} has unknown maps {unknown}; allowed are {list(allowed)}")
    return tuple(name for name in allowed if name in names)
