"""Features of slides for biomarkers, from the objects that `histoseg segment` found: one file for each group.

shapes, contents, layering, surroundings      of each gland
counts, sizes, spacing, glands, tissue        of a slide, and of each class of tissue in it
slide                                         what they are computed from
definition                                    what each is called and means; docs/features.md lists them
measure                                       all features of one slide
reading, cohort, tables, page                 from a folder of results to tables and a page
"""
