"""PyTorch's autograd on the same float64 weights: the same losses and gradients, and ten steps of its Adam."""

import numpy as np
import pytest

import tinybvae as tb
from tinybvae.gradcheck import relative_error

torch = pytest.importorskip("torch")
F = torch.nn.functional
OBJECTIVES = {
    "beta": (tb.beta_objective(4.0), lambda kl: 4.0 * kl),
    "above C": (tb.capacity_objective(100.0, 1.0), lambda kl: 100.0 * (kl - 1.0).abs()),
    "below C": (tb.capacity_objective(100.0, 500.0), lambda kl: 100.0 * (kl - 500.0).abs()),
}


def through(side, network, weights, x):
    """The network's tables, walked with PyTorch's functions; x keeps our layout between the layers."""
    for name, layer in network.layers.items():
        weight, bias = (weights.get(f"{side}.{name}.{kind}") for kind in ("weight", "bias"))
        match layer:
            case tb.Linear():
                x = F.linear(x, weight.T, bias)
            case tb.Conv2d():
                x = F.conv2d(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), bias, 2, 1).permute(0, 2, 3, 1)
            case tb.ConvTranspose2d():
                x = F.conv_transpose2d(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), bias, 2, 1)
                x = x.permute(0, 2, 3, 1)
            case tb.ReLU():
                x = F.relu(x)
            case tb.Tanh():
                x = torch.tanh(x)
            case tb.Reshape():
                x = x.reshape(len(x), *layer.shape)
    return x


def torch_loss(model, weights, images, noise, penalty):
    mean, logvar = through("encoder", model.encoder, weights, images).chunk(2, dim=1)
    z = mean + (logvar / 2).exp() * noise
    logits = through("decoder", model.decoder, weights, z)
    nll = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
    q = torch.distributions.Normal(mean, (logvar / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum() / len(images)
    return nll + penalty(kl)


def draw(model, batch=5):
    rng = np.random.default_rng(0)
    for p in model.parameters.values():
        p += .01 * rng.standard_normal(p.shape)
    return rng.integers(0, 2, (batch, *model.image_shape)).astype(float), rng.standard_normal((batch, model.latents))


@pytest.mark.parametrize("objective, penalty", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("architecture", [tb.burgess2018, tb.higgins2017])
def test_same_loss_and_gradients(architecture, objective, penalty):
    model = tb.BetaVAE(10, dtype=np.float64, architecture=architecture)
    images, noise = draw(model)
    weights = {name: torch.tensor(p, requires_grad=True) for name, p in model.parameters.items()}
    loss = torch_loss(model, weights, torch.tensor(images), torch.tensor(noise), penalty)
    loss.backward()
    assert model.loss_and_gradients(images, noise, objective, step=1).total == pytest.approx(loss.item(), rel=1e-12)
    errors = {name: relative_error(weights[name].grad.numpy(), g) for name, g in model.gradients.items()}
    assert max(errors.values()) < 1e-10, errors


def test_same_ten_steps():
    model = tb.BetaVAE(10, dtype=np.float64)
    images, noise = draw(model)
    weights = {name: torch.tensor(p.copy(), requires_grad=True) for name, p in model.parameters.items()}
    ours, theirs = tb.Adam(model.parameters, 1e-3), torch.optim.Adam(weights.values(), 1e-3)
    objective, penalty = OBJECTIVES["beta"]
    for step in range(10):
        theirs.zero_grad()
        loss = torch_loss(model, weights, torch.tensor(images), torch.tensor(noise), penalty)
        loss.backward()
        theirs.step()
        losses = model.loss_and_gradients(images, noise, objective, step)
        ours.update(model.gradients)
        assert losses.total == pytest.approx(loss.item(), rel=1e-9)
