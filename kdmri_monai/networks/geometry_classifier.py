"""A student with a geometry head behind any tapped network."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kdmri_monai.networks.backbone_logits import checked_logits, own_logits
from kdmri_monai.networks.geometry_head import GeometryHead, PredictedGeometry, predicted_geometry
from kdmri_monai.networks.taps import FeatureTaps, TapSpec, tap_shapes


class GeometryClassifier(nn.Module):
    """A network whose logits are joined by those of a ``GeometryHead`` on its own features; it takes the image alone.

    ``head=False`` switches the head off: the logits are then those of the network itself.

    Args:
        backbone: Any CNN or transformer that gives logits ``(B, K)`` for images ``(B, C, *spatial)``, or gives only
            maps.
        taps: Where its features are read, finest map first, as for ``FeatureTaps``.
        num_classes: Classes ``K``.
        image_shape: Channels and spatial size of one image, for the dry run that finds the shapes.
        head: Whether there is a head, or the arguments of ``GeometryHead``.

    Raises:
        ValueError: A tap that the backbone does not have, logits of another number of classes, or a backbone without
            logits and no head.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: Sequence[TapSpec],
        num_classes: int,
        image_shape: Sequence[int],
        head: Mapping[str, Any] | bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        has_logits = checked_logits(backbone, image_shape, num_classes)
        self.head: GeometryHead | None = None
        if head is not False:
            self.taps = FeatureTaps(backbone, taps, image_shape)
            arguments = head if isinstance(head, Mapping) else {}
            channels = [shape[0] for shape in tap_shapes(backbone, taps, image_shape)]
            self.head = GeometryHead(channels, num_classes, spatial_dims=len(image_shape) - 1, **arguments)
        elif not has_logits:
            raise ValueError(f"{type(backbone).__name__} gives no logits by itself: without a head nothing classifies")

    def forward(self, image: Tensor) -> Tensor:
        """Logits, shape ``(B, K)``, of images ``(B, C, *spatial)``."""
        if self.head is None:
            logits = own_logits(self.backbone(image))
            assert logits is not None
            return logits
        with self.taps.collect() as features:
            output = self.backbone(image)
        evidence: Tensor = self.head(features)
        logits = own_logits(output)
        return evidence if logits is None else logits + evidence

    def predict_geometry(self, image: Tensor) -> PredictedGeometry:
        """Mask, distance and rings as the student sees them, at the size of its finest tap.

        Raises:
            ValueError: The head is switched off.
        """
        if self.head is None:
            raise ValueError("this student has no geometry head")
        with FeatureTaps(self, ["head.maps"]).collect() as maps:
            self(image)
        return predicted_geometry(maps[0])
