"""Kubernetes: what a RayJob must be, how it is submitted and followed, and what a cluster lacks. No Ray in here."""
