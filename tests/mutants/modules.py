"""The modules that are mutated, and the tests that should notice: a line each."""

from collections.abc import Mapping

MODULES: Mapping[str, tuple[str, ...]] = {
    "histoseg/metrics/iou.py": ("tests/metrics/test_iou.py",),
    "histoseg/metrics/dice.py": ("tests/metrics/test_dice.py",),
    "histoseg/metrics/panoptic.py": ("tests/metrics/test_panoptic.py",),
    "histoseg/metrics/classification.py": ("tests/metrics/test_classification.py",),
    "histoseg/shards/splits.py": ("tests/shards/test_splits.py",),
    "histoseg/shards/folds.py": ("tests/shards/test_folds.py",),
    "histoseg/shards/tiles.py": ("tests/shards/test_tiles.py",),
    "histoseg/shards/resample.py": ("tests/shards/test_resample.py",),
    "histoseg/loaders/batches.py": ("tests/loaders/test_batches.py",),
    "histoseg/loaders/episodes.py": ("tests/loaders/test_episodes.py",),
    "histoseg/loaders/mixed.py": ("tests/loaders/test_mixed.py",),
    "histoseg/loaders/augment.py": ("tests/loaders/test_augment.py", "tests/loaders/test_perturb.py"),
    "histoseg/models/cerberus/targets.py": ("tests/models/cerberus/test_targets.py",),
    "histoseg/models/cerberus/postprocess.py": ("tests/models/cerberus/test_postprocess.py",),
    "histoseg/maps/eroded.py": (
        "tests/models/cerberus/test_targets.py",
        "tests/models/cerberus/test_postprocess.py",
    ),
    "histoseg/maps/flooding.py": ("tests/maps/test_flooding.py", "tests/models/cerberus/test_postprocess.py"),
    "histoseg/maps/separation.py": ("tests/models/cerberus/test_postprocess.py",),
    "histoseg/maps/objects.py": ("tests/maps/test_objects.py",),
    "histoseg/maps/consensus.py": ("tests/maps/test_consensus.py",),
    "histoseg/models/losses.py": ("tests/models/test_losses.py",),
    "histoseg/scoring/pixels.py": ("tests/scoring/test_pixels.py",),
    "histoseg/scoring/objects.py": ("tests/scoring/test_objects.py", "tests/scoring/test_object_sums.py"),
    "histoseg/report/cell.py": ("tests/report/test_table.py", "tests/report/test_text.py"),
    "histoseg/report/table.py": ("tests/report/test_table.py", "tests/report/test_text.py"),
    "histoseg/report/text.py": ("tests/report/test_text.py",),
    "histoseg/experiments/_metahistoseg_table.py": (
        "tests/experiments/test_metahistoseg_table.py",
        "tests/report/test_text.py",
    ),
}
WORDS = ("histoseg/report/",)  # Here sentences are mutated, too: they are what readers see.
