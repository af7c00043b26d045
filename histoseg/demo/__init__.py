"""Made-up tissue for trying and testing without real data.

`drawing`, `mucosa` and `tissue` draw images; `write_demo(root, rng)` in `<source>.py` writes some of them in the layout
of that source; `write` is the command.
"""
