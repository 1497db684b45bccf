"""Running a case with the reference, and its file format (section 5)."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file, save_file

from methods import METHODS, hyper
from networks import Net

FROZEN = {"teacher", "stage1"}
BUFFERS = {"student.bins"}
OPTIMIZERS = {"adamw": torch.optim.AdamW, "radam": torch.optim.RAdam, "adam": torch.optim.Adam}


def networks(text, weights, names):
    """Net objects by name from the case's description."""
    specs = {}
    for part in text.split(";"):
        m = re.match(r"\s*(.*?)\s*(mlp|vdit)\(([^)]*)\)(.*)", part)
        who, kind, args, rest = m.groups()
        video = kind == "vdit"
        said = lambda pattern, default: (re.search(pattern, rest) or [0, default])[1]
        chunk = re.search(r"chunk=(\d+)", args)
        spec = dict(
            kind=kind,
            schedule=said(r"schedule (\w+)", "rf" if video else "edm"),
            predicts=said(r"predicts (\w+)", "flow" if video else "x0"),
            precondition="none" if video or "no preconditioning" in rest else "edm",
            chunk=int(chunk[1]) if chunk else None,
        )
        for name in who.replace(",", " ").split() or ["*"]:
            specs[name] = spec
    out = {}
    for name in names:
        if name != "discriminator":
            own = {k.removeprefix(name + "."): v for k, v in weights.items() if k.startswith(name + ".") and k not in BUFFERS}
            out[name] = Net(own, **specs.get(name, specs.get("*")))
    return out


def run(case, weights, pins, several=None):
    """The expected tensors of a case: losses, gradients or parameters after, buffers."""
    names = sorted({k.split(".")[0] for k in weights})
    leaves = {
        k: v.clone().requires_grad_(k.split(".")[0] not in FROZEN and k not in BUFFERS) for k, v in weights.items()
    }
    nets = networks(case["network"], leaves, names)
    disc = {k.removeprefix("discriminator."): v for k, v in leaves.items() if k.startswith("discriminator.")}
    buffers = {k: v.clone() for k, v in weights.items() if k in BUFFERS}
    n = SimpleNamespace(**nets, discriminator=disc, buffers=buffers)
    h, several, out = hyper(case["hyper"]), several or case["steps"] > 1, {}
    own = lambda name: {k: v for k, v in leaves.items() if k.startswith(name + ".") and v.requires_grad}
    opts = {}
    for name, o in (case["optimizer"] or {}).items():
        args = dict(lr=o["lr"], betas=tuple(o["betas"]), eps=o["eps"], weight_decay=o["weight_decay"])
        opts[name] = OPTIMIZERS[o["kind"]](list(own(name).values()), **args)
    for k in range(case["steps"]):
        here = {m: v for m, v in pins.items() if not re.match(r"step\d+\.", m)}
        here |= {m.removeprefix(f"step{k}."): v for m, v in pins.items() if m.startswith(f"step{k}.")}
        d = SimpleNamespace(**({"c": None, "c_neg": None} | here))
        it = case["iteration"] + k
        losses = METHODS[case["method"]](n, d, h, it)
        for v in leaves.values():
            v.grad = None
        if losses["total_loss"].requires_grad:
            losses["total_loss"].backward()
        prefix = f"step{k}." if several else ""
        out |= {f"{prefix}loss.{m}": v.detach().double() for m, v in losses.items()}
        if several:
            trained = one_sided({**case, "iteration": it})
            for name in trained:
                if name in opts:
                    opts[name].step()
    for k, v in leaves.items():
        if several and k.split(".")[0] in opts:
            out[f"after.{k}"] = v.detach()
        elif not several and v.grad is not None:
            out[f"grad.{k}"] = v.grad
    return out | {f"after.{k}": v for k, v in n.buffers.items()}


def one_sided(case):
    """The networks whose gradients this step is for: the others' are left out."""
    method, h = case["method"], hyper(case["hyper"])
    alternating = method in ("dmd2", "f_distill", "ladd", "causvid", "self_forcing")
    return {"fake_score", "discriminator"} if alternating and case["iteration"] % h.student_every else {"student"}


def expected(case, weights, pins):
    out, to = run(case, weights, pins), one_sided(case)
    return {k: v for k, v in out.items() if not k.startswith("grad.") or k.split(".")[1] in to}


def load(folder):
    folder = Path(folder)
    read = lambda f: load_file(folder / f"{f}.safetensors")
    return json.loads((folder / "case.json").read_text()), read("weights"), read("pins"), read("expected")


def save(folder, case, weights, pins, out):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    losses = {k: v.item() for k, v in out.items() if "loss." in k}
    case = {**case, "name": folder.name, "loss_terms": losses}
    (folder / "case.json").write_text(json.dumps(case, indent=1, sort_keys=True) + "\n")
    for name, tensors in dict(weights=weights, pins=pins, expected=out).items():
        save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, folder / f"{name}.safetensors")


def compare(case, weights, mine, recorded):
    """What differs by more than the agreed tolerances."""
    coarse = 5e-3 if case["hyper"].get("jvp_finite_diff") else 0
    wrong = [f"{k} is missing" for k in recorded.keys() - mine.keys()]
    wrong += [f"{k} is not recorded" for k in mine.keys() - recorded.keys() if not k.startswith("after.student.bins")]
    for k in mine.keys() & recorded.keys():
        a, b = mine[k].double(), recorded[k].double()
        if "loss." in k:
            off, allowed = (a - b).abs() / b.abs().clamp(min=1e-2), max(1e-4, coarse)
        elif k.startswith("after.") and k[6:] not in BUFFERS:
            moved = (b - weights[k[6:]].double()).norm()
            off, allowed = (a - b).norm() / moved.clamp(min=1e-300), max(1e-2, coarse)
        else:
            off, allowed = (a - b).norm() / b.norm().clamp(min=1e-30), max(1e-3, coarse)
        if not off <= allowed:
            wrong.append(f"{k} off by {off:.1e}")
    return wrong
