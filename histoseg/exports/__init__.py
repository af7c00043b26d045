"""The objects of a slide in forms that other programs open: one file for each form, whose name is the form's.

A module has `NAME`, what the file is called beside `objects.parquet`, and `write(path, slide)`, which returns how many
objects it wrote. `path` does not exist yet; what is written there, a file or a folder, is moved once it is whole.
"""
