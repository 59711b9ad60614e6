"""A run on disk: HDF5, written whole or not at all, and checked against its own digest before it is opened."""

import io
import json
import os
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np

from tinybvae.data.files import USER_BLOCK, intact, user_block, write_atomically
from tinybvae.kernels.arrays import Joined
from tinybvae.layers import Layer, ReLU, Sequential, switched_on
from tinybvae.metrics import UNUSED
from tinybvae.optimizers import OPTIMIZERS, Optimizer
from tinybvae.runs.renewal import renew
from tinybvae.runs.settings import as_json, likelihood_of, likelihood_text
from tinybvae.vae import ARCHITECTURES, BetaVAE

FORMAT = "tinybvae checkpoint 1"
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
        _layers(self.model)
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


def save(run, path, keep=None):
    """Write the run to a checkpoint file as `write_atomically` does. The same run gives the same bytes.

    The file's folder is made if it is not there. Raises ValueError as `Run` does.
    """
    require_run(run, "save")
    run.__post_init__()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=USER_BLOCK) as file:
        model, optimizer = run.model, run.optimizer
        file.attrs["model"] = as_json({
            "architecture": _name(model.architecture), "latents": model.latents, "dtype": model.dtype.name,
            "image_shape": model.image_shape, "negative_slope": model.negative_slope,
            "likelihood": likelihood_text(model.likelihood)})
        file.attrs["layers"] = as_json(_layers(model))
        for name, array in model.parameters.items():
            file[f"parameters/{name}"] = array
        if optimizer:
            file.attrs["optimizer"] = as_json(
                {"name": type(optimizer).__name__, "settings": optimizer.settings, "t": optimizer.t})
            for moment, arrays in optimizer.moments.items():
                for name, array in arrays.items():
                    file[f"moments/{moment}/{name}"] = array
        file.attrs["run"] = as_json({"step": run.step, "rng": run.rng.bit_generator.state, "scores": run.scores,
                                     "settings": run.settings, "price": run.price})
        file["history"] = np.array(run.history, np.float64).reshape(-1, len(run.history_columns))
        file["history"].attrs["columns"] = as_json(run.history_columns)
    data = buffer.getbuffer()
    data[:USER_BLOCK] = user_block(FORMAT, data[USER_BLOCK:])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data, keep)


def before(path):
    """Where a training run keeps the checkpoint before the one in `path`."""
    return Path(path).with_stem(f"{Path(path).stem}.before")


def newest_of(path):
    """`path`, or `before(path)` if that one is missing or damaged; None if both are missing.

    Raises ValueError if at least one is there, but none is whole.
    """
    complaints = []
    for file in path, before(path):
        if file.exists():
            try:
                _open(file).close()
                return file
            except ValueError as error:
                complaints.append(str(error))
    if complaints:
        raise ValueError("; ".join(complaints))


def reinstate(path):
    """Put `before(path)` in the place of a damaged checkpoint, which is kept under another name."""
    if path.exists():
        os.replace(path, path.with_stem(f"{path.stem}.damaged"))
    os.replace(before(path), path)


def load(path, architecture=None, likelihood=None):
    """The run in a checkpoint file. If the model's architecture or likelihood is not one of ours, it must be given.

    `architecture` is a function, or the name of one of ours. Raises ValueError if the file is missing, damaged or not a
    checkpoint, or if what is given makes other layers, or is another likelihood, than the file's.
    """
    with _open(path) as file:
        model = _read_model(file, path, architecture, likelihood)
        state, optimizer = json.loads(file.attrs["run"]), None
        translated = dict if "negative_slope" in json.loads(file.attrs["model"]) else _of_version_0_1
        if "optimizer" in file.attrs:
            description = json.loads(file.attrs["optimizer"])
            optimizer = OPTIMIZERS[description["name"]](model.parameters, **translated(description["settings"]))
            optimizer.t = description["t"]
            for moment, arrays in optimizer.moments.items():
                for name, array in arrays.items():
                    file[f"moments/{moment}/{name}"].read_direct(array)
        rng = np.random.Generator(getattr(np.random, state["rng"]["bit_generator"])())
        rng.bit_generator.state = state["rng"]
        run = Run(model, optimizer, rng, state["step"], [], state.get("scores", []), translated(state["settings"]),
                  state.get("price", np.nan))
        rows = file["history"][()]
        missing = len(run.history_columns) - rows.shape[1]  # 0.1 did not count units, 0.2 had no price
        run.history = np.pad(rows, ((0, 0), (0, missing)), constant_values=np.nan).tolist()
        return run


