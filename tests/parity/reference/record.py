"""Records the cases of options.py: `record.py OUT [PREFIX...]`."""

import math
import sys

import torch

from case import expected, save
from methods import METHODS, hyper
from networks import chunk_of
from options import CASES
from schedules import SCHEDULES, t_list

torch.set_num_threads(1)
CRITICS = {"dmd2", "f_distill", "ladd", "causvid", "self_forcing"}


def linear(p, g, name, fan_in, fan_out):
    p[f"{name}.weight"] = torch.randn(fan_out, fan_in, generator=g) / math.sqrt(fan_in)
    p[f"{name}.bias"] = 0.1 * torch.randn(fan_out, generator=g)


def mlp_weights(g, hidden, blocks, emb, classes, two_times):
    p, wide = {}, emb * (2 if two_times else 1)
    linear(p, g, "map_layer0", wide, hidden)
    linear(p, g, "map_layer1", hidden, hidden)
    if classes:
        linear(p, g, "map_label", classes, wide)
    linear(p, g, "logvar_linear", emb, 1)
    linear(p, g, "inp", 2, hidden)
    for i in range(blocks):
        for part in ("lin0", "lin1", "affine"):
            linear(p, g, f"blocks.{i}.{part}", hidden, hidden)
    linear(p, g, "out", hidden, 2)
    return p


def vdit_weights(g, dim, blocks):
    p = {}
    linear(p, g, "x_embed", 8, dim)
    linear(p, g, "t_embed0", dim, dim)
    linear(p, g, "t_embed1", dim, dim)
    linear(p, g, "y_embed", 4, dim)
    for i in range(blocks):
        for part, n, m in [("mod", 1, 6), ("qkv", 1, 3), ("proj", 1, 1), ("fc0", 1, 4), ("fc1", 4, 1)]:
            linear(p, g, f"blocks.{i}.{part}", n * dim, m * dim)
    linear(p, g, "final_mod", dim, 2 * dim)
    linear(p, g, "final", dim, 8)
    return p


def network_names(method, h):
    names = ["student"]
    if method in CRITICS or h.use_cd:
        names.append("teacher")
    if method == "tcm":
        names.append("stage1")
    if method in CRITICS - {"ladd"}:
        names.append("fake_score")
    return names


def weights_of(o, h, g):
    out = {}
    for name in network_names(o["method"], h):
        if o["video"]:
            p = vdit_weights(g, o["dim"], 2)
        else:
            two = o["method"] == "meanflow" and name == "student"
            p = mlp_weights(g, o["dim"], 2, 8, 4 if o["labels"] else 0, two)
        out |= {f"{name}.{k}": v for k, v in p.items()}
    if o["method"] in CRITICS and (h.gan_weight or o["method"] == "ladd"):
        p = {}
        for j in range(len(h.features)):
            linear(p, g, f"heads.{j}.lin0", o["dim"], o["dim"])
            linear(p, g, f"heads.{j}.lin1", o["dim"], 1)
        out |= {f"discriminator.{k}": v for k, v in p.items()}
    if o["method"] == "f_distill" and h.ratio_normalization:
        out["student.bins"] = 0.5 + torch.rand(h.ratio_bins, generator=g)
    return out


def times_of(o, g, *shape):
    s = o["schedule"]
    if s == "edm":
        t = torch.exp(-1.1 + 2 * torch.randn(*shape, generator=g, dtype=torch.float64)).clamp(0.002, 80)
        return t.clamp(min=1.001) if o["method"] == "tcm" else t
    u = torch.rand(*shape, generator=g, dtype=torch.float64)
    if s == "vp":
        return (u * 998 + 1).round() / 1000
    return 0.02 + u * (0.95 if s == "rf" else 1.5)


