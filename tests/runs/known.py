"""Known runs of all experiments, and the names that were given to them."""

from functools import cache

from histoseg.experiments._available import assumed
from histoseg.runs import catalog
from histoseg.runs.names import override, run_name, stage_name

# The sources that are assumed to be prepared: one that is added to an experiment later changes no name below.
SOURCES = (
    *("gleason2019", "breastpathq", "monuseg", "glas", "digestpath", "synthetic", "crag", "cerberus_gland"),
    *("cerberus_lumen", "lizard", "cerberus_nuclei", "kather5k", "nct_crc_he", "crc_tp", "digestpath_signet"),
)
CHECKSUMS = {source: f"checksum of {source}" for source in SOURCES}
EXPERIMENTS = catalog.tables()

# Experiment, scale, address, seed and assignments: the names of the run's stages, then its own. Their only origin is
# the code that first gave them, but for the smoke test's, which test_names.py computes by hand.
NAMES = {
    ("table1", "laptop", "breastpathq all_others.maml", 0): "b1309e5ea6d7b931 74f5de73fbf5d539 271e423ca87a5f4c",
    ("table1", "laptop", "glas monuseg.transfer", 0): "d9285fb59bc07a71 9fed224ee867ae5c 621acc76788162bf",
    ("table1", "paper", "monuseg all_others.maml", 0): "e0b2be82f1806007 6022926ec943382e e8bc1c7d12053e97",
    ("table1", "paper", "monuseg all_others.transfer", 0): "bcdf833eefdae03e 8f1a343534aaeeab 8b064bcaa913e2c6",
    ("table1", "paper", "monuseg all_others.maml", 2): "8aa66cab3b348139 7f5413128435bc70 fc3398cf1282a3b6",
    ("table1", "paper", "monuseg all_others.maml", 0, "refine.select.shots=5"): (
        "e0b2be82f1806007 300392978a75216f 0b4545e5bdab1a17"
    ),
    ("table1", "paper", "monuseg all_others.maml", 0, "optim.lr=1e-3"): (
        "35900fc9a2210bb9 7a50f37db4cfed6c f9673b11ab753c19"
    ),
    ("table1", "paper", "monuseg all_others.maml", 0, "evaluator.overlap=0.5"): (
        "e0b2be82f1806007 2ee1f6b529b73a3f c0af839a32c9bcb2"
    ),
    ("table1", "reference-code", "digestpath glas.maml", 0): "c2af77663f0aed9c 56ae5782f4b33202 45a989203d56d314",
    ("smoke", "laptop", "glas synthetic.transfer", 0): "27b8bfab51238a17 1cee3b5d25f65321 ee1251750ff39b07",
    ("cerberus_table4", "laptop", "stl gland fold1 to fold3", 0): "f01b21cf9400a40f e09581bf970fea15",
    ("cerberus_table4", "paper", "in_mixed_pc fold1 to fold3", 0): "97a2f0a8ad5bc0af 48c7fd410df91df3",
    ("cerberus_table2", "paper", "cerberus fold1 to fold3", 0): "97a2f0a8ad5bc0af 09f6e648ca69c8be 2791ddea0f26ca2d",
    ("cerberus_table2", "paper", "cerberus fold1 to fold3", 0, "subtype.optim.steps=9"): (
        "97a2f0a8ad5bc0af af9e6fed31df3685 7a83f4d76132db47"
    ),
    (
        "cerberus_table2",
        "paper",
        "cerberus_plus fold2 to fold1",
        1,
    ): "3606d7044bcdb6ae 8f87ab5554375489 4f49bd19ad5e892a",
    ("cerberus_table2", "paper", "nnunet fold1 to fold3", 0): "1e119df200c953f6 dedeecd56178aadb",
    ("cerberus_table3", "laptop", "nnunet lumen fold2 to fold1", 0): "50f55f0d9b5e15ee 93f63a9548de3dbe",
    ("cerberus_table3", "paper", "mildnet gland fold1 to fold3", 0): "0a010e6be8e61176 cffe172e5a353f6b",
    ("cerberus_table3", "laptop", "rotanet fold2 to fold1", 0): "ff18f13d5e73fa79 78a71cc5a36f47cf",
    ("cerberus_table6", "paper", "in_mtl_pc fold1 to fold3", 0): "97a2f0a8ad5bc0af b5079bbe97743049 a863969dd2b2ca37",
    ("cerberus_table5", "reference-code", "in_stl fold3 to fold2", 0): "0ff268f9b238e96d 1c31016567555b9f",
    ("cerberus_table7", "paper", "pixel_b nuclei fold1 to fold3", 0): (  # The stages of cerberus_table2's "cerberus"
        "97a2f0a8ad5bc0af 09f6e648ca69c8be e49af5cfa3903e37"
    ),
    ("cerberus_table7", "paper", "pixel_a_ce nuclei fold1 to fold3", 0): (
        "97a2f0a8ad5bc0af f2b26ee84dc3984e 0275dcc3ff2980df"
    ),
    (
        "cerberus_figure6",
        "laptop",
        "stl images4 fold1+fold2 to fold3, repeat 1",
        0,
    ): "3725c12206a06225 c1bc176bac9cb096 483441de20c36a31",
    (
        "cerberus_figure6",
        "paper",
        "in_mixed_pc images8 fold1+fold2 to fold3, repeat 3",
        0,
    ): "97a2f0a8ad5bc0af 48913995d32ba5a8 f54fdf2bcae9e3ea",
    (
        "cerberus",
        "laptop",
        "cerberus_plus fold1+fold2 to fold3",
        0,
    ): "028690b1d6838025 d4b6703fab72e607 ea228166ac21d0d6 9a78c103b26afe8c",
}

