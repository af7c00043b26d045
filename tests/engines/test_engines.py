"""Every engine gives what torch's own way gives, and one that does not is not used."""

import logging
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from histoseg.commands.segment import choose_execution
from histoseg.engines import ENGINES, Execution
from histoseg.engines import candidates as candidates_module
from histoseg.engines.candidates import Candidate, list_candidates
from histoseg.engines.compiled import compile_heads
from histoseg.engines.eager import run_eagerly
from histoseg.engines.openvino_cpu import convert_heads
from histoseg.engines.runner import WORTH_IT, Runner
from histoseg.engines.trial import TOLERANCES, Tolerance, Trial, compare, differ
from histoseg.errors import ConfigError
from histoseg.runs.extras import is_installed

CPU = torch.device("cpu")
NEEDS_OPENVINO = pytest.mark.skipif(not is_installed("openvino"), reason="install histoseg[openvino]")
NEEDS_COMPILER = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler; install g++"
)


class Stripes(torch.nn.Module):
    """Logits of two heads: a convolution of the pixels, and means of squares."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images):
        x = self.convolution(images.permute(0, 3, 1, 2) / 255)
        return 10 * x, torch.nn.functional.avg_pool2d(x, 8)


@pytest.fixture
def heads():
    return Stripes().eval().requires_grad_(requires_grad=False)


def draw(count=2, side=32):
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(pixels)


class Clock:
    """Time that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def step(forward, images):
    return [logits.argmax(1) for logits in forward(images)]


def runner_with(heads, *candidates, **options):
    return Runner(run_eagerly(heads, "fp32"), candidates, TOLERANCES["fp32"], **options)


def fast(call):
    """An engine that another one beats by far, however busy the machine is."""
    return Candidate(name="other", make=lambda _: call)


def slowed(heads):
    eager = run_eagerly(heads, "fp32")

    def forward(images):
        for _ in range(50):
            found = eager(images)
        return found

    return forward


def test_what_differs_is_measured_by_hand():
    """Two pixels of three classes. Softmax of (0, 0, ln 2) is (1/4, 1/4, 1/2), and of (0, ln 2, 0) (1/4, 1/2, 1/4)."""
    two = float(np.log(2))
    one = torch.tensor([[0, 0, two], [0, 0, two]]).T.reshape(1, 3, 1, 2)
    other = torch.tensor([[0, 0, two], [0, two, 0]]).T.reshape(1, 3, 1, 2)
    assert differ([one], [other]) == (pytest.approx(0.25), 0.5)
    assert differ([one], [one]) == (0.0, 1.0)
    assert differ([one], [one[..., :1]]) == (float("inf"), 0.0)
    assert differ([one], [one * float("nan")])[0] == float("inf")


def test_tolerances_are_limits():
    trial = Trial(seconds=3.0, other_seconds=2.0, difference=0.001, agreement=0.9999)
    assert trial.ratio == 1.5
    assert trial.is_equal(TOLERANCES["fp32"])
    assert not trial.is_equal(Tolerance(difference=0.0009, agreement=0.9999))
    assert not trial.is_equal(Tolerance(difference=0.001, agreement=0.99991))


def test_a_faster_engine_with_equal_results_is_taken(heads, caplog):
    caplog.set_level(logging.INFO)
    runner = Runner(slowed(heads), [fast(run_eagerly(heads, "fp32"))], TOLERANCES["fp32"])
    expected = step(run_eagerly(heads, "fp32"), draw())
    assert all(map(torch.equal, runner(step, draw()), expected))
    assert runner.engine == "other"
    assert "engine other from now on" in caplog.text
    assert all(map(torch.equal, runner(step, draw()), expected))


def test_a_slower_one_is_not(heads, caplog):
    caplog.set_level(logging.INFO)
    runner = runner_with(heads, fast(slowed(heads)))
    runner(step, draw())
    assert runner.engine == "eager"
    assert "engine eager stays" in caplog.text
    assert WORTH_IT > 1


def raises(_):
    raise RuntimeError("no such\noperation")


def gives_others(heads):
    def forward(images):
        return tuple(-logits for logits in run_eagerly(heads, "fp32")(images))

    return forward


@pytest.mark.parametrize(("wrong", "said"), [("raises", "RuntimeError: no such"), ("differs", "its result differs")])
def test_an_engine_that_fails_or_differs_is_left_out(heads, wrong, said, caplog):
    other = raises if wrong == "raises" else gives_others(heads)
    runner = Runner(slowed(heads), [fast(other)], TOLERANCES["fp32"])
    found = runner(step, draw())
    assert all(map(torch.equal, found, step(run_eagerly(heads, "fp32"), draw())))
    assert runner.engine == "eager"
    assert said in caplog.text
    assert "operation" not in caplog.text  # One line


@pytest.mark.parametrize("wrong", ["raises", "differs"])
def test_one_that_was_asked_for_is_an_error(heads, wrong):
    other = raises if wrong == "raises" else gives_others(heads)
    asked = Candidate(name="openvino", make=lambda _: other, is_required=True)
    with pytest.raises(ConfigError, match="--engine openvino"):
        runner_with(heads, asked)(step, draw())


