"""The tracker: a process of its own that brings a session's journal into MLflow."""
