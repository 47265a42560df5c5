#!/usr/bin/env python3
"""How often ``kdmri predict`` decides on pictures that it should not decide on, and abstains on those it should.

    python benchmarks/foreign_images.py RUN [--out foreign_images.json] [--images 60] [--device cpu]

RUN is a run folder whose dataset is still there. Noise, photographs of scikit-image's own files, phantoms with and
without a lesion from two scanners, test slices as they are (false alarms) and changed. Test slices whose tumour is
inpainted are the nearest to healthy slices of the same scanner.

First the score of features is compared with five others, fitted on the same training slices, each with the threshold
that 95 % of the validation slices lie below (families counted alike), on noise, photographs and phantoms made for this
choice alone and on changed validation slices: test patients have no part in it.

Intervals are 95 % over patient families; phantoms count as patients, crops of one photograph as one.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foreign_sets import CHANGES, Named, changed, foreign, slices, without_tumour
from numpy.typing import NDArray

from kdmri_monai.data.pixels import store_image
from kdmri_monai.engines.configured import device_named
from kdmri_monai.evaluation.intervals import bootstrap
from kdmri_monai.evaluation.metrics_file import write_metrics
from kdmri_monai.evaluation.penultimate import penultimate_features
from kdmri_monai.evaluation.prediction_pictures import Picture, unlabelled
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.slice_batches import answer
from kdmri_monai.evaluation.subject import file_digest, open_run
from kdmri_monai.sharing.judged_pictures import JudgedPicture, judge_pictures
from kdmri_monai.sharing.open_student import OpenStudent, open_student
from kdmri_monai.sharing.trust_distances import (
    energy,
    fit_gaussians,
    fit_virtual_logit,
    mahalanobis,
    neighbour_distance,
    relative_mahalanobis,
    unit_length,
    virtual_logit_score,
)
from kdmri_monai.sharing.trust_limits import family_weights, weighted_quantile

Array = NDArray[np.float64]
KINDS = ("input range odd", "not a head", "far from training data", "low confidence")
SHARES = (0.95, 0.99)
NEIGHBOURS = 50


def stored(named: Iterable[Named], size: int) -> Iterator[Named]:
    """Pictures brought to the form of the store."""
    for name, image in named:
        yield name, store_image(image, size, name, "pixels")


def answers(student: OpenStudent, named: Iterable[Named]) -> tuple[Array, Array]:
    """Penultimate features and logits of stored pictures."""
    features, logits, batch = [], [], []

    def ask() -> None:
        images = torch.stack([torch.as_tensor(student.steps({"image": one})["image"]) for one in batch])
        slices = unlabelled(images.to(student.device))
        features.append(penultimate_features(student.network, slices).cpu())
        logits.append(answer(student.network, slices).cpu())
        batch.clear()

    for _, image in named:
        batch.append(image.astype(np.float32))
        if len(batch) == 64:
            ask()
    if batch:
        ask()
    return torch.cat(features).double().numpy(), torch.cat(logits).double().numpy()


def scores(features: Array, logits: Array, label: NDArray[np.int64]) -> dict[str, Callable[[Array, Array], Array]]:
    """Six scores, fitted on training slices; all larger for foreign pictures."""
    one = np.zeros_like(label)
    plain, whole = fit_gaussians(features, label), fit_gaussians(features, one)
    unit = fit_gaussians(unit_length(features), label)
    virtual = fit_virtual_logit(features, logits, features.shape[1] // 2)
    return {
        "mahalanobis": lambda found, _: mahalanobis(found, plain),
        "mahalanobis, unit length": lambda found, _: mahalanobis(unit_length(found), unit),
        "relative mahalanobis": lambda found, _: relative_mahalanobis(found, plain, whole),
        "nearest neighbours": lambda found, _: neighbour_distance(found, features, min(NEIGHBOURS, len(features))),
        "energy": lambda _, said: energy(said),
        "virtual logit": lambda found, said: virtual_logit_score(found, said, virtual),
    }


def compared(student: OpenStudent, datalist: Path, count: int) -> dict[str, Any]:
    """Share of foreign pictures beyond each threshold, by score, set and share of validation slices below it."""
    own = {split: [named for named, _, _ in slices(datalist, split)] for split in ("training", "validation")}
    label = np.array([label for _, _, label in slices(datalist, "training")])
    training = answers(student, own["training"])
    functions = scores(*training, label)
    validation = answers(student, own["validation"])
    weights = family_weights([family for family, _ in own["validation"]])
    sets: dict[str, Iterable[Named]] = dict(foreign(count, seed=1, parity=0))
    sets |= {f"validation slices, {name}": changed(own["validation"], change) for name, change in CHANGES.items()}
    found = {name: answers(student, stored(pictures, student.store_size)) for name, pictures in sets.items()}
    told: dict[str, Any] = {}
    for score, function in functions.items():
        limits = {share: weighted_quantile(function(*validation), weights, share) for share in SHARES}
        values = {name: function(*said) for name, said in found.items()}
        told[score] = {
            str(share): {name: float((value > limit).mean()) for name, value in values.items()}
            for share, limit in limits.items()
        }
    return told


def judged(student: OpenStudent, named: Iterable[Named]) -> Iterator[tuple[str, JudgedPicture]]:
    """What is said of stored pictures."""
    families: list[str] = []

    def pictures() -> Iterator[Picture]:
        for number, (family, image) in enumerate(named):
            families.append(family)
            yield Picture(f"{family} {number}", np.asarray(image, dtype=np.uint8))

    for number, one in enumerate(judge_pictures(student, pictures())):
        yield families[number], one


def rates(found: list[tuple[str, JudgedPicture]]) -> dict[str, Any]:
    """Share of the pictures that is abstained on, for any reason and by reason, with intervals over families."""
    families = [family for family, _ in found]
    told = {"abstains": [one.abstains for _, one in found]}
    told |= {kind: [any(r.kind == kind for r in one.reasons) for _, one in found] for kind in KINDS}
    decided = [one.most_probable for _, one in found if not one.abstains]
    return {
        "pictures": len(found),
        "families": len(set(families)),
        **{name: share(marked, families) for name, marked in told.items()},
        "decided": {name: decided.count(name) for name in sorted(set(decided))},
        "mean probability": float(np.mean([one.prediction.confidence for _, one in found])),
    }


def share(marked: list[bool], families: list[str]) -> dict[str, float]:
    """A share with its interval: that of the decision "marked" being right if it always should be."""
    said = np.where(np.asarray(marked)[:, None], [1.0, 0.0], [0.0, 1.0])
    ids = np.arange(len(marked)).astype(str)
    names = np.asarray(families, dtype=np.str_)
    table = Predictions(ids, names, names, np.zeros(len(marked), dtype=np.int64), said, ("marked", "not"))
    found = bootstrap(table)["accuracy"]
    return {"value": found.estimate, "low": found.low, "high": found.high}


def accuracy(found: list[tuple[str, JudgedPicture]], label: list[int]) -> dict[str, Any]:
    """Share of right classes of all slices, of those that are decided, and of those that are abstained on."""
    families = [family for family, _ in found]
    right = [one.prediction.label == true for (_, one), true in zip(found, label, strict=True)]
    decided = [not one.abstains for _, one in found]
    parts = {"all": [True] * len(right), "decided": decided, "abstained on": [not one for one in decided]}
    return {
        name: share(
            *map(list, zip(*[(r, f) for r, f, t in zip(right, families, taken, strict=True) if t], strict=True))
        )
        for name, taken in parts.items()
        if any(taken)
    }


def measured(student: OpenStudent, datalist: Path, count: int) -> dict[str, Any]:
    """Rates of every set."""
    test = [(named, mask) for named, mask, _ in slices(datalist, "test")]
    plain, label = [named for named, _ in test], [label for _, _, label in slices(datalist, "test")]
    size = student.store_size
    unchanged = list(judged(student, plain))
    found = {"test slices as they are": told("test slices as they are", rates(unchanged))}
    found["test slices as they are"]["right"] = accuracy(unchanged, label)
    sets: dict[str, Iterable[Named]] = {"test slices, tumour inpainted": without_tumour(test)}
    sets |= {name: stored(pictures, size) for name, pictures in foreign(count, seed=2, parity=1).items()}
    sets |= {f"test slices, {name}": stored(changed(plain, change), size) for name, change in CHANGES.items()}
    return found | {name: told(name, rates(list(judged(student, pictures)))) for name, pictures in sets.items()}


def told(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """The same row, printed."""
    value = row["abstains"]
    reasons = ", ".join(f"{kind} {100 * row[kind]['value']:.0f}" for kind in KINDS)
    bounds = f"{100 * value['low']:.0f}-{100 * value['high']:.0f}"
    print(f"{name:50} {row['pictures']:4}  abstains {100 * value['value']:5.1f} % ({bounds}); {reasons}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("foreign_images.json"))
    parser.add_argument("--images", type=int, default=60, help="of each kind of noise and phantom")
    parser.add_argument("--device")
    arguments = parser.parse_args()
    device = device_named(arguments.device)
    student, datalist = open_student(arguments.run, device), open_run(arguments.run, device).datalist
    if student.profile is None or datalist is None:
        raise SystemExit(f"{arguments.run} has no trust profile: {student.profile_origin}")
    result = {
        "weights_sha256": student.profile.weights_sha256,
        "datalist_sha256": file_digest(datalist),
        "compared_with": dict(student.profile.counts),
        "scores_on_validation": compared(student, datalist, arguments.images),
        "rates": measured(student, datalist, arguments.images),
    }
    write_metrics(result, arguments.out)
    print(json.dumps({"written": str(arguments.out)}))


if __name__ == "__main__":
    main()
