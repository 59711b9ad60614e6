"""The loop of `training`, visible while it runs; it can be stopped and resumed at any step without changing a bit."""

import copy
import time

import numpy as np

from tinybvae.kernels import memory
from tinybvae.kernels.arrays import integers
from tinybvae.kernels.compiler import announce
from tinybvae.runs.commandline import progress, say
from tinybvae.runs.run import Run, capacity_at
from tinybvae.runs.signals import interruptible
from tinybvae.training import updates

BAR = "|{bar}| {n_fmt}/{total_fmt} {remaining}{postfix}"  # with the losses, 80 columns


def train(run, data, objective, steps, batch_size=64, checkpoint_every=1000, checkpoint=None, quiet=False, watch=None):
    """Train until `steps` updates are done, calling checkpoint(run) every `checkpoint_every` steps and at the end.

    Arguments are as for `training.updates`; watch(run) is called before the first step and after each; with `quiet`
    nothing is shown. A signal of ENDING, such as Ctrl-C or a notebook's stop button, ends the loop after the step in
    hand and a last checkpoint, and raises KeyboardInterrupt unless all steps are done; a second one of AT_ONCE acts at
    once.

    Raises ValueError, before anything is compiled, for what is no run, data or objective, for counts below 1 and for a
    run without an optimizer of its model's parameters; and FloatingPointError, before the update, if the loss or a
    gradient is not finite. Before a checkpoint the loss and the gradients are computed once more, with the updated
    weights, and checked: so the last checkpoint is a good one.
    """
    _require(run, data, objective)
    counts = integers([steps, batch_size, checkpoint_every], "steps, batch_size and checkpoint_every").tolist()
    if min(counts) < 1:
        raise ValueError("steps, batch_size and checkpoint_every must be at least 1")
    steps, batch_size, checkpoint_every = counts
    tell = (lambda *said, **how: None) if quiet else say

    def report_and_checkpoint():
        run.require_finite(run.model.loss_and_gradients(images, noise, objective, run.step))
        if bar.disable:  # not a terminal: a plain line instead
            tell(f"step {run.step}/{steps}: {line}")
        if checkpoint:
            checkpoint(run)

    with interruptible() as interrupted, np.errstate(all="ignore"):
        images, noise = compiled(run, data, objective, tell)
        line = "nothing left to do" if run.step >= steps else "stopped before a step"
        with progress(quiet, total=steps, initial=run.step, bar_format=BAR) as bar:
            if watch:
                watch(run)
            first, seconds, start = run.step, 0.0, time.perf_counter()  # of training, without checkpoints
            for images, noise, losses in () if interrupted else updates(run, data, objective, steps, batch_size):
                seconds += time.perf_counter() - start
                line = said(losses, objective, run.step - 1, (run.step - first) * batch_size / seconds)
                bar.set_postfix_str(line, refresh=False)
                bar.update()
                if watch:
                    watch(run)
                if run.step % checkpoint_every == 0 and run.step < steps and not interrupted:
                    report_and_checkpoint()
                if interrupted:
                    break
                start = time.perf_counter()
            report_and_checkpoint()
    if run.step < steps:
        raise KeyboardInterrupt(f"stopped at step {run.step} of {steps}: the same call goes on")


def _require(run, data, objective):
    """Raise ValueError, in one line that shows what would be right, for what cannot be trained with."""
    if not isinstance(run, Run):
        raise ValueError(f"train takes a run, not {type(run).__name__}: tb.Run(model, tb.Adam(model.parameters), seed)")
    learnt = run.optimizer.parameters if run.optimizer else {}
    if not all(learnt.get(name) is p for name, p in run.model.parameters.items()):
        raise ValueError("the run needs an optimizer of its model's parameters, and has "
                         f"{'another' if run.optimizer else 'none'}: tb.Run(model, tb.Adam(model.parameters), seed)")
    if not callable(getattr(data, "images", None)):
        raise ValueError(f"data must have images(index) and a length, as tb.DSprites() has, not be {data!r:.60}")
    if not callable(objective) or isinstance(objective, type):
        raise ValueError(f"objective must be a function (kl, step) -> (penalty, slope), as tb.beta_objective(4.0) is, "
                         f"not {objective!r:.60}")


def compiled(run, data, objective, tell=say):
    """Compile all kernels now, by a small step of a copy, not in the first step. Returns its images and noise."""
    tell("compiling... ", end="")
    announce(said=True)
    start = time.perf_counter()
    images, noise, _ = next(updates(copy.deepcopy(run), data, objective, run.step + 1, batch_size=2))
    memory.release()
    tell(f"{time.perf_counter() - start:.1f} s")
    return images, noise


def said(losses, objective, step, speed):
    """The losses of a step, and images per second, in a line."""
    C = capacity_at(objective, step)
    return (f"total {losses.total:.1f} rec {losses.reconstruction:.1f} KL {losses.kl:.2f} "
            f"{'' if np.isnan(C) else f'KL-C {losses.kl - C:+.2f} '}{speed:,.0f} images/s")
