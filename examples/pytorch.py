"""To PyTorch and back: python examples/pytorch.py checkpoint.h5 model.pt, or model.pt checkpoint.h5.

To PyTorch, it writes the weights, and beside them a module, model.py, which loads them and needs nothing of ours. The
other way, it reads such weights, or a checkpoint of two well known collections of Burgess et al.'s network:
YannDubs/disentangling-vae and 1Konny/Beta-VAE. Needs PyTorch: pip install ".[torch]".
"""

import importlib.util
import io
import keyword
import warnings
from pathlib import Path

import numpy as np

import tinybvae as tb
from tinybvae.data.files import write_atomically
from tinybvae.runs.checkpoint import FORMAT
from tinybvae.runs.commandline import Parser, path, say
from tinybvae.runs.description import likelihood_of, likelihood_text

try:
    import torch
except ImportError:
    torch = None

# Their names for the layers of burgess2018 that have weights, in our order.
YANNDUBS = ("encoder.conv1 encoder.conv2 encoder.conv3 encoder.conv_64 encoder.lin1 encoder.lin2 encoder.mu_logvar_gen "
            "decoder.lin1 decoder.lin2 decoder.lin3 decoder.convT_64 decoder.convT1 decoder.convT2 decoder.convT3")
KONNY = ("encoder.0 encoder.2 encoder.4 encoder.6 encoder.9 encoder.11 encoder.13 "
         "decoder.0 decoder.2 decoder.4 decoder.7 decoder.9 decoder.11 decoder.13")

MODULE = '''"""A β-VAE, trained by tinybvae: load() needs PyTorch, and {weights} beside this file.

Images are (N, {channels}, {height}, {width}), from 0 to 1. `decode` returns {output}.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn


class BetaVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(OrderedDict(
{encoder}))
        self.decoder = nn.Sequential(OrderedDict(
{decoder}))

    def encode(self, images):
        """Mean and log-variance of q(z|x), (N, {latents}) each."""
        return self.encoder(images).chunk(2, dim=1)

    def decode(self, z):
        return self.decoder(z)

    def forward(self, images):
        mean, logvar = self.encode(images)
        return self.decode(mean + (logvar / 2).exp() * torch.randn_like(mean)), mean, logvar


def load(path=Path(__file__).with_name("{weights}")):
    model = BetaVAE()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["weights"])
    return model.eval()
'''


def main():
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=path, help="what to read: a checkpoint of ours, or a file of PyTorch's")
    parser.add_argument("target", type=path, help="what to write: a .pt, or a checkpoint of ours, an .h5")
    options = parser.parse_args()
    source, target = Path(options.source), Path(options.target)
    try:
        if not torch:
            raise ValueError('this needs PyTorch: pip install ".[torch]"')
        if target.suffix not in (".pt", ".h5"):
            raise ValueError(f"{target}: give a name that ends in .pt, for PyTorch, or in .h5, for tinybvae")
        leaving = target.suffix == ".pt"
        if leaving and not importable(target.stem):
            raise ValueError(f"{target}: the module beside it could not be imported as {target.stem}, or hides "
                             "another: give a name such as model.pt")
        files = [target, target.with_suffix(".py")] if leaving else [target]
        for file in files:
            if file.exists():
                raise ValueError(f"{file} is there already: give another name")
        if leaving:
            to_pytorch(tb.load_model(source), *files)
        else:
            tb.save(tb.Run(from_pytorch(source)), target)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    say(f"see {' and '.join(map(str, files))}")


def importable(name):
    """Whether a new module of this name can be imported, and hides none that is there."""
    return name.isidentifier() and not keyword.iskeyword(name) and importlib.util.find_spec(name) is None


# Where the two layouts differ: PyTorch's images have their channels first.

