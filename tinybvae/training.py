"""The training loop: visible while it runs, stopped and resumed at any step without changing a bit of the result."""

import copy
import os
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np

from tinybvae.commandline import progress, say
from tinybvae.images import integers
from tinybvae.kernels import memory
from tinybvae.kernels.threads import alone
from tinybvae.layers import switched_on
from tinybvae.metrics import UNUSED

HISTORY_EVERY = 10  # steps between two rows of the history
RATE = "try a lower learning rate"
AT_ONCE = signal.SIGINT, signal.SIGTERM  # Ctrl-C, and what clusters send: the second one
ENDING = *AT_ONCE, *(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
                     if hasattr(signal, name))  # a closed terminal, and schedulers' warnings
BAR = "|{bar}| {n_fmt}/{total_fmt} {remaining}{postfix}"  # with the losses, 80 columns


def train(run, sprites, objective, steps, batch_size=64, checkpoint_every=1000, checkpoint=None):
    """Train until `steps` updates are done, calling checkpoint(run) every `checkpoint_every` steps and at the end.

    `objective` is one of `losses`, or any function (kl, step) -> (penalty, slope); `sprites` as `images` says. A signal
    of ENDING ends the loop after the step in hand and a last checkpoint; a second one of AT_ONCE acts at once. Returns
    whether all steps are done. All randomness is drawn from run.rng, first a batch's images, then its noise.

    Raises ValueError for counts below 1 and for a run without an optimizer of its model's, and FloatingPointError,
    before the update, if the loss or a gradient is not finite. Before a checkpoint they are computed once more, with
    the updated weights: so the last checkpoint is the last good one.
    """
    counts = integers([steps, batch_size, checkpoint_every], "steps, batch_size and checkpoint_every").tolist()
    if min(counts) < 1:
        raise ValueError("steps, batch_size and checkpoint_every must be at least 1")
    steps, batch_size, checkpoint_every = counts
    model, rng = run.model, run.rng
    learnt = run.optimizer.parameters if run.optimizer else {}
    if not all(learnt.get(name) is p for name, p in model.parameters.items()):
        raise ValueError("the run needs an optimizer of its model's parameters: it has none, or another's")
    seconds, first = 0.0, run.step  # of training, without compilation and checkpoints; the step it began at
    line = "nothing left to do" if run.step >= steps else "stopped before a step"

    def report_and_checkpoint():
        _finite_losses(model, images, noise, objective, run.step)
        if bar.disable:  # not a terminal: a plain line instead
            say(f"step {run.step}/{steps}: {line}")
        if checkpoint:
            checkpoint(run)

    with _interruptible() as interrupted, np.errstate(all="ignore"):
        say("compiling... ", end="")  # now, by a small step of a copy, and not within the first step
        start = time.perf_counter()
        images, noise = sprites.images(np.zeros(2, np.int64)), np.zeros((2, model.latents))
        _step(copy.deepcopy(run), images, noise, objective)
        memory.release()
        say(f"{time.perf_counter() - start:.1f} s")

        with progress(total=steps, initial=run.step, bar_format=BAR) as bar:
            while run.step < steps and not interrupted:
                start = time.perf_counter()
                images = sprites.images(rng.integers(len(sprites), size=batch_size))
                noise = rng.standard_normal((batch_size, model.latents))
                losses, C = _step(run, images, noise, objective)
                seconds += time.perf_counter() - start

                line = (f"total {losses.total:.1f} rec {losses.reconstruction:.1f} KL {losses.kl:.2f} "
                        f"{'' if np.isnan(C) else f'KL-C {losses.kl - C:+.2f} '}"
                        f"{(run.step - first) * batch_size / seconds:,.0f} images/s")
                bar.set_postfix_str(line, refresh=False)
                bar.update()
                if run.step % checkpoint_every == 0 and run.step < steps and not interrupted:
                    report_and_checkpoint()
            report_and_checkpoint()
    return run.step >= steps


@alone  # so that who looks at the model meanwhile sees it before or after
def _step(run, images, noise, objective):
    """One update; every now and then a row of the history. Returns the losses before it, and the capacity."""
    losses = _finite_losses(run.model, images, noise, objective, run.step)
    C = float(getattr(objective, "capacity", lambda step: np.nan)(run.step))  # not every objective has one
    if run.step % HISTORY_EVERY == 0:
        run.history.append([run.step, *losses[:3], C, *losses.kl_per_latent.tolist(),
                            float((losses.kl_per_latent >= UNUSED).sum()),
                            *(float((~switched_on(relu.y)).sum()) for relu in run.model.relus.values())])
    run.optimizer.update(run.model.gradients)
    run.step += 1
    return losses, C


def _finite_losses(model, images, noise, objective, step):
    """The losses; their gradients are in the model. Raises FloatingPointError for the first that is not finite."""
    losses = model.loss_and_gradients(images, noise, objective, step)
    penalty = losses.total - losses.reconstruction
    for term, value, cause in [
            ("KL", losses.kl, RATE), ("reconstruction loss", losses.reconstruction, RATE),
            ("objective's penalty", penalty, "look at the objective"),
            *((f"gradient of {name}", np.vdot(gradient, gradient), f"{RATE}, or look at the objective's slope")
              for name, gradient in reversed(model.gradients.items()))]:  # squared, as in the optimizers' moments
        if not np.isfinite(value):
            raise FloatingPointError(f"the {term} is {value} at step {step}, whose update is not made: {cause}")
    return losses


@contextmanager
def _interruptible():
    """A list, empty until a signal of ENDING comes; from then on those of AT_ONCE act as before.

    (Not a threading.Event: a second signal may come within its `set`, which would then wait for itself.) A signal that
    is ignored, as under nohup, or that somebody else has a use for, stays as it is.
    """
    interrupted, process = [], os.getpid()
    if threading.current_thread() is not threading.main_thread():  # Python takes signals in the main thread only
        yield interrupted
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    before = {number: handler for number, handler in before.items()
              if handler == signal.SIG_DFL or number in AT_ONCE and callable(handler)}

    def restore(numbers):
        for number in numbers:
            signal.signal(number, before[number])

    def receive(number, frame):
        interrupted.append(number)
        if os.getpid() != process:  # a worker that was forked meanwhile: it has no loop to end
            restore(before)
            signal.raise_signal(number)
        restore(before.keys() & AT_ONCE)

    for number in before:
        signal.signal(number, receive)
    try:
        yield interrupted
    finally:
        restore(before)