def draws(o, h, g, k):
    """The draws of one step."""
    method, b, it = o["method"], o["batch"], o["iteration"] + k
    shape = (b, 2, o["frames"], 4, 4) if o["video"] else (b, 2)
    normal = lambda s=shape: torch.randn(*s, generator=g)
    uniform = lambda: torch.rand(b, generator=g)
    frames = [chunk_of(f, o["frames"], o["chunk"]) for f in range(o["frames"])] if o["video"] else []
    chunks = max(frames, default=0) + 1
    steps = h.steps
    ts = torch.tensor(h.t_list, dtype=torch.float64) if h.t_list else t_list(o["schedule"], steps)
    d = {}
    if method in ("sft", "causal_sft"):
        d = {"t": times_of(o, g, b) if method == "sft" else times_of(o, g, b, chunks)[:, frames], "eps": normal()}
        if h.cond_dropout_prob is not None:
            d["u_drop"] = uniform()
    elif method == "kd" and steps > 1:
        d = {"t_index": torch.randint(steps, (b,), generator=g)}
    elif method == "causal_kd":
        d = {"t_index": torch.randint(steps + 1, (b, chunks), generator=g)[:, frames].contiguous()}
    elif method in ("cm", "tcm"):
        d = {"t": times_of(o, g, b), "eps": normal()}
        if method == "tcm" and math.floor(b * h.boundary_prob):
            d["perm"] = torch.randperm(b, generator=g)
        elif method == "tcm":
            d["u_boundary"] = uniform()
    elif method == "scm":
        d = {"t": times_of(o, g, b), "z": normal()}
    elif method == "meanflow":
        d = {"t_a": times_of(o, g, b), "t_b": times_of(o, g, b), "u_fm": uniform(), "z": normal()}
        if h.cond_dropout_prob is not None:
            d["u_drop"] = uniform()
    elif method in CRITICS:
        d = {"z": normal(), "t": times_of(o, g, b), "eps": normal()}
        if method == "causvid":
            d["t_index"] = torch.randint(steps + 1, (b, chunks), generator=g)[:, frames].contiguous()
        elif method == "self_forcing":
            d["exit_step"] = torch.randint(steps, (chunks,), generator=g)
        elif steps > 1:
            d["t_student"] = ts[torch.randint(steps, (b,), generator=g)]
        if it % h.student_every and (h.gan_weight or method == "ladd"):
            if not h.same_t_noise:
                d |= {"t_real": times_of(o, g, b), "eps_real": normal()}
            if h.r1_weight > 0:
                d["r1_noise"] = normal()
    return d


def network_text(o):
    if o["video"]:
        student = f"vdit(dim={o['dim']}, chunk={o['chunk']})"
        if o["method"] in CRITICS:
            return f"student {student}; teacher, fake_score vdit(dim={o['dim']})"
        return student
    fakes = f"; fake_score {mlp_text(o, o['fake'])}" if o["fake"] else ""
    return ("student, teacher " if fakes else "") + mlp_text(o, o["predicts"]) + fakes


def mlp_text(o, predicts):
    text = f"mlp(label_dim={4 if o['labels'] else 0}, hidden={o['dim']}, blocks=2, emb=8)"
    if o["method"] == "meanflow":
        text = text.replace(")", ", r_timestep=true)")
    if o["schedule"] != "edm" or predicts != "x0" or o["fake"]:
        text += f", schedule {o['schedule']}, predicts {predicts}"
        text += "" if o["fake"] and o["schedule"] == "edm" else ", no preconditioning"
    return text


def record(o, out):
    g = torch.Generator().manual_seed(sum(map(ord, o["name"])) + o["seed"])
    h = hyper(o["hyper"])
    b = o["batch"]
    shape = (b, 2, o["frames"], 4, 4) if o["video"] else (b, 2)
    pins = {"x": (2 if o["method"] != "ladd" else 1) * torch.randn(*shape, generator=g)}
    if o["labels"]:
        pins |= {"c": torch.eye(4)[torch.randint(4, (b,), generator=g)], "c_neg": torch.zeros(b, 4)}
    if o["method"] == "kd" and o["noise"]:
        pins["noise"] = SCHEDULES[o["schedule"]].t_max * torch.randn(*shape, generator=g)
    elif o["method"] in ("kd", "causal_kd"):
        pins["path"] = torch.randn(b, 4, *shape[1:], generator=g)
    for k in range(o["steps"]):
        prefix = f"step{k}." if o["steps"] > 1 else ""
        pins |= {prefix + m: v for m, v in draws(o, h, g, k).items()}
    weights = weights_of(o, h, g)
    if o["change"]:
        o["change"](weights, pins)
    if o["method"] == "self_forcing":
        pins |= rollout_noise(o, h, g, pins["exit_step"])
    case = dict(
        method=o["method"], network=network_text(o), batch=b, iteration=o["iteration"], steps=o["steps"],
        hyper=o["hyper"], optimizer=o["optimizer"],
    )  # fmt: skip
    tensors = expected(case, weights, pins)
    bad = [k for k, v in tensors.items() if not torch.isfinite(v).all()]
    assert not bad, (o["name"], bad)
    save(f"{out}/{o['name']}", case, weights, pins, tensors)


def rollout_noise(o, h, g, exits):
    """Fresh noise in order of use: for every step before the exit, and for the cache."""
    frames = [chunk_of(f, o["frames"], o["chunk"]) for f in range(o["frames"])]
    out = []
    for k in range(frames[-1] + 1):
        last = h.steps - 1 if h.last_step_only else int(exits[0 if h.same_step_across_blocks else k])
        count = (last if h.sample_type == "sde" else 0) + (h.context_noise > 0)
        out += [torch.randn(o["batch"], 2, frames.count(k), 4, 4, generator=g) for _ in range(count)]
    return {f"rollout_noise_{i}": v for i, v in enumerate(out)}


if __name__ == "__main__":
    for o in CASES:
        if any(o["name"].startswith(p) for p in sys.argv[2:] or [""]):
            record(o, sys.argv[1])
    assert {o["method"] for o in CASES} == METHODS.keys()
