"""Measurements; scripts/bench runs them. The first docstring line of each module is what the list shows."""
