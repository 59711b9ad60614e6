"""Write dSprites, all 737,280 images, into a file as DeepMind's own .hdf5, for other programs."""

import os
import signal
from pathlib import Path

from tinybvae.checkpoint import write_atomically
from tinybvae.commandline import Parser, path
from tinybvae.dsprites import DSprites
from tinybvae.dsprites.files import hdf5


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
    print(f"{len(sprites)} images, {len(data) / 1e6:.1f} MB")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once: a KeyboardInterrupt may get lost within libraries
    main()
