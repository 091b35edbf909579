"""What ``pytest --mlflow`` does, from its start to the exit status."""
