"""Polygons, filled row by row: threads share the images."""

import numpy as np

from tinybvae.kernels.compiler import jit
from tinybvae.kernels.threads import indices, next_slice, parallel


def fill(outlines, shape, scale, orientation, x, y, grid, size):
    """Images (N, size, size) of outlines[shape], with vertices on multiples of 1/grid: as `data.sprites.fill` says."""
    images = np.zeros((len(shape), size, size), np.float32)
    _fill_all(outlines, shape, scale, orientation, x, y, grid, images)
    return images


@parallel
def _fill_all(work, outlines, shape, scale, orientation, x, y, grid, images):
    s = next_slice(work)
    while s >= 0:
        for n in indices(len(shape), s):
            _fill(outlines[shape[n]], scale[n], orientation[n], x[n], y[n], grid, images[n])
        s = next_slice(work)


@jit
def _fill(outline, scale, orientation, x, y, grid, image):
    """Fill an outline, scaled, turned and with its centre at pixel (x, y), in an image of zeros.

    Each crossing is noted in the first pixel that it counts for; a running exclusive-or along the row then fills.
    """
    cosine, sine = scale * np.cos(orientation), scale * np.sin(orientation)
    rows, columns = image.shape
    top, bottom, left, right = rows, 0, columns, 0
    xa = ya = 0.0
    for vertex in range(-1, len(outline)):  # from the last one all the way round
        u, v = outline[vertex]
        xb = np.rint(grid * (x + cosine * u + sine * v)) / grid
        yb = np.rint(grid * (y - sine * u + cosine * v)) / grid
        if vertex >= 0:
            low, high = max(0, int(np.floor(min(ya, yb))) + 1), min(rows, int(np.floor(max(ya, yb))) + 1)
            for row in range(low, high):
                column = max(0, int(np.ceil((xa * (yb - ya) + (row - ya) * (xb - xa)) / (yb - ya))))
                if column < columns:
                    image[row, column] = 1 - image[row, column]
                left, right = min(left, column), max(right, column)
            top, bottom = min(top, low), max(bottom, high)
        xa, ya = xb, yb
    for row in range(top, bottom):
        inside = 0.0
        for column in range(left, min(right + 1, columns)):
            inside = abs(inside - image[row, column])
            image[row, column] = inside
