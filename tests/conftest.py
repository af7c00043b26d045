import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Spinning threads of torch slow everything else on a small machine.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.isolation import environment_as_before, process_as_before

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # A shell's background job does not hear Ctrl-C; tests must.
    signal.signal(signal.SIGINT, signal.default_int_handler)

PATCH_PX = 32
NEED_API_SERVER = ("tests/kube/", "tests/doctor/")
# Their slow tests start a Ray, with nodes of several processes each, some of which are killed.
START_RAY = (
    *("tests/ray_jobs/", "tests/monitoring/", "tests/cluster/", "tests/pods/"),
    *(f"tests/end_to_end/test_{name}.py" for name in ("cerberus", "cluster", "slides", "submit")),
)


def pytest_addoption(parser):
    parser.addoption("--ray", choices=("only", "never"), help="choose tests by whether they start a Ray")


def pytest_ignore_collect(collection_path, config):
    """Importing the files that start no Ray takes longer than a Ray's start."""
    if config.getoption("ray") == "only" and collection_path.suffix == ".py":
        return None if collection_path.relative_to(config.rootpath).as_posix().startswith(START_RAY) else True
    return None


def pytest_collection_modifyitems(config, items):
    """A Ray has the machine to itself; other tests can share it."""
    wanted = config.getoption("ray")
    if not wanted:
        return
    chosen = {True: [], False: []}
    for item in items:
        starts_ray = item.nodeid.startswith(START_RAY) and item.get_closest_marker("slow") is not None
        chosen[starts_ray].append(item)
    config.hook.pytest_deselected(items=chosen[wanted != "only"])
    items[:] = chosen[wanted == "only"]


@pytest.fixture(autouse=True)
def as_before():
    """What a test does to this process, as a group of cells does to our logger, ends with the test."""
    with process_as_before():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """So does what it does to the environment; variables of fixtures, which may be a module's, are theirs to undo."""
    with environment_as_before():
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of one file share a process, and so do all that need an API server: each process would start its own."""
    from xdist.scheduler import LoadFileScheduling

    class OneApiServer(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return "api server" if nodeid.startswith(NEED_API_SERVER) else super()._split_scope(nodeid)

    return OneApiServer(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def api_server():
    """A real API server, where there is one."""
    from tests.kube.api_server import running

    with running() as started:
        yield started


@pytest.fixture(scope="session")
def kubelet(api_server):
    """A kubelet with its node, for the logs of pods."""
    from tests.kube.kubelet import running

    certificates = api_server.folder / "certs"
    with running(certificates / "apiserver.crt", certificates / "apiserver.key") as served:
        assert api_server.create(served.node) == ""
        yield served


@pytest.fixture(scope="session")
def team(api_server):
    """The namespace `team`, and the role of its user."""
    from tests.kube.lab import TEAM, USER

    api_server.create_namespace(TEAM)
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lab"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}]
    named = {"metadata": {"name": "lab"}}
    assert api_server.create({**rbac, "kind": "ClusterRole", **named, "rules": []}) == ""
    binding = {**rbac, "kind": "ClusterRoleBinding", **named, "roleRef": role, "subjects": subjects}
    assert api_server.create(binding) == ""


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A folder with every source's demo data."""
    from histoseg.demo.write import write_demo_data

    folder = tmp_path_factory.mktemp("raw") / "demo"
    write_demo_data(folder)
    return folder


@pytest.fixture(scope="session")
def prepared_url(demo, tmp_path_factory):
    """A file store with shards of some sources, for patches of PATCH_PX."""
    from histoseg.runs.config import Data
    from histoseg.shards.writer import Recipe, write_shards
    from histoseg.store.objects import connect

    store = connect(f"file://{tmp_path_factory.mktemp('store')}")
    with ThreadPoolExecutor(1) as pool:
        for source in ("synthetic", "glas", "monuseg"):
            write_shards(source, demo, store, Recipe(data=Data(patch_px=PATCH_PX)), pool)
    return store.url


@pytest.fixture
def prepared(prepared_url):
    """That store, to be read only."""
    from histoseg.store.objects import connect

    return connect(prepared_url)


