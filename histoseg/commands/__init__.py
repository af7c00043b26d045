"""What the commands of `histoseg` do; `histoseg.cli` gathers them."""
