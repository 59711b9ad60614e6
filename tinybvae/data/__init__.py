"""The data: dSprites as a function of its factors, and files of images, DeepMind's or your own.

Or an object of your own: wherever the library takes a `DSprites` or `Images`, it takes any object that has

    len(data)               the number of images, N
    data.image_shape        (height, width, channels)
    data.images(index)      float32 (M, *image_shape), from 0 to 1, for an index of int64 (M,), 0 … N − 1
    data.factor_names       K strings      } if factors are known; without them there are no scores
    data.factor_sizes       K integers     }
    data.classes(index)     integers (M, K), 0 … size − 1
"""

from tinybvae.data.dsprites import DSprites, load_data
from tinybvae.data.images import Images
from tinybvae.data.sprites import render

__all__ = ["DSprites", "Images", "load_data", "render"]
