"""Raw files of a few pixels, in the layouts of the sources."""

import numpy as np
import scipy.io
from PIL import Image

OBJECTS = {"inst_map": [[0, 7], [3, 3]], "id": [[7], [3]], "class": [[1], [2]]}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def grey(height=2, width=2):
    return np.full((height, width, 3), 200, np.uint8)


def save_mat(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {name: np.array(values) for name, values in content.items()})
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path
