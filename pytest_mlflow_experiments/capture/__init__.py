"""Follow the cases in each process that runs tests: params, metrics, checks, artifacts."""
