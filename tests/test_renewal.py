"""A new encoder: what mattered least is drawn anew, what open latents say stays, and a resumed run has the same bits."""

import numpy as np
import pytest

import tinybvae as tb
from tinybvae.runs.renewal import renew_encoder

RNG = np.random.default_rng(3)


def narrow(latents, image_shape, rng, dtype):
    pixels = int(np.prod(image_shape))
    encoder = tb.Sequential(conv1=tb.Conv2d(1, 4, rng, dtype), relu1=tb.ReLU(),
                            conv2=tb.Conv2d(4, 8, rng, dtype), relu2=tb.ReLU(), flatten=tb.Reshape(pixels // 2),
                            linear=tb.Linear(pixels // 2, 12, rng, dtype), tanh=tb.Tanh(),
                            latent=tb.Linear(12, 2 * latents, rng, dtype))
    return encoder, tb.Sequential(linear=tb.Linear(latents, pixels, rng, dtype), unflatten=tb.Reshape(*image_shape))


@pytest.fixture
def run():
    """After some steps; latents 1 and 3 are shut, 0 and 2 open."""
    model = tb.BetaVAE(4, seed=2, image_shape=(8, 8, 1), architecture=narrow, dtype=np.float64)
    run = tb.Run(model, tb.Adam(model.parameters), np.random.default_rng(1))
    for _ in range(3):
        images, noise = RNG.integers(0, 2, (9, 8, 8, 1)), RNG.standard_normal((9, 4))
        model.loss_and_gradients(images, noise, tb.beta_objective(), 0)
        run.optimizer.update(model.gradients)
    for p in model.parameters.values():
        p += .02 * RNG.standard_normal(p.shape)  # no bias is 0
    for name in "encoder.latent.weight", "encoder.latent.bias":
        model.parameters[name].reshape(-1, 2, 4)[..., [1, 3]] *= 1e-3
    return run


def weights(run):
    """[weights (taps, inputs, outputs), their biases, their moments in two arrays alike] of each layer, as copies."""
    shapes = {"conv1": (16, 1, 4), "conv2": (16, 4, 8), "linear": (4, 8, 12), "latent": (1, 12, 8)}
    return [[arrays[f"encoder.{name}.{kind}"].reshape(shape if kind == "weight" else -1).copy()
             for arrays in (run.model.parameters, *run.optimizer.moments.values()) for kind in ("weight", "bias")]
            for name, shape in shapes.items()]


def test_three_quarters_are_drawn_anew_and_silent_to_what_stays(run):
    images, before, rows = RNG.integers(0, 2, (9, 8, 8, 1)), weights(run), run.model.parameters["decoder.linear.weight"]
    old = rows.copy()
    renew_encoder(run.model, run.optimizer, images, run.rng)
    new_in, shut = np.zeros(1, bool), np.array([False, True, False, True])
    for (w, b, *_), (w_now, b_now, *moments) in zip(before, weights(run)):
        new = (w != w_now).all(axis=(0, 1))
        assert new.sum() == .75 * len(new) or (new == np.tile(shut, 2)).all() and w.shape == (1, 12, 8)
        assert (w_now[:, new_in][..., ~new] == 0).all()
        assert (w_now[:, ~new_in][..., ~new] == w[:, ~new_in][..., ~new]).all()
        assert (b_now[new] == 0).all() and (b_now[~new] == b[~new]).all() and (b != 0).all()
        for moment, of_bias in zip(moments[::2], moments[1::2]):
            assert ((moment == 0) == (w != w_now)).all() and ((of_bias == 0) == new).all()
        assert .5 < w_now[..., new].std() / np.sqrt(2 / (w.size / len(new))) < 1.6  # He et al.
        new_in = new
    assert (rows[~shut] == old[~shut]).all() and (rows[shut] != old[shut]).all()
    assert ((run.optimizer.moments["m"]["decoder.linear.weight"] == 0) == shut[:, None]).all()


@pytest.mark.parametrize("units", [1, 2])
def test_what_had_no_say_is_not_missed(run, units):
    """Of each layer all units but a quarter or less send next to nothing: drawn anew, open latents say what they said.
    """
    images = RNG.integers(0, 2, (9, 8, 8, 1))
    for name, inputs in (("conv2", 4), ("linear", 8), ("latent", 12)):
        stay = RNG.permutation(inputs)[:max(1, inputs * units // 8)]
        w = run.model.parameters[f"encoder.{name}.weight"].reshape(-1, inputs, {"conv2": 8, "linear": 12}.get(name, 8))
        w[:, np.setdiff1d(np.arange(inputs), stay)] *= 1e-9
    run.model.parameters["encoder.latent.bias"][[0, 2]] += 1  # open they are
    before = run.model.encode(images)
    renew_encoder(run.model, run.optimizer, images, run.rng)
    for was, now in zip(before, run.model.encode(images)):
        np.testing.assert_allclose(now[:, [0, 2]], was[:, [0, 2]], atol=1e-6)
        assert (np.abs(now[:, [1, 3]] - was[:, [1, 3]]) > 1e-3).any()


@pytest.mark.parametrize("architecture", [tb.burgess2018, tb.higgins2017])
def test_both_architectures(architecture):
    """In place, and what is computed is finite."""
    model = tb.BetaVAE(2, image_shape=(16, 16, 1), architecture=architecture)
    adam, images = tb.Adam(model.parameters), RNG.integers(0, 2, (5, 16, 16, 1))
    before = {name: p.copy() for name, p in model.parameters.items()}
    renew_encoder(model, adam, images, RNG)
    changed = {name for name, p in model.parameters.items() if (p != before[name]).any()}
    assert changed >= {name for name in before if name.startswith("encoder") and name.endswith("weight")} - {
        "encoder.latent.weight"}
    losses = model.loss_and_gradients(images, RNG.standard_normal((5, 2)), tb.beta_objective(), 0)
    adam.update(model.gradients)
    assert np.isfinite(losses.total)


def test_layers_of_ones_own_are_refused():
    class Own(tb.Linear):
        pass

    class Bias(tb.Layer):
        pass

    model = tb.BetaVAE(4, image_shape=(8, 8, 1), architecture=narrow)
    model.encoder.layers["extra"] = Bias(b=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="a new encoder can be drawn where all is Linear or Conv2d, not in Seq"):
        renew_encoder(model, tb.Adam({}), np.ones((2, 8, 8, 1)), RNG)


def test_resumed_is_uninterrupted(tmp_path):
    """Stopped before it, just after it, or long after: the same bits."""
    def fresh():
        model = tb.BetaVAE(3, seed=0, image_shape=(64, 64, 1))
        return tb.Run(model, tb.Adam(model.parameters), np.random.default_rng(0), settings={"new_encoder": 7})

    def train(run, steps, path):
        assert tb.train(run, tb.DSprites(), tb.capacity_objective(100.0, 2.0, 3.0), steps, batch_size=6)
        tb.save(run, path)
        return path.read_bytes()

    path, run = tmp_path / "a.h5", fresh()
    whole = train(run, 12, path)
    columns = run.history_columns
    assert [row[columns.index("new_encoder")] for row in run.history] == [0, 1]
    without = fresh()
    without.settings = {"new_encoder": 0}
    train(without, 12, path)
    assert (without.model.parameters["encoder.linear1.weight"] != run.model.parameters["encoder.linear1.weight"]).any()
    tb.save(fresh(), path)
    for steps in (6, 7, 8, 12):
        bits = train(tb.load(path), steps, path)
    assert bits == whole
