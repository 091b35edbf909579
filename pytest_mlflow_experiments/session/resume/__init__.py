"""Going on with a session that was interrupted: what passed in it does not run again."""
