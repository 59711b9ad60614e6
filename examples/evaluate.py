"""How well a trained model's latents match the factors: python examples/evaluate.py runs/dsprites/checkpoint.h5"""

import json
from pathlib import Path

import tinybvae as tb
from tinybvae.checkpoint import write_atomically
from tinybvae.commandline import Parser, path


def main():
    parser = Parser(description=__doc__)
    parser.add_argument("checkpoint", type=path, help="of examples/train_dsprites.py")
    parser.add_argument("--data", type=path, help="DeepMind's dsprites .npz or .hdf5; without it, images are rendered")
    parser.add_argument("--out", type=path, metavar="FILE",
                        help="a .json (default: the checkpoint's name, with .scores.json)")
    options = parser.parse_args()
    out = Path(options.out or Path(options.checkpoint).with_suffix(".scores.json"))
    try:
        if out.suffix != ".json":  # it would be overwritten, and may be a checkpoint
            raise ValueError(f"--out {out}: give a name that ends in .json")
        model, sprites = tb.load_model(options.checkpoint), tb.DSprites(options.data)
        scores = tb.metrics.evaluate(model, sprites)
        write_atomically(out, json.dumps(scores, indent=1).encode())
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        parser.error(str(error))
    for name, score in scores.items():
        print(f"{tb.metrics.NAMES[name]:10} {score:.3f}")
    print(f"see {out}")


if __name__ == "__main__":
    main()
