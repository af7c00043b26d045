"""The viewer library of the page, fetched again from npm: `python -m histoseg.viewer.vendor`.

The page is served with these files as they are; nobody who uses it needs npm. To take another version, state it and the
sums that `npm view openseadragon@VERSION dist.integrity` and `sha256sum` give, and run the browser's tests.
"""

import base64
import hashlib
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from histoseg.errors import DataError

FOLDER = Path(__file__).parent / "web" / "vendor"
PACKAGE = "openseadragon@6.1.1"  # BSD 3-Clause
INTEGRITY = "sha512-g4iKe2q8B642SaBT3+x4ZF3/8b1TxPPydyjmtrOLgDrlYWMKd9ZXM+1Cb/xa9DVySkvs/7l6HR1nHKfD5F3Tsw=="
FILES = {
    "openseadragon.min.js": "package/build/openseadragon/openseadragon.min.js",
    "openseadragon-LICENSE.txt": "package/LICENSE.txt",
}
SHA256 = {  # Of the files as they lie here, which a test compares
    "openseadragon.min.js": "14d587cd3ee7c4861f1a41077ce642029364a21029956ba635bd8fb1202cf9ad",
    "openseadragon-LICENSE.txt": "17da96b26ac706d2cbd06d4555dedb43026782f4943faf0156fe7acf89454228",
}


def fetch() -> Mapping[str, bytes]:
    """The files in the package, whose checksum is compared."""
    with tempfile.TemporaryDirectory(prefix="histoseg-vendor-") as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True)
        (archive,) = Path(folder).glob("*.tgz")
        body = archive.read_bytes()
        found = "sha512-" + base64.b64encode(hashlib.sha512(body).digest()).decode()
        if found != INTEGRITY:
            raise DataError(f"{PACKAGE} from npm has the checksum {found}, not {INTEGRITY}; nothing was replaced")
        with tarfile.open(archive) as tar:
            return {name: _member(tar, inside) for name, inside in FILES.items()}


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise DataError(f"{PACKAGE} from npm has no file {name}; state its new name in {__file__}")
    return file.read()


def main() -> None:
    """Fetch all files and put them in place."""
    for name, body in fetch().items():
        (FOLDER / name).write_bytes(body)


if __name__ == "__main__":
    main()
