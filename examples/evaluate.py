"""How well a trained model draws, and how well latents match factors: python examples/evaluate.py checkpoint.h5"""

import json
from pathlib import Path

import tinybvae as tb
from tinybvae.data.files import write_atomically
from tinybvae.metrics import losses
from tinybvae.report import off_text
from tinybvae.report.page import at_least
from tinybvae.runs.commandline import Parser, path, say
from tinybvae.runs.folder import data_of


def main():
    parser = Parser(description=__doc__)
    parser.add_argument("checkpoint", type=path, help="of examples/train_dsprites.py")
    parser.add_argument("--data", type=path, help="a .npz or .hdf5 of images (default: what it was trained on)")
    parser.add_argument("--out", type=path, metavar="FILE",
                        help="a .json (default: the checkpoint's name, with .scores.json)")
    options = parser.parse_args()
    try:
        out = Path(options.out or options.checkpoint.removesuffix(".h5") + ".scores.json")
        if out.suffix != ".json":  # it would be overwritten, and may be a checkpoint
            raise ValueError(f"--out {out}: give a name that ends in .json")
        run = tb.load(options.checkpoint)  # before the folder: if the checkpoint is missing, so may be its folder
        if not out.parent.is_dir():
            raise ValueError(f"--out {out}: there is no folder {out.parent}")
        model, (data, looked_at) = run.model, data_of(run, options.data)
        encoded = tb.metrics.encode_samples(model, data)
        left_out = tb.metrics.notes(encoded[0], tb.metrics.factors_of(data)[0])
        scores = tb.metrics.evaluate(model, data, encoded)
        found, units = losses(model, data), tb.metrics.units_off(model, data)
        write_atomically(out, json.dumps({**scores, **found, "units_off": units, "left_out": left_out,
                                          "looked_at": looked_at}, indent=1).encode())
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        parser.error(str(error))
    say(looked_at)
    for name, score in scores.items():
        say(f"{tb.metrics.NAMES[name]:10} {score:.3f}")
    least = at_least(found.pop("least", 0))
    say(", ".join(f"{name.replace('_', ' ')} {nats:.1f} nats{least * (name == 'reconstruction')}"
                  for name, nats in found.items()))
    say(off_text(units))
    for line in left_out:
        say(line)
    say(f"see {out}")


if __name__ == "__main__":
    main()
