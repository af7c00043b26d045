"""Which slides are meant: files, folders, lists and addresses in an object store."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from histoseg.errors import ConfigError
from histoseg.store.objects import connect

# Endings that OpenSlide, tifffile or Pillow read; a folder may hold other files beside slides.
ENDINGS = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide", ".dcm", ".czi",
    ".png", ".jpg", ".jpeg", ".bmp",
)  # fmt: skip
LIST = ".txt"


def find_slides(words: Sequence[str]) -> list[str]:
    """The addresses of all slides that are meant, in order, each once.

    A word is a slide, a folder of slides, an s3:// address of an object or of a prefix, or a text file that ends in
    .txt, here or at such an address, with one of these on each line; relative paths begin at the current folder.

    Raises:
        ConfigError: If there is no slide at one of them.
    """
    return list(dict.fromkeys(address for word in words for address in _meant(word)))


def slide_name(address: str) -> str:
    """The name of a slide's results: that of its file without the ending."""
    return Path(address.rpartition("/")[2]).stem


def require_distinct(addresses: Sequence[str]) -> None:
    """Refuse slides whose results would lie in the same folder."""
    first: dict[str, str] = {}
    for address in addresses:
        if (name := slide_name(address)) in first:
            raise ConfigError(
                f"{first[name]} and {address} would both be written to {name}/; rename one, or give each a command and "
                "an --out (OUT) of its own"
            )
        first[name] = address


def _meant(word: str) -> Iterator[str]:
    if word.endswith(LIST):
        yield from _listed(word)
    elif "://" in word:
        yield from _stored(word)
    elif Path(word).is_dir():
        found = [str(path) for path in sorted(Path(word).iterdir()) if path.suffix.lower() in ENDINGS]
        yield from _require(found, word)
    elif Path(word).exists():
        yield word
    else:
        raise ConfigError(f"{word}: there is no such file or folder; correct the name")


def _stored(address: str) -> Iterator[str]:
    """An object, or the objects below a prefix that are slides."""
    if address.lower().endswith(ENDINGS):
        yield address
        return
    store = connect(address.rstrip("/"))
    keys = [key for key in store.list() if key.lower().endswith(ENDINGS)]
    yield from _require([f"{address.rstrip('/')}/{key}" for key in keys], address)


def _listed(where: str) -> Iterator[str]:
    folder, _, key = where.rpartition("/")
    try:
        body = connect(folder).get(key) if "://" in where else Path(where).read_bytes()
        lines = [line.strip() for line in body.decode().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot be read as a list of slides ({error}); write one address a line") from error
    words = [line for line in lines if line and not line.startswith("#")]
    for word in _require(words, where):
        if word.endswith(LIST):
            raise ConfigError(f"{where}: names another list, {word}; name slides, folders or s3:// addresses")
        try:
            yield from _meant(word)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


def _require(found: list[str], where: str) -> list[str]:
    if not found:
        raise ConfigError(f"{where}: no slide there; slides end in {', '.join(ENDINGS)}")
    return found
