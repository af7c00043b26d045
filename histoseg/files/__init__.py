"""Reading files as people have them: images, label maps, annotations, tables; each fault is one line with the path.

A lab's own reader calls these functions, too. All raise DataError for a file that is damaged or not as expected; what
they leave out or change they note with `histoseg.files.notes.note`.
"""
