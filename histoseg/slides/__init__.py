"""Whole slides: reading them, and keeping what was found in them."""
