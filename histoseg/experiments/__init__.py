"""One file per table or figure: SCALES, runs(scale, seeds, sources) and report(...).

An experiment says what is run and how the records are shown; where and on what it runs is not its business.
"""
