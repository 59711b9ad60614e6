"""Train a β-VAE on dSprites: python examples/train_dsprites.py, and watch runs/dsprites/report.html grow."""

import shlex
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import tinybvae as tb
from tinybvae.kernels.threads import set_num_threads
from tinybvae.report import describe, summary
from tinybvae.report.film import Film
from tinybvae.runs.checkpoint import before
from tinybvae.runs.commandline import Parser, say
from tinybvae.runs.folder import opened, score_if_due
from tinybvae.runs.settings import add_options, command, given_settings, objective_of, option


def main():
    parser = Parser(description=__doc__, epilog="--gamma, --capacity, --width, --beta, --learning-rate and --eps take "
                    "a number or a schedule, step:value,step:value,...: straight lines between the points, level "
                    "beyond them. --capacity 0:0,100000:25 is the paper's annealing. The recipe is made for dSprites, and its "
                    "parts for each other; examples/README.md explains it. A run begins by printing all its settings.")
    add_options(parser)
    options = parser.parse_args()
    set_num_threads(options.threads)
    with ExitStack() as stack:
        try:
            run, data = stack.enter_context(opened(options.out, given_settings(options), options.preset,
                                                      options.resume))
        except (ValueError, MemoryError, OSError) as error:
            parser.error(str(error))
        say(f"{command(run.settings)} {option('out', options.out)}\n{len(data)} images")
        train(run, data, options, parser)


def train(run, data, options, parser):
    """Train to the run's end, or until it is interrupted."""
    settings, out, measured, stopped = run.settings, Path(options.out), {}, False
    checkpoint = out / "checkpoint.h5"

    # 1. What happens every now and then: scores, when they are due or at the end; the checkpoint; the report.
    def save_and_report(run):
        encoded = score_if_due(run, data)
        try:
            tb.save(run, checkpoint, before(checkpoint))
        except OSError as error:  # there may be room again by the next one
            if run.step >= settings["steps"]:
                raise
            say(f"step {run.step}: could not write {checkpoint} ({error}): the one before stays, the next tries again")
        try:
            measured.update(tb.write_report(run, data, out, command(settings), encoded))
        except OSError as error:  # pictures are not worth a run
            measured.update(describe(run, data, encoded))
            say(f"step {run.step}: {error}; the next report tries again")

    film = Film(out, settings["film"], data) if settings["film"] else None

    def filmed(part, run):
        try:
            part(run)
        except OSError as error:  # nor is a film
            say(f"step {run.step}: the film lacks something ({error})")

    # 2. Training.
    start = time.perf_counter()
    try:
        tb.train(run, data, objective_of(settings), settings["steps"], settings["batch_size"],
                 settings["checkpoint_every"], save_and_report, watch=film and partial(filmed, film))
    except KeyboardInterrupt:
        if not measured:  # the interrupt came before there was anything to save
            raise
        stopped = True
    except (ArithmeticError, MemoryError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}; the last checkpoint is {checkpoint}: --resume goes on from there, "
                       f"with --learning-rate at another rate\n")

    # 3. What it found.
    if film:
        filmed(film.write, run)
    say(f"\n{summary(measured)}\n"
        f"{(time.perf_counter() - start) / 60:.1f} minutes; see {out / 'report.html'}")
    if stopped:
        say(f"stopped early; go on with: python {shlex.join([*sys.argv, *([] if options.resume else ['--resume'])])}")
        sys.exit(130)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the first step, or a second one after it
        sys.exit(130)
