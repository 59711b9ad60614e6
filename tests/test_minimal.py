"""The one-file β-VAE: its gradient, its losses by the library's, and what its latents come to say."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tinybvae import losses

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import minimal  # noqa: E402


def test_the_backward_pass(monkeypatch):
    rng = np.random.default_rng(3)
    p = minimal.new_parameters(rng)
    p = {name: a + .1 * rng.standard_normal(a.shape) for name, a in p.items()}
    assert max(minimal.gradient_error(p, rng, C) for C in (0, 1e3)) < 1e-6  # the KL pushed down, and up
    monkeypatch.setattr(minimal.np, "sign", lambda x: 1)
    assert minimal.gradient_error(p, rng, 1e3) > 1e-3


def test_the_loss_is_the_librarys(monkeypatch):
    rng = np.random.default_rng(4)
    p, x, noise = minimal.new_parameters(rng), minimal.discs(7, rng), rng.standard_normal((7, minimal.D))
    loss, reconstruction, kl, (_, mean, logvar, _, _, logits) = minimal.forward(p, x, noise, C=3)
    assert reconstruction == pytest.approx(losses.bernoulli_nll(logits, x)[0])
    assert kl == pytest.approx(losses.gaussian_kl(mean, logvar)[0])
    assert loss == pytest.approx(reconstruction + losses.capacity_objective(minimal.GAMMA, 3)(kl, 0)[0])


def test_x_and_y_have_a_latent_each(monkeypatch, tmp_path, call):
    """In a short run, which ends before the radius is worth its nats."""
    for name, value in {"STEPS": 1000, "RATE": 4e-3, "LAST_C": 3, "OUT": tmp_path / "new"}.items():
        monkeypatch.setattr(minimal, name, value)
    trained, train = [], minimal.train
    monkeypatch.setattr(minimal, "train", lambda rng: trained.append(train(rng)) or trained[-1])
    status, printed, _ = call(minimal.main)
    lines = printed.splitlines()
    assert status == 0 and lines[0].startswith("step 1000: ") and len(lines) == 3
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"kl.png", "traversals.png"}

    (p, _), = trained
    rng = np.random.default_rng(1)
    x = minimal.discs(500, rng)
    _, _, kl, (_, mean, *_) = minimal.forward(p, x, rng.standard_normal((500, minimal.D)), 3)
    row, column = np.indices((minimal.SIDE, minimal.SIDE)).reshape(2, -1)
    correlation = np.abs([np.corrcoef(x @ place / x.sum(axis=1), mean.T)[0, 1:] for place in (column, row)])
    best = correlation.argmax(axis=1)
    assert (correlation.max(axis=1) > .95).all() and best[0] != best[1]
    assert (np.delete(kl, best) < .1).all() and 2.5 < kl.sum() < 3.5
