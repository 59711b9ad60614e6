"""Write dSprites, all 737,280 images, into a file like DeepMind's own .hdf5, for other programs."""

import argparse
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from tinybvae.data.dsprites import DSprites
from tinybvae.data.files import USER_BLOCK, user_block, write_atomically
from tinybvae.data.readers import SEALED
from tinybvae.data.sprites import SIZE

BLOCK = 4096  # images that are drawn at a time


def hdf5(sprites):
    """The bytes of an .hdf5 file in DeepMind's layout, with all images of a `DSprites`; shows a progress bar.

    Each chunk holds 64 whole images, so that a batch can be read without the rest, and a checksum.
    """
    count = len(sprites)
    with (h5py.File("in memory", "w", driver="core", backing_store=False, userblock_size=USER_BLOCK) as file,
          tqdm(total=count, unit=" images", disable=not (sys.stderr and sys.stderr.isatty())) as bar):
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
    parser = argparse.ArgumentParser(prog="python -m tinybvae.data", description=__doc__)
    parser.error = lambda message: parser.exit(2, f"{parser.prog}: {' '.join(message.split())}\n")  # without the usage
    parser.add_argument("--write", required=True, metavar="FILE.hdf5", help="a new file, .hdf5 or .h5")
    name = parser.parse_args().write
    target = Path(name)
    try:
        if not name:
            raise ValueError("must be a path, not ''")
        if not target.name.lower().endswith((".hdf5", ".h5")):
            raise ValueError(f"{target}: the file will be HDF5, give a name that ends in .hdf5 or .h5")
        if os.path.lexists(target):
            raise FileExistsError
        if not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
            raise ValueError(f"{target}: there is no folder {target.parent}, or it may not be written to")
        sprites = DSprites()
        data = hdf5(sprites)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so that Ctrl-C removes what is half written
        write_atomically(target, data, new=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except FileExistsError:
        parser.error(f"argument --write: {target} exists already: give another name")
    except (ValueError, MemoryError, OSError) as error:
        parser.error(f"argument --write: {error}")
    with suppress(OSError, ValueError):  # perhaps nobody is there to read it
        print(f"{len(sprites)} images, {len(data) / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it at once: a KeyboardInterrupt may get lost in libraries
    main()
