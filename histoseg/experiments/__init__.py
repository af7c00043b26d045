"""One file per table or figure, and per way to segment a cohort of slides.

An experiment is a module with
    SCALES                            its sizes by name: what is trained, with `data`, how images are stored
    SOURCES                           every source that it reads, if prepared
    SPEC                              the table: a TableSpec
    runs(scale, seeds, sources)       its runs, as far as the prepared sources allow
    why_missing(row, column, sources) why a cell of the table cannot be had from these sources; "" if it can
or, for slides through a model, with KIND = "cohort" and
    SCALES                            its settings by name: SegmentOptions
It says what is run and how the records are shown; where and on what it runs is not its business.
"""
