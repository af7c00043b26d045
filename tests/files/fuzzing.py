"""Damaged variants of a kind of file through its readers, in a process of its own.

A reader must give a value or raise DataError. Prints how many variants there were, and the first faults.
To try it: `python -m tests.files.fuzzing png FOLDER SECONDS`. It begins with the same variants each time, so more than
the tests' seconds are of use where a reader or `damage` has changed.
"""

import io
import os
import resource
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.io
import tifffile
from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.files.annotations import read_xml
from histoseg.files.images import read_image
from histoseg.files.labels import read_labels
from histoseg.files.mat import read_objects
from histoseg.files.resolution import stored_mpp
from histoseg.files.tables import read_csv
from histoseg.sources import consep, monuseg, pannuke
from histoseg.types import Entry

MEMORY_BYTES = 2 * 2**30  # More than reading any intact one takes, and less than damaged headers claim
RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 256, (24, 32, 3)).astype(np.uint8)


def encode(pixels, ending, **options):
    body = io.BytesIO()
    PillowImage.fromarray(pixels).save(body, ending, **options)
    return body.getvalue()


def tiff(pixels, **options):
    body = io.BytesIO()
    tifffile.imwrite(body, pixels, **options)
    return body.getvalue()


def mat(**arrays):
    body = io.BytesIO()
    scipy.io.savemat(body, arrays, do_compression=arrays.pop("compress", True))
    return body.getvalue()


def npy(values):
    body = io.BytesIO()
    np.save(body, values)
    return body.getvalue()


def pngs():
    exif = PillowImage.Exif()
    exif[274] = 6
    palette = PillowImage.fromarray(SMALL).quantize(16)
    body = io.BytesIO()
    palette.save(body, "PNG", transparency=3)
    sixteen = SMALL[:, :, 0].astype(np.uint16) * 257
    return [
        encode(SMALL, "PNG", exif=exif, dpi=(50_800, 50_800)),
        encode(np.dstack([SMALL, SMALL[:, :, 0]]), "PNG"),
        encode(sixteen, "PNG"),
        body.getvalue(),
    ]


def tiffs():
    deep = SMALL.astype(np.uint16) * 257
    about = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    return [
        encode(SMALL, "TIFF", compression="tiff_lzw", dpi=(50_800, 50_800)),
        encode(SMALL, "TIFF", compression="jpeg"),
        tiff(SMALL, photometric="rgb"),
        tiff(deep, photometric="rgb", compression="zlib", extratags=[(274, "H", 1, 6, True)]),
        tiff(np.moveaxis(deep, 2, 0), photometric="rgb", planarconfig="separate"),
        tiff(np.moveaxis(SMALL, 2, 0), photometric="minisblack", ome=True, metadata=about),
        tiff(np.moveaxis(deep, 2, 0), photometric="minisblack", imagej=True, metadata={"axes": "CYX", "unit": "um"}),
    ]


def mats():
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 2:6], labels[8:12, 8:15] = 1, 2
    columns = {"id": np.array([[1], [2]]), "class": np.array([[1], [2]], np.uint8)}
    nuclei = {"type_map": (labels > 0).astype(np.uint8), "inst_type": np.array([[1], [2]], np.uint8)}
    centroids = {"inst_centroid": np.array([[3.0, 3.0], [11.0, 10.0]])}
    return [
        mat(inst_map=labels, **columns),
        mat(inst_map=labels.astype(float), **columns, compress=False),
        mat(inst_map=labels, **nuclei, **centroids),
    ]


XML = b"""<?xml version="1.0"?><Annotations MicronsPerPixel="0.252000"><Annotation Id="1" Name=""><Attributes/>
<Regions><Region Id="1" NegativeROA="0"><Vertices><Vertex X="2.5" Y="3"/><Vertex X="20" Y="3"/><Vertex X="9" Y="20"/>
</Vertices></Region><Region Id="2"><Vertices><Vertex X="12" Y="13"/><Vertex X="22" Y="13"/><Vertex X="20" Y="22"/>
</Vertices></Region></Regions></Annotation></Annotations>"""
TABLE = b'\xef\xbb\xbfname,patient ID,grade\ntrain_1,3,benign\n"train, 2",4,malignant\ntestA_1,5,\n'


def read_monuseg(path):
    image = path.with_name("image.tif")
    if not image.exists():
        image.write_bytes(tiff(SMALL, photometric="rgb"))
    return monuseg.read(Entry(key="a", patient="a", files={"image": image, "annotation": path}))


