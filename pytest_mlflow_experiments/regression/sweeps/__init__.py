"""Parametrized sweeps: the cases of one test as a table of configurations, and what mattered."""
