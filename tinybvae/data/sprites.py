"""One sprite as a function of its factors, drawn as DeepMind's program drew it, to the pixel.

That program used LÖVE, a graphics library, without antialiasing (dsprites-dataset, issues 2 and 3): a pixel is white if
its centre lies inside the sprite's outline, a polygon. Two habits of graphics processors decide the last pixels:

- they round a polygon's vertices to 1/256 pixel before they fill it;
- where an edge runs exactly through a pixel's centre, the pixel is inside if this is a left edge, or a level edge at
  the bottom: the "top-left rule" of Direct3D in a picture drawn upside down, as LÖVE draws in OpenGL.

The constants, all round numbers, were fitted to 90 of DeepMind's images. With them no pixel is wrong in these, nor in
89 others, nor in image 41,512, a square whose lower edge runs through pixels' centres. README.md compares the count of
all white pixels with DeepMind's.
"""

import numpy as np

from tinybvae import kernels
from tinybvae.kernels import accelerated

FACTOR_NAMES = ("shape", "scale", "orientation", "position_x", "position_y")
FACTOR_VALUES = (np.arange(1.0, 4.0), np.linspace(.5, 1, 6), np.linspace(0, 2 * np.pi, 40),
                 np.linspace(0, 1, 32), np.linspace(0, 1, 32))
FACTOR_SIZES = tuple(len(values) for values in FACTOR_VALUES)
SHAPES = ("square", "ellipse", "heart")
SYMMETRY = (4, 2, 1)  # a full turn divided by this leaves the shape as it was

SIZE = 64          # the side of an image, in pixels
SIDE = .3 * SIZE   # the side of the square at scale 1, and the unit of the other shapes
GRID = 256         # vertices lie on multiples of 1/256 pixel


# The outlines: closed polygons (V, 2) at scale 1 and orientation 0, in pixels from the sprite's centre, u to the right
# and v down. How many vertices they have matters: with one more or one less, pixels of the border go wrong.

def square():
    return SIDE / 2 * np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


def ellipse(vertices=100, stretch=1.33):
    """A circle as wide as the square, stretched along u and shrunk along v by the same factor: 1.33, not 4/3."""
    t = 2 * np.pi * np.arange(vertices) / vertices
    return SIDE / 2 * np.stack([stretch * np.cos(t), np.sin(t) / stretch], axis=1)


def heart(vertices=150, lift=.075):
    """The curve (16 sin³ t, 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t) of MathWorld's "Heart Curve", tip down.

    It is 32 wide and nearly 29 high; divided by these, it is as large as the square. Then it is moved up by `lift`.
    """
    t = 2 * np.pi * np.arange(vertices) / vertices
    height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return SIDE * np.stack([16 * np.sin(t) ** 3 / 32, -height / 29 - lift], axis=1)


OUTLINES = (square(), ellipse(), heart())


@accelerated(kernels.fill)
def fill(outlines, shape, scale, orientation, x, y, grid, size):
    """float32 (N, size, size): 1 inside of outlines[shape], scaled, turned, with its centre at pixel (x, y), else 0.

    Vertices are rounded to multiples of 1/grid. A pixel is inside if an odd number of edges cross its row at its centre
    or left of it. An edge crosses the rows from its upper end, excluded, to its lower end, included. Within 100,000
    pixels of the image all arithmetic is exact, except for the one division.
    """
    images = np.zeros((len(shape), size, size), bool)
    for n, inside in enumerate(images):
        cosine, sine = scale[n] * np.cos(orientation[n]), scale[n] * np.sin(orientation[n])
        u, v = outlines[shape[n]].T
        vertices = np.rint(grid * np.stack([x[n] + cosine * u + sine * v, y[n] - sine * u + cosine * v], axis=1)) / grid
        for (xa, ya), (xb, yb) in zip(np.roll(vertices, 1, axis=0), vertices):
            for row in range(max(0, int(np.floor(min(ya, yb))) + 1), min(size, int(np.floor(max(ya, yb))) + 1)):
                inside[row] ^= np.arange(size) >= (xa * (yb - ya) + (row - ya) * (xb - xa)) / (yb - ya)
    return images.astype(np.float32)


def alike(classes):
    """Classes (N, 5) with the same orientation, in steps of 2π/39, for all that look alike (see SYMMETRY)."""
    shape, orientation = classes[:, 0], classes[:, 2]
    turn = (FACTOR_SIZES[2] - 1) / np.array(SYMMETRY)[shape]  # in classes: the first and the last are the same angle
    classes = classes.copy()
    classes[:, 2] = orientation % turn
    return classes


def render(shape, scale, orientation, x, y):
    """Images of sprites with the given factor values, one number or N of each: float32 (N, 64, 64, 1), 0 or 1.

    shape: 0 square, 1 ellipse, 2 heart (its class; latents_values count from 1); scale: .5 to 1 in dSprites;
    orientation in radians, counterclockwise; x and y: 0 to 1, to the right and down. Other real values are drawn in the
    same way. Raises ValueError if a shape is unknown, a value is beyond ±1e6, or the arrays are not one number or N
    each.
    """
    factors = np.array(np.broadcast_arrays(np.atleast_1d(shape), scale, orientation, x, y))
    if factors.ndim != 2:
        raise ValueError(f"render takes one number or N of each, not arrays that broadcast to {factors.shape[1:]}")
    if factors.dtype.kind not in "iuf" or not ((-1e6 <= factors) & (factors <= 1e6)).all():
        raise ValueError("shape, scale, orientation, x and y must be real numbers, and lie within ±1e6")
    shape, *real = factors.astype(np.float64)
    if not np.isin(shape, range(len(SHAPES))).all():
        raise ValueError(f"shape must be 0, 1 or 2 ({', '.join(SHAPES)})")
    scale, orientation, x, y = real
    # The centre stays a quarter of the image away from the borders; pixels' centres are whole numbers.
    x, y = SIZE * (.25 + .5 * x) - .5, SIZE * (.25 + .5 * y) - .5
    return fill(OUTLINES, shape.astype(np.int64), scale, orientation, x, y, GRID, SIZE)[..., None]