# Where an experiment's scale reads its shards: another layout is another set of shards.
_FOLDS = {
    "laptop": "96px-0.5mpp-folds",
    "real-cpu": "192px-0.5mpp-folds",
    "paper": "448px-0.5mpp-folds",
    "reference-code": "448px-0.5mpp-folds",
}
LAYOUTS = {
    "affinity": {"laptop": "96px", "real-cpu": "128px", "paper": "768px"},
    "annotation_loop": {
        "laptop": "64px-0.5mpp-folds",
        "real-cpu": "64px-0.5mpp-folds",
        "paper": "448px-0.5mpp-folds",
    },
    "cerberus": _FOLDS,
    "cerberus_figure6": {scale: _FOLDS[scale] for scale in ("laptop", "real-cpu", "paper")},
    "cerberus_table2": _FOLDS,
    "cerberus_table3": _FOLDS,
    "cerberus_table4": _FOLDS,
    "cerberus_table5": _FOLDS,
    "cerberus_table6": {name: _FOLDS[name] for name in ("laptop", "real-cpu", "paper")},
    "cerberus_table7": _FOLDS,
    "cerberus_tableA1": {name: _FOLDS[name] for name in ("laptop", "real-cpu", "paper")},
    "smoke": {"laptop": "64px"},
    "table1": {"laptop": "96px", "real-cpu": "128px", "paper": "768px", "reference-code": "768px"},
}


@cache
def available():
    """What experiments want to know of the sources above."""
    return {source: assumed(catalog.load("histoseg.sources", source).TASK) for source in SOURCES}


@cache
def all_runs(experiment, scale, seeds=1):
    """The runs of an experiment on the sources above."""
    return catalog.load("histoseg.experiments", experiment).runs(scale, seeds, available())


def known_run(experiment, scale, address, seed, *assignments):
    """One of them, by its place in NAMES."""
    (run,) = (run for run in all_runs(experiment, scale, seed + 1) if (run.address, run.seed) == (address, seed))
    for assignment in assignments:
        run = override(run, assignment)
    return run


def names_of(run, checksums=CHECKSUMS):
    """The name of each stage, and of the run."""
    stages = (stage_name(run, number, checksums) for number in range(len(run.stages)))
    return [*stages, run_name(run, checksums)]
