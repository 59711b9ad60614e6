"""A trained model's pictures and report, in seconds: python examples/explore.py [runs/dsprites/checkpoint.h5]"""

from pathlib import Path

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
    parser.add_argument("--out", type=path, metavar="FOLDER", default="runs/explore", help="(default %(default)s)")
    options = parser.parse_args()
    out = Path(options.out)
    try:
        if (out / "checkpoint.h5").exists():
            raise ValueError(f"--out {out} holds a run, whose report would be overwritten: give another folder")
        run = tb.load(options.checkpoint)
        data, looked_at = data_of(run, options.data)
        measured = tb.write_report(run, data, out)
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        parser.error(str(error))
    say(f"{looked_at}\n{summary(measured)}\nsee {out / 'report.html'}")


if __name__ == "__main__":
    main()
