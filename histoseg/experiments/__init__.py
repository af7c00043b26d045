"""One file per table or figure.

An experiment is a module with
    SCALES                            its sizes by name: what is trained, with `data`, how images are stored
    SOURCES                           every source that it reads, if prepared
    SPEC                              the table: a TableSpec
    runs(scale, seeds, sources)       its runs, as far as the prepared sources allow
    why_missing(row, column, sources) why a cell of the table cannot be had from these sources; "" if it can
It says what is run and how the records are shown; where and on what it runs is not its business.
"""
