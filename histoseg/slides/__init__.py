"""Whole slides: reading them, and what was found in them."""
