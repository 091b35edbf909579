"""Renderers: pure functions from what a session found to what a person or a tool reads."""
