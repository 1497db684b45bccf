"""Trains with every method, each on the first built-in preset made for it, and prints how near its samples come to the data: the
figures of docs/methods.md.

quality.py [--fgc FGC] [--out DIR] [METHOD...]

`sliced W2` is the sliced 2-Wasserstein distance to held-out data, before and after training; `Fréchet` that between the Gaussians
of equal means and covariances, which sees how pixels go together; `data` are those of other samples of the data, the best that
can be expected; `RMS` is the distance to the teacher's samples from the same noise, for methods whose student should make the
same of it. Seconds are those of the whole command, compilation, making of data and measuring included, on whatever else the
machine is doing. The exit status is 1 where a run fails or brings its samples no nearer."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALL = "sft causal_sft kd causal_kd cm scm tcm meanflow dmd2 f_distill ladd causvid self_forcing".split()
COLUMNS = ["method", "preset", "steps", "seconds", "sliced W2", "times nearer", "data", "Fréchet", "data", "RMS"]


def measure(args, method):
    """A row of the table; the run's messages go to the standard error."""
    begun = time.time()
    command = [args.fgc, "run", str(ROOT / "methods" / f"{method}.fg"), "--out", args.out]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seconds = time.time() - begun
    print(run.stdout, file=sys.stderr, flush=True)
    if run.returncode != 0:
        return None
    place = Path(run.stdout.splitlines()[-1])
    summary = json.loads((place / "summary.json").read_text())
    trained = {row["what"]: row for row in summary["quality"]["trained"]}
    before, after = summary["quality"]["untrained"], trained["samples"]
    change = lambda key: f"{before[key]:.3f} → {after[key]:.{3 if after[key] >= 0.01 else 4}f}" if key in after else ""
    factor = before["sliced_w2"] / after["sliced_w2"]
    preset = place.name.removeprefix(f"{method}-").rsplit("-", 1)[0]
    cells = [method, preset, summary["iterations"], f"{seconds:.0f}", change("sliced_w2"), f"{factor:.1f}"]
    own = [f"{trained['data'][key]:.3f}" for key in ("sliced_w2", "frechet")]
    return cells + [own[0], change("frechet"), own[1], change("to_teacher")], factor


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(ALL)} (default: all)")
    parser.add_argument("--fgc", default=str(ROOT / "target" / "release" / "fgc"))
    parser.add_argument("--out", default="runs", help="directory of runs")
    args = parser.parse_args()
    if unknown := [method for method in args.methods if method not in ALL]:
        parser.error(f"unknown method: {', '.join(unknown)}")
    print("| " + " | ".join(COLUMNS) + " |\n|---|---|" + "--:|" * (len(COLUMNS) - 2), flush=True)
    bad = 0
    for method in args.methods or ALL:
        row, factor = measure(args, method) or ([method, "failed"], 0)
        bad += factor <= 1
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
    sys.exit(bad > 0)


main()
