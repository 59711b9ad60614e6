"""dSprites as a file, in the layout of DeepMind's own .hdf5, for other programs."""

import h5py
import numpy as np
from tqdm import tqdm

from tinybvae.dsprites.sprites import SIZE

BLOCK = 4096  # images that are drawn at a time


def hdf5(sprites):
    """The bytes of an .hdf5 file in DeepMind's layout, with all images of a `DSprites`; shows a progress bar.

    Its chunks hold 64 whole images each, so that a batch can be read without the rest, and a checksum.
    """
    count = len(sprites)
    with (h5py.File("in memory", "w", driver="core", backing_store=False) as file,
          tqdm(total=count, unit=" images", disable=None) as bar):
        how = {"compression": "gzip", "compression_opts": 6, "fletcher32": True}
        column = (min(count, BLOCK), 1)
        images = file.create_dataset("imgs", (count, SIZE, SIZE), np.uint8, chunks=(min(count, 64), SIZE, SIZE), **how)
        classes = file.create_dataset("latents/classes", (count, 6), np.int64, chunks=column, **how)
        values = file.create_dataset("latents/values", (count, 6), np.float64, chunks=column, **how)
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            index = np.arange(start, stop)
            images[start:stop] = sprites.images(index)[..., 0].astype(np.uint8)
            classes[start:stop] = np.insert(sprites.classes(index), 0, 0, axis=1)  # the colour: white, always
            values[start:stop] = np.insert(sprites.values(index), 0, 1, axis=1)
            bar.update(stop - start)
        file.flush()
        return file.id.get_file_image()
