"""Arithmetic on label maps and objects: no torch, no I/O."""
