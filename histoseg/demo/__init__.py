"""Made-up tissue."""
