"""examples/pytorch.py: PyTorch computes what our model does, and ours what the models of published checkpoints do."""

import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import tinybvae as tb

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import pytorch  # noqa: E402

nn, RNG = torch.nn, np.random.default_rng(0)


def stirred(model):
    """Biases that are not 0, and weights that no symmetry hides."""
    for p in model.parameters.values():
        p += .02 * RNG.standard_normal(p.shape)
    return model


def apart(ours, theirs):
    """The largest difference, as a part of the largest entry; theirs may have channels first."""
    theirs = theirs.detach().numpy()
    theirs = theirs.transpose(0, 2, 3, 1) if theirs.ndim == 4 else theirs
    return np.abs(ours - theirs).max() / np.abs(ours).max()


@pytest.mark.parametrize("architecture, shape, slope", [
    ("burgess2018", (64, 64, 1), .1), ("burgess2018", (32, 48, 3), 0.0), ("higgins2017", (8, 6, 3), 0.0)])
def test_there_and_back(tmp_path, call, architecture, shape, slope):
    model = stirred(tb.BetaVAE(3, image_shape=shape, architecture=getattr(tb, architecture), negative_slope=slope))
    tb.save(tb.Run(model), tmp_path / "a.h5")
    assert call(pytorch.main, tmp_path / "a.h5", tmp_path / "new/b.pt")[0] == 0
    text = (tmp_path / "new/b.py").read_text(encoding="utf-8")
    assert "import tinybvae" not in text and text.count("\n") < 70
    spec = importlib.util.spec_from_file_location("b", tmp_path / "new/b.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded, images, z = module.load(), RNG.random((5, *shape), np.float32), RNG.standard_normal((5, 3), np.float32)
    for ours, theirs in zip(model.encode(images), loaded.encode(torch.from_numpy(images.transpose(0, 3, 1, 2)))):
        assert apart(ours, theirs) < 1e-4
    assert apart(model.decode(z), loaded.decode(torch.from_numpy(z))) < 1e-4
    assert [*map(np.shape, loaded(torch.zeros(2, shape[2], *shape[:2])))] == [
        (2, shape[2], *shape[:2]), (2, 3), (2, 3)]

    assert call(pytorch.main, tmp_path / "new/b.pt", tmp_path / "c.h5")[0] == 0
    back = tb.load_model(tmp_path / "c.h5")
    assert repr(back) == repr(model) and all((back.parameters[name] == p).all() for name, p in model.parameters.items())


class Published(nn.Module):
    """Burgess et al.'s network, by the layers that it has in both collections: four convolutions, three linear ones."""

    def __init__(self, latents, channels):
        super().__init__()
        sides = channels, 32, 32, 32, 32
        self.down = nn.ModuleList(nn.Conv2d(*pair, 4, 2, 1) for pair in zip(sides, sides[1:]))
        self.inner = nn.ModuleList(nn.Linear(*pair) for pair in ((512, 256), (256, 256), (256, 2 * latents)))
        self.outer = nn.ModuleList(nn.Linear(*pair) for pair in ((latents, 256), (256, 256), (256, 512)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(*pair, 4, 2, 1) for pair in zip(sides[:0:-1], sides[-2::-1]))

    def state(self, names):
        """Its weights by other names for the layers, in the order in which data flow."""
        layers = [*self.down, *self.inner, *self.outer, *self.up]
        return {f"{name}.{kind}": getattr(layer, kind).detach() for name, layer in zip(names.split(), layers)
                for kind in ("weight", "bias")}

    def encode(self, x):
        for layer in self.down:
            x = torch.relu(layer(x))
        x = x.flatten(1)
        for layer in self.inner[:-1]:
            x = torch.relu(layer(x))
        return self.inner[-1](x)

    def decode(self, z):
        for layer in self.outer:
            z = torch.relu(layer(z))
        z = z.view(-1, 32, 4, 4)
        for layer in self.up[:-1]:
            z = torch.relu(layer(z))
        return self.up[-1](z)


@pytest.mark.parametrize("names, wrapped, of_latents, channels", [
    (pytorch.YANNDUBS, lambda state: state, lambda y: y.view(-1, 7, 2).unbind(-1), 1),
    (pytorch.KONNY, lambda state: {"iter": 9, "win_states": {"recon": None}, "optim_states": {"optim": {0: 1}},
                                   "model_states": {"net": state}}, lambda y: y.chunk(2, dim=1), 3)])
def test_published_checkpoints(tmp_path, call, names, wrapped, of_latents, channels):
    torch.manual_seed(0)
    theirs = Published(7, channels)
    torch.save(wrapped(theirs.state(names)), tmp_path / "last")
    assert call(pytorch.main, tmp_path / "last", tmp_path / "ours.h5")[0] == 0
    model = tb.load_model(tmp_path / "ours.h5")
    images, z = RNG.random((4, 64, 64, channels), np.float32), RNG.standard_normal((4, 7), np.float32)
    code = of_latents(theirs.encode(torch.from_numpy(images.transpose(0, 3, 1, 2))))
    for ours, each in zip(model.encode(images), code):
        assert apart(ours, each) < 1e-4
    assert apart(model.decode(z), theirs.decode(torch.from_numpy(z))) < 1e-4


class Harm:
    def __reduce__(self):
        return print, ("harm",)


def test_wrong_input(tmp_path, refusal, capsys):
    tb.save(tb.Run(tb.BetaVAE(2, image_shape=(16, 16, 1))), tmp_path / "a.h5")
    (tmp_path / "harm.pt").write_bytes(pickle.dumps({"encoder.conv1.weight": Harm()}))
    (tmp_path / "text.pt").write_text("no weights")
    torch.save({"linear.weight": torch.zeros(2)}, tmp_path / "other.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    torch.save({"model": {"architecture": "burgess2018", "lat": 3}, "weights": {}}, tmp_path / "b.pt")
    whole = Published(2, 1).state(pytorch.YANNDUBS)
    torch.save({**whole, "encoder.lin2.weight": torch.zeros(256, 255)}, tmp_path / "odd.pt")
    for source, target, message in [
            ("a.h5", "a.npz", "give a name that ends in .pt, for PyTorch, or in .h5"),
            ("a.h5", "other.pt", "other.pt is there already"), ("other.pt", "a.h5", "a.h5 is there already"),
            ("none.h5", "new.pt", "no such checkpoint file"), ("none.pt", "new.h5", "none.pt: no such file"),
            ("a.h5", "new.h5", "is a checkpoint of tinybvae's already"), ("a.h5", "torch.pt", "or hides another"),
            ("a.h5", "my-model.pt", "could not be imported"), ("a.h5", "class.pt", "could not be imported"),
            ("harm.pt", "new.h5", "PyTorch finds no weights in it"), ("text.pt", "new.h5", "PyTorch finds no weights"),
            ("list.pt", "new.h5", "it holds a list, not weights by name"), ("other.pt", "new.pt", "not a tinybvae"),
            ("other.pt", "new.h5", "its weights (linear.weight, …) are not those of Burgess et al.'s network"),
            ("b.pt", "new.h5", "did not write it"),
            ("odd.pt", "new.h5", "encoder.linear2.weight must have shape (256, 256), not (256, 255)")]:
        assert message in refusal(pytorch.main, tmp_path / source, tmp_path / target)
    assert "harm" not in capsys.readouterr().out and not [*tmp_path.glob("new*")]
