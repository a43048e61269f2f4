"""The requirements of the plugin contract, one function each; every message says what to change."""

from ssdcore.testing.checks.behaviour import (
    evaluation_is_still,
    exports_to_a_graph,
    gradients_reach_everything,
    save_and_load_give_the_same,
)
from ssdcore.testing.checks.layers import (
    base_net_gives_maps,
    convolutional_only,
    preprocessing_is_plausible,
    scope_is_applied,
)
from ssdcore.testing.checks.process import import_is_light, leaves_the_process_alone
from ssdcore.testing.checks.sizes import feature_layers_fit, mixed_precision_fits, other_sizes_follow

__all__ = [
    "base_net_gives_maps",
    "convolutional_only",
    "evaluation_is_still",
    "exports_to_a_graph",
    "feature_layers_fit",
    "gradients_reach_everything",
    "import_is_light",
    "leaves_the_process_alone",
    "mixed_precision_fits",
    "other_sizes_follow",
    "preprocessing_is_plausible",
    "save_and_load_give_the_same",
    "scope_is_applied",
]
