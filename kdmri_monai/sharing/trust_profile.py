"""What the training data of a student looked like, in a small file in which no patient can be seen.

It holds class means and a covariance of features, and quantiles of simple numbers: nothing of a single slice but for
numbers at the edge of a range. A score by nearest neighbours would need the features of every slice, which are data of
patients. A class mean of one or two families says much of these families; how many there are is in the counts.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.sharing.trust_distances import Gaussians
from kdmri_monai.sharing.trust_limits import ConfidenceLimit, Usual
from kdmri_monai.sharing.trust_traits import WORDS

FORMAT = "kdmri-trust-1"
FILE = "trust.safetensors"
HEADER = "kdmri"
"""The one key of the metadata: with several, their order in the file would change from one call to the next."""
LARGEST = 300_000
"""Bytes; a file of a stranger that is larger is not read."""


class TrustFileError(ValueError):
    """A file that is no trust profile."""


@dataclass(frozen=True)
class DistanceLimits:
    """Feature distances of the validation slices, every family counted alike.

    Attributes:
        median: Half of the slices lie below.
        far: 95 % of the slices lie below.
        very_far: 99 % of the slices lie below.
    """

    median: float
    far: float
    very_far: float


@dataclass(frozen=True, eq=False)
class TrustProfile:
    """What a new picture is compared with.

    Attributes:
        gaussians: Of penultimate features of unit length; ``None`` where the network has no linear layer to read.
        distance: Limits of the distance to them; ``None`` likewise.
        traits: Range of every trait, by name.
        confidence: From which probability on a decision is made; ``None`` where no probability was sure enough.
        smallest_side: Of the training pictures as they came, pixels; ``None`` where it is not known.
        longest_aspect: Longer over shorter side of the training pictures; ``None`` likewise.
        store_size: Side of the stored pictures that the traits were measured on, pixels.
        classes: Names of the K classes.
        weights_sha256: Of the file of the weights whose features these are.
        counts: Slices and families of ``training`` and ``validation``, and training families by class.
    """

    gaussians: Gaussians | None
    distance: DistanceLimits | None
    traits: Mapping[str, Usual]
    confidence: ConfidenceLimit | None
    smallest_side: int | None
    longest_aspect: float | None
    store_size: int
    classes: tuple[str, ...]
    weights_sha256: str
    counts: Mapping[str, Any]

    def save(self, path: str | PathLike[str]) -> None:
        """Writes ``trust.safetensors``: numbers as float32, all else as JSON in its header.

        The same profile gives the same bytes.

        Raises:
            OSError: The file cannot be written.
            ValueError: The profile is larger than ``LARGEST`` bytes.
        """
        content = self.to_bytes()
        if len(content) > LARGEST:
            raise ValueError(f"the trust profile has {len(content)} bytes, at most {LARGEST} are allowed")
        write_atomically(Path(path), content)

    def to_bytes(self) -> bytes:
        """What ``save`` writes."""
        facts = {
            "format": FORMAT,
            "distance": None if self.distance is None else asdict(self.distance),
            "traits": {name: asdict(usual) for name, usual in self.traits.items()},
            "confidence": None if self.confidence is None else asdict(self.confidence),
            "smallest_side": self.smallest_side,
            "longest_aspect": self.longest_aspect,
            "store_size": self.store_size,
            "classes": list(self.classes),
            "weights_sha256": self.weights_sha256,
            "counts": dict(self.counts),
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        found = self.gaussians
        tensors = {} if found is None else {**vars(found), "rest": np.array([found.rest])}
        return save(
            {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in sorted(tensors.items())},
            {HEADER: text},
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "TrustProfile":
        """Reads what ``save`` wrote; nothing in the file is executed.

        Raises:
            FileNotFoundError: There is no such file.
            TrustFileError: It is too large, damaged, or something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no trust profile {path}")
        if path.stat().st_size > LARGEST:
            raise TrustFileError(f"{path} has {path.stat().st_size} bytes, a trust profile has at most {LARGEST}")
        try:
            with safe_open(path, framework="numpy") as file:
                facts = json.loads((file.metadata() or {}).get(HEADER, "null"))
                tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
            return cls(**_read(facts, tensors))
        except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise TrustFileError(f"{path} is no trust profile: {' '.join(str(error).split())}") from error


def _read(facts: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``TrustProfile``; any error of Python's own means that something is missing or of another type."""
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"its header does not say {FORMAT}")
    numbers = [value for one in [*facts["traits"].values(), facts["distance"] or {}] for value in one.values()]
    if set(facts["traits"]) != set(WORDS) or not all(math.isfinite(number) for number in numbers):
        raise ValueError("it does not hold finite ranges of the traits that are measured here")
    classes = tuple(str(name) for name in facts["classes"])
    return {
        "gaussians": _gaussians(tensors) if tensors else None,
        "distance": DistanceLimits(**facts["distance"]) if tensors else None,
        "traits": {name: Usual(**facts["traits"][name]) for name in WORDS},
        "confidence": None if facts["confidence"] is None else ConfidenceLimit(**facts["confidence"]),
        "smallest_side": facts["smallest_side"],
        "longest_aspect": facts["longest_aspect"],
        "store_size": int(facts["store_size"]),
        "classes": classes,
        "weights_sha256": str(facts["weights_sha256"]),
        "counts": dict(facts["counts"]),
    }


def _gaussians(tensors: dict[str, Any]) -> Gaussians:
    means, basis, variances, rest = (tensors[name] for name in ("means", "basis", "variances", "rest"))
    fits = means.ndim == basis.ndim == 2 and means.shape[1] == basis.shape[0] and variances.shape == basis.shape[1:]
    if not fits or rest.shape != (1,) or not all(np.isfinite(value).all() for value in tensors.values()):
        raise ValueError("the sizes of its arrays do not fit, or they are not finite")
    if not (variances > 0).all() or not rest[0] > 0:
        raise ValueError("it has a variance that is not above 0")
    return Gaussians(means, basis, variances, float(rest[0]))