def places(model):
    """{name: where each entry of PyTorch's parameter stands in ours, once that is flattened}, for all parameters.

    PyTorch's weights are (out, in) in a linear layer, and (O, C, 4, 4) in a convolution and in its transpose. Where
    images are flattened, its units come channel by channel, and ours pixel by pixel.
    """
    found = {}
    for side, network in ("encoder", model.encoder), ("decoder", model.decoder):
        layers, inputs = [*network.layers.items()], None
        shape = model.image_shape if side == "encoder" else (model.latents,)
        for i, (name, layer) in enumerate(layers):
            ours = {key: np.arange(p.size).reshape(p.shape) for key, p in layer.parameters.items()}
            match layer:
                case tb.Reshape() if len(shape) == 3:
                    inputs, shape = channels_first(shape), layer.shape
                case tb.Reshape():
                    shape = layer.shape
                case tb.Linear():
                    weight, bias = ours["weight"], ours["bias"]
                    rest = (next_one for _, next_one in layers[i + 1:] if not isinstance(next_one, (tb.ReLU, tb.Tanh)))
                    after = next(rest, None)
                    if inputs is not None:
                        weight, inputs = weight[inputs], None
                    if isinstance(after, tb.Reshape) and len(after.shape) == 3:
                        order = channels_first(after.shape)
                        weight, bias = weight[:, order], bias[order]
                    ours, shape = {"weight": weight.T, "bias": bias}, bias.shape
                case tb.Conv2d() | tb.ConvTranspose2d():
                    ours["weight"] = ours["weight"].transpose(3, 2, 0, 1)
                    height, width, _ = shape
                    shape = ((height // 2, width // 2) if isinstance(layer, tb.Conv2d) else (2 * height, 2 * width))
                    shape = (*shape, ours["bias"].size)
            found.update({f"{side}.{name}.{key}": at for key, at in ours.items()})
    return found


def channels_first(shape):
    """Where in a flattened image (height, width, channels) the pixels of one with its channels first stand."""
    return np.arange(np.prod(shape)).reshape(shape).transpose(2, 0, 1).reshape(-1)


# To PyTorch.

def to_pytorch(model, weights, module):
    """Write a model's weights, and the module that loads them, into these two files."""
    height, width, channels = model.image_shape
    state = {name: torch.from_numpy(model.parameters[name].flat[at]) for name, at in places(model).items()}
    logits = isinstance(model.likelihood, type(tb.bernoulli))
    text = MODULE.format(
        weights=weights.name, channels=channels, height=height, width=width, latents=model.latents,
        output="logits: their sigmoid is the mean image" if logits else "the mean image",
        encoder=table(model.encoder), decoder=table(model.decoder))
    described = {"architecture": model.architecture.__name__, "latents": model.latents,
                 "image_shape": [*model.image_shape], "negative_slope": model.negative_slope,
                 "dtype": model.dtype.name, "likelihood": likelihood_text(model.likelihood)}
    buffer = io.BytesIO()
    torch.save({"model": described, "weights": state}, buffer)
    weights.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(weights, buffer.getvalue())
    write_atomically(module, text.encode())


def table(network):
    """The lines of an nn.Sequential that computes what this network does."""
    lines = []
    for name, layer in network.layers.items():
        shape = layer.parameters["weight"].shape if layer.parameters else ()
        match layer:
            case tb.Linear():
                made = f"Linear({shape[0]}, {shape[1]})"
            case tb.Conv2d():
                made = f"Conv2d({shape[2]}, {shape[3]}, 4, 2, 1)"
            case tb.ConvTranspose2d():
                made = f"ConvTranspose2d({shape[3]}, {shape[2]}, 4, 2, 1)"
            case tb.ReLU():
                made = f"LeakyReLU({layer.negative_slope})" if layer.negative_slope else "ReLU()"
            case tb.Tanh():
                made = "Tanh()"
            case tb.Reshape(shape=(_,)):
                made = "Flatten()"
            case tb.Reshape(shape=(height, width, channels)):
                made = f"Unflatten(1, ({channels}, {height}, {width}))"
            case _:
                raise ValueError(f"{name} is a {type(layer).__name__}: write it in PyTorch yourself")
        lines.append(f"            {name}=nn.{made}")
    return ",\n".join(lines)


# From PyTorch.

def from_pytorch(source):
    """The model in a file of PyTorch's. Raises ValueError if it is none of those that are known."""
    content = read(source)
    described, weights = (content["model"], content["weights"]) if {*content} == {"model", "weights"} else (
        published(content, source))
    try:
        model = tb.BetaVAE(**{**described, "likelihood": likelihood_of(described["likelihood"])})
        shapes = {name: tuple(array.shape) for name, array in weights.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{source}: examples/pytorch.py did not write it, or another version of it") from error
    for name, at in places(model).items():
        if shapes.get(name) != at.shape:
            raise ValueError(f"{source}: {name} must have shape {at.shape}, not {shapes.get(name)}")
        model.parameters[name].flat[at] = weights[name].double().numpy()
    return model


def read(source):
    """What a file of PyTorch's holds, without running any code that it may contain."""
    if source.is_file() and source.read_bytes().startswith(FORMAT.encode()):
        raise ValueError(f"{source} is a checkpoint of tinybvae's already: for PyTorch, give a name that ends in .pt")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files from before version 1.6
            content = torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{source}: no such file") from error
    except Exception as error:  # an unpickler raises anything for files that are none of its own
        raise ValueError(f"{source}: PyTorch finds no weights in it, or more than weights") from error
    if not isinstance(content, dict):
        raise ValueError(f"{source}: it holds a {type(content).__name__}, not weights by name")
    return content


def published(content, source):
    """The description of a model, and its weights by our names, from a checkpoint of one of the two collections."""
    for name in "model_states", "net":  # 1Konny's; the others' is a plain state dict
        content = content.get(name, content)
    ours = tb.BetaVAE(1).parameters
    for layers in YANNDUBS, KONNY:
        theirs = [f"{layer}.{kind}" for layer in layers.split() for kind in ("weight", "bias")]
        if {*content} == {*theirs}:
            weights = {name: content[other] for name, other in zip(ours, theirs)}
            if layers == YANNDUBS:  # the mean and the log-variance of each latent lie side by side
                for name in "encoder.latent.weight", "encoder.latent.bias":
                    weights[name] = torch.cat([weights[name][0::2], weights[name][1::2]])
            return {"architecture": "burgess2018", "latents": len(weights["encoder.latent.bias"]) // 2,
                    "image_shape": (64, 64, weights["encoder.conv1.weight"].shape[1]),
                    "likelihood": "bernoulli"}, weights
    raise ValueError(f"{source}: its weights ({', '.join(map(str, [*content][:3]))}, …) are not those of Burgess et "
                     "al.'s network for 64×64 images, as YannDubs/disentangling-vae and 1Konny/Beta-VAE name them")


if __name__ == "__main__":
    main()