def read_consep(path):
    image = path.with_name("image.png")
    if not image.exists():
        image.write_bytes(encode(SMALL[:20, :20], "PNG"))
    options = {"types": "merged", "instances": "numbered"}
    return consep.read(Entry(key="a", patient="a", files={"image": image, "annotation": path}, options=options))


def read_pannuke(path):
    other = path.with_name("other.npy")
    if not other.exists():
        other.write_bytes(npy(np.zeros((2, 20, 20, 6))))
    options = {"number": 1, "overlaps": "refuse", "instances": "numbered"}
    for files in ({"image": path, "annotation": other}, {"image": other, "annotation": path}):
        pannuke.read(Entry(key="a", patient="a", files=files, options=options))


IMAGES = [read_image, read_labels, stored_mpp]
KINDS = {  # Intact files, their ending, and their readers
    "png": (pngs, [*IMAGES]),
    "jpg": (lambda: [encode(SMALL, "JPEG"), encode(SMALL, "JPEG", progressive=True, dpi=(50_800, 50_800))], IMAGES),
    "bmp": (lambda: [encode(SMALL, "BMP"), encode(SMALL[:, :, 0], "BMP")], IMAGES),
    "tif": (tiffs, IMAGES),
    "mat": (mats, [lambda path: read_objects(path, 5), read_consep]),
    "xml": (lambda: [XML], [read_xml, read_monuseg]),
    "csv": (lambda: [TABLE], [lambda path: read_csv(path, ("name", "patient ID"), content="patients")]),
    "npy": (lambda: [npy(RNG.integers(0, 2, (2, 20, 20, 3)) * 200.0), npy(np.zeros((2, 20, 20, 6)))], [read_pannuke]),
}


OUTCOMES = {"read", "refused", "died"}
# SciPy reads beyond the end of some damaged files (a number marked as complex without its other part, for example) and
# is killed. `prepare` reads in processes of their own, so it costs such a file alone.
ENDS_PROCESSES = {"mat"}


def damage(whole, rng):
    """One of the ways in which files are damaged: bits, bytes and numbers changed, parts cut, repeated or emptied."""
    body = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        place, length = int(rng.integers(len(body) or 1)), int(rng.integers(1, 64))
        # Most faults of readers are in headers.
        place = place if rng.random() < 0.5 else min(place, int(rng.integers(1, 300)))
        match rng.integers(8):
            case 0:
                body[place : place + 1] = bytes([int(rng.integers(256))])
            case 1:
                body[place : place + 1] = bytes(255 - value for value in body[place : place + 1])
            case 2:
                del body[place:]
            case 3:
                del body[place : place + length]
            case 4:
                body[place:place] = body[place : place + length]
            case 5:
                body[place : place + length] = bytes(len(body[place : place + length]))
            case 6:
                body[place:place] = rng.bytes(length)
            case _:
                value = int(rng.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 100_000]))
                body[place : place + 4] = struct.pack(rng.choice(["<I", ">I"]), value)
    return bytes(body)


def attempt(reader, path):
    """What came of reading: "read", "refused", or a fault."""
    try:
        reader(path)
    except DataError as error:
        is_line = "\n" not in str(error) and str(path.parent) in str(error)
        return "refused" if is_line else f"not a line with the path: {error!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error} in {traceback.extract_tb(error.__traceback__)[-2:]}"
    return "read"


def apart(reader, path):
    """As `attempt`, in a process of its own; or "died"."""
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        os.write(send, attempt(reader, path).encode()[:4000])
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as answer:
        outcome = answer.read().decode(errors="replace")
    os.waitpid(child, 0)
    return outcome or "died"


def fuzz(kind, folder, seconds):
    """How many variants were tried, how many a reader took as they were, and the faults with the variant's number."""
    make, readers = KINDS[kind]
    intact, path, faults, counts = make(), folder / f"a.{kind}", [], Counter()
    begun = time.monotonic()
    while time.monotonic() - begun < seconds and len(faults) < 5 and counts["variants"] < 20_000:
        number = counts["variants"]
        rng = np.random.default_rng(number)
        path.write_bytes(damage(intact[number % len(intact)], rng))
        for reader in readers:
            outcome = apart(reader, path) if kind in ENDS_PROCESSES else attempt(reader, path)
            counts[outcome if outcome in OUTCOMES else "faults"] += 1
            faults += [f"{number}: {outcome}"] if outcome not in OUTCOMES else []
        counts["variants"] += 1
    return counts, faults


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    counted, found = fuzz(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.write("\n".join([str(dict(counted)), *found, ""]))
    sys.exit(bool(found))
