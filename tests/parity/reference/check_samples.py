"""Recomputes samples and averages that `parity --samples OUT DIR...` wrote: `check_samples.py OUT DIR...`."""

import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file

from case import load, networks, run
from methods import hyper
from samplers import sample

torch.set_num_threads(1)


def averages(case, weights, pins):
    """e <- d e + (1 - d) w after each of the student's updates; d by half-life of 500,000 samples for scm."""
    decay = 0.5 ** (case["batch"] / 500000) if case["method"] == "scm" else 0.999
    now = {k: v.double() for k, v in weights.items() if k.startswith("student.") and k != "student.bins"}
    every = hyper(case["hyper"]).student_every if "student_every" in case["hyper"] else 1
    ema = dict(now)
    for k in range(case["steps"]):
        after = run({**case, "steps": k + 1}, weights, pins, several=True)
        if (case["iteration"] + k) % every == 0:
            ema = {m: decay * v + (1 - decay) * after[f"after.{m}"].double() for m, v in ema.items()}
    return {f"ema.{k}": v for k, v in ema.items()}


bad = 0
for folder in sys.argv[2:]:
    case, weights, pins, _ = load(folder)
    found = load_file(Path(sys.argv[1]) / f"{case['name']}.safetensors")
    names = sorted({k.split(".")[0] for k in weights})
    n = SimpleNamespace(**networks(case["network"], weights, names))
    d = SimpleNamespace(**{"c": None, "c_neg": None} | {k: v for k, v in pins.items() if k in ("x", "c", "c_neg")})
    with torch.no_grad():
        mine = sample(case["method"], n, d, hyper(case["hyper"]))
    if case["steps"] > 1:
        mine |= averages(case, weights, pins)
    wrong = [f"{k} only here" for k in mine.keys() - found.keys()]
    wrong += [f"{k} only there" for k in found.keys() - mine.keys() if k == "sample.method"]
    worst = 0
    for k in mine.keys() & found.keys():
        a, b = mine[k].double(), found[k].double()
        size = (b - weights[k[4:]].double() if k.startswith("ema.") else b).norm()
        off = ((a - b).norm() / size.clamp(min=1e-300)).item()
        worst = max(worst, off)
        if off > (1e-2 if k.startswith("ema.") else 1e-3):
            wrong.append(f"{k} off by {off:.1e}")
    bad += bool(wrong)
    print("WRONG" if wrong else "ok   ", case["name"], f"{worst:.1e}", *wrong[:6], sep="\n        " if wrong else " ")
sys.exit(bad > 0)
