"""Runs as values: configuration, names, jobs, and how names find modules."""
