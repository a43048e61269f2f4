"""Layer defaults of a network: what TF-slim called an arg scope, as an immutable object.

Keras is imported only when a layer is built, so that plugins can import this module at their top.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation defaults.

    Attributes:
        momentum: of the moving statistics.
        epsilon: added to the variance.
        scale: whether a scale gamma is learned.
    """

    momentum: float = 0.99
    epsilon: float = 1e-3
    scale: bool = True


@dataclass(frozen=True)
class ArgScope:
    """Builds layers that share their defaults. Derive a changed one with `override`.

    Attributes:
        weight_decay: L2 on convolution kernels but depthwise ones, Caffe's way: `weight_decay / 2 * sum(w²)`.
        data_format: Keras' `channels_last` or `channels_first`.
        kernel_initializer: any Keras initializer.
        activation: Keras activation name after each convolution, or None.
        norm: batch normalisation between convolution and activation, or None (then biases are used).
    """

    weight_decay: float = 0.0
    data_format: str = "channels_last"
    kernel_initializer: Any = "glorot_uniform"
    activation: str | None = "relu"
    norm: BatchNorm | None = None

    def override(self, **changes: Any) -> Self:
        """The same scope with some defaults changed."""
        return replace(self, **changes)

    def conv2d(
        self,
        inputs: Any,
        filters: int,
        kernel_size: int,
        *,
        name: str,
        strides: int = 1,
        dilation: int = 1,
        padding: str | int = "same",
    ) -> Any:
        """Convolution, normalisation and activation.

        Args:
            inputs: (B, H, W, C) tensor.
            filters: output channels.
            kernel_size: side of the square kernel, in pixels.
            name: of the convolution; `{name}_bn` and `{name}_{activation}` follow it.
            strides: step of the kernel, in pixels.
            dilation: distance of the kernel's taps, in pixels.
            padding: "same" or "valid" as TensorFlow has them, or a number of pixels added on every
                side as Caffe does.

        Returns:
            (B, H', W', filters) tensor.
        """
        import keras

        inputs, options = self._prepare(inputs, kernel_size, strides, dilation, padding, name)
        conv = keras.layers.Conv2D(
            filters,
            kernel_size,
            dilation_rate=dilation,
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=keras.regularizers.L2(self.weight_decay / 2) if self.weight_decay else None,
            **options,
        )
        return self._finish(conv(inputs), name)

    def depthwise_conv2d(
        self, inputs: Any, kernel_size: int, *, name: str, strides: int = 1, padding: str | int = "same"
    ) -> Any:
        """Depthwise convolution (one kernel a channel), normalisation and activation; see `conv2d`."""
        import keras

        inputs, options = self._prepare(inputs, kernel_size, strides, 1, padding, name)
        conv = keras.layers.DepthwiseConv2D(kernel_size, depthwise_initializer=self.kernel_initializer, **options)
        return self._finish(conv(inputs), name)

    def max_pool2d(self, inputs: Any, pool_size: int, *, name: str, strides: int) -> Any:
        """Max pooling with TensorFlow's SAME padding, which equals Caffe's ceil mode."""
        import keras

        return keras.layers.MaxPooling2D(pool_size, strides, "same", self.data_format, name=name)(inputs)

    def _prepare(
        self, inputs: Any, kernel_size: int, strides: int, dilation: int, padding: str | int, name: str
    ) -> tuple[Any, dict[str, Any]]:
        """Inputs and options of a convolution; padding in pixels becomes Keras' own or a layer before it."""
        import keras

        if not isinstance(padding, str):
            fits = strides == 1 and 2 * padding == dilation * (kernel_size - 1)
            if padding and not fits:
                inputs = keras.layers.ZeroPadding2D(padding, self.data_format, name=f"{name}_pad")(inputs)
            padding = "same" if fits else "valid"
        shared = {"use_bias": self.norm is None, "data_format": self.data_format, "name": name}
        return inputs, {"strides": strides, "padding": padding, **shared}

    def _finish(self, net: Any, name: str) -> Any:
        """Normalisation and activation after a convolution."""
        import keras

        from ssdcore.contract.batch_norm import FusedBatchNormalization

        if self.norm is not None:
            axis = -1 if self.data_format == "channels_last" else 1
            net = FusedBatchNormalization(axis=axis, name=f"{name}_bn", **asdict(self.norm))(net)
        if self.activation is not None:
            net = keras.layers.Activation(self.activation, name=f"{name}_{self.activation}")(net)
        return net
