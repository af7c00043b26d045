"""A draft as the text of a `source.toml`, with a remark at each line that a person must check."""

import re
from collections.abc import Iterator
from pathlib import Path

from histoseg.sources._draft import Draft


def to_toml(draft: Draft, folder: Path, mpp: float = 0.0) -> str:
    """The draft as a `source.toml`; without a stated `mpp` it must be filled in before the file can be used."""
    return "\n".join(_lines(draft, name_of(folder), mpp)) + "\n"


def name_of(folder: Path) -> str:
    """What a source is called after its folder."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    return name if re.match("[a-z]", name) else f"lab_{name}".rstrip("_")


def _lines(draft: Draft, name: str, mpp: float) -> Iterator[str]:
    yield "# What is in this folder, for `histoseg prepare`. Check every line."
    yield f"name = {quoted(name)}"
    yield f"title = {quoted(name.replace('_', ' ').capitalize())}"
    yield 'licence = "that of our own data"'
    yield f"kind = {quoted(draft.kind)}  # semantic: classes of pixels; instance: objects; patch: one class an image"
    yield f"classes = [{', '.join(map(quoted, draft.classes))}]  # background first"
    yield f"mpp = {mpp:g}  # microns per pixel: about 0.25 at 40x, 0.5 at 20x" + ("" if mpp else "; FILL IN")
    yield '# structure = "gland"  # gland, lumen, nuclei or tissue: what Cerberus learns from it'
    yield f"images = {quoted(draft.images)}"
    if draft.labels:
        yield f"labels = {quoted(draft.labels)}"
    if draft.patient:
        yield f"patient = {quoted(draft.patient)}  # its group is the patient"
    else:
        yield "# patient = '/(case[0-9]+)_'  # its group is the patient; without it, each image has its own"
    if draft.kind != "patch" and draft.values:
        yield '# instances = "components"  # with kind = "instance": each connected piece of a class is an object'
    if draft.values:
        yield ""
        yield '[values]  # what labels hold, and the class that it means, or "ignored"'
        yield from (f"{quoted(key)} = {quoted(value)}" for key, value in draft.values.items())


def quoted(text: str) -> str:
    """A TOML string without escapes where that is possible."""
    return (
        f"'{text}'" if "\\" in text and "'" not in text else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
