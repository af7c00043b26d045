"""Reading files as people have them: images, label maps, annotations, tables; each fault is one line with the path.

A lab's own reader calls these functions, too. All raise DataError for a file that is damaged or not as expected; what
they leave out or change they note with `histoseg.files.notes.note`.

    folders.scan, by_image_name, pair, make_key     finding files and pairing them
    images.read_image                               RGB
    labels.read_labels                              class ids of an image or .npy
    labels.read_instance_map                        numbers of objects, of 8 to 32 bits: images, .npy, .mat
    labels.read_colour_map                          class ids of a mask whose colours are classes
    mat.read_objects                                objects with classes, as Lizard's .mat files have them
    imagescope.read_imagescope                      outlines, as `Region`s: XML of Aperio's ImageScope
    geojson.read_geojson                            GeoJSON of QuPath and of `histoseg segment`
    imagej.read_imagej                              .roi and .zip of ImageJ
    labelme.read_labelme, coco.read_coco            JSON of LabelMe, and of COCO for many images
    layers.choose_layer, require_no_frame           the outlines that are objects
    regions.classify, draw_polygons                 from outlines to maps
    tables.read_csv                                 tables of text
"""
