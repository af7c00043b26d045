"""Public data sets, one file each: readers of the layout their authors publish.

A source is a module with
    TASK: Task                        what is predicted from it, and which structure it teaches
    entries(root, **options)          the images below a folder: list[Entry], pairs checked, no pixel read
    read(entry)                       one entry as a Sample

`entries` raises MissingSourceError if the folder holds no file of the source, ConfigError if an option has another
value, and DataError if files are not as published; `read` raises DataError if files are damaged or do not fit each
other. The functions of `histoseg.files` raise the same.

`histoseg/demo` writes made-up images in the same layouts.
"""
