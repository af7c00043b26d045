"""A model as a folder, small enough for one CPU, and slides for it."""

import torch

from histoseg.demo.slides import write_slide
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.weights import Model, save_model
from histoseg.slides.options import SegmentOptions
from histoseg.slides.reader import open_slide
from histoseg.store.objects import FileStore

WORDS = "mask=none windows.margin_px=16 windows.window_px=160 region_px=256"  # As SET has them


def options(assigned):
    """The settings that WORDS are."""
    made = SegmentOptions()
    for word in WORDS.split():
        made = assigned(made, word)
    return made


def write_slides(folder, count, width=1024, height=768):
    """Some slides, each of another seed."""
    for seed in range(count):
        write_slide(folder / f"slide-{seed}.tif", width=width, height=height, mpp=0.5, seed=seed)


def write_model(folder, slide):
    """A Cerberus whose weights are random and whose means are those of a slide, so that it finds hundreds of nuclei."""
    network = build(CerberusParts(encoder="unet", width=4, decoders={"nuclei": 3}), 1)
    with open_slide(slide) as opened, torch.no_grad():
        for _ in range(10):
            network.train()(torch.from_numpy(opened.read(0, 0, 512, 512, 0.5))[None])
    spec = CerberusSpec(encoder="unet", width=4, contour=True)
    model = Model(spec=spec, network=network.eval(), classes={}, mpp=0.5, origin="a test", steps=1000)
    save_model(model, FileStore(folder), "")
