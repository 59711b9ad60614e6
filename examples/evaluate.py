"""How well a trained model draws, and how well latents match factors: python examples/evaluate.py checkpoint.h5

With several checkpoints, their scores stand side by side, and a table says which latent of one is which of another.
"""

import json
from pathlib import Path

import numpy as np

import tinybvae as tb
from tinybvae.data.files import write_atomically
from tinybvae.losses import gaussian_kl
from tinybvae.metrics import losses
from tinybvae.report import off_text
from tinybvae.report.latents import seen
from tinybvae.report.page import at_least
from tinybvae.runs.commandline import Parser, path, say
from tinybvae.runs.folder import data_of

NATS = {"reconstruction": "reconstruction", "kl": "KL", "nine_images": "nine images"}
ALIKE = .2  # the least correlation of two latents that are called the same


def main():
    parser = Parser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("checkpoints", type=path, nargs="+", metavar="CHECKPOINT", help="of examples/train_dsprites.py")
    parser.add_argument("--data", type=path, help="a .npz or .hdf5 of images (default: what it was trained on)")
    parser.add_argument("--out", type=path, metavar="FILE",
                        help="a .json (default: the checkpoint's name, with .scores.json)")
    options = parser.parse_args()
    try:
        files = files_of(options)
        runs = [tb.load(checkpoint) for checkpoint in options.checkpoints]
        for file in files:  # after the checkpoints: if one is missing, so may be its folder
            if not file.parent.is_dir():
                raise ValueError(f"--out {file}: there is no folder {file.parent}")
        (data, looked_at), *others = [data_of(run, options.data) for run in runs]
        if any(other != looked_at for _, other in others):
            raise ValueError("they were trained on different images: give --data, for all of them")
        found = [measured(run.model, data, looked_at) for run in runs]
        for file, (numbers, _, _) in zip(files, found):
            write_atomically(file, json.dumps(numbers, indent=1).encode())
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        parser.error(str(error))
    say(looked_at)
    if len(found) == 1:
        say_one(found[0][0])
    else:
        compare(options.checkpoints, found)
    say("see " + ", ".join(map(str, files)))


def files_of(options):
    """Where the numbers of each checkpoint go."""
    files = [Path(options.out or checkpoint.removesuffix(".h5") + ".scores.json") for checkpoint in options.checkpoints]
    if files[0].suffix != ".json":  # it would be overwritten, and may be a checkpoint
        raise ValueError(f"--out {options.out}: give a name that ends in .json")
    if options.out and len(files) > 1:
        raise ValueError(f"--out {options.out} is one file, and there are {len(files)} checkpoints: leave it out")
    return files


def measured(model, data, looked_at):
    """A model's numbers, the means (N, D) of its latents for some images, and its latents by name."""
    classes, means, logvars = encoded = tb.metrics.encode_samples(model, data)
    numbers = {**tb.metrics.evaluate(model, data, encoded), **losses(model, data),
               "units_off": tb.metrics.units_off(model, data),
               "left_out": tb.metrics.notes(classes, tb.metrics.factors_of(data)[0]), "looked_at": looked_at}
    kl, _, _ = gaussian_kl(means, logvars)
    names = {d: one.name for d, one in enumerate(seen(data, means, classes, kl))}
    return numbers, means, {d: f"z{d} {names[d]}" for d in np.argsort(-kl).tolist()}


def say_one(numbers):
    for name, title in tb.metrics.NAMES.items():
        if name in numbers:
            say(f"{title:10} {numbers[name]:.3f}")
    least = at_least(numbers.get("least", 0))
    say(", ".join(f"{title} {numbers[name]:.1f} nats{least * (name == 'reconstruction')}"
                  for name, title in NATS.items() if name in numbers))
    say(off_text(numbers["units_off"]))
    for line in numbers["left_out"]:
        say(line)


# Several models, side by side.

def compare(checkpoints, found):
    """Say the numbers of several models in a table, and which of their latents go together."""
    for n, checkpoint in enumerate(checkpoints):
        say(f"{n + 1}: {checkpoint}")
    say(" " * 22 + "".join(f"{n + 1:>9}" for n in range(len(found))))
    rows = [(name, title, 3) for name, title in tb.metrics.NAMES.items()]
    rows += [(name, f"{title} (nats)", 1) for name, title in NATS.items()]
    for name, title, digits in rows:
        if any(name in numbers for numbers, _, _ in found):
            say(f"{title:22}" + "".join(f"{numbers[name]:9.{digits}f}" if name in numbers else f"{'':9}"
                                        for numbers, _, _ in found))
    for line in dict.fromkeys(line for numbers, _, _ in found for line in numbers["left_out"]):
        say(line)
    _, means, names = found[0]
    for n, (_, others, other_names) in enumerate(found[1:], 2):
        say(f"\nlatents of 1, the nearest of {n}, and the correlation of their means")
        partners, wide = pairs(means, others), max(map(len, names.values()))
        for d, name in names.items():
            if d in partners:
                e, r = partners[d]
                say(f"{name:{wide}}  {other_names[e]:{wide}} {r:6.2f}")
            elif not name.endswith("unused"):
                say(f"{name:{wide}}  none")


def pairs(a, b):
    """{latent of a: (latent of b, r)}: of codes (N, D) of the same images, the pairs of largest |correlation| r.

    The largest comes first; no latent is in two pairs, and no pair has |r| below ALIKE.
    """
    a, b = ((z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-12) for z in (a.astype(float), b.astype(float)))
    r, found = a.T @ b / len(a), {}
    for place in np.argsort(-np.abs(r), axis=None):
        d, e = np.unravel_index(place, r.shape)
        if abs(r[d, e]) >= ALIKE and d not in found and all(e != other for other, _ in found.values()):
            found[int(d)] = int(e), float(r[d, e])
    return found


if __name__ == "__main__":
    main()
