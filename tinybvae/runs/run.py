"""A run: all that the next training step depends on, and what the past ones have left to show."""

from dataclasses import dataclass, field

import numpy as np

from tinybvae.kernels.arrays import Joined
from tinybvae.layers import switched_on
from tinybvae.metrics import UNUSED
from tinybvae.optimizers import OPTIMIZERS, Optimizer
from tinybvae.runs.description import as_json, layers_of, likelihood_text
from tinybvae.runs.renewal import renew
from tinybvae.vae import BetaVAE

HISTORY_EVERY = 10  # steps between two rows of the history
SMOOTH = 100        # steps over which the price is a running mean
RATE = "try a lower learning rate"
GENERATORS = "PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"  # NumPy's, of random bits


@dataclass(eq=False)
class Run:
    """All that the next training step depends on, and all that the past ones have left to show.

    Without an optimizer it is only a model to look at, and its file takes a third of the space that one with Adam's
    moments takes. Raises ValueError for what a checkpoint could not bring back: an optimizer that is not ours, a
    generator that is not NumPy's, or settings that JSON cannot hold.
    """

    model: BetaVAE
    optimizer: Optimizer | None = None
    rng: np.random.Generator | int = 0            # of images and noise: a seed, or a generator with one of GENERATORS
    step: int = 0                                 # updates done
    history: list = field(default_factory=list)   # rows of `history_columns`
    scores: list = field(default_factory=list)    # of `metrics.evaluate`, each with its "step"
    settings: dict = field(default_factory=dict)  # the configuration, as JSON can hold it
    price: float = np.nan                         # of a nat: a running mean of the objective's slope

    def __post_init__(self):
        if not isinstance(self.model, BetaVAE):
            raise ValueError(f"a run needs a model, tb.BetaVAE(…), not {type(self.model).__name__}")
        if isinstance(self.rng, (int, np.integer)) and self.rng >= 0:
            self.rng = np.random.default_rng(self.rng)
        generator = getattr(self.rng, "bit_generator", self.rng)
        if not isinstance(self.rng, np.random.Generator) or type(generator).__name__ not in GENERATORS:
            raise ValueError("rng must be a seed, or a Generator of NumPy's, as np.random.default_rng(seed) is, "
                             f"not of {type(generator).__name__}: no checkpoint could bring it back")
        if self.optimizer is not None and type(self.optimizer) not in OPTIMIZERS.values():
            raise ValueError(f"the optimizer must be {' or '.join(OPTIMIZERS)}, as tb.Adam(model.parameters) is, not "
                             f"{type(self.optimizer).__name__}: no checkpoint could bring it back")
        if not isinstance(self.settings, dict):
            raise ValueError(f"settings must be a dict, not {type(self.settings).__name__}")
        as_json(self.settings)
        layers_of(self.model)
        likelihood_text(self.model.likelihood)

    def __repr__(self):
        return f"Run at step {self.step:,}, of {self.optimizer!r} and {self.model!r}"

    @property
    def history_columns(self):
        """used: latents with a KL of at least `metrics.UNUSED`; off: units that no image of the batch switched on;
        price: the objective's slope, a running mean over SMOOTH steps (and a mean over latents, if each has its own).
        Where the loss is least, the slope is how many nats of reconstruction a nat of KL is worth. new_encoder: 1 once
        `renew` was called.
        """
        return ["step", "total", "reconstruction", "kl", "capacity", *(f"kl_z{d}" for d in range(self.model.latents)),
                "used", *(f"off_{layer}" for layer in self.model.relus),
                "price", "new_encoder"]

    def renew(self, images):
        """Call `renew` with this step's images, if this is step settings["new_encoder"], where 0 stands for none."""
        if 0 < self.step == self.settings.get("new_encoder"):
            renew(self.model, self.optimizer, images, self.rng)

    def record(self, losses, objective):
        """Record, before an update, the price and, every HISTORY_EVERY steps, a row of the history."""
        slope = float(losses.slope.mean())
        self.price = slope if np.isnan(self.price) else self.price + (slope - self.price) / SMOOTH
        if self.step % HISTORY_EVERY == 0:
            self.history.append([
                self.step, *losses[:3], capacity_at(objective, self.step), *losses.kl_per_latent.tolist(),
                float((losses.kl_per_latent >= UNUSED).sum()),
                *(float((~switched_on(relu.y)).sum()) for relu in self.model.relus.values()),
                self.price, float(0 < (self.settings.get("new_encoder") or 0) <= self.step)])

    def require_finite(self, losses):
        """Raise FloatingPointError for the first of the losses, and of the model's gradients, that is not finite."""
        penalty, gradients = losses.total - losses.reconstruction, self.model.gradients
        suspects = {} if isinstance(gradients, Joined) and np.isfinite(_squared(gradients.flat)) else gradients
        for term, value, cause in [
                ("KL", losses.kl, RATE), ("reconstruction loss", losses.reconstruction, RATE),
                ("objective's penalty", penalty, "look at the objective"),
                *((f"gradient of {name}", _squared(gradient), f"{RATE}, or look at the objective's slope")
                  for name, gradient in reversed(suspects.items()))]:
            if not np.isfinite(value):
                raise FloatingPointError(f"the {term} is {value} at step {self.step}, whose update is not made: "
                                         f"{cause}")


def _squared(gradient):
    """The largest square of an entry, which an optimizer's moments must hold; NaN or inf if they could not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.square(np.maximum(gradient.max(initial=0), -gradient.min(initial=0)))


def capacity_at(objective, step):
    """An objective's C, in nats; NaN if it has none."""
    capacity = getattr(objective, "capacity", None)
    return float(capacity(step)) if callable(capacity) else np.nan


def require_run(run, taker):
    """Raise ValueError, in the name of the function that takes it, for what is no run."""
    if not isinstance(run, Run):
        raise ValueError(f"{taker} takes a run, such as tb.Run(model), not {type(run).__name__}")
