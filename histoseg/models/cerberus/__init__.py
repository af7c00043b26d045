"""Cerberus: network, targets, post-processing."""
