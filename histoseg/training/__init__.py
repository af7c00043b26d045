"""The loop that all methods share: steps, gradients over ranks, checkpoints, progress."""
