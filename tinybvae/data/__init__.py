"""The data: dSprites as a function of its factors, and files of images, DeepMind's or your own."""

from tinybvae.data.dsprites import DSprites, load_data
from tinybvae.data.images import Images
from tinybvae.data.sprites import render

__all__ = ["DSprites", "Images", "load_data", "render"]
