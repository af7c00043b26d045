"""Pure functions of (seed, rank, world size, step) that say what to train on, and threads that fetch it ahead."""
