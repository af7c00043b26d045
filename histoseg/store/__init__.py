"""The object store: objects, leases, and every key."""
