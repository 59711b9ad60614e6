"""The layers: `forward` keeps what `backward` needs; `backward` takes dy = ∂L/∂y, assigns the gradients, returns dx.

∂L/∂y means: if y changes a little, L changes by ⟨change of y, dy⟩, the sum of the products of their entries. N is the
batch size. In convolutions H and W are the sides of the small images, O is the number of their channels, C that of the
big ones, and channels come last.
"""

import numpy as np

from tinybvae import kernels
from tinybvae.convolution import conv2d, conv2d_transpose, conv2d_weight, sum_pixels
from tinybvae.kernels import accelerated
from tinybvae.kernels.arrays import Arrays, require_shape
from tinybvae.kernels.chain import Chain


class Layer:
    """`parameters` and `gradients`: {name: array}, the same names and shapes. `settings`: what else it is made of.

    With input_grad=False `backward` returns None: that is for the first layer, whose x is the data, so that nobody
    needs dx. Layers with parameters raise ValueError for arrays of a wrong shape, or of a dtype other than their own.
    """

    settings = {}  # {name: what JSON can hold}: in what two layers of one class differ, for a checkpoint to compare
    role = None    # what kind of layer `Chain` may treat it as; `Chain._each` says why

    def __init__(self, input_grad=True, **parameters):
        if not isinstance(input_grad, (bool, np.bool_)):
            raise ValueError("parameters go by name, as in super().__init__(weight=array), "
                             f"not {type(input_grad).__name__}")
        self.input_grad, self.parameters = input_grad, Arrays(parameters, may_grow=True)
        self.gradients = {name: np.zeros_like(p) for name, p in parameters.items()}

    def forward(self, x):
        """Return y, and keep what `backward` needs as attributes. x (N, …) is not changed."""
        raise NotImplementedError("each kind of layer says what it computes")

    def backward(self, dy):
        """Return dx = ∂L/∂x for the last x, and assign `gradients`. Neither dy = ∂L/∂y nor a parameter is changed."""
        raise NotImplementedError("each kind of layer says what its derivative is")

    def __repr__(self):
        """Its class, its settings, and the shapes of its parameters."""
        said = [*(f"{name}={value}" for name, value in self.settings.items()),
                *(f"{name} {'×'.join(map(str, p.shape))}" for name, p in self.parameters.items())]
        return f"{type(self).__name__}({', '.join(said)})"


def he_normal(shape, fan_in, rng, dtype):
    """Weights with variance 2 / fan_in (He et al. 2015, eq. 10): meant for ReLUs, used here for all, for simplicity.

    fan_in is the number of inputs that are summed for one output. Raises ValueError for a size below 1.
    """
    if min(shape) < 1:
        raise ValueError(f"inputs and outputs must be at least 1, not those of a weight of shape {shape}")
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(dtype)


@accelerated(kernels.matmul)
def matmul(left, right):
    """product[n,o] = Σ_k left[n,k] right[k,o]"""
    return left @ right


@accelerated(kernels.linear)
def linear(x, w, bias=0):
    """y[n,o] = Σₖ x[n,k] w[k,o] + bias[o]"""
    return x @ w + bias


class Linear(Layer):
    """y = x w + b, that is y[n,o] = Σₖ x[n,k] w[k,o] + b[o].  x (N, inputs), w (inputs, outputs), y (N, outputs)."""

    role = "product"

    def __init__(self, inputs, outputs, rng, dtype=np.float32, input_grad=True):
        weight = he_normal((inputs, outputs), inputs, rng, dtype)
        super().__init__(input_grad, weight=weight, bias=np.zeros(outputs, dtype))

    def forward(self, x):
        require_shape(self, x, len(self.parameters["weight"]))
        self.x = x
        return linear(x, self.parameters["weight"], self.parameters["bias"])

    def backward(self, dy):
        """dw = xᵀ dy,  db = Σₙ dy,  dx = dy wᵀ

        w[k,o] enters y[n,o] for every n, multiplied by x[n,k]:  dw[k,o] = Σₙ x[n,k] dy[n,o];
        b[o] enters y[n,o] for every n:                          db[o] = Σₙ dy[n,o];
        x[n,k] enters y[n,o] for every o, multiplied by w[k,o]:  dx[n,k] = Σₒ dy[n,o] w[k,o].
        """
        require_shape(self, dy, self.parameters["weight"].shape[1])
        self.gradients["weight"] = matmul(self.x.T, dy)
        self.gradients["bias"] = dy.sum(axis=0)
        return linear(dy, self.parameters["weight"].T) if self.input_grad else None


@accelerated(kernels.relu)
def relu(x, negative_slope):
    """y = x where x > 0, else negative_slope · x"""
    return np.where(x > 0, x, negative_slope * x)


@accelerated(kernels.relu_backward)
def relu_backward(dy, y, negative_slope):
    """dx = dy where y > 0, else negative_slope · dy"""
    return np.where(y > 0, dy, negative_slope * dy)


class ReLU(Layer):
    """y = max(x, negative_slope · x), of any shape; 0 ≤ negative_slope < 1.

    An image switches a unit on if it makes x > 0 there. If the slope is 0, a unit that no image switches on passes no
    gradient back: its weights soon stand still, and it is dead, unless the layers before it happen to change its input.
    With a small slope it goes on learning, and may come back (Maas et al. 2013, eq. 3).
    """

    role = "relu"

    def __init__(self, negative_slope=0.0):
        super().__init__()
        if not 0 <= negative_slope < 1:
            raise ValueError(f"negative_slope must be at least 0 and below 1, not {negative_slope}")
        self.negative_slope = float(negative_slope)

    @property
    def settings(self):
        return {"negative_slope": self.negative_slope}

    def forward(self, x):
        self.y = y = relu(x, self.negative_slope)
        return y

    def backward(self, dy):
        """dx = dy where x > 0, that is where y > 0, else negative_slope · dy"""
        return relu_backward(dy, self.y, self.negative_slope)


