"""Moving averages of a detector's weights."""

import tensorflow as tf

from ssdcore.model import SSD
from ssdcore.model.variables import named_variables


class WeightAverages:
    """An exponential moving average of every variable of the network, batch statistics included.

    At update n (from 0) the decay is min(decay, (1 + n) / (10 + n)), so that the random initial weights
    soon lose their influence (`tf.train.ExponentialMovingAverage` with a step).
    Make it inside the scope of the strategy that the network was made in.

    Attributes:
        variables: the averages, by the names of the variables.
        state: further variables that a checkpoint needs.
    """

    def __init__(self, ssd: SSD, decay: float) -> None:
        self.decay = decay
        self._weights = named_variables(ssd)
        self.variables = {
            name: tf.Variable(variable.numpy(), trainable=False, dtype=variable.dtype)
            for name, variable in self._weights.items()
        }
        self.state = {"updates": tf.Variable(0.0, trainable=False)}

    def update(self) -> None:
        """Moves towards the current weights; call it in a replica context, after each step."""
        updates = self.state["updates"].value()
        kept = tf.minimum(self.decay, (1.0 + updates) / (10.0 + updates))
        for name, average in self.variables.items():
            value = tf.convert_to_tensor(self._weights[name])
            if value.dtype.is_floating:
                average.assign_sub((average - value) * tf.cast(1.0 - kept, value.dtype))
            else:  # the state of a random layer
                average.assign(value)
        self.state["updates"].assign_add(1.0)
