"""Axial anatomy from the floor of the sella (level -1) to the frontal horns (level 1); the face is at the top."""

from kdmri_monai.data.phantom.atlas import Atlas, Structure, symmetric
from kdmri_monai.data.phantom.shapes import ellipse, spline, stroke

_HEAD_LOW = symmetric(
    [(0, -0.86), (0.10, -0.83), (0.34, -0.77), (0.50, -0.58), (0.60, -0.26), (0.63, 0.08), (0.58, 0.40), (0.36, 0.70),
     (0, 0.79)]
)  # fmt: skip
_HEAD_HIGH = symmetric(
    [(0, -0.80), (0.16, -0.79), (0.38, -0.68), (0.53, -0.44), (0.61, -0.14), (0.63, 0.15), (0.56, 0.46), (0.34, 0.72),
     (0, 0.80)]
)  # fmt: skip
_CAVITY_LOW = symmetric(
    [(0, -0.55), (0.10, -0.53), (0.14, -0.38), (0.24, -0.30), (0.36, -0.33), (0.47, -0.18), (0.52, 0.10), (0.47, 0.38),
     (0.28, 0.61), (0, 0.67)]
)  # fmt: skip
_CAVITY_HIGH = symmetric(
    [(0, -0.68), (0.16, -0.66), (0.31, -0.57), (0.42, -0.43), (0.49, -0.22), (0.52, 0.0), (0.53, 0.18), (0.47, 0.42),
     (0.28, 0.62), (0, 0.68)]
)  # fmt: skip

_EYE = (True, -0.9, 1.0)  # paired, level, extent

OUTER = (
    Structure(
        "fat",
        spline([(0.12, -0.64), (0.27, -0.73), (0.43, -0.60), (0.36, -0.42), (0.19, -0.33), (0.13, -0.46)]),
        *_EYE,
    ),
    Structure("muscle", stroke([(0.40, -0.60), (0.33, -0.46), (0.20, -0.34)], 0.035), *_EYE),
    Structure("muscle", stroke([(0.15, -0.60), (0.15, -0.48), (0.18, -0.35)], 0.035), *_EYE),
    Structure("muscle", stroke([(0.27, -0.58), (0.23, -0.44), (0.17, -0.33)], 0.030), *_EYE),
    Structure("mucosa", ellipse(0.28, -0.66, 0.112, 0.118), *_EYE),
    Structure("fluid", ellipse(0.28, -0.66, 0.094, 0.100), *_EYE),
    Structure("muscle", ellipse(0.285, -0.745, 0.045, 0.022), *_EYE),
    Structure(
        "air", symmetric([(0, -0.76), (0.05, -0.74), (0.09, -0.62), (0.08, -0.44), (0, -0.40)]), level=-1.1, extent=1.2
    ),
    Structure("mucosa", stroke([(0, -0.75), (0.004, -0.58), (0, -0.42)], 0.022), level=-1.1, extent=1.2),
    Structure(
        "mucosa", stroke([(0.05, -0.70), (0.055, -0.58), (0.045, -0.47)], 0.018), paired=True, level=-1.1, extent=1.1
    ),
    Structure("air", ellipse(0.05, -0.75, 0.05, 0.025, 12), paired=True, level=0.5, extent=0.7),
    Structure(
        "muscle", spline([(0.50, -0.44), (0.555, -0.34), (0.575, -0.18), (0.54, -0.20), (0.50, -0.32)]), paired=True
    ),
    Structure("muscle", ellipse(0.645, 0.10, 0.03, 0.085, 8), paired=True, level=-1.2, extent=1.3),
)
"""Orbits with eye, lens, muscles and optic nerve; nose; frontal sinus; temporal muscle; ears."""

