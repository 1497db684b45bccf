"""Recomputes recorded cases with the reference: `check.py DIR...`."""

import sys

import torch

from case import compare, expected, load

torch.set_num_threads(1)
bad = 0
for folder in sys.argv[1:]:
    case, weights, pins, recorded = load(folder)
    wrong = compare(case, weights, expected(case, weights, pins), recorded)
    bad += bool(wrong)
    print("WRONG" if wrong else "ok   ", case["name"], *wrong[:6], sep="\n        " if wrong else " ")
sys.exit(bad > 0)