def _of_version_0_1(settings, parts=32):
    """Version 0.1's settings in the form of today.

    eps was called epsilon. Between two points of a schedule the logarithm of its value was a straight line: here
    `parts` straight pieces of the value replace it. C rose from 0 as (step / anneal_steps)^anneal_power.
    """
    settings = {"eps" if name == "epsilon" else name: value for name, value in settings.items()}
    rising = np.linspace(0, 1, parts + 1)
    for name, points in settings.items():
        if isinstance(points, list):
            settings[name] = points[:1] + [[a + (b - a) * t, u * (v / u) ** t] for (a, u), (b, v) in
                                           zip(points, points[1:]) for t in rising[1:].tolist()]
    if "anneal_steps" in settings:
        C = settings["capacity"] * rising ** settings.pop("anneal_power")
        settings["capacity"] = np.stack([settings.pop("anneal_steps") * rising, C], axis=1).tolist()
    return settings


def load_model(path, architecture=None, likelihood=None):
    """The model in a checkpoint file. Arguments and errors are those of `load`."""
    with _open(path) as file:
        return _read_model(file, path, architecture, likelihood)


def _open(path):
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"{path}: no such checkpoint file") from error
    if not data.startswith(FORMAT.encode()):
        raise ValueError(f"{path}: not a {FORMAT}, or damaged from the start")
    content = intact(FORMAT, data)
    if content is None:
        raise ValueError(f"{path}: damaged, or somebody is writing into it: its digest is not that of its content")
    return h5py.File(io.BytesIO(content), "r")


def _read_model(file, path, architecture, likelihood):
    """The model. Two architectures may have one name: what counts is that the layers are the same."""
    description = json.loads(file.attrs["model"])
    name, said = description.pop("architecture"), description.pop("likelihood", "bernoulli")  # once all were bernoulli
    if likelihood is None and said.startswith("own "):
        raise ValueError(f"{path}: its likelihood is {said}: load it with tb.load({os.fspath(path)!r}, "
                         "likelihood=OBJECT), that object")
    likelihood = likelihood_of(likelihood or said) if likelihood is None or isinstance(likelihood, str) else likelihood
    if isinstance(likelihood, type) or likelihood_text(likelihood) != said:
        raise ValueError(f"{path}: its likelihood is {said}, not "
                         f"{'a class' if isinstance(likelihood, type) else likelihood_text(likelihood)}")
    if isinstance(architecture, str) and architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, or a function like these, not "
                         f"{architecture!r}")
    architecture = ARCHITECTURES[architecture] if isinstance(architecture, str) else architecture
    layers = json.loads(file.attrs["layers"]) if "layers" in file.attrs else None  # once files did not have them
    shapes = {parameter: array.shape for parameter, array in file["parameters"].items()}
    for one in [architecture] if architecture else sorted(ARCHITECTURES.values(), key=lambda one: _name(one) != name):
        try:
            model = BetaVAE(**description, architecture=one, likelihood=likelihood)
        except TypeError as error:
            raise ValueError(f"architecture must be a function like burgess2018: {error}") from error
        except ValueError:
            if architecture:
                raise
            continue  # it cannot make such images
        for side in layers or {}:
            _set_slopes(getattr(model, side), layers[side])
        same = layers == _layers(model) if layers else architecture or name == _name(one)
        if same and shapes == {parameter: p.shape for parameter, p in model.parameters.items()}:
            for parameter, array in model.parameters.items():
                file[f"parameters/{parameter}"].read_direct(array)
            return model
    tried = _name(architecture) if architecture else " and ".join(ARCHITECTURES)
    where = f" ({_difference(layers, _layers(model))})" if architecture and layers else ""
    raise ValueError(f"{path}: it was made with {name!r}, whose layers are not those of {tried}{where}: load it with "
                     f"tb.load({os.fspath(path)!r}, architecture=FUNCTION), the function that made it")


def _difference(layers, others):
    """The first layer in which they differ, and how: text."""
    for side in layers:
        for one, other in zip_longest(layers[side], others[side]):
            if one != other:
                return f"in {side}: {as_json(one)} against {as_json(other)}".replace("another ", "own ")
    return "in their arrays"


def _name(architecture):
    return getattr(architecture, "__name__", type(architecture).__name__)


def _layers(model):
    """Both networks' layers, as JSON gives them back."""
    return json.loads(as_json({"encoder": _settings(model.encoder), "decoder": _settings(model.decoder)}))


def _settings(network):
    """[name, kind, settings, {parameter: shape}] of each layer: what makes it what it is, but for the weights."""
    return [[name, kind(layer), _settings(layer) if isinstance(layer, Sequential) else getattr(layer, "settings", {}),
             {p: [*array.shape] for p, array in layer.parameters.items()}] for name, layer in network.layers.items()]


def kind(layer):
    """The name of a layer's class, with "another" before it if the class is not ours: that may have the same name."""
    name = type(layer).__name__
    return name if type(layer).__module__ == Layer.__module__ else f"another {name}"


def _set_slopes(network, described):
    """Set the slopes of ReLUs, also in a chain within the chain: they may have changed since the model was made."""
    for (_, said, settings, _), layer in zip(described, network.layers.values()):
        if said == kind(layer) == "Sequential":
            _set_slopes(layer, settings)
        elif said == kind(layer) and isinstance(layer, ReLU):
            layer.negative_slope = settings["negative_slope"]
