"""Whole slides: regions of any resolution from every format, and where their tissue is.

    reader.open_slide         a slide, from a path or an s3:// address
    tissue.find_tissue        where tissue lies on it; `read_mask` reads a mask of the user's

Behind `reader` stand sources of pixel blocks (`levels.BlockSource`), one for each kind of file: `tiff_reader` for
tiled TIFF, `openslide_reader` for scanners' own formats, `plain` for images without a pyramid.
"""
