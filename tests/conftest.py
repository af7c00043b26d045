import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Spinning threads of torch slow everything else on a small machine.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from concurrent.futures import ThreadPoolExecutor

import pytest

PATCH_PX = 32


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A folder with every source's demo data."""
    from histoseg.demo import write_demo_data

    folder = tmp_path_factory.mktemp("raw") / "demo"
    write_demo_data(folder)
    return folder


@pytest.fixture(scope="session")
def prepared_url(demo, tmp_path_factory):
    """A file store with shards of some sources, for patches of PATCH_PX."""
    from histoseg.config import Data
    from histoseg.shards.writer import Recipe, write_shards
    from histoseg.storage import connect

    store = connect(f"file://{tmp_path_factory.mktemp('store')}")
    with ThreadPoolExecutor(1) as pool:
        for source in ("synthetic", "glas", "monuseg"):
            write_shards(source, demo, store, Recipe(data=Data(patch_px=PATCH_PX)), pool)
    return store.url


@pytest.fixture
def prepared(prepared_url):
    """That store, to be read only."""
    from histoseg.storage import connect

    return connect(prepared_url)


@pytest.fixture
def dataset(prepared, tmp_path):
    """The meta-dataset in it."""
    from histoseg.shards.reader import MetaDataset

    return MetaDataset.open(prepared, ["synthetic", "glas", "monuseg"], f"{PATCH_PX}px", tmp_path / "cache")


@pytest.fixture
def tiny_run():
    """A run that takes seconds: two steps of pretraining, two epochs of refining."""
    from histoseg.config import Data, Eval, Model, Optim, Refine, Run
    from histoseg.methods.maml import Maml

    return Run(
        experiment="table1",
        scale="laptop",
        method=Maml(support=1, query=1, episodes=2),
        predecessors=("synthetic", "glas"),
        new_task="monuseg",
        column="all_others",
        data=Data(patch_px=PATCH_PX),
        model=Model(width=4),
        optim=Optim(lr=1e-3, steps=4),
        refine=Refine(epochs=2, batch=4),
        eval=Eval(window_px=64, bootstrap=20),
    )
