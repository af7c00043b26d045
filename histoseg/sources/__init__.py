"""Public data sets, one file each: readers of the layout their authors publish.

A source is a module with
    TASK: Task                        what is predicted from it, and which structure it teaches
    entries(root, **options)          the images below a folder: list[Entry], pairs checked, no pixel read
    read(entry)                       one entry as a Sample

`histoseg/demo/<name>.py` writes made-up images in the same layout.
"""
