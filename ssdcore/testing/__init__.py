"""The plugin contract as tests: `check_backbone("pond")` in a plugin's test, or a line in its pytest settings."""

from ssdcore.testing.contract import Result, check_backbone, run_checks

__all__ = ["Result", "check_backbone", "run_checks"]
