"""Convert records to MLflow runs: of sessions, cases, sweeps and shards."""
