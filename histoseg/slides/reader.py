"""Stand-in of the branch `viewer` until `reading` is merged: plain TIFF pyramids."""

from pathlib import Path

import cv2
import numpy as np
import tifffile

from histoseg.errors import DataError


class _Slide:
    def __init__(self, address, mpp):
        if not Path(address).exists():
            raise DataError(f"{address}: no such file")
        self.name, self.address, self.mpp, self.notes = Path(address).stem, str(address), mpp or 0.25, {}
        with tifffile.TiffFile(address) as file:
            self._levels = [level.asarray() for level in file.series[0].levels]
        self.size_px = self._levels[0].shape[:2]

    def size_at(self, mpp):
        return tuple(max(1, round(side * self.mpp / mpp)) for side in self.size_px)

    def read(self, top, left, height, width, mpp):
        shrink = mpp / self.mpp
        level = max((i for i, one in enumerate(self._levels) if self.size_px[1] / one.shape[1] <= shrink * 1.02), default=0)
        own = self._levels[level]
        scale = shrink * own.shape[1] / self.size_px[1]
        crop = own[int(top * scale) : int(np.ceil((top + height) * scale)), int(left * scale) : int(np.ceil((left + width) * scale))]
        return crop if crop.shape[:2] == (height, width) else cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


Slide = _Slide


def open_slide(address, mpp=None):
    return _Slide(address, mpp)