def switched_on(y):
    """(units,) bool: for which units (in convolutions, channels) the output y of a ReLU is above 0 anywhere."""
    return (y > 0).reshape(-1, y.shape[-1]).any(axis=0)


class Tanh(Layer):
    """y = tanh x, of any shape."""

    def forward(self, x):
        self.y = y = np.tanh(x)
        return y

    def backward(self, dy):
        """dx = dy (1 − y²)"""
        require_shape(self, dy, *self.y.shape[1:], N=len(self.y))
        return dy * (1 - self.y ** 2)


class Reshape(Layer):
    """Each example in another shape: (N, …) to (N, *shape)."""

    role = "view"

    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    @property
    def settings(self):
        return {"shape": [*self.shape]}

    def forward(self, x):
        self.x_shape = x.shape
        return x.reshape(len(x), *self.shape)

    def backward(self, dy):
        if dy is not None:  # the next layer, nearer to the loss, has input_grad=False
            require_shape(self, dy, *self.shape, N=self.x_shape[0])
            return dy.reshape(self.x_shape)


class Conv2d(Layer):
    """Convolution 4×4, stride 2, padding 1, by the three functions of `convolution`.

    x (N, 2H, 2W, C), weight (4, 4, C, O), y (N, H, W, O).
    """

    role = "product"

    def __init__(self, inputs, outputs, rng, dtype=np.float32, input_grad=True):
        weight = he_normal((4, 4, inputs, outputs), 16 * inputs, rng, dtype)
        super().__init__(input_grad, weight=weight, bias=np.zeros(outputs, dtype))

    def forward(self, x):
        require_shape(self, x, None, None, self.parameters["weight"].shape[2])
        if x.shape[1] % 2 or x.shape[2] % 2 or 0 in x.shape[1:]:
            raise ValueError(f"Conv2d halves height and width, which must be even and at least 2, not {x.shape[1:3]}")
        self.x = x
        return conv2d(x, self.parameters["weight"], self.parameters["bias"])

    def backward(self, dy):
        """dw = conv2d_weight(x, dy),  db = Σ dy over images and pixels,  dx = conv2d_transpose(dy, w)"""
        require_shape(self, dy, None, None, self.parameters["weight"].shape[3])
        self.gradients["weight"] = conv2d_weight(self.x, dy)
        self.gradients["bias"] = sum_pixels(dy)
        return conv2d_transpose(dy, self.parameters["weight"]) if self.input_grad else None


class ConvTranspose2d(Layer):
    """The adjoint of a `Conv2d`, to double an image: ⟨conv2d(a, w), x⟩ = ⟨a, conv2d_transpose(x, w)⟩ for every a.

    x (N, H, W, O), weight (4, 4, C, O), y (N, 2H, 2W, C): here O counts the input channels, and C the output channels,
    since the weight is laid out as that of the `Conv2d`. The stride is 2, so a pixel of y meets only every second of
    the weight's 4×4 taps in each direction. That is 2×2 taps, hence fan_in = 4 · inputs.
    """

    role = "product"

    def __init__(self, inputs, outputs, rng, dtype=np.float32, input_grad=True):
        weight = he_normal((4, 4, outputs, inputs), 4 * inputs, rng, dtype)
        super().__init__(input_grad, weight=weight, bias=np.zeros(outputs, dtype))

    def forward(self, x):
        require_shape(self, x, None, None, self.parameters["weight"].shape[3])
        self.x = x
        return conv2d_transpose(x, self.parameters["weight"], self.parameters["bias"])

    def backward(self, dy):
        """dw = conv2d_weight(dy, x),  db = Σ dy over images and pixels,  dx = conv2d(dy, w)"""
        require_shape(self, dy, None, None, self.parameters["weight"].shape[2])
        self.gradients["weight"] = conv2d_weight(dy, self.x)
        self.gradients["bias"] = sum_pixels(dy)
        return conv2d(dy, self.parameters["weight"]) if self.input_grad else None


class Sequential(Chain):
    """Layers one after the other, by name. A parameter's name is its layer's name, a dot, and its name in that layer.

    A pickle or a deep copy holds the layers' parameters and settings, without gradients or what `forward` kept. Raises
    ValueError if a layer comes twice, or is not a layer. (`Chain` has the rest: `parameters`, `gradients`, `infer`,
    which is `forward` in batches, and what copies and fused kernels need.)
    """

    def __init__(self, **layers):
        super().__init__(layers)

    def forward(self, x):
        with self.passing() as layers:
            for layer in layers:
                x = layer.forward(x)
        return x

    def backward(self, dy):
        """The chain rule: the dx that one layer returns is the dy of the layer before it."""
        with self.passing(backward=True) as layers:  # the last one first
            for layer in layers:
                dy = layer.backward(dy)
        return dy

    @property
    def relus(self):
        """The ReLUs, by the names of the layers before them."""
        layers = self.leaves()
        return {before: layer for before, layer in zip(["input", *layers], layers.values()) if isinstance(layer, ReLU)}
