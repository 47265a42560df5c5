#!/usr/bin/env python3
"""The whole way on phantoms: data, teacher, baseline, distilled student, evaluation, table, report."""

import time
from pathlib import Path

from three_arms import KDMRI, ROOT, call, three_arms

BUNDLE = Path("bundles/kd")
PHANTOMS, DATA, RUNS = BUNDLE / "phantoms", BUNDLE / "dataset", BUNDLE / "runs"


def main() -> None:
    began = time.monotonic()
    call(KDMRI, "phantom", str(PHANTOMS), "--patients", "48", "--seed", "0", "--size", "192")
    call(KDMRI, "prepare", str(PHANTOMS), str(DATA), "--size", "192")
    three_arms(DATA, RUNS, image_size=96, epochs=24, teacher_epochs=24, batch_size=16)
    print(f"\nAll of it took {(time.monotonic() - began) / 60:.1f} minutes. The report: {ROOT / RUNS / 'report.html'}")


if __name__ == "__main__":
    main()
