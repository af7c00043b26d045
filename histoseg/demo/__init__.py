"""Made-up tissue for trying and testing without real data.

`write_demo(root, rng)` in `<source>.py` writes some images in the layout of that source, with the strokes of `drawing`.
`mucosa` and `tissue` write several sources, each with `write_<source>`. `write` is the command.
"""
