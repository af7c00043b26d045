"""What one GPU does with the experiments of the papers, in ten minutes: `make bench-gpu`.

    python benchmarks/gpu/bench.py [--only WORDS] [--out FOLDER]
    python benchmarks/gpu/bench.py --toy     # every part on a CPU in small, to see that it runs

Steps of Table 1 (MAML and transfer) and of Cerberus and predictions of both, in float32 and bf16, eager and compiled,
on made-up shards through the loaders of the project; a step over two GPUs where there are two. docs/performance.md says
what the columns mean. The exit code is 0 if every row was measured that can be here, 1 if one failed, 2 without a GPU.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # Beside the benchmarks' shared modules, which are in no package.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # Read when torch is loaded, so before that.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import torch  # needs the environment above
from _machine import machine  # needs the path above
from measure import outcome_of
from report import line, table, to_json
from rows import PAPER, TOY, Outcome, Row, all_rows
from running import COMPILING, measure_all
from setting import Setting, prepare

from histoseg.machine import git_commit, versions

LIMIT_S = 590.0  # Of ten minutes, less what it takes to start and to end
LACKS_GPU = 2
OUT = Path("results/bench-gpu")


def main() -> int:
    """Measure, print a table, and write it as Markdown and JSON."""
    arguments = _parser().parse_args()
    if lacking := "" if arguments.toy else what_lacks():
        print(f"bench-gpu: {lacking}")
        return LACKS_GPU
    rows = [row for row in all_rows() if set(arguments.only.split()) <= set(row.name.split())]
    if not rows:
        names = "\n  ".join(row.name for row in all_rows())
        print(f"bench-gpu: no row has all of the words {arguments.only!r}; the rows are\n  {names}")
        return 1
    outcomes = run(rows, is_toy=arguments.toy)
    write(outcomes, arguments.out, scale=(TOY if arguments.toy else PAPER).scale)
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu/bench.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--toy", action="store_true", help="in small, on the CPU")
    parser.add_argument("--only", default="", metavar="WORDS", help="only rows whose name has all of these words")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help=f"for the results; {OUT}")
    return parser


def what_lacks() -> str:
    """Why nothing can be measured here, in one line; empty if it can."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"needs a GPU; torch {torch.__version__} is a build for CPUs, so install one with CUDA"
    return f"needs a GPU; torch {torch.__version__} finds none, so check the driver with nvidia-smi"


def run(rows: Sequence[Row], *, is_toy: bool) -> list[Outcome]:
    """The outcome of each row, with a line for each as it comes."""
    begin, outcomes = time.monotonic(), []
    print(f"{machine()}\n{len(rows)} rows, ten minutes at most; making shards", flush=True)
    with tempfile.TemporaryDirectory(prefix="histoseg-benchmark-") as folder:
        setting = Setting(folder=Path(folder), size=TOY if is_toy else PAPER, device="cpu" if is_toy else "cuda")
        prepare(setting)
        limit_s = LIMIT_S - (time.monotonic() - begin)
        for outcome in measure_all(rows, outcome_of, setting, limit_s):
            outcomes.append(outcome)
            gone_s, left = time.monotonic() - begin, rows[len(outcomes) :]
            print(f"[{len(outcomes)}/{len(rows)}] {outcome.row.name}: {line(outcome)}", flush=True)
            print(f"    {gone_s:.0f} s gone, eta {eta_s(left, LIMIT_S - gone_s):.0f} s", flush=True)
    return outcomes


def eta_s(rows: Sequence[Row], left_s: float) -> float:
    """How long some rows usually take: ten seconds each, more where they are compiled; never more than is left."""
    return max(0.0, min(left_s, sum(10.0 * (COMPILING if row.compiled else 1) for row in rows)))


def write(outcomes: Sequence[Outcome], folder: Path, scale: str) -> None:
    """Print the table, and write it beside all figures; the last line says where."""
    card = next((outcome.card for outcome in outcomes if outcome.card), "unknown device")
    count = f"{torch.cuda.device_count()} x " if torch.cuda.device_count() > 1 else ""
    where = f"{count}{card}, {machine()}"
    about = {"machine": where, "card": card, "scale": scale, "commit": git_commit(), "versions": versions()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench-gpu.json").write_text(to_json(outcomes, about), encoding="utf-8")
    (folder / "bench-gpu.md").write_text(f"{where}; scale {scale}\n\n{table(outcomes)}\n", encoding="utf-8")
    print(f"\n{where}; scale {scale}\n\n{table(outcomes)}\n\n{folder / 'bench-gpu.md'}")


if __name__ == "__main__":
    raise SystemExit(main())
