"""Slides whose content is known: tissue on glass, and pyramids in the layouts of several programs."""

import cv2
import numpy as np
import tifffile

from histoseg.demo import drawing, pyramid

GLASS = (242, 241, 243)


def piece_of_tissue(size, rng, strength=1.0):
    """Stroma with nuclei, as amounts of dye so many times the usual."""
    canvas = drawing.draw_stroma(size, rng)
    drawing.add_nuclei(canvas, drawing.scatter(np.ones(size, bool), 14.0, rng), drawing.SPINDLE, rng)
    stain = np.array([drawing.HAEMATOXYLIN, drawing.EOSIN], np.float32) * strength
    return drawing.render(canvas, stain, rng)


def draw_on_glass(strength=1.0, glass=GLASS, size=(300, 400)):
    """A picture of a slide, and where its tissue is: a large piece and a small one."""
    rng = np.random.default_rng(0)
    true = np.zeros(size, np.uint8)
    cv2.fillPoly(true, [drawing.outline(np.array([200.0, 150.0]), 95.0, rng)], 1)
    cv2.circle(true, (60, 60), 25, 1, -1)
    tissue = piece_of_tissue(size, rng, strength)
    light = np.array(glass) / 246  # What `render` shines through
    picture = np.where(true[:, :, None] > 0, tissue * light, np.array(glass) + rng.normal(0, 1.2, (*size, 3)))
    return picture.clip(0, 255).astype(np.uint8), true.astype(bool)


def save_slide(path, image, *, mpp=0.5, levels=(), compression=None, tile=(256, 256), below=True, **more):
    """A tiled TIFF with smaller levels below the page (SubIFDs) or as pages after it; mpp as its resolution."""
    density = 10000 / mpp
    options = {"photometric": "rgb", "tile": tile, "compression": compression, "metadata": None, **more}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        first = {"resolution": (density, density), "resolutionunit": "CENTIMETER"}
        file.write(image, subifds=len(levels) if below else 0, **first, **options)
        for factor in levels:
            size = (image.shape[1] // factor, image.shape[0] // factor)
            small = cv2.resize(image[: size[1] * factor, : size[0] * factor], size, interpolation=cv2.INTER_AREA)
            file.write(small, subfiletype=1, **options)


def save_philips(path, image, mpp, gaps=()):
    """A slide in the layout of Philips' scanners, of two levels; the tiles `gaps` of the base are not stored."""
    spacing = (
        '<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">{}</Attribute>'
    )
    spacings = [spacing.format(f"&quot;{each}&quot; &quot;{each}&quot;") for each in (mpp / 1000, mpp / 500)]
    parts = "".join(f'<DataObject ObjectType="PixelDataRepresentation">{each}</DataObject>' for each in spacings)
    image_type = '<Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004" PMSVR="IString">WSI</Attribute>'
    description = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" PMSVR="IDataObjectArray"><Array>'
        f'<DataObject ObjectType="DPScannedImage">{image_type}{spacings[0]}'
        '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" Element="0x8B01"'
        f' PMSVR="IDataObjectArray"><Array>{parts}</Array></Attribute>'
        "</DataObject></Array></Attribute></DataObject>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for factor in (1, 2):
            small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
            height, width = (-(-side // 256) * 256 for side in small.shape[:2])
            full = np.full((height, width, 3), 255, np.uint8)
            full[: small.shape[0], : small.shape[1]] = small
            corners = [(y, x) for y in range(0, height, 256) for x in range(0, width, 256)]
            tiles = [pyramid.encode_tile(np.ascontiguousarray(full[y : y + 256, x : x + 256])) for y, x in corners]
            tiles = [b"" if factor == 1 and i in gaps else tile for i, tile in enumerate(tiles)]
            kind = {"photometric": "ycbcr", "subsampling": (2, 2), "compression": pyramid.JPEG, "metadata": None}
            about = {"software": "Philips DP v1.0", "description": description} if factor == 1 else {"subfiletype": 1}
            file.write(iter(tiles), shape=full.shape, dtype=np.uint8, tile=(256, 256), **kind, **about)


def save_ndpi(path, image, mpp):
    """A slide in the layout of Hamamatsu's scanners, of two levels, each one JPEG."""
    with tifffile.TiffWriter(path, byteorder="<") as file:
        for factor in (1, 2):
            small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
            density = 10000 / (mpp * factor)
            file.write(
                iter([pyramid.encode_tile(small)]),
                shape=small.shape,
                dtype=np.uint8,
                rowsperstrip=small.shape[0],
                photometric="ycbcr",
                subsampling=(2, 2),
                compression=pyramid.JPEG,
                metadata=None,
                resolution=(density, density),
                resolutionunit="CENTIMETER",
                extratags=[(65420, "I", 1, 1, True), (65421, "f", 1, 20.0 / factor, True), (65424, "i", 1, 0, True)],
            )
