"""Public data sets, one file each, read in the layout their authors publish.

A source is a module with
    TASK: Task                        what is predicted from it
    entries(root, **options)          what lies below a folder: list[Entry], pairs checked, no pixel read
    read(entry)                       one entry as a Sample
    write_demo(root, rng)             a small made-up set in the same layout (optional)
"""
