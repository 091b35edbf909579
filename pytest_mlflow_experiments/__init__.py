"""Keep what pytest cases measure: every case an MLflow run."""

__version__ = "0.1.0"
