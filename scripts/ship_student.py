#!/usr/bin/env python3
"""Puts a packed student into this package, with the checksums of the slices that it has learned from.

    kdmri prepare FIGSHARE D --whole --validation 0.1
    (train teacher T and student S on D as the study did, see docs/results/README.md)
    kdmri estimate S STUDY/fold*/ARM_0
    kdmri pack S --out brain_tumour_slices.zip --forms model.safetensors --data-license figshare
    python scripts/ship_student.py brain_tumour_slices.zip D/datalist.json

``kdmri predict`` and the evaluation of the bundle use it where no other student is named.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from kdmri_monai.data.datalist import read_datalist
from kdmri_monai.data.taxonomy import SPLITS
from kdmri_monai.sharing.audit import audit
from kdmri_monai.sharing.safe_archive import unpack
from kdmri_monai.sharing.shipped import DIGITS, FOLDER, SLICES

PACKAGE = Path(__file__).resolve().parent.parent / "kdmri_monai"
LIMIT = 5e6


def ship(archive: Path, datalist: Path, package: Path = PACKAGE) -> None:
    """Unpacks the bundle, once it is known to be safe, small and of this datalist."""
    if not audit(archive).safe:
        raise SystemExit(f"{archive} is not safe, see kdmri audit")
    content = read_datalist(datalist)
    with tempfile.TemporaryDirectory() as folder:
        root = unpack(archive, Path(folder))
        counted = json.loads((root / "configs" / "metadata.json").read_text())["training"]["slices"]
        if counted != {split: len(content[split]) for split in SPLITS}:
            raise SystemExit(f"{archive} was trained on {counted}, which {datalist} does not hold")
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        if size > LIMIT:
            raise SystemExit(
                f"{archive} has {size / 1e6:.1f} MB unpacked, at most {LIMIT / 1e6:.0f} are shipped: --forms"
            )
        shutil.rmtree(package / FOLDER, ignore_errors=True)
        shutil.copytree(root, package / FOLDER)
    seen = sorted({entry["sha256"][:DIGITS] for split in SPLITS for entry in content[split]})
    (package / SLICES).write_text("\n".join(seen) + "\n", encoding="ascii")
    print(f"{package / FOLDER}: {size / 1e6:.2f} MB; {len(seen)} slices")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("datalist", type=Path)
    given = parser.parse_args()
    ship(given.archive, given.datalist)


if __name__ == "__main__":
    main()
