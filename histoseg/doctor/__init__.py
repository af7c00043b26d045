"""What `histoseg doctor` checks."""
