#!/usr/bin/env python3
"""Speed and memory of `kdmri prepare` on a folder with the archives of the Figshare set.

    python benchmarks/prepare.py SOURCE [--workers 2] [--rounds 1]

Prints images per second of three ways to read the same archives, and their ratios:

    prepare     prepare_dataset: digests, percentiles, masks and datalist included, everything written to disk
    skimage     one process, what a notebook does: h5py.File, skimage.transform.resize with anti-aliasing to 256 x 256,
                the mask by nearest neighbour; kept in memory, nothing checked, normalised or written
    pillow      the same loop with the cheapest resize there is, nearest neighbour of Pillow

In every round each way reads all archives, in a process of its own; the rounds are interleaved, so that other work on
the machine meets all ways alike. Peak memory is that of the parent plus, for every worker, that of the largest one.
Imports of this script are not timed; the start of the workers, and what prepare imports on its way, are. Processor time
is that of all processes together: on a machine that is busy with other work, it says what two free cores would do.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions

WAYS = ("prepare", "skimage", "pillow")
SIZE = 256


def plain_loop(source: Path, shrink: Callable[[Any, bool], Any]) -> int:
    """Read every slice of the archives and shrink image and mask; returns the number of slices."""
    images, masks, labels = [], [], []
    for archive in sorted(source.glob("*.zip")):
        with zipfile.ZipFile(archive) as file:
            for name in file.namelist():
                with h5py.File(io.BytesIO(file.read(name)), "r") as mat:
                    image, mask = mat["cjdata/image"][()].T, mat["cjdata/tumorMask"][()].T
                    labels.append((int(mat["cjdata/label"][0, 0]), "".join(map(chr, mat["cjdata/PID"][:, 0]))))
                images.append(shrink(image, False))
                masks.append(shrink(mask, True))
    return len(images)


def with_skimage(source: Path) -> Callable[[], int]:
    from skimage.transform import resize

    def shrink(array: Any, is_mask: bool) -> Any:
        if is_mask:
            return resize(array, (SIZE, SIZE), order=0, preserve_range=True, anti_aliasing=False).astype(np.uint8)
        return resize(array, (SIZE, SIZE), anti_aliasing=True)

    return lambda: plain_loop(source, shrink)


def with_pillow(source: Path) -> Callable[[], int]:
    from PIL import Image

    def shrink(array: Any, is_mask: bool) -> Any:
        picture = Image.fromarray(np.ascontiguousarray(array, np.uint8 if is_mask else np.int32))
        return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.NEAREST))

    return lambda: plain_loop(source, shrink)


def with_prepare(source: Path, workers: int, out: Path) -> Callable[[], int]:
    options, split = PrepareOptions(store_size=SIZE, workers=workers), SplitOptions()
    return lambda: prepare_dataset(source, out, options, split, progress=False).counts["slices"]


def measure(way: str, source: Path, workers: int) -> dict[str, Any]:
    """Time one way in this process and its children."""
    with tempfile.TemporaryDirectory() as folder:
        run = {
            "prepare": lambda: with_prepare(source, workers, Path(folder) / "out"),
            "skimage": lambda: with_skimage(source),
            "pillow": lambda: with_pillow(source),
        }[way]()
        start, busy = time.perf_counter(), processor_seconds()
        slices = run()
        seconds, busy = time.perf_counter() - start, processor_seconds() - busy
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    mib = (own + workers * child * (way == "prepare")) / 1024
    return {"seconds": seconds, "busy": busy, "slices": slices, "mib": mib}


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def measure_apart(way: str, source: Path, workers: int) -> dict[str, Any]:
    """The same in a process of its own, so that memory of one way does not count for another."""
    command = [sys.executable, __file__, str(source), "--workers", str(workers), "--way", way]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the archives")
    parser.add_argument("--workers", type=int, default=2, help="processes of prepare (default: 2)")
    parser.add_argument("--rounds", type=int, default=1, help="times that everything is read (default: 1)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args.way, args.source, args.workers)))
        return
    if not any(args.source.glob("*.zip")):
        parser.error(f"{args.source} holds no archives")
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way in WAYS:
            results[way].append(measure_apart(way, args.source, args.workers))
    report(results, args.workers)


def report(results: dict[str, list[dict[str, Any]]], workers: int) -> None:
    """Print what was measured."""
    slices = {way: sum(r["slices"] for r in runs) for way, runs in results.items()}
    speed = {way: slices[way] / sum(r["seconds"] for r in runs) for way, runs in results.items()}
    busy = {way: 1000 * sum(r["busy"] for r in runs) / slices[way] for way, runs in results.items()}
    for way, runs in results.items():
        place = f"{workers} workers and their parent" if way == "prepare" else "one process"
        peak = max(r["mib"] for r in runs)
        print(
            f"{way:8} {speed[way]:7.1f} images/s, {busy[way]:5.2f} ms of processor an image, "
            f"peak memory {peak:,.0f} MiB ({slices[way]:,} images, {place})"
        )
    for way in WAYS[1:]:
        told = ", ".join(
            f"{a['seconds'] / b['seconds']:.2f}" for a, b in zip(results[way], results["prepare"], strict=True)
        )
        print(
            f"prepare / {way}: {speed['prepare'] / speed[way]:.2f} times as fast (by round: {told}); "
            f"by processor time on {workers} free cores {workers * busy[way] / busy['prepare']:.2f}"
        )


if __name__ == "__main__":
    main()
