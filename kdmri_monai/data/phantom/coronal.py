"""Coronal anatomy from just before the sella (level -1) to just behind it (level 1)."""

from kdmri_monai.data.phantom.atlas import Atlas, Structure, symmetric
from kdmri_monai.data.phantom.shapes import ellipse, spline, stroke

_HEAD = [
    (0, -0.83), (0.24, -0.79), (0.46, -0.63), (0.58, -0.38), (0.61, -0.08), (0.58, 0.16), (0.54, 0.36), (0.50, 0.58),
    (0.44, 0.78), (0.40, 1.10), (0, 1.20),
]  # fmt: skip
_HEAD_BEHIND = [(0.92 * x if y > 0.3 else x, y) for x, y in _HEAD]
_CAVITY_BEFORE = [
    (0, -0.71), (0.22, -0.67), (0.39, -0.53), (0.49, -0.31), (0.51, -0.08), (0.47, 0.10), (0.37, 0.19), (0.25, 0.17),
    (0.17, 0.09), (0.09, 0.05), (0, 0.06),
]  # fmt: skip
_CAVITY_BEHIND = [
    (0, -0.72), (0.22, -0.68), (0.40, -0.54), (0.50, -0.31), (0.52, -0.06), (0.49, 0.14), (0.38, 0.23), (0.26, 0.21),
    (0.18, 0.15), (0.10, 0.12), (0, 0.14),
]  # fmt: skip

OUTER = (
    Structure("marrow", symmetric([(0, 0.13), (0.15, 0.14), (0.20, 0.22), (0.17, 0.34), (0, 0.36)])),
    Structure(
        "air", symmetric([(0, 0.18), (0.09, 0.17), (0.14, 0.23), (0.12, 0.31), (0, 0.32)]), level=-0.6, extent=1.9
    ),
    Structure("bone", stroke([(0.01, 0.16), (0.015, 0.24), (0, 0.33)], 0.014), level=-0.6, extent=1.6),
    Structure("air", symmetric([(0, 0.40), (0.07, 0.39), (0.10, 0.46), (0.06, 0.58), (0, 0.60)])),
    Structure("mucosa", stroke([(0.0, 0.40), (0.0, 0.48), (0.0, 0.58)], 0.016)),
    Structure("mucosa", stroke([(0.10, 0.40), (0.055, 0.47), (0.07, 0.54)], 0.03), True),
    Structure("muscle", spline([(0.13, 0.38), (0.24, 0.32), (0.29, 0.44), (0.24, 0.60), (0.15, 0.58)]), True),
    Structure(
        "muscle", spline([(0.46, 0.12), (0.53, 0.16), (0.51, 0.36), (0.45, 0.56), (0.40, 0.48), (0.43, 0.28)]), True
    ),
    Structure(
        "bone", spline([(0.33, 0.36), (0.39, 0.36), (0.40, 0.56), (0.36, 0.80), (0.31, 0.78), (0.33, 0.56)]), True
    ),
    Structure("marrow", stroke([(0.36, 0.40), (0.365, 0.56), (0.34, 0.76)], 0.035), True),
    Structure("muscle", symmetric([(0, 0.64), (0.16, 0.63), (0.24, 0.74), (0.20, 0.92), (0, 0.96)])),
    Structure("fat", stroke([(-0.20, 0.615), (0, 0.60), (0.20, 0.615)], 0.022)),
)
"""Sphenoid bone and sinus, nasal airway, muscles of the jaw, jaw bone, tongue, palate."""