def test_an_engine_is_tried_once_the_network_has_run_for_long_enough(heads):
    clock, made = Clock(), []

    def make(images):
        made.append(len(images))
        return run_eagerly(heads, "fp32")

    runner = runner_with(heads, Candidate(name="other", make=make, after_s=90.0), clock=clock)
    for now in (1000.0, 1089.0):
        clock.now = now
        runner(step, draw())
    assert made == []
    clock.now = 1090.0
    runner(step, draw())
    runner(step, draw())
    assert made == [2]


def test_the_choice_of_engines(heads, monkeypatch):
    def names(engine, precision="fp32", device=CPU):
        return [one.name for one in list_candidates(heads, Execution(engine=engine, precision=precision), device)]

    monkeypatch.setattr(candidates_module, "why_lacking", lambda _: "")
    monkeypatch.setattr(candidates_module, "can_compile", lambda _: True)
    assert names("auto") == ["openvino"]
    assert names("eager") == []
    assert names("compile") == ["compile"]
    assert names("auto", "bf16") == ["compile"]
    assert names("auto", device=torch.device("cuda")) == ["compile"]
    with pytest.raises(ConfigError, match="--engine openvino: it is for CPUs"):
        names("openvino", device=torch.device("cuda"))
    with pytest.raises(ConfigError, match="fp32"):
        names("openvino", "bf16")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(candidates_module, "can_compile", lambda _: True)
    assert names("auto") == ["compile"]
    with pytest.raises(ConfigError, match=r"histoseg\[openvino\]"):
        names("openvino")
    monkeypatch.setattr(candidates_module, "can_compile", lambda _: False)
    assert names("auto") == []
    with pytest.raises(ConfigError, match="install gcc and g"):
        names("compile")
    assert set(ENGINES) == {"auto", "eager", "compile", "openvino"}


def test_what_was_asked_for_is_tried_at_once(heads, monkeypatch):
    monkeypatch.setattr(candidates_module, "can_compile", lambda _: True)
    (found,) = list_candidates(heads, Execution(engine="compile"), CPU)
    assert (found.after_s, found.is_required) == (0.0, True)


def test_bfloat16_has_three_digits(heads):
    """Its results lie next to those of float32, and are others."""
    exact, coarse = run_eagerly(heads, "fp32")(draw()), run_eagerly(heads, "bf16")(draw())
    difference, agreement = differ(exact, [logits.float() for logits in coarse])
    assert 0 < difference <= TOLERANCES["bf16"].difference
    assert agreement >= TOLERANCES["bf16"].agreement


@NEEDS_OPENVINO
def test_openvino_gives_the_same(heads):
    trial = compare(run_eagerly(heads, "fp32"), convert_heads(heads, draw()), draw())
    assert trial.is_equal(TOLERANCES["fp32"])
    assert sys.modules["openvino_telemetry"] is None  # Nothing is reported to anybody.


COMPILED = """
import torch
from histoseg.engines.compiled import compile_heads
from histoseg.engines.compiled import compile_heads
from histoseg.engines.eager import run_eagerly
from histoseg.engines.trial import TOLERANCES, differ
from histoseg.maps.windows import Window
from histoseg.models.cerberus.fold import fold_norms
from histoseg.models.cerberus.heads import AllHeads
from histoseg.models.cerberus.network import CerberusParts, build

compile = torch.compile
torch.compile = lambda module, **options: compile(module, backend="aot_eager", fullgraph=True, **options)
network = build(CerberusParts(encoder="resnet18", width=4, decoders={"gland": 2}, tissue=3, tissue_cells=2), 0).eval()
heads = AllHeads(fold_norms(network), ["gland"], Window(top=0, left=0, height=32, width=32, margin_px=16))
compiled, eager = compile_heads(heads, "fp32"), run_eagerly(heads, "fp32")
for count in (1, 2, 3):
    images = torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8)
    difference, agreement = differ(eager(images), compiled(images))
    assert difference <= TOLERANCES["fp32"].difference and agreement >= TOLERANCES["fp32"].agreement, difference
counters = torch._dynamo.utils.counters
assert counters["stats"]["unique_graphs"] == 2, counters  # One for a window, one for any more
print("same")
"""


def test_all_heads_are_one_graph_which_gives_the_same():
    """In a process of its own: the tests' checks of types cannot be compiled."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "same", done.stderr


@pytest.mark.slow
@NEEDS_COMPILER
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's compiler imports what torch deprecated
def test_a_compiled_network_gives_the_same(heads):
    trial = compare(run_eagerly(heads, "fp32"), compile_heads(heads, "fp32"), draw(1))
    assert trial.is_equal(TOLERANCES["fp32"])


def test_the_command_refuses_words_it_does_not_know():
    assert choose_execution("openvino", "fp32") == Execution(engine="openvino")
    with pytest.raises(ConfigError, match="--engine onnx: choose from auto, eager, compile, openvino"):
        choose_execution("onnx", "fp32")
    with pytest.raises(ConfigError, match="--precision fp16: choose from fp32, bf16"):
        choose_execution("auto", "fp16")


def test_threads_take_turns(heads):
    """Two batches of slides share a GPU; engines are tried and memory is measured by one thread at a time."""
    inside, most = [], []

    def look(forward, images):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        found = step(forward, images)
        inside.pop()
        return found

    runner, images = runner_with(heads), draw()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: runner(look, images), range(8)))
    assert max(most) == 1
    assert all(torch.equal(one[0], results[0][0]) for one in results)
