"""The training loop: visible while it runs, stopped and resumed at any step without changing a bit of the result."""

import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
from tqdm import tqdm

HISTORY_EVERY = 10  # steps between two rows of the history
BAR = "|{bar}| {n_fmt}/{total_fmt} {remaining}{postfix}"  # with the losses, 80 columns


def train(run, sprites, objective, steps, batch_size=64, checkpoint_every=1000, checkpoint=None):
    """Train until `steps` updates are done, calling checkpoint(run) every `checkpoint_every` steps and at the end.

    `objective` is one of `losses`, with its `capacity`. The first interrupt (Ctrl-C, or SIGTERM as clusters send) ends
    the loop after the step in hand and a last checkpoint; a second one acts at once. Returns whether all steps are
    done. All randomness is drawn from run.rng, first a batch's images, then its noise.

    Raises ValueError for counts below 1, and FloatingPointError if the loss is not finite: before a checkpoint that of
    the updated model too, so that the last checkpoint is the last good one.
    """
    if min(steps, batch_size, checkpoint_every) < 1:
        raise ValueError("steps, batch_size and checkpoint_every must be at least 1")
    model, optimizer, rng = run.model, run.optimizer, run.rng
    busy, first = 0.0, run.step  # seconds of training, without compilation and checkpoints
    line = "nothing left to do"

    def keep():
        _finite_losses(model, images, noise, objective, run.step)
        if bar.disable:  # not a terminal: a plain line instead
            print(f"step {run.step}/{steps}: {line}", flush=True)
        if checkpoint:
            checkpoint(run)

    with _interrupted() as interrupted, np.errstate(over="ignore", invalid="ignore"):
        print("compiling... ", end="", flush=True)  # now, by one small batch, and not within the first step
        start = time.perf_counter()
        images, noise = sprites.images([0, 0]), np.zeros((2, model.latents))
        _finite_losses(model, images, noise, objective, run.step)
        nothing = {"nothing": np.zeros(1, model.dtype)}
        type(optimizer)(nothing).update(nothing)
        print(f"{time.perf_counter() - start:.1f} s", flush=True)

        with tqdm(total=steps, initial=run.step, disable=None, bar_format=BAR) as bar:
            while run.step < steps and not interrupted:
                start = time.perf_counter()
                images = sprites.images(rng.integers(len(sprites), size=batch_size))
                noise = rng.standard_normal((batch_size, model.latents))
                losses = _finite_losses(model, images, noise, objective, run.step)
                optimizer.update(model.gradients)
                capacity = objective.capacity(run.step)
                if run.step % HISTORY_EVERY == 0:
                    run.history.append([run.step, *losses[:3], capacity, *losses.kl_per_latent.tolist()])
                run.step += 1
                busy += time.perf_counter() - start

                line = (f"total {losses.total:.1f} rec {losses.reconstruction:.1f} KL {losses.kl:.2f} "
                        f"KL-C {losses.kl - capacity:+.2f} {(run.step - first) * batch_size / busy:,.0f} images/s")
                bar.set_postfix_str(line, refresh=False)
                bar.update()
                if run.step % checkpoint_every == 0 and run.step < steps and not interrupted:
                    keep()
            keep()
    return run.step >= steps


def _finite_losses(model, images, noise, objective, step):
    losses = model.loss_and_gradients(images, noise, objective, step)
    if not np.isfinite(losses.total):
        raise FloatingPointError(f"the loss is {losses.total} at step {step}: try a lower learning rate")
    return losses


@contextmanager
def _interrupted():
    """A list that the first interrupt makes true by putting its number in; then signals act as before."""
    received = []
    if threading.current_thread() is not threading.main_thread():  # Python takes signals in the main thread only
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number, frame):
        received.append(number)
        restore()

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()
