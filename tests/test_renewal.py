"""New units: what mattered least is drawn anew, what stays is not disturbed, and a resumed run has the same bits."""

import numpy as np
import pytest

import tinybvae as tb
from tinybvae.runs.renewal import renew

RNG = np.random.default_rng(3)
SHUT = np.array([False, True, False, True])
LAYERS = {"encoder.conv1": (16, 1, 4), "encoder.conv2": (16, 4, 8), "encoder.linear": (4, 8, 12),
          "encoder.latent": (1, 12, 8), "decoder.linear": (1, 4, 32), "decoder.conv1": (16, 8, 4),
          "decoder.conv2": (16, 4, 1)}  # taps, inputs, outputs; decoder.linear's outputs are 2 × 2 places of 8 channels


def narrow(latents, image_shape, rng, dtype):
    encoder = tb.Sequential(conv1=tb.Conv2d(1, 4, rng, dtype), relu1=tb.ReLU(),
                            conv2=tb.Conv2d(4, 8, rng, dtype), relu2=tb.ReLU(), flatten=tb.Reshape(32),
                            linear=tb.Linear(32, 12, rng, dtype), tanh=tb.Tanh(),
                            latent=tb.Linear(12, 2 * latents, rng, dtype))
    decoder = tb.Sequential(linear=tb.Linear(latents, 32, rng, dtype), relu1=tb.ReLU(), unflatten=tb.Reshape(2, 2, 8),
                            conv1=tb.ConvTranspose2d(8, 4, rng, dtype), relu2=tb.ReLU(),
                            conv2=tb.ConvTranspose2d(4, 1, rng, dtype))
    return encoder, decoder


@pytest.fixture
def run():
    """After some steps, of 8×8 pixels; of its latents, 1 and 3 are SHUT."""
    model = tb.BetaVAE(4, seed=2, image_shape=(8, 8, 1), architecture=narrow, dtype=np.float64)
    run = tb.Run(model, tb.Adam(model.parameters), np.random.default_rng(1))
    for _ in range(3):
        model.loss_and_gradients(pictures(), RNG.standard_normal((9, 4)), tb.beta_objective(), 0)
        run.optimizer.update(model.gradients)
    for p in model.parameters.values():
        p += .02 * RNG.standard_normal(p.shape)  # no bias is 0
    for name in "encoder.latent.weight", "encoder.latent.bias":
        model.parameters[name].reshape(-1, 2, 4)[..., SHUT] *= 1e-3
    model.parameters["encoder.latent.bias"][[0, 2]] += 1  # open they are
    return run


def pictures():
    return RNG.integers(0, 2, (9, 8, 8, 1))


def weights(arrays):
    """[(taps, inputs, outputs)] of LAYERS, as views."""
    return [arrays[f"{name}.weight"].reshape(-1, outputs, inputs).swapaxes(1, 2)
            if name.startswith("decoder.conv") else arrays[f"{name}.weight"].reshape(taps, inputs, outputs)
            for name, (taps, inputs, outputs) in LAYERS.items()]


def biases(arrays):
    return [arrays[f"{name}.bias"] for name in LAYERS]


