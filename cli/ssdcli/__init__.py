"""The `ssd` command."""
