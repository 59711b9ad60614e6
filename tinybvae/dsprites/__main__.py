"""Write dSprites, all 737,280 images, into a file as DeepMind's own .hdf5, for other programs."""

import os
import signal
from pathlib import Path

import h5py
import numpy as np

from tinybvae.commandline import Parser, path, progress, say
from tinybvae.dsprites import DSprites
from tinybvae.dsprites.sprites import SIZE
from tinybvae.files import USER_BLOCK, user_block, write_atomically
from tinybvae.images import SEALED

BLOCK = 4096  # images that are drawn at a time


def hdf5(sprites):
    """The bytes of an .hdf5 file in DeepMind's layout, with all images of a `DSprites`; shows a progress bar.

    Its chunks hold 64 whole images each, so that a batch can be read without the rest, and a checksum.
    """
    count = len(sprites)
    with (h5py.File("in memory", "w", driver="core", backing_store=False, userblock_size=USER_BLOCK) as file,
          progress(total=count, unit=" images") as bar):
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
        content = file.id.get_file_image()
    return user_block(SEALED, content) + content


def main():
    parser = Parser(prog="python -m tinybvae.dsprites", description=__doc__)
    parser.add_argument("--write", type=path, required=True, metavar="FILE.hdf5", help="a new file, .hdf5 or .h5")
    target = Path(parser.parse_args().write)
    try:
        if not target.name.lower().endswith((".hdf5", ".h5")):
            raise ValueError(f"{target}: the file will be HDF5, give a name that ends in .hdf5 or .h5")
        if target.exists():
            raise ValueError(f"{target} exists already: give another name")
        if not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
            raise ValueError(f"{target}: there is no folder {target.parent}, or it may not be written to")
        sprites = DSprites()
        data = hdf5(sprites)
        write_atomically(target, data)
    except (ValueError, MemoryError, OSError) as error:
        parser.error(f"argument --write: {error}")
    say(f"{len(sprites)} images, {len(data) / 1e6:.1f} MB")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once: a KeyboardInterrupt may get lost within libraries
    main()