def test_three_quarters_are_drawn_anew_and_silent_to_what_stays(run):
    before = {name: p.copy() for name, p in run.model.parameters.items()}
    moments = {moment: {name: array.copy() for name, array in arrays.items()}
               for moment, arrays in run.optimizer.moments.items()}
    renew(run.model, run.optimizer, pictures(), run.rng)
    found = []
    for name, w, now in zip(LAYERS, weights(before), weights(run.model.parameters)):
        new_in = SHUT if name == "decoder.linear" else found[-1][:w.shape[1]] if found else np.zeros(1, bool)
        new = (w != now).all(axis=(0, 1))
        assert (now[:, new_in][..., ~new] == 0).all() and (w != 0).all()
        assert (now[:, ~new_in][..., ~new] == w[:, ~new_in][..., ~new]).all()
        if new.any():
            fan_in = w[..., 0].size / (4 if name.startswith("decoder.conv") else 1)  # of 16 taps it meets 4
            assert .7 < now[..., new].std() * np.sqrt(fan_in / 2) < 1.4  # He et al.
        found.append(new)
    assert [new.sum() / new.size for new in found] == [.75, .75, .75, .5, .75, .75, 0]
    assert (found[3] == np.tile(SHUT, 2)).all()
    assert (found[4].reshape(4, 8) == found[4][:8]).all()  # whole channels
    for new, b, now in zip(found, biases(before), biases(run.model.parameters)):
        assert (now[new] == 0).all() and (now[~new] == b[~new]).all() and (b != 0).all()
    for moment, arrays in run.optimizer.moments.items():
        for name, array in arrays.items():
            changed = before[name] != run.model.parameters[name]
            assert (array == np.where(changed, 0, moments[moment][name])).all(), name


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("stay", [1, 2])
def test_what_had_no_say_is_not_missed(run, stay, silent):
    """Of each layer but a few units, a quarter at most, say nothing or are not heard: open latents mean what they did.
    """
    all_weights, all_biases = weights(run.model.parameters), biases(run.model.parameters)
    for i in (1, 2, 3, 5, 6):
        w = all_weights[i]
        others = RNG.permutation(w.shape[1])[max(1, w.shape[1] * stay // 8):]
        if silent:
            for array in all_weights[i - 1], all_biases[i - 1]:  # whole channels
                array.reshape(*array.shape[:-1], -1, w.shape[1])[..., others] *= 1e-9
        else:
            w[:, others] *= 1e-9
    all_weights[4][:, SHUT] *= 1e-9
    images, z = pictures(), RNG.standard_normal((9, 4))
    before, drawn = run.model.encode(images), run.model.decode(z)
    renew(run.model, run.optimizer, images, run.rng)
    for was, now in zip(before, run.model.encode(images)):
        np.testing.assert_allclose(now[:, ~SHUT], was[:, ~SHUT], atol=1e-6)
        assert (np.abs(now - was)[:, SHUT] > 1e-3).any()
    np.testing.assert_allclose(run.model.decode(z), drawn, atol=1e-6)


@pytest.mark.parametrize("architecture", [tb.burgess2018, tb.higgins2017])
def test_both_architectures(architecture):
    """In place, in every layer but the last; and what is computed is finite."""
    model = tb.BetaVAE(2, image_shape=(16, 16, 1), architecture=architecture)
    adam, images = tb.Adam(model.parameters), RNG.integers(0, 2, (5, 16, 16, 1))
    before = {name: p.copy() for name, p in model.parameters.items()}
    renew(model, adam, images, RNG)
    changed = {name for name, p in model.parameters.items() if (p != before[name]).any()}
    assert changed >= {name for name in before if name.endswith("weight")} - {"encoder.latent.weight"}
    losses = model.loss_and_gradients(images, RNG.standard_normal((5, 2)), tb.beta_objective(), 0)
    adam.update(model.gradients)
    assert np.isfinite(losses.total)


def test_layers_of_ones_own_are_refused():
    """Before anything changes."""
    class Scale(tb.Layer):
        def forward(self, x):
            return x * self.parameters["b"]

    model = tb.BetaVAE(4, image_shape=(8, 8, 1), architecture=narrow)
    model.decoder.layers["scale"] = Scale(b=np.ones(1, np.float32))
    before = model.parameters["encoder.conv1.weight"].copy()
    with pytest.raises(ValueError, match="new units can be drawn for Linear, Conv2d and ConvTranspose2d, not for all"):
        renew(model, tb.Adam({}), pictures(), RNG)
    assert (model.parameters["encoder.conv1.weight"] == before).all()


def test_resumed_is_uninterrupted(tmp_path):
    """Stopped before it, just after it, or long after: the same bits."""
    def fresh(step):
        model = tb.BetaVAE(3, seed=0)
        return tb.Run(model, tb.Adam(model.parameters), np.random.default_rng(0), settings={"new_encoder": step})

    def train(run, steps):
        tb.train(run, tb.DSprites(), tb.capacity_objective(100.0, 2.0, 3.0), steps, batch_size=6)
        tb.save(run, path)
        return path.read_bytes()

    path, run, without = tmp_path / "a.h5", fresh(7), fresh(0)
    train(without, 12)
    whole, column = train(run, 12), run.history_columns.index("new_encoder")
    assert [row[column] for row in run.history] == [0, 1] and [row[column] for row in without.history] == [0, 0]
    assert (without.model.parameters["encoder.linear1.weight"] != run.model.parameters["encoder.linear1.weight"]).any()
    tb.save(fresh(7), path)
    for steps in (6, 7, 8, 12):
        bits = train(tb.load(path), steps)
    assert bits == whole
