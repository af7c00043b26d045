"""Commands about learned features: those of patches of images, and weights that trainings may start from."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histoseg.commands.data import StoreUrl
from histoseg.commands.models import open_model
from histoseg.commands.segment import open_results
from histoseg.errors import ConfigError, DataError
from histoseg.models.probe.names import TIMM
from histoseg.slides.cohort import find_slides, require_distinct
from histoseg.slides.reader import open_slide
from histoseg.store.objects import Store, connect

if TYPE_CHECKING:
    from histoseg.inference.patch_features import PatchOptions
    from histoseg.models.weights import Model

ENDING = ".parquet"


def features(
    images: Annotated[list[str], typer.Argument(help="Slides or images, folders of them, or s3:// addresses.")],
    model: Annotated[str, typer.Option(help="The folder of a model with an encoder, or its address.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// address for <image>.parquet, or a file *.parquet for one.")],
    objects: Annotated[
        str,
        typer.Option(
            help="What patches are about: results of `segment`, label images, or `model` for what it finds itself; "
            "without it, patches side by side."
        ),
    ] = "",
    structure: Annotated[str, typer.Option(help="Only objects of this, e.g. nuclei.")] = "",
    patch_px: Annotated[int, typer.Option(help="Side of a patch, at the model's resolution.")] = 32,
    depths: Annotated[int, typer.Option(help="How many of the encoder's depths are pooled, 1 to 4.")] = 4,
    mpp: Annotated[float | None, typer.Option(help="Microns per pixel, where the files do not say.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace features of another model or of other options.")] = False,
) -> None:
    """Write what a network's encoder says of patches: learned features without names, as Parquet.

    Biomarkers of segmented slides, such as densities and areas, are what `summarise` computes.
    """
    from histoseg.inference.patch_features import PatchOptions
    from histoseg.representation.pool import require_encoder

    options = PatchOptions(patch_px=patch_px, depths=depths, objects=objects, structure=structure, mpp=mpp)
    addresses = find_slides(images)
    require_distinct(addresses)
    if (is_file := out.endswith(ENDING)) and len(addresses) > 1:
        raise ConfigError(f"--out {out} is one file, but there are {len(addresses)} images; name a folder")
    folder, _, name = out.rpartition("/") if is_file else (out, "", "")
    store = open_results(folder or ".")
    loaded = open_model(model)
    require_encoder(loaded.network)
    print(f"{len(addresses)} images with {loaded.origin}; features go to {out}", flush=True)
    failed = []
    for address in addresses:
        try:
            print(_write(address, loaded, store, name, options, overwrite=overwrite), flush=True)
        except DataError as error:  # The other images may be whole.
            failed.append(address)
            typer.echo(f"histoseg: {error}", err=True)
    if failed:
        raise DataError(f"{len(failed)} of {len(addresses)} images failed: {', '.join(failed)}")
    print(out)


def _write(  # all that a person chose
    address: str, model: "Model", store: Store, name: str, options: "PatchOptions", *, overwrite: bool
) -> str:
    """Write the features of one image unless they are there; returns a line for people."""
    import pyarrow.parquet as pq

    from histoseg.inference.patch_features import describe, is_there, write_features
    from histoseg.inference.places import find_places

    with open_slide(address, options.mpp) as slide, tempfile.TemporaryDirectory(prefix="histoseg-") as folder:
        key = name or f"{slide.name}{ENDING}"
        if not overwrite and is_there(store, key, describe(slide, model, options)):
            return f"{slide.name}: already there"
        places = find_places(slide, model, options.objects, options.structure, options.patch_px)
        path = Path(folder, "features.parquet")
        write_features(path, slide, model, places, options)
        about = pq.read_metadata(path)
        store.put(key, path)
        return f"{slide.name}: {about.num_rows:,} patches, {about.num_columns - 7} features each"


def put_weights(
    weights: Annotated[
        Path, typer.Argument(help="A ResNet in torchvision's format, a file of timm, or a model's folder.")
    ],
    store: StoreUrl,
    encoder: Annotated[str, typer.Option(help="With a file of timm: its name, as timm/vit_small_patch16_224.")] = "",
    imagenet: Annotated[
        bool, typer.Option(help="It is ImageNet's file of torchvision, for rows that begin so.")
    ] = False,
) -> None:
    """Put weights into a store, for trainings to start from; prints the name that stands for them."""
    from histoseg.models.probe.timm_encoder import as_timm_encoder
    from histoseg.models.starting import import_imagenet, put_weights, store_weights
    from histoseg.models.weights import read_foreign

    target = connect(store)
    if encoder and not encoder.startswith(TIMM):
        raise ConfigError(f"--encoder {encoder}: must be {TIMM}NAME; leave it out for a ResNet or a model's folder")
    if imagenet and encoder:
        raise ConfigError("--imagenet and --encoder are of different files; give one of them")
    if imagenet:
        print(f"imagenet-{import_imagenet(weights, target)}")
    elif encoder:
        tensors = as_timm_encoder(read_foreign(weights), encoder.removeprefix(TIMM), str(weights))
        print(store_weights(tensors, target))
    else:
        print(put_weights(weights, target))
