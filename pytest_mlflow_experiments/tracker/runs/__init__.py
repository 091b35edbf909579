"""What records become in MLflow: the runs of sessions, cases, sweeps and shards."""
