"""The samplers (sections 1 and 3), on noise drawn as fgc draws it, and moving averages of weights."""

import math
from types import SimpleNamespace

import torch

from methods import cfg, full, times
from networks import chunk_of
from schedules import convert, t_list

MASK = (1 << 64) - 1


def philox_normals(seed, step, name, count):
    """Philox 4x32-10 keyed by the FNV-1a hash of seed and name, counted by pair and step; Box-Muller."""
    key = 0xCBF29CE484222325
    for byte in seed.to_bytes(8, "little") + name.encode():
        key = ((key ^ byte) * 0x100000001B3) & MASK
    out = []
    for pair in range((count + 1) // 2):
        a, b, c, d = pair & 0xFFFFFFFF, pair >> 32, step & 0xFFFFFFFF, step >> 32
        k0, k1 = key & 0xFFFFFFFF, key >> 32
        for _ in range(10):
            x, y = a * 0xD2511F53, c * 0xCD9E8D57
            a, b, c, d = (y >> 32) ^ b ^ k0, y & 0xFFFFFFFF, (x >> 32) ^ d ^ k1, x & 0xFFFFFFFF
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        u, v = (((a | b << 32) >> 11) + 1) * 2.0**-53, ((c | d << 32) >> 11) * 2.0**-53
        r = math.sqrt(-2 * math.log(u))
        out += [r * math.cos(2 * math.pi * v), r * math.sin(2 * math.pi * v)]
    return torch.tensor(out[:count], dtype=torch.float64).float()


def drawn(shape, step, name):
    return philox_normals(0, step, f"sample.0.sample.{name}", math.prod(shape)).reshape(shape)


def renoised(net, y, t, t_next, x0, h, step, shape=None):
    """x0 at the next time, by fresh or implied noise."""
    eps = drawn(shape or y.shape, step, "noise") if h.sample_type == "sde" else convert(net.sch, y, t, x0, "x0", "eps")
    return net.sch.noised(x0, t_next, eps)


def few_step(net, x, c, ts, h, at=None):
    at, b = at or net.x0, len(x)
    y = net.sch.latents(drawn(x.shape, 0, "z"))
    for i, (s, s_next) in enumerate(zip(ts[:-1].tolist(), ts[1:].tolist())):
        t = full(net, b, s)
        x0 = at(y, t, c)
        y = renoised(net, y, t, full(net, b, s_next), x0, h, i + 1) if s_next > 0 else x0
    return y


def ode(net, x, c, c_neg, steps, guidance):
    """Of any schedule: Euler in sigma/alpha, which for EDM and RF is Euler of the flow."""
    y, ts = net.sch.latents(drawn(x.shape, 0, "z")), t_list(net.schedule_name, steps).tolist()
    flow = net.schedule_name in ("edm", "rf")
    for s, s_next in zip(ts[:-1], ts[1:]):
        t = full(net, len(x), s)
        kind = "flow" if flow else "x0"
        told = net.says(kind, y, t, c)
        told = told if guidance is None else cfg(told, net.says(kind, y, t, c_neg), guidance)
        if flow:
            y = (y.double() - (s - s_next) * told.double()).float()
        elif s_next > 0:
            y = net.sch.noised(told, full(net, len(x), s_next), convert(net.sch, y, t, told, "x0", "eps"))
        else:
            y = told
    return y


def mean_flow(net, x, c, ts, kind):
    b = len(x)
    y = net.sch.latents(drawn(x.shape, 0, "z"))
    for i, (s, s_next) in enumerate(zip(ts[:-1].tolist(), ts[1:].tolist())):
        to = s_next if kind == "ode" else 0.0
        u = net.flow(y, full(net, b, s), c, full(net, b, to)).double()
        y = (y.double() - (s - to) * u).float()
        if kind == "sde" and s_next > 0:
            y = net.sch.noised(y, full(net, b, s_next), drawn(x.shape, i + 1, "noise"))
    return y


def rollout(net, x, c, ts, h, c_neg=None, guidance=None):
    """Chunk by chunk, with a cache of finished chunks; with guidance, one for each condition. Noises are a chunk's, numbered in
    order of use."""
    frames, b = x.shape[2], len(x)
    z = net.sch.latents(drawn(x.shape, 0, "z"))
    of, cache, bare, done, used = [chunk_of(f, frames, h.chunk) for f in range(frames)], [], [], [], 0
    for k in range(of[-1] + 1):
        at = [f for f in range(frames) if of[f] == k]
        y = z[:, :, at]
        for i, (s, s_next) in enumerate(zip(ts[:-1].tolist(), ts[1:].tolist())):
            t = full(net, b, s)
            x0 = net.x0(y, t, c, first=at[0], cache=cache)
            if guidance is not None:
                x0 = cfg(x0, net.x0(y, t, c_neg, first=at[0], cache=bare), guidance)
            if s_next > 0:
                if h.sample_type == "sde":
                    eps = drawn(y.shape, i + 1, f"rollout_noise_{used}")
                    used += 1
                else:
                    eps = convert(net.sch, y, t, x0, "x0", "eps")
                y = net.sch.noised(x0, full(net, b, s_next), eps)
        done.append(x0)
        y = x0
        if h.context_noise > 0:
            y = net.sch.noised(x0, full(net, b, h.context_noise), drawn(y.shape, 0, f"rollout_noise_{used}"))
            used += 1
        t = full(net, b, float(h.context_noise))
        cache = net.raw(y, t, c, first=at[0], cache=cache)[2]
        if guidance is not None:
            bare = net.raw(y, t, c_neg, first=at[0], cache=bare)[2]
    return torch.cat(done, 2)


def sample(method, n, d, h):
    """What the method's sampler and its teacher's (by name) give."""
    net, out = n.student, {}
    ts = times(net, h)
    if method == "sft":
        out["method"] = ode(net, d.x, d.c, d.c_neg, 50 if h.steps == 1 else h.steps, h.guidance)
    elif method == "meanflow":
        out["method"] = mean_flow(net, d.x, d.c, ts, h.sample_type)
    elif method == "causal_sft":
        ode_kind = SimpleNamespace(**{**vars(h), "sample_type": "ode"})
        if h.steps == 1:
            ts = t_list(net.schedule_name, 20)
        out["method"] = rollout(net, d.x, d.c, ts, ode_kind, d.c_neg, h.guidance)
    elif method in ("causal_kd", "causvid", "self_forcing"):
        out["method"] = rollout(net, d.x, d.c, ts, h)
    elif method == "tcm":
        def piecewise(y, t, c):
            return n.stage1.x0(y, t, c) if t[0] < h.transition_t else net.x0(y, t, c)

        out["method"] = few_step(net, d.x, d.c, ts, h, piecewise)
    else:
        out["method"] = few_step(net, d.x, d.c, ts, h)
    if hasattr(n, "teacher") and method != "meanflow":
        name = "target" if method in ("cm", "scm", "tcm") else "teacher"
        out[name] = ode(n.teacher, d.x, d.c, d.c_neg, 50, h.guidance)
    return {f"sample.{k}": v for k, v in out.items()}