INNER = (
    Structure("fluid", stroke([(0.0, -0.71), (0.003, -0.54), (0.0, -0.38)], 0.024)),
    Structure("dura", stroke([(0.0, -0.71), (-0.002, -0.56), (0.0, -0.42)], 0.012)),
    Structure("vessel", symmetric([(0, -0.715), (0.035, -0.705), (0, -0.655)])),
    Structure("fluid", stroke([(0.51, -0.07), (0.40, -0.08), (0.31, -0.10)], 0.034), True),
    Structure("fluid", stroke([(0.295, -0.20), (0.305, -0.12), (0.28, -0.02)], 0.026), True),
    Structure(
        "white", symmetric([(0, -0.385), (0.09, -0.40), (0.19, -0.36), (0.16, -0.32), (0.06, -0.33), (0, -0.335)])
    ),
    Structure(
        "nucleus", spline([(0.10, -0.30), (0.15, -0.29), (0.165, -0.21), (0.12, -0.16), (0.10, -0.21)]), True, -0.6, 1.9
    ),
    Structure(
        "nucleus", spline([(0.19, -0.24), (0.245, -0.20), (0.25, -0.10), (0.20, -0.05), (0.15, -0.10)]), True, -0.2, 1.8
    ),
    Structure(
        "nucleus", spline([(0.03, -0.20), (0.10, -0.19), (0.12, -0.11), (0.06, -0.05), (0.03, -0.08)]), True, 1.3, 1.3
    ),
    Structure(
        "fluid",
        spline([(0.012, -0.325), (0.06, -0.345), (0.135, -0.325), (0.10, -0.27), (0.05, -0.20), (0.018, -0.21)]),
        True,
        -0.2,
        2.4,
        True,
    ),
    Structure("white", stroke([(0.0, -0.34), (0.0, -0.27), (0.0, -0.20)], 0.012)),
    Structure("fluid", ellipse(0, -0.10, 0.013, 0.075), level=0.5, extent=1.6, fluid_space=True),
    Structure("fluid", stroke([(0.27, 0.02), (0.31, 0.045), (0.34, 0.03)], 0.024), True, 0.7, 1.7, True),
    Structure("fluid", symmetric([(0, -0.015), (0.08, -0.01), (0.17, 0.02), (0.12, 0.07), (0, 0.075)])),
    Structure(
        "white", symmetric([(0, 0.0), (0.08, 0.02), (0.11, 0.12), (0.07, 0.20), (0, 0.20)]), level=1.6, extent=1.1
    ),
    Structure("muscle", stroke([(-0.075, 0.022), (0, 0.012), (0.075, 0.022)], 0.024), level=-0.4, extent=1.3),
    Structure("gland", stroke([(0.0, 0.02), (0.004, 0.06), (0.0, 0.10)], 0.012), level=0.0, extent=1.2),
    Structure(
        "gland", symmetric([(0, 0.085), (0.05, 0.09), (0.055, 0.115), (0.03, 0.13), (0, 0.13)]), level=-0.1, extent=1.6
    ),
    Structure(
        "dura", spline([(0.065, 0.08), (0.12, 0.085), (0.135, 0.13), (0.10, 0.16), (0.07, 0.14)]), True, 0.0, 2.0
    ),
    Structure("bone", ellipse(0.095, 0.115, 0.022, 0.022), True, 0.0, 2.0),
    Structure("bone", ellipse(0.105, 0.035, 0.016, 0.016), True, -0.3, 1.5),
    Structure("vessel", stroke([(0.12, 0.01), (0.20, -0.01), (0.28, -0.03)], 0.014), True, 0.0, 0.8),
)
"""Falx, fissures, corpus callosum, nuclei, ventricles, cistern, brain stem, chiasm, pituitary, carotid arteries."""

ATLAS = Atlas(
    head=(symmetric(_HEAD), symmetric(_HEAD_BEHIND)),
    cavity=(symmetric(_CAVITY_BEFORE), symmetric(_CAVITY_BEHIND)),
    outer=OUTER,
    inner=INNER,
    folded=(0.0, -0.18),
    falx=spline([(0, -0.66), (0, -0.54), (0, -0.43)], closed=False),
    vault=((0.0, 0.40), (0.62, 1.0)),
    sella=((0.0, 0.10), (0.0, -1.0)),
    lobes=(
        (0.29, -0.30, 0.13, 0.20),
        (-0.29, -0.30, 0.13, 0.20),
        (0.33, 0.05, 0.10, 0.08),
        (-0.33, 0.05, 0.10, 0.08),
        (0.10, -0.15, 0.06, 0.10),
    ),
)
