"""Dynamic loss scaling for float16 (Micikevicius et al., arXiv:1710.03740, section 3.2)."""

from typing import Any

import tensorflow as tf

Tensor = Any
FIRST, GROWTH_STEPS = 2.0**15, 2000


class LossScale:
    """A factor on the loss that keeps small gradients from becoming zero in half precision.

    It halves when gradients overflow, and doubles after 2,000 steps without that. Make it inside
    the scope of the strategy.
    """

    def __init__(self) -> None:
        self._scale = tf.Variable(FIRST, trainable=False)
        self._good_steps = tf.Variable(0.0, trainable=False)

    @property
    def value(self) -> Tensor:
        """The factor, scalar float32."""
        return self._scale.value()

    def adapt(self, finite: Tensor, norm: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Follows a step; call it in a replica context.

        Args:
            finite: whether loss and gradient were numbers.
            norm: of the unscaled gradient.
            loss: before scaling.

        Returns:
            whether the step is a fault, which a mere overflow is not, and the norm to report, 0 for an overflow.
        """
        fault = ~tf.math.is_finite(loss) | (~finite & (self.value <= 1.0))
        good = tf.where(finite, self._good_steps + 1.0, 0.0)
        grows = good >= GROWTH_STEPS
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        self._scale.assign(tf.maximum(self._scale * factor, 1.0))
        self._good_steps.assign(tf.where(grows, 0.0, good))
        return fault, tf.where(finite | fault, norm, 0.0)

    @property
    def state(self) -> dict[str, Any]:
        """The variables to keep in a checkpoint."""
        return {"scale": self._scale, "good_steps": self._good_steps}
