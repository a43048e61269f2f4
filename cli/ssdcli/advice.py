"""What the command line adds to the core's errors: the command or option that helps, by the error's reason."""

from ssdcore.errors import SsdError

ADVICE = {
    # files
    "cannot_write": "make room there, or choose another --out",
    # data
    # training
    # evaluation and detection
    # weights
    "weights_without_classes": "give them (--classes a,b,c), or train from the file (ssd train … train.weights=FILE)",
    "weights_of_another_network": "ssd params list shows the param sets",
    "weights_incomplete": "ssd weights import takes --partial for that",
    "no_checkpoint_map": "ssd backbones list shows the backbones",
}
"""Reason -> advice; `{name}` stands for one of the error's facts."""


def with_advice(error: SsdError) -> str:
    """The error's message and, where there is some, the advice for its reason."""
    advice = ADVICE.get(error.reason)
    return f"{error}; {advice.format(**error.facts)}" if advice else str(error)
