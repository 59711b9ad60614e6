"""A run on disk: HDF5, written whole or not at all, and checked against its own digest before it is opened."""

import io
import json
import os
from pathlib import Path

import h5py
import numpy as np

from tinybvae.data.files import USER_BLOCK, intact, user_block, write_atomically
from tinybvae.layers import ReLU
from tinybvae.optimizers import OPTIMIZERS
from tinybvae.runs.description import as_json, difference, kind, layers_of, likelihood_of, likelihood_text, name_of
from tinybvae.runs.run import Run, require_run
from tinybvae.vae import ARCHITECTURES, BetaVAE

FORMAT = "tinybvae checkpoint 1"


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
            "architecture": name_of(model.architecture), "latents": model.latents, "dtype": model.dtype.name,
            "image_shape": model.image_shape, "negative_slope": model.negative_slope,
            "likelihood": likelihood_text(model.likelihood)})
        file.attrs["layers"] = as_json(layers_of(model))
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
    for one in [architecture] if architecture else sorted(ARCHITECTURES.values(), key=lambda one: name_of(one) != name):
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
        same = layers == layers_of(model) if layers else architecture or name == name_of(one)
        if same and shapes == {parameter: p.shape for parameter, p in model.parameters.items()}:
            for parameter, array in model.parameters.items():
                file[f"parameters/{parameter}"].read_direct(array)
            return model
    tried = name_of(architecture) if architecture else " and ".join(ARCHITECTURES)
    where = f" ({difference(layers, layers_of(model))})" if architecture and layers else ""
    raise ValueError(f"{path}: it was made with {name!r}, whose layers are not those of {tried}{where}: load it with "
                     f"tb.load({os.fspath(path)!r}, architecture=FUNCTION), the function that made it")


def _set_slopes(network, described):
    """Set the slopes of ReLUs, also in a chain within the chain: they may have changed since the model was made."""
    for (_, said, settings, _), layer in zip(described, network.layers.values()):
        if said == kind(layer) == "Sequential":
            _set_slopes(layer, settings)
        elif said == kind(layer) and isinstance(layer, ReLU):
            layer.negative_slope = settings["negative_slope"]
