"""Central differences: is a derivative written by hand the derivative of its function?

    (L(x + h v) − L(x − h v)) / 2h  =  ⟨∂L/∂x, v⟩ + O(h²)

along a direction v. Each check computes in float64 and returns relative errors. If a formula is right, rounding leaves
an error below RIGHT. If it is wrong, the error is mostly 1e-3 and more, though a formula that is wrong only in a small
part may leave 1e-5. A point where the function has a kink (a ReLU's input within h of 0) tells nothing: draw another.
"""

import numpy as np

from tinybvae.kernels.arrays import require_known_gradients, require_layer

RIGHT = 1e-6


def relative_error(a, b):
    """‖a − b‖ / (‖a‖ + ‖b‖), of arrays or numbers; 0 if both are 0. Raises ValueError if shapes differ."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"a derivative must have its function's or its argument's shape, not {a.shape} and {b.shape}")
    scale = np.linalg.norm(a) + np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / scale) if scale else 0.0


def numerical_gradient(function, x, h=1e-5):
    """∂ function() / ∂x, one element after the other, of a function that reads the float64 array x.

    x stays as it was. Raises ValueError unless it is float64.
    """
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        gradient[place] = directional_derivative(function, x, _unit(x, place), h)
    return gradient


def directional_derivative(function, x, v, h=1e-5):
    """d function() / dx along v, of a function that reads the float64 array x.

    x stays as it was. Raises ValueError unless it is float64.
    """
    _require_float64(x)
    before = x.copy()
    x[...] = before + h * v
    above = function()
    x[...] = before - h * v
    below = function()
    x[...] = before
    return (above - below) / (2 * h)


def _require_float64(x, name="the array"):
    if x.dtype != np.float64:
        raise ValueError(f"central differences need float64, and {name} is {x.dtype}")


def check_layer(layer, x, rng, h=1e-5):
    """The relative errors {"x": …, "weight": …} of a layer's `backward` at x, for L = ⟨forward(x), dy⟩, dy random.

    A layer is anything with forward(x), backward(dy), parameters and gradients; for one with input_grad=False there is
    no error of x. Its parameters should be random: if all are 1, mistakes hide. Raises ValueError if an array is not
    float64, if `forward` changes x or `backward` dy, or if `backward` leaves out a gradient or adds to it instead of
    assigning it.
    """
    require_layer(layer, type(layer).__name__)
    for name, array in {"x": x, **layer.parameters}.items():
        _require_float64(array, name)
    x = x.copy()
    dy = rng.standard_normal(layer.forward(x.copy()).shape)
    arrays = {"x": x, **layer.parameters}
    if not getattr(layer, "input_grad", True):
        del arrays["x"]
    gradients, again = (_gradients(layer, x, dy, arrays, before) for before in (0, 1))
    for name in arrays:
        if gradients[name].shape == again[name].shape and relative_error(gradients[name], again[name]) > RIGHT:
            raise ValueError(f"backward assigns no gradient of {name}" if not gradients[name].any() else
                             f"backward adds to the gradient of {name} that was there: it must assign it")

    def loss():
        return float((layer.forward(x) * dy).sum())

    return {name: relative_error(numerical_gradient(loss, array, h), gradients[name])
            for name, array in arrays.items()}


def _gradients(layer, x, dy, names, before):
    """The gradients of these arrays, copied, by forward(x) and backward(dy), where all had the value `before`."""
    given = {"forward changes x": (x, x.copy()), "backward changes dy": (dy, dy.copy())}
    layer.gradients.update({name: np.full_like(gradient, before) for name, gradient in layer.gradients.items()})
    layer.forward(x)
    dx = layer.backward(dy)
    for what, (now, before) in given.items():
        if not np.array_equal(now, before):
            raise ValueError(f"{what}, which must stay as it is")
    require_known_gradients(layer, type(layer).__name__)
    gradients = {"x": dx, **layer.gradients}
    for name in names:
        if gradients.get(name) is None:
            raise ValueError("backward returned no dx" if name == "x" else f"backward assigns no gradient of {name}")
    return {name: np.array(gradients[name]) for name in names}


def check_model(model, images, noise, objective, step, rng, h=3e-8, points=4):
    """The relative error of `loss_and_gradients` along a random direction in each parameter array: {name: error}.

    Raises ValueError unless images are (N, height, width, channels), noise is (N, D) and the model is of float64. A new
    model's biases are 0 and most of an image is black, so the inputs of many of its ReLUs are 0, where their kink is.
    Hence derivatives are taken at a random point near the parameters, which are put back afterwards. There, too, one
    ReLU of thousands may have its kink within ±h v. So an error that is not below RIGHT is measured again with 30 h. If
    the formula is wrong, both errors are alike, and count. If they differ, it was a kink or rounding, and another point
    is drawn. After `points` of them the smallest error counts.
    """
    def loss():
        return model.loss_and_gradients(images, noise, objective, step).total

    before = {name: p.copy() for name, p in model.parameters.items()}
    errors, left = dict.fromkeys(before, np.inf), [*before]
    try:
        for _ in range(points):
            for name, p in model.parameters.items():
                p[...] = before[name] + .01 * rng.standard_normal(p.shape)
            loss()
            gradients = model.gradients
            for name in [*left]:
                p = model.parameters[name]
                v = rng.standard_normal(p.shape)
                slope, near = (gradients[name] * v).sum(), directional_derivative(loss, p, v, h)
                error, sure = relative_error(near, slope), True
                if error >= RIGHT:
                    wide = directional_derivative(loss, p, v, 30 * h)
                    error = min(error, relative_error(wide, slope))
                    sure = error < RIGHT or relative_error(near, wide) < error / 10
                errors[name] = error if sure else min(error, errors[name])
                if sure:
                    left.remove(name)
        return errors
    finally:
        for name, p in model.parameters.items():
            p[...] = before[name]


def _unit(x, place):
    v = np.zeros_like(x)
    v[place] = 1
    return v
