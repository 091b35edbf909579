"""The tracker: a child process that sends a session's journal to MLflow."""
