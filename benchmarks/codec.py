"""Decoding a lossless image: plain .npy against PNG and lossless WebP, in time and in size (docs/adr/0002).

    python benchmarks/codec.py

On made-up tissue and, where HISTOSEG_REAL_DATA names a folder with MoNuSeg or GlaS, on real tissue. To decode .npy is
to copy it out of the bytes of the shard, so that its pixels are touched too.
"""

import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from _timing import Finding, compare, interleaved, one_thread, print_times, table
from _tissue import draw_tissue

from histoseg.errors import MissingSourceError
from histoseg.sources import glas, monuseg
from histoseg.types import Image

NUM_IMAGES, NUM_ROUNDS = 3, 7
GOAL = 3.0

# OpenCV's PNG is fast to write and large; level 6 is what Pillow, ImageMagick and libpng choose.
CODECS = {
    "PNG level 6": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 6]),
    "PNG by OpenCV": (".png", []),
    "WebP lossless": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),  # Above 100 means lossless.
}


def run() -> list[Finding]:
    """Both comparisons on every kind of image at hand."""
    rng = np.random.default_rng(0)
    images = {"made-up tissue": [draw_tissue(rng)[0] for _ in range(NUM_IMAGES)], **real_images()}
    return [finding for kind, chosen in images.items() for finding in compare_codecs(kind, chosen)]


def real_images() -> dict[str, list[Image]]:
    if not (folder := os.environ.get("HISTOSEG_REAL_DATA")):
        print("HISTOSEG_REAL_DATA is not set: real tissue left out")
        return {}
    found = {}
    for source in (monuseg, glas):
        try:
            entries = source.entries(Path(folder))
        except (MissingSourceError, OSError):
            print(f"no {source.TASK.title} in HISTOSEG_REAL_DATA: left out")
            continue
        found[source.TASK.title] = [source.read(entry).image for entry in entries[:NUM_IMAGES]]
    return found


def compare_codecs(kind: str, images: list[Image]) -> list[Finding]:
    bodies = {name: [encoded(image, *how) for image in images] for name, how in CODECS.items()}
    bodies["histoseg"] = [as_npy(image) for image in images]
    for name, encodings in bodies.items():
        for image, body in zip(images, encodings, strict=True):
            np.testing.assert_array_equal(decoder(name)(body), image, err_msg=name)
    times = interleaved({name: partial(decode_all, name, bodies[name]) for name in bodies}, NUM_ROUNDS)
    height, width = images[0].shape[:2]
    print(f"\n{kind}: {len(images)} images like {height}x{width}, equal after decoding")
    print_times(times, "ms an image", len(images))
    plain = sum(map(len, bodies["histoseg"]))
    sizes = [
        Finding(
            part=f"size, {kind}",
            reference=name,
            ratios=tuple(len(body) / len(own) for body, own in zip(bodies[name], bodies["histoseg"], strict=True)),
            note=f".npy is {plain / sum(map(len, bodies[name])):.2f} times as large",
        )
        for name in CODECS
    ]
    return compare(times, f"decode, {kind}", {"PNG level 6": GOAL}) + sizes


def encoded(image: Image, ending: str, options: list[int]) -> bytes:
    done, body = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise SystemExit(f"this OpenCV does not write {ending}")
    return body.tobytes()


def as_npy(image: Image) -> bytes:
    body = io.BytesIO()
    np.save(body, image)
    return body.getvalue()


def decoder(name: str) -> Callable[[bytes], Image]:
    return copy_npy if name == "histoseg" else decode_file


def decode_file(body: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR_RGB))


def copy_npy(body: bytes) -> Image:
    file = io.BytesIO(body)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return np.frombuffer(body, dtype, offset=file.tell()).reshape(shape).copy()


def decode_all(name: str, bodies: list[bytes]) -> None:
    decode = decoder(name)
    for body in bodies:
        decode(body)


if __name__ == "__main__":
    one_thread()
    print(table(run()))
