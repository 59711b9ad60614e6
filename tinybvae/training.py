"""The training loop. What a long run needs around it, to be seen, stopped and resumed, is in `runs`."""

from tinybvae.kernels.threads import ONE_AT_A_TIME


def updates(run, data, objective, steps, batch_size=64):
    """Train until `steps` updates are done. Yields, after each, its images, its noise, and the losses just before it.

    `run` is a `runs.Run`: a model, its optimizer, a random generator `rng`, the number `step` of updates done, and what
    it checks and keeps of each. `data` is what `tinybvae.data` describes, `objective` one of `losses` or your own. All
    randomness is drawn from run.rng, first a batch's images, then its noise: so a run that was stopped can go on.
    """
    model = run.model
    while run.step < steps:
        images = data.images(run.rng.integers(len(data), size=batch_size))     # (N, height, width, channels)
        noise = run.rng.standard_normal((batch_size, model.latents))           # ε (N, D)
        with ONE_AT_A_TIME:  # whoever looks at the model meanwhile sees it before the update, or after
            run.renew(images)  # most units of both networks, before one step of some runs
            losses = model.loss_and_gradients(images, noise, objective, run.step)
            run.require_finite(losses)  # these, and the gradients: else there is no update
            run.record(losses, objective)  # a row of the history, every ten steps
            run.optimizer.update(model.gradients)
            run.step += 1
        yield images, noise, losses
