"""Every row is measured on a CPU in toy size, by the functions that a GPU is measured with."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import stepping
import torch
from measure import fitting, outcome_of
from rows import CannotBeMeasuredError, Figures, Row, all_rows
from running import measure_all
from setting import describe, halved, require_compiler

from histoseg.methods.maml import Maml
from histoseg.methods.multitask import MultiTask
from histoseg.methods.transfer import Transfer

ROOT = Path(__file__).parents[2]
TRANSFER = Row(workload="Table 1, transfer", doing="training")
# Scale laptop: 2 episodes of 2 + 2, 8 and 12 patches; one image.
SIZES = {"Table 1, MAML": 8, "Table 1, transfer": 8, "Cerberus": 12}


def check(row, figures):
    size = 1 if row.doing == "prediction" else SIZES[row.workload]
    if row.doing != "loading":
        assert figures.images_per_s * figures.seconds == pytest.approx(size)
        assert figures.tera > 0
        assert 0 <= figures.waiting < 1
    assert figures.images_per_s > 0
    assert figures.num_timed >= 1
    assert (figures.share, figures.peak_gib) == (None, None)  # A CPU's are not known.


def flops(outcome):
    return outcome.figures.tera * outcome.figures.seconds


@pytest.mark.parametrize("doing", ["training", "prediction", "loading"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_row_of_each_kind(setting, doing, precision):
    """Here with the checks of shapes and types that tests add to every function."""
    row = replace(TRANSFER, doing=doing, precision=precision)
    outcome = outcome_of(row, setting)
    assert not outcome.reason
    check(row, outcome.figures)


LONG = pytest.mark.skipif("HISTOSEG_BENCHMARKS" not in os.environ, reason="takes minutes: make test-benchmarks runs it")


@LONG
@pytest.mark.slow
def test_every_row_that_is_not_compiled_in_the_processes_that_measure_it(setting):
    rows = [row for row in all_rows() if not row.compiled]
    outcomes = list(measure_all(rows, outcome_of, setting, 600))
    assert [outcome.row for outcome in outcomes] == rows
    assert not [outcome.reason for outcome in outcomes if outcome.reason]
    for outcome in outcomes:
        check(outcome.row, outcome.figures)
    by_name = {outcome.row.name: outcome for outcome in outcomes}
    for name in SIZES:  # A step computes as much in each precision, and on two ranks as on one.
        one = flops(by_name[f"{name} training fp32 eager"])
        assert flops(by_name[f"{name} training bf16 eager"]) == pytest.approx(one)
        assert flops(by_name[f"{name} training bf16 eager 2 ranks"]) == pytest.approx(one)


COMPILED = """
import functools, sys
from pathlib import Path
sys.path[:0] = ["benchmarks", "benchmarks/gpu"]
import torch
torch.set_num_threads(1)
torch.compile = functools.partial(torch.compile, backend="aot_eager")
from measure import outcome_of
from rows import TOY, all_rows
from setting import Setting
setting = Setting(folder=Path(sys.argv[1]), size=TOY, device="cpu")
for row in all_rows():
    if row.compiled and row.precision == "bf16":
        outcome = outcome_of(row, setting)
        print(row.workload, row.doing, outcome.reason or "measured", sep="|")
