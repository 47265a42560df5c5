"""Smooth closed outlines and their exact drawing.

All points are (x, y) in half fields of view: the image spans -1..1 both ways, x along a row, y down.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Array = NDArray[np.float32]

SUBROWS = 4  # an edge is sampled on four lines a pixel and is exact along each


def ellipse(x: float, y: float, a: float, b: float, degrees: float = 0.0, count: int = 48) -> Points:
    """Ellipse with half axes ``a`` and ``b``, the first turned by ``degrees`` clockwise; shape ``(count, 2)``."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    turn = np.deg2rad(degrees)
    u, v = a * np.cos(angle), b * np.sin(angle)
    return np.stack([x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)], axis=1)


def spline(points: Sequence[tuple[float, float]] | Points, closed: bool = True, steps: int = 8) -> Points:
    """Catmull-Rom curve through ``points``.

    Args:
        points: Control points, three or more when ``closed``, else two or more.
        closed: Whether the last point joins the first.
        steps: Points on each piece.

    Returns:
        Curve, shape ``(P, 2)``; a closed one does not repeat its first point.
    """
    knots = np.asarray(points, dtype=float)
    padded = (
        np.concatenate([knots[-1:], knots, knots[:2]])
        if closed
        else np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    )
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, knots[-1:]])


def stroke(points: Sequence[tuple[float, float]] | Points, width: float) -> Points:
    """Outline of a smooth line through ``points`` that is ``width`` thick and thinner at its ends."""
    line = spline(points, closed=False)
    half = 0.5 * width * (0.35 + 0.65 * np.sin(np.pi * np.linspace(0.08, 0.92, len(line))))[:, None]
    normal = normals(line, closed=False)
    return np.concatenate([line + half * normal, (line - half * normal)[::-1]])


def mirror(points: Points) -> Points:
    """The outline on the other side of the midline x = 0, with the same direction of travel."""
    return (points * (-1.0, 1.0))[::-1]


def normals(points: Points, closed: bool = True) -> Points:
    """Unit normals, pointing outwards of an outline that runs clockwise on the screen; shape ``(P, 2)``."""
    if closed:
        tangent = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    else:
        tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)


def grow(points: Points, distance: float | Points) -> Points:
    """Outline moved outwards by ``distance``, one number or one for each point, shape ``(P, 1)``."""
    return points + distance * normals(points)


def coverage(points: Points, size: int) -> tuple[slice, Array]:
    """Share of every pixel that lies inside an outline.

    Every line of a pixel row adds a step at each crossing of the outline, with the part of the pixel that is
    inside as its first height; the running sum along the row is the winding number.

    Args:
        points: Closed outline, shape ``(P, 2)``.
        size: Pixels of the square image.

    Returns:
        Rows that the outline reaches, and the shares 0..1 there, shape ``(rows, size)``.
    """
    x, y = ((points + 1) * (size / 2)).T
    top, bottom = (int(np.clip(f(y.min() if f is np.floor else y.max()), 0, size)) for f in (np.floor, np.ceil))
    if bottom <= top:
        return slice(0, 0), np.zeros((0, size), np.float32)
    sub = (y - top) * SUBROWS - 0.5
    next_sub, next_x = np.roll(sub, -1), np.roll(x, -1)
    first = np.clip(np.ceil(np.minimum(sub, next_sub)), 0, (bottom - top) * SUBROWS).astype(int)
    last = np.clip(np.ceil(np.maximum(sub, next_sub)), 0, (bottom - top) * SUBROWS).astype(int)
    edge = np.repeat(np.arange(len(x)), last - first)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[edge]
    share = (line - sub[edge]) / (next_sub - sub)[edge]
    crossing = np.clip(x[edge] + share * (next_x - x)[edge], 0, size)
    column = np.floor(crossing).astype(int)
    sign = np.sign(next_sub - sub)[edge]
    place = line * (size + 2) + column
    weight = np.concatenate([sign * (column + 1 - crossing), sign * (crossing - column)])
    steps = np.bincount(np.concatenate([place, place + 1]), weight, (bottom - top) * SUBROWS * (size + 2))
    inside = np.abs(np.cumsum(steps.reshape(-1, size + 2), axis=1)[:, :size]).clip(0, 1)
    return slice(top, bottom), inside.reshape(bottom - top, SUBROWS, size).mean(axis=1).astype(np.float32)
