"""A trained model's pictures and report, in seconds: python examples/explore.py [runs/dsprites/checkpoint.h5]"""

from pathlib import Path

import numpy as np

import tinybvae as tb
from tinybvae.report import summary
from tinybvae.runs.commandline import Parser, path, say
from tinybvae.runs.folder import data_of

PRETRAINED = Path(__file__).parent / "pretrained" / "dsprites.h5"  # by examples/train_dsprites.py --preset sharp


def main():
    parser = Parser(description=__doc__)
    parser.add_argument("checkpoint", type=path, nargs="?", default=PRETRAINED,
                        help="of examples/train_dsprites.py (default: the trained model beside this file)")
    parser.add_argument("--data", type=path, help="a .npz or .hdf5 of images (default: what it was trained on)")
    parser.add_argument("--start", metavar="SHAPE,SCALE,ORIENTATION,X,Y", help="classes of the sprite that traversals "
                        "start from, as 2,4,0,22,10; of other data, the number of an image (default: for each latent, "
                        "a sprite of the shape on which it does most)")
    parser.add_argument("--out", type=path, metavar="FOLDER", default="runs/explore",
                        help="for what it writes (default: %(default)s)")
    options = parser.parse_args()
    out = Path(options.out)
    try:
        if (out / "checkpoint.h5").exists():
            raise ValueError(f"--out {out} holds a run, whose report would be overwritten: give another folder")
        run = tb.load(options.checkpoint)
        data, looked_at = data_of(run, options.data)
        measured = tb.write_report(run, data, out, start=start_of(options.start, data))
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        parser.error(str(error))
    say(f"{looked_at}\n{summary(measured)}\nsee {out / 'report.html'}")


def start_of(text, data):
    """The index of the image that --start names, or None. Raises ValueError, in one line, if there is no such image."""
    if text is None:
        return None
    numbers, wanted = text.split(","), [5] if isinstance(data, tb.DSprites) else [1]
    if not all(number.strip().isdecimal() for number in numbers) or len(numbers) not in wanted:
        raise ValueError(f"--start {text}: give " + ("five classes, such as 2,4,0,22,10" if wanted == [5] else
                                                     f"the number of an image, from 0 to {len(data) - 1}"))
    numbers = np.array([[int(number) for number in numbers]])
    try:
        index, = data.index(numbers) if wanted == [5] else numbers[0]
        data.images([index])
    except ValueError as error:
        raise ValueError(f"--start {text}: {error}") from error
    return int(index)


if __name__ == "__main__":
    main()