"""


@LONG
@pytest.mark.slow
def test_every_compiled_row_is_traced(setting):
    """All of `torch.compile` but the compiler, which takes minutes; in a process without the checks of shapes."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, setting.folder], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    maml, *others = (line.split("|") for line in done.stdout.splitlines())
    assert maml[:2] == ["Table 1, MAML", "training"]
    assert "first_order" in maml[2]  # The gradient of a compiled graph cannot be differentiated again.
    assert others == [
        ["Table 1, transfer", "training", "measured"],
        ["Cerberus", "training", "measured"],
        ["Table 1", "prediction", "measured"],
        ["Cerberus", "prediction", "measured"],
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler; install g++")
def test_a_row_with_the_compiler_itself(setting):
    row = Row(workload="Table 1", doing="prediction", compiled=True)
    (outcome,) = measure_all([row], outcome_of, setting, 600)
    assert not outcome.reason
    check(row, outcome.figures)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch finds")
def test_rows_on_a_gpu_know_its_memory(setting):
    rows = [row for row in all_rows() if not row.compiled and row.ranks == 1 and row.doing != "loading"]
    for outcome in measure_all(rows, outcome_of, replace(setting, device="cuda"), 600):
        assert outcome.figures.peak_gib > 0, outcome.reason


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_training_computes_in_the_precision_of_its_row(setting, monkeypatch, precision):
    seen, take_step = set(), stepping.take_step

    def spy(model, optimizer, method, batch, where):
        seen.add((model.bf16, torch.backends.cudnn.allow_tf32, model.training))
        return take_step(model, optimizer, method, batch, where)

    monkeypatch.setattr(stepping, "take_step", spy)
    assert not outcome_of(replace(TRANSFER, precision=precision), setting).reason
    assert seen == {(precision == "bf16", precision == "bf16", True)}


def test_steps_that_choose_and_compile_are_not_timed():
    taken = []

    def step(batch):
        taken.append(batch)
        if len(taken) <= stepping.UNCOUNTED:
            time.sleep(0.3)
        return 0.0

    timed = stepping.time_steps(step, iter(range(100)), {"patches": 1.0}, torch.device("cpu"), 0.0)
    assert len(taken) > stepping.UNCOUNTED
    assert timed.num_steps == len(taken) - stepping.UNCOUNTED
    assert timed.total_s < 0.3


def test_steps_of_tissue_count_as_often_as_a_training_has_them():
    # Sec. 3.2.1 of the paper: tissue has three steps of ten.
    shares = stepping.shares_of(Row(workload="Cerberus", doing="training"))
    assert stepping.mean_over_kinds({"patches": 1.0, "tissue": 0.1}, shares) == pytest.approx(0.73)


def figures_of(method):
    return Figures(of=describe(method), images_per_s=1, seconds=1, num_timed=1)


def test_a_batch_that_does_not_fit_is_halved_and_said_so():
    def measure(method):
        if method.batch > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return figures_of(method)

    found = fitting(measure, Transfer(batch=64), "cpu")
    assert found.of == "16 patches (64 patches; 32 patches did not fit)"


def test_maml_keeps_its_step_and_takes_fewer_images_at_a_time():
    tried, method = [], Maml()
    while method is not None:
        tried.append((method.support, method.query, method.episodes, method.micro_batch))
        method = halved(method)
    assert tried == [(8, 8, 4, 0), (8, 8, 4, 4), (8, 8, 4, 2), (8, 8, 4, 1)]


def test_what_does_not_fit_at_all_fails():
    def measure(method):
        raise RuntimeError("one rank: CUDA out of memory")

    with pytest.raises(MemoryError, match="2 patches"):
        fitting(measure, MultiTask(batch=5), "cpu")


def test_another_error_is_not_taken_for_too_little_memory():
    def measure(method):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        fitting(measure, MultiTask(batch=5), "cpu")


def test_a_row_that_fails_says_why(setting, monkeypatch):
    def fail(*_):
        raise ValueError("a long story\nits end")

    monkeypatch.setattr(stepping, "take_step", fail)
    outcome = outcome_of(TRANSFER, setting)
    assert outcome.failed
    assert outcome.reason == "ValueError: its end"


@pytest.mark.parametrize(("device", "compiler"), [("cpu", r"g\+\+"), ("cuda", "gcc")])
def test_without_a_compiler_nothing_is_compiled(monkeypatch, device, compiler):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CannotBeMeasuredError, match=compiler):
        require_compiler(device)


def test_ranks_without_cards_of_their_own_are_not_measured(setting, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("measure.require_bf16", lambda device: None)
    monkeypatch.setattr("measure.forget", lambda device: None)
    outcome = outcome_of(replace(TRANSFER, precision="bf16", ranks=2), replace(setting, device="cuda"))
    assert not outcome.failed
    assert "needs 2 GPUs; this machine has 1" in outcome.reason
