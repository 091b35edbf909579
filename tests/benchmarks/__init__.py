"""What the plugin costs, beside its peers: ``tox -e bench``."""
