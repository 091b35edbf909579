"""Parametrized sweeps: rank the configurations of a test, and find which params matter."""
