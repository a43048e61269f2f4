"""The plugin contract as a test: `check_backbone("pond")` in a test of the plugin, or a line in its pytest settings."""

from ssdcore.testing.contract import Result, check_backbone, run_checks

__all__ = ["Result", "check_backbone", "run_checks"]
