"""A lab's source and experiments for histoseg."""
