"""The training loop. What a long run needs around it, to be seen, stopped and resumed, is in `runs`."""

from tinybvae.kernels.threads import ONE_AT_A_TIME


def updates(run, data, objective, steps, batch_size=64):
    """Train until `steps` updates are done. After each, yield its images, its noise, and the losses just before it.

    `run` is a `runs.Run`: a model, its optimizer, a random generator `rng`, the number `step` of updates done, and
    methods that check and record each update. `data` is what `tinybvae.data` describes, `objective` one of `losses` or
    your own. All randomness is drawn from run.rng, first a batch's images, then its noise: so a run that was stopped
    can go on as if it had not been.
    """
    model = run.model
    while run.step < steps:
        images = data.images(run.rng.integers(len(data), size=batch_size))     # (N, height, width, channels)
        noise = run.rng.standard_normal((batch_size, model.latents))           # ε (N, D)
        with ONE_AT_A_TIME:  # another thread that looks at the model sees it before the update or after it
            run.renew(images)  # before one step, if a run's settings say so: new units, see runs/renewal.py
            losses = model.loss_and_gradients(images, noise, objective, run.step)
            run.require_finite(losses)  # and the gradients: if they are not finite, it raises, and there is no update
            run.record(losses, objective)  # adds a row to the history, every ten steps
            run.optimizer.update(model.gradients)
            run.step += 1
        yield images, noise, losses