INNER = (
    Structure(
        "bone",
        spline([(0.52, 0.16), (0.40, 0.10), (0.22, 0.01), (0.18, 0.05), (0.30, 0.16), (0.49, 0.27)]),
        True,
        -1.4,
        0.95,
    ),
    Structure("air", ellipse(0.42, 0.155, 0.05, 0.03, 25), True, -1.4, 0.9),
    Structure("mucosa", stroke([(0.36, 0.12), (0.41, 0.16), (0.46, 0.18)], 0.012), True, -1.4, 0.8),
    Structure("fluid", stroke([(0.515, -0.13), (0.42, -0.14), (0.32, -0.10), (0.25, -0.13)], 0.035), True, 0.5, 1.3),
    Structure("fluid", stroke([(0.25, -0.20), (0.23, -0.13), (0.26, -0.02)], 0.022), True, 0.7, 1.0),
    Structure(
        "fluid",
        symmetric([(0, -0.29), (0.07, -0.23), (0.20, -0.21), (0.15, -0.12), (0.13, -0.02), (0.06, -0.06), (0, -0.04)]),
        level=-0.2,
        extent=1.3,
    ),
    Structure(
        "fluid", symmetric([(0, -0.08), (0.11, -0.04), (0.17, 0.07), (0.13, 0.17), (0, 0.21)]), level=-0.3, extent=1.5
    ),
    Structure(
        "white", symmetric([(0, -0.04), (0.09, -0.05), (0.145, 0.05), (0.10, 0.15), (0, 0.17)]), level=-0.3, extent=1.6
    ),
    Structure(
        "nucleus", spline([(0.05, -0.04), (0.13, -0.05), (0.17, 0.04), (0.10, 0.12), (0.04, 0.08)]), True, 1.5, 1.1
    ),
    Structure(
        "nucleus", spline([(0.19, -0.22), (0.25, -0.14), (0.25, -0.02), (0.20, -0.03), (0.16, -0.13)]), True, 1.2, 0.9
    ),
    Structure("nucleus", ellipse(0.11, -0.27, 0.035, 0.06, -20), True, 1.2, 0.9),
    Structure("fluid", ellipse(0, -0.04, 0.016, 0.10), level=1.0, extent=0.9, fluid_space=True),
    Structure(
        "fluid",
        spline([(0.02, -0.38), (0.06, -0.41), (0.10, -0.35), (0.07, -0.27), (0.035, -0.24)]),
        True,
        1.3,
        0.95,
        True,
    ),
    Structure("fluid", stroke([(0.25, -0.10), (0.29, 0.0), (0.29, 0.10)], 0.045), True, -0.2, 1.2, True),
    Structure("fluid", stroke([(0.24, 0.13), (0.27, 0.22), (0.22, 0.34)], 0.075), True, 1.3, 1.0, True),
    Structure("fluid", ellipse(0, 0.125, 0.012, 0.014), level=0.2, extent=0.9, fluid_space=True),
    Structure(
        "fluid", symmetric([(0, 0.17), (0.05, 0.20), (0.03, 0.25), (0, 0.26)]), level=-0.9, extent=1.0, fluid_space=True
    ),
    Structure("vessel", ellipse(0.095, -0.20, 0.020, 0.022), True, -0.7, 0.9),
    Structure("vessel", ellipse(0, -0.065, 0.014, 0.016), level=-0.5, extent=1.0),
    Structure("vessel", stroke([(0.07, -0.19), (0.15, -0.19), (0.25, -0.16)], 0.016), True, 0.0, 0.6),
    Structure("vessel", stroke([(0.48, 0.24), (0.44, 0.42), (0.26, 0.585)], 0.030), True, -0.9, 0.75),
    Structure("vessel", symmetric([(0, 0.60), (0.03, 0.66), (0, 0.672)])),
    Structure("dura", stroke([(0, -0.66), (0.002, -0.50), (0, -0.38)], 0.012), level=1.0, extent=1.2),
    Structure("dura", stroke([(0, 0.35), (-0.003, 0.48), (0, 0.63)], 0.014), level=1.2, extent=1.4),
    Structure("gland", ellipse(0, -0.215, 0.045, 0.032), level=-1.1, extent=0.7),
    Structure("muscle", stroke([(-0.06, -0.23), (0, -0.20), (0.06, -0.23)], 0.028), level=-0.1, extent=0.5),
)
"""Petrous bone, fissures, cisterns, brain stem, nuclei, ventricles, vessels, folds of dura, pituitary and chiasm."""

ATLAS = Atlas(
    head=(_HEAD_LOW, _HEAD_HIGH),
    cavity=(_CAVITY_LOW, _CAVITY_HIGH),
    outer=OUTER,
    inner=INNER,
    folded=(0.0, 0.0),
    falx=spline([(0, 0.64), (0, 0.50), (0, 0.36)], closed=False),
    vault=((0.16, 0.42), (0.58, 0.84)),
    sella=((0.0, -0.20), (0.0, 0.0)),
    lobes=(
        (0.30, 0.02, 0.13, 0.26),
        (-0.30, 0.02, 0.13, 0.26),
        (0.16, -0.36, 0.10, 0.10),
        (-0.16, -0.36, 0.10, 0.10),
        (0.0, 0.36, 0.22, 0.12),
    ),
)
