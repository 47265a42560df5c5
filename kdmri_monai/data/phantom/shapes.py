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
    around = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    tangent = around if closed else np.gradient(points, axis=0)
    tangent = tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)


def grow(points: Points, distance: float | Points) -> Points:
    """Outline moved outwards by ``distance``, one number or one for each point, shape ``(P, 1)``."""
    return points + distance * normals(points)


Box = tuple[slice, slice]


def coverage(points: Points, size: int) -> tuple[Box, Array]:
    """Share of every pixel that lies inside an outline.

    Every line of a pixel row adds a step at each crossing of the outline, with the part of the pixel that is
    inside as its first height; the running sum along the row is the winding number.

    Args:
        points: Closed outline, shape ``(P, 2)``.
        size: Pixels of the square image.

    Returns:
        Rows and columns that the outline reaches, and the shares 0..1 there, shape ``(rows, columns)``.
    """
    pixels = (points + 1) * (size / 2)
    (left, top), (right, bottom) = (
        np.clip(bound, 0, size).astype(int) for bound in (np.floor(pixels.min(axis=0)), np.ceil(pixels.max(axis=0)))
    )
    box = (slice(top, bottom), slice(left, right))
    if top >= bottom or left >= right:
        return box, np.zeros((bottom - top, right - left), np.float32)
    lines, width = (bottom - top) * SUBROWS, right - left
    x, line_of = pixels[:, 0] - left, (pixels[:, 1] - top) * SUBROWS - 0.5
    next_x, next_line = np.roll(x, -1), np.roll(line_of, -1)
    first, last = (
        np.clip(np.ceil(pick(line_of, next_line)), 0, lines).astype(int) for pick in (np.minimum, np.maximum)
    )
    edge = np.repeat(np.arange(len(x)), last - first)
    line = np.arange(len(edge)) - (np.cumsum(last - first) - last)[edge]
    along = (line - line_of[edge]) / (next_line - line_of)[edge]
    crossing = np.clip(x[edge] + along * (next_x - x)[edge], 0, width)
    column = crossing.astype(int)
    sign = np.sign(next_line - line_of)[edge]
    place = line * (width + 2) + column
    weight = np.concatenate([sign * (column + 1 - crossing), sign * (crossing - column)])
    steps = np.bincount(np.concatenate([place, place + 1]), weight, lines * (width + 2)).astype(np.float32)
    winding = np.cumsum(steps.reshape(lines, width + 2), axis=1)[:, :width]
    inside: Array = np.minimum(np.abs(winding), 1).reshape(-1, SUBROWS, width).sum(axis=1) * np.float32(1 / SUBROWS)
    return box, inside


def resampled(points: Points, count: int) -> Points:
    """Closed outline with ``count`` points at equal distances, from the same first point; shape ``(count, 2)``."""
    closed = np.concatenate([points, points[:1]])
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    stops = np.linspace(0, way[-1], count, endpoint=False)
    return np.stack([np.interp(stops, way, closed[:, 0]), np.interp(stops, way, closed[:, 1])], axis=1)


def paint(canvas: Array, outline: Points, value: Array | float, within: Array | None = None) -> None:
    """Lay a value over a closed outline, in place; pixels on its edge are mixed.

    Args:
        canvas: Shape ``(S, S)``.
        outline: Closed outline, shape ``(P, 2)``.
        value: A number, or an image, shape ``(S, S)``.
        within: Share of every pixel that may be painted, shape ``(S, S)``.
    """
    box, share = coverage(outline, len(canvas))
    if within is not None:
        share = share * within[box]
    top = np.float32(value) if isinstance(value, float) else value[box]
    canvas[box] += share * (top - canvas[box])
