"""Whole slides: read by resolution, divided into regions, and put together again from what was found in each.

    reader.open_slide         a slide, from a path or an s3:// address
    tissue.find_tissue        where tissue lies on it; `read_mask` reads a mask of the user's
    grid.Grid                 its regions, and the windows of each
    settle.settle             the objects of a region that no neighbour can change, and pieces of the others
    stitch.stitch             one object of each that several regions hold pieces of
    objects.write_objects     all objects in one GeoParquet; `ObjectFile` reads it by viewport
    summary.Summary           what is known of a slide that is finished

Behind `reader` stand sources of pixel blocks (`levels.BlockSource`), one for each kind of file: `tiff_reader` for
tiled TIFF, `openslide_reader` for scanners' own formats, `plain` for images without a pyramid.
"""
