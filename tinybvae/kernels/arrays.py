"""Arrays by name, and what functions ask of those that they are given."""

from collections.abc import MutableMapping

import numpy as np

from tinybvae.kernels.memory import empty


class Arrays(dict):
    """{name: array} of arrays that others hold, too: to assign one is to write into it.

    Raises ValueError for other names, or fewer, unless it may grow, and for another shape or kind of numbers.
    """

    def __init__(self, arrays, may_grow=False):
        super().__init__(arrays)
        self.may_grow = may_grow

    def __call__(self):
        raise TypeError("these are a dict, {name: array}: use them without ()")

    update, setdefault = MutableMapping.update, MutableMapping.setdefault  # by __setitem__, unlike a dict's
    pop, popitem, clear = MutableMapping.pop, MutableMapping.popitem, MutableMapping.clear  # by __delitem__

    def __setitem__(self, name, array):
        if name not in self and self.may_grow:
            return super().__setitem__(name, array)
        if name not in self:
            raise ValueError(f"there is no {name!r}: names are such as {next(iter(self), 'none')}")
        own = self[name]
        if array is own:
            return
        array = np.asarray(array)
        if array.shape != own.shape or array.dtype.kind not in "biuf":
            raise ValueError(f"{name} takes {own.dtype} of shape {own.shape}, not {array.dtype} of {array.shape}")
        own[...] = array

    def __delitem__(self, name):
        if not self.may_grow:
            raise ValueError(f"{name!r} stays: a model's names are those of its layers")
        super().__delitem__(name)

    def __ior__(self, other):
        self.update(other)
        return self

    def __reduce__(self):
        return Arrays, (dict(self), self.may_grow)


class Joined(Arrays):
    """Arrays that lie in one, `flat` (n,), one after the other, as fields of a record of one dtype of numbers."""

    def __init__(self, fields):
        record = empty((), fields)
        super().__init__({name: record[name] for name in fields.names})
        self.fields, self.flat = fields, record.reshape(1).view(fields[0].base)

    @classmethod
    def of(cls, arrays):
        """A copy of these arrays."""
        joined = cls(np.dtype([(name, array.dtype, array.shape) for name, array in arrays.items()]))
        joined.update(arrays)
        return joined


def zeros_like(arrays):
    """Zeros of the same names, shapes and dtypes; joined, if these are."""
    if not isinstance(arrays, Joined):
        return Arrays({name: np.zeros_like(array) for name, array in arrays.items()})
    zeros = Joined(arrays.fields)
    zeros.flat[:] = 0
    return zeros


def flat(*dicts):
    """The array in which each of them lies, if all are joined, and alike; else None."""
    if all(isinstance(arrays, Joined) and arrays.fields is dicts[0].fields for arrays in dicts):
        return [arrays.flat for arrays in dicts]


def small_is_zero(function):
    """A decorator: in the function, what is too small for its dtype is 0, whatever NumPy was told to make of it."""
    return np.errstate(under="ignore")(function)


def integers(array, name):
    """The array in int64. Raises ValueError, by this name, for other numbers than integers."""
    array = np.asarray(array)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, not {array.dtype}")
    return array.astype(np.int64)


def model_sizes(latents, image_shape):
    """A number of latents and (height, width, channels), as Python's integers. Raises ValueError for others."""
    latents, *image_shape = integers([latents, *image_shape], "latents and image_shape").tolist()
    image_shape = tuple(image_shape)
    if len(image_shape) != 3:
        raise ValueError(f"image_shape must be (height, width, channels), as (64, 64, 1) is, not {image_shape}")
    if latents < 1 or min(image_shape) < 1:
        raise ValueError(f"latents must be at least 1 and image_shape (height, width, channels) positive, "
                         f"not {latents} and {image_shape}")
    first, second, last = image_shape
    if first < last > 4 and (first in (1, 3) or second == last):
        raise ValueError(f"image_shape must be (height, width, channels), channels last, which {image_shape} "
                         f"is not: transpose the images to (N, {second}, {last}, {first})")
    return latents, image_shape


def require_one_shape(*arrays, dimensions=None):
    """Raise ValueError unless the arrays have one shape (N, …), N ≥ 1, of so many dimensions, if that is given."""
    shape = arrays[0].shape
    if any(array.shape != shape for array in arrays) or 0 in shape[:1] or dimensions not in (None, len(shape)):
        raise ValueError(f"the arrays must have one shape {'(N, D)' if dimensions else '(N, …)'}, N ≥ 1, "
                         f"not {' and '.join(str(array.shape) for array in arrays)}")


def require_pixels(images):
    """Raise ValueError for pixels outside 0 … 1."""
    if images.size and not (0 <= images.min() and images.max() <= 1):
        raise ValueError(f"pixels must lie in 0 … 1, not in {images.min():.9g} … {images.max():.9g}")


def pair(returned, first, second, wanted):
    """What a user's function returned as two arrays of real numbers, of one of the shapes `first` and `second`.

    Raises ValueError, which says what is `wanted`, for anything else.
    """
    parts = [np.asarray(part) for part in returned] if isinstance(returned, tuple) else [np.asarray(returned)]
    if len(parts) != 2 or parts[0].shape not in first or parts[1].shape not in second or any(
            part.dtype.kind not in "biuf" for part in parts):
        raise ValueError(f"{wanted}, not {' and '.join(f'{part.dtype} of shape {part.shape}' for part in parts)}")
    return parts


def require_fit(a, b, fit):
    """Raise ValueError unless they fit, as the caller says, and the dtypes are one: compiled code does not check."""
    if not fit or a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
        raise ValueError(f"arrays must fit together, be both float32 or both float64, and contiguous where written to, "
                         f"not {a.dtype} of {a.shape} and {b.dtype} of {b.shape}")


def require_layer(layer, name):
    """Raise ValueError for what has not all that a layer has."""
    missing = [what for what in ("forward", "backward", "parameters", "gradients") if not hasattr(layer, what)]
    if missing:
        raise ValueError(f"{name} is no layer: it has no {' and no '.join(missing)} (a class of your own, made from "
                         f"Layer, calls super().__init__())")


def require_known_gradients(layer, name):
    """Raise ValueError if it assigns the gradient of what is no parameter, as one does whose name is mistyped."""
    unknown = layer.gradients.keys() - layer.parameters.keys()
    if unknown:
        raise ValueError(f"{name} has a gradient of {', '.join(sorted(unknown))}, and no such parameter: it has "
                         f"{', '.join(layer.parameters) or 'none'}")


def require_shape(layer, x, *axes, N=None):
    """Raise ValueError unless x is (N, *axes); None stands for any size."""
    axes = N, *axes
    if x.ndim != len(axes) or [have if want is None else want for want, have in zip(axes, x.shape)] != [*x.shape]:
        wanted = ", ".join("…" if axis is None else str(axis) for axis in axes[1:])
        raise ValueError(f"{type(layer).__name__} takes arrays of shape ({N or 'N'}, {wanted}), not {x.shape}")
