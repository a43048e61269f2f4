"""The requirements of the plugin contract, one function each; every message says what to change."""

from collections.abc import Callable

from ssdcore.testing.checks.behaviour import (
    evaluation_is_still,
    exports_to_a_graph,
    feature_layers_fit,
    gradients_reach_everything,
    mixed_precision_fits,
    other_sizes_follow,
    save_and_load_give_the_same,
)
from ssdcore.testing.checks.layers import (
    base_net_gives_maps,
    convolutional_only,
    preprocessing_is_plausible,
    scope_is_applied,
)
from ssdcore.testing.checks.process import import_is_light, leaves_the_process_alone
from ssdcore.testing.subject import Subject

CHECKS: tuple[Callable[[Subject], None], ...] = (
    import_is_light,
    base_net_gives_maps,
    leaves_the_process_alone,
    convolutional_only,
    scope_is_applied,
    preprocessing_is_plausible,
    feature_layers_fit,
    other_sizes_follow,
    mixed_precision_fits,
    gradients_reach_everything,
    evaluation_is_still,
    save_and_load_give_the_same,
    exports_to_a_graph,
)
"""All checks, in the order in which they are run."""
