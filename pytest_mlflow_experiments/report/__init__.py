"""Renderers: pure functions from comparisons, sweeps and summaries to text."""
