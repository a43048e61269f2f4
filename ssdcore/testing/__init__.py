"""The plugin contract as a test: `check_backbone("pond")` in a test of the plugin, or a line in its pytest settings.

Importing this package, as pytest does for its plugin, is cheap; TensorFlow is loaded by the first name that needs it.
"""

from typing import TYPE_CHECKING, Any

from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from ssdcore.testing.contract import Result, check_backbone, run_checks

__all__ = ["Result", "check_backbone", "run_checks"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ssdcore.testing' has no attribute {name!r}")
    load_tensorflow()
    from ssdcore.testing import contract

    return getattr(contract, name)
