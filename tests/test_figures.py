"""The pictures show what they say, drawn from a decoder whose images are its latents."""

import imageio.v3 as imageio
import numpy as np

from tinybvae.report import figures

MEAN = np.array([.5, -1., 2.])


class Mirror:
    """Three latents, seen in images of 4×30 pixels: latent d is the logit of columns 10·d to 10·d + 9."""

    def encode(self, images):
        mean = np.log(images[:, 0, ::10, 0] / (1 - images[:, 0, ::10, 0]))
        return mean, np.zeros_like(mean)

    def decode(self, z):
        return np.tile(np.repeat(z, 10, axis=1)[:, None, :, None], (1, 4, 1, 1))


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits)))


def test_traverse_moves_one_latent():
    pictures = figures.traverse(Mirror(), MEAN, 1, [-3., 0., 3.])
    assert pictures.shape == (3, 4, 30, 1)
    np.testing.assert_allclose(pictures[:, 2, 15, 0], sigmoid([-3, 0, 3]))
    np.testing.assert_allclose(pictures[:, 2, [5, 25], 0], np.tile(sigmoid([.5, 2]), (3, 1)))


def test_gif_goes_from_minus_3_to_3_and_back():
    film = imageio.imread(figures.traversal_gif(Mirror(), MEAN, [1]))[..., 0] / 255
    assert film.shape == (48, 2 * (4 + 4), 2 * (30 + 2))
    np.testing.assert_allclose(film[[0, 12, 24, 36], 3, 2 * 15], sigmoid([-3, 0, 3, 0]), atol=.04)  # latent 1 moves,
    np.testing.assert_allclose(film[:, 3, 2 * 5], sigmoid(.5), atol=.04)                            # latent 0 stays


def test_gif_of_several_latents_keeps_their_order():
    film = imageio.imread(figures.traversal_gif(Mirror(), MEAN, [2, 0]))[..., 0] / 255
    np.testing.assert_allclose(film[0, 3, [2 * 25, 64 + 2 * 25]], sigmoid([-3, 2]), atol=.04)  # columns of latent 2
    np.testing.assert_allclose(film[0, 3, [2 * 5, 64 + 2 * 5]], sigmoid([.5, -3]), atol=.04)   # columns of latent 0


def mosaics(monkeypatch):
    """What is handed to `_mosaic`, instead of its PNG."""
    seen = []
    monkeypatch.setattr(figures, "_mosaic", lambda *arguments: seen.append(arguments))
    return seen


def test_traversals_have_a_row_a_latent(monkeypatch):
    seen = mosaics(monkeypatch)
    figures.traversals(Mirror(), MEAN, [2, 0], ["two", "zero"])
    (pictures, rows, columns), = seen
    assert rows == ["two", "zero"] and columns[0] == "-3.0" and columns[-1] == "+3.0"
    np.testing.assert_allclose([row[:, 0, 10 * d, 0] for row, d in zip(pictures, [2, 0])],
                               np.tile(sigmoid(np.linspace(-3, 3, len(columns))), (2, 1)))


def test_reconstructions_stand_below_their_images(monkeypatch):
    class Dim(Mirror):
        def decode(self, z):
            return super().decode(z) - 1

    seen, images = mosaics(monkeypatch), sigmoid(Mirror().decode(np.array([MEAN, -MEAN])))
    figures.reconstructions(Dim(), images)
    ((above, below), rows, _), = seen
    np.testing.assert_allclose(above, images)
    np.testing.assert_allclose(below, sigmoid(Mirror().decode(np.array([MEAN, -MEAN])) - 1))
    assert rows == ["image", "reconstruction"]


def test_mosaic_lays_rows_and_columns():
    pictures = np.zeros((2, 3, 8, 8, 1))
    pictures[1, 2] = 1
    image = imageio.imread(figures._mosaic(pictures, ["a", "b"], []))[..., 0]
    dark = np.argwhere(image < 10)
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)
    assert image[top + 5, left + 5] < 10 and image[top + 5, right - 5] < 10
    assert image[bottom - 5, left + 5] < 10 and image[bottom - 5, right - 5] > 245
