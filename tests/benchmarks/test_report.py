"""What is written of a run: a table, JSON, and one line where nothing can be measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from report import HEADS, line, table, to_json
from rows import Figures, Outcome, Row

PROGRAM = Path(__file__).parents[2] / "benchmarks/gpu/bench.py"
MEASURED = Outcome(
    row=Row(workload="Cerberus", doing="training", precision="bf16", ranks=2),
    figures=Figures(
        of="27 patches",
        images_per_s=1234.5,
        seconds=0.0219,
        num_timed=40,
        tera=123.4,
        share=0.125,
        peak_gib=20.25,
        waiting=0.004,
    ),
    card="NVIDIA A100-SXM4-40GB",
)
REFUSED = Outcome(row=Row(workload="Table 1, MAML", doing="training", compiled=True), reason="a | b")
LOADED = Outcome(
    row=Row(workload="Cerberus", doing="loading"),
    figures=Figures(of="27 patches, 15 threads", images_per_s=88.8, seconds=0.3, num_timed=30),
)


def test_a_row_of_the_table_for_each_outcome():
    lines = table([MEASURED, REFUSED, LOADED]).splitlines()
    assert [row.replace("\\|", "").count("|") for row in lines] == [len(HEADS) + 1] * 5
    assert lines[2] == (
        "| Cerberus: training, 2 ranks | 27 patches | bf16 | eager | 1,234 | 123 | 12% | 20.2 GiB | 0.4% |"
    )
    assert r"| not measured: a \| b | fp32 | compiled |" in lines[3]
    assert lines[4] == "| Cerberus: loading | 27 patches, 15 threads |  |  | 88.8 | - | - | - | - |"


def test_json_has_all_figures():
    found = json.loads(to_json([MEASURED, REFUSED], {"card": "a card"}))
    assert found["card"] == "a card"
    assert found["rows"][0]["name"] == "Cerberus training bf16 eager 2 ranks"
    assert found["rows"][0]["figures"]["peak_gib"] == 20.25
    assert found["rows"][1]["figures"] is None


def test_lines_for_the_terminal():
    assert "1,234 images/s" in line(MEASURED)
    assert "20.2 GiB" in line(MEASURED)
    assert line(REFUSED) == "not measured: a | b"


def start(*arguments):
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_one_line_says_so():
    done = start()
    assert done.returncode == 2
    assert done.stdout.count("\n") == 1
    assert "needs a GPU" in done.stdout
    assert not done.stderr


def test_an_unknown_row_is_refused_with_the_choices():
    done = start("--toy", "--only", "nope")
    assert done.returncode == 1
    assert "'nope'" in done.stdout
    assert "Table 1, MAML training bf16 eager" in done.stdout


def test_a_run_writes_both_files(tmp_path):
    done = start("--toy", "--only", "Table 1 prediction fp32 eager", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "bench-gpu.json").read_text())["rows"]
    assert row["figures"]["of"] == "an image of 160²"
    assert done.stdout.splitlines()[-1] == str(tmp_path / "bench-gpu.md")
    assert (tmp_path / "bench-gpu.md").read_text().count("| Table 1: prediction |") == 1
