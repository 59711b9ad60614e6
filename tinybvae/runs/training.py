"""The loop of `training`, visible while it runs, and stopped and resumed at any step without changing a bit."""

import copy
import time

import numpy as np

from tinybvae.kernels import memory
from tinybvae.kernels.arrays import integers
from tinybvae.runs.checkpoint import capacity_at
from tinybvae.runs.commandline import progress, say
from tinybvae.runs.signals import interruptible
from tinybvae.training import updates

BAR = "|{bar}| {n_fmt}/{total_fmt} {remaining}{postfix}"  # with the losses, 80 columns


def train(run, data, objective, steps, batch_size=64, checkpoint_every=1000, checkpoint=None):
    """Train until `steps` updates are done, calling checkpoint(run) every `checkpoint_every` steps and at the end.

    Arguments as of `training.updates`. A signal of ENDING ends the loop after the step in hand and a last checkpoint; a
    second one of AT_ONCE acts at once. Returns whether all steps are done.

    Raises ValueError for counts below 1 and for a run without an optimizer of its model's, and FloatingPointError,
    before the update, if the loss or a gradient is not finite. Before a checkpoint they are computed once more, with
    the updated weights: so the last checkpoint is the last good one.
    """
    counts = integers([steps, batch_size, checkpoint_every], "steps, batch_size and checkpoint_every").tolist()
    if min(counts) < 1:
        raise ValueError("steps, batch_size and checkpoint_every must be at least 1")
    steps, batch_size, checkpoint_every = counts
    learnt = run.optimizer.parameters if run.optimizer else {}
    if not all(learnt.get(name) is p for name, p in run.model.parameters.items()):
        raise ValueError("the run needs an optimizer of its model's parameters: it has none, or another's")

    def report_and_checkpoint():
        run.require_finite(run.model.loss_and_gradients(images, noise, objective, run.step))
        if bar.disable:  # not a terminal: a plain line instead
            say(f"step {run.step}/{steps}: {line}")
        if checkpoint:
            checkpoint(run)

    with interruptible() as interrupted, np.errstate(all="ignore"):
        images, noise = compiled(run, data, objective)
        line = "nothing left to do" if run.step >= steps else "stopped before a step"
        with progress(total=steps, initial=run.step, bar_format=BAR) as bar:
            first, seconds, start = run.step, 0.0, time.perf_counter()  # of training, without checkpoints
            for images, noise, losses in () if interrupted else updates(run, data, objective, steps, batch_size):
                seconds += time.perf_counter() - start
                line = said(losses, objective, run.step - 1, (run.step - first) * batch_size / seconds)
                bar.set_postfix_str(line, refresh=False)
                bar.update()
                if run.step % checkpoint_every == 0 and run.step < steps and not interrupted:
                    report_and_checkpoint()
                if interrupted:
                    break
                start = time.perf_counter()
            report_and_checkpoint()
    return run.step >= steps


def compiled(run, data, objective):
    """Compile all kernels now, by a small step of a copy, and not within the first step. Its images and its noise."""
    say("compiling... ", end="")
    start = time.perf_counter()
    images, noise, _ = next(updates(copy.deepcopy(run), data, objective, run.step + 1, batch_size=2))
    memory.release()
    say(f"{time.perf_counter() - start:.1f} s")
    return images, noise


def said(losses, objective, step, speed):
    """The losses of a step, and images a second, in a line."""
    C = capacity_at(objective, step)
    return (f"total {losses.total:.1f} rec {losses.reconstruction:.1f} KL {losses.kl:.2f} "
            f"{'' if np.isnan(C) else f'KL-C {losses.kl - C:+.2f} '}{speed:,.0f} images/s")
