"""Mutation testing: small changes of the code, and whether its tests notice (`make mutants`, docs/mutants.md)."""