@pytest.fixture
def dataset(prepared, tmp_path):
    """The meta-dataset in it."""
    from histoseg.shards.reader import MetaDataset

    return MetaDataset.open(prepared, ["synthetic", "glas", "monuseg"], f"{PATCH_PX}px", tmp_path / "cache")


FOLD_SOURCES = ("cerberus_gland", "cerberus_lumen", "lizard", "kather5k")


@pytest.fixture(scope="session")
def fold_data():
    """How Cerberus' sources are stored and augmented in these tests."""
    from dataclasses import replace

    from histoseg.experiments._cerberus import AUGMENTATION

    return replace(AUGMENTATION, patch_px=64, tissue_px=48)


@pytest.fixture(scope="session")
def folds_url(demo, fold_data, tmp_path_factory):
    """A file store with one source of each structure, divided into folds."""
    from histoseg.shards.prepare import prepare_sources
    from histoseg.shards.writer import Recipe
    from histoseg.store.objects import connect

    store = connect(f"file://{tmp_path_factory.mktemp('folds')}")
    with ThreadPoolExecutor(1) as pool:
        prepare_sources(FOLD_SOURCES, demo, store, Recipe(data=fold_data), pool, strict=True)
    return store.url


@pytest.fixture
def fold_dataset(folds_url, fold_data, tmp_path):
    """The meta-dataset in it, of which the first fold is trained on."""
    from histoseg.runs.config import Select
    from histoseg.shards.reader import MetaDataset
    from histoseg.store.objects import connect

    opened = MetaDataset.open(connect(folds_url), FOLD_SOURCES, fold_data.layout, tmp_path / "cache")
    return opened.select(Select(sources=FOLD_SOURCES, splits=("fold1",)), seed=0)


@pytest.fixture
def tiny_fold_run(fold_data):
    """A Cerberus that takes seconds: four steps, then two of subtyping."""
    from histoseg.methods.multitask import MultiTask
    from histoseg.methods.subtyping import Subtyping
    from histoseg.models.cerberus import CerberusSpec
    from histoseg.runs.config import Optim, Run, Select, Stage
    from histoseg.scoring.objects import Objects

    learn = Stage(
        label="train",
        method=MultiTask(batch=5),
        select=Select(sources=FOLD_SOURCES, splits=("fold1",)),
        optim=Optim(lr=1e-3, steps=4),
    )
    subtype = Stage(
        label="subtype",
        method=Subtyping(batch=3),
        select=Select(sources=("lizard",), splits=("fold1",)),
        optim=Optim(lr=1e-3, steps=2),
    )
    return Run(
        experiment="cerberus_table2",
        scale="laptop",
        row="cerberus",
        division="fold1 to fold3",
        data=fold_data,
        network=CerberusSpec(encoder="resnet18", width=4),
        stages=(learn, subtype),
        score=Select(sources=FOLD_SOURCES, splits=("fold3", "external")),
        evaluator=Objects(window_px=352, margin_px=16),
    )


@pytest.fixture
def tiny_run():
    """A run that takes seconds: four steps of pretraining, two epochs of refining."""
    from histoseg.methods.maml import Maml
    from histoseg.methods.transfer import Transfer
    from histoseg.models.unet import UNetSpec
    from histoseg.runs.config import Data, Optim, Run, Select, Stage
    from histoseg.scoring.pixels import Pixels

    pretrain = Stage(
        label="pretrain",
        method=Maml(support=1, query=1, episodes=2),
        select=Select(sources=("synthetic", "glas")),
        optim=Optim(lr=1e-3, steps=4),
    )
    refine = Stage(
        label="refine",
        method=Transfer(batch=4),
        select=Select(sources=("monuseg",), splits=("train",)),
        optim=Optim(lr=1e-3, steps=0, epochs=2),
        keep="best val",
    )
    return Run(
        experiment="table1",
        scale="laptop",
        row="monuseg",
        column="all_others.maml",
        data=Data(patch_px=PATCH_PX),
        network=UNetSpec(width=4),
        stages=(pretrain, refine),
        score=Select(sources=("monuseg",), splits=("test",)),
        evaluator=Pixels(window_px=64, bootstrap=20),
    )
