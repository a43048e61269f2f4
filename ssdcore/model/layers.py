"""Keras layers that SSD needs and Keras does not have."""

from typing import Any

import keras

from ssdcore.params import Preprocessing


class Preprocess(keras.layers.Layer):
    """Maps RGB pixels 0..255 (B, H, W, 3) to the input of a base net; float32 in and out.

    It computes in float32 under every dtype policy: bfloat16 would round pixels to whole numbers.
    """

    def __init__(self, preprocessing: Preprocessing, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.preprocessing = preprocessing

    def call(self, images: Any) -> Any:
        if self.preprocessing.channel_order == "bgr":
            images = keras.ops.flip(images, axis=-1)
        return (images - keras.ops.array(self.preprocessing.mean)) * keras.ops.array(self.preprocessing.scale)


class L2Normalize(keras.layers.Layer):
    """Scales the channels at each pixel to L2 norm 1, then by a learned scale per channel.

    As in ParseNet; SSD applies it to conv4_3 (paper, section 3.1) with an initial scale of 20.
    It computes in float32 under every dtype policy: the sum of squares leaves float16's range at 65,504.
    """

    def __init__(self, scale: float, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.scale = scale

    def build(self, input_shape: Any) -> None:
        self.gamma = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.scale), name="gamma"
        )

    def call(self, inputs: Any) -> Any:
        square_norm = keras.ops.sum(keras.ops.square(inputs), axis=-1, keepdims=True)
        return inputs * keras.ops.rsqrt(square_norm + 1e-10) * self.gamma
