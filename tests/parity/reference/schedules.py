"""Noise schedules and conversions between prediction types (section 1 of the definition), in float64."""

import math

import torch


class Schedule:
    """alpha, sigma, their derivatives (da, ds) and the range of t."""

    def __init__(self, alpha, sigma, da, ds, t_min, t_max, latents):
        self.alpha, self.sigma, self.da, self.ds = alpha, sigma, da, ds
        self.t_min, self.t_max = t_min, t_max
        self.latents = lambda z: (latents * z.double()).to(z.dtype)

    def noised(self, x, t, eps):
        a, s = like(self.alpha(t), x), like(self.sigma(t), x)
        return (a * x.double() + s * eps.double()).to(x.dtype)


SCHEDULES = {
    "edm": Schedule(torch.ones_like, lambda t: t, torch.zeros_like, torch.ones_like, 0.002, 80.0, 80.0),
    "rf": Schedule(lambda t: 1 - t, lambda t: t, lambda t: -torch.ones_like(t), torch.ones_like, 0.0, 0.999, 0.999),
    "trig": Schedule(torch.cos, torch.sin, lambda t: -torch.sin(t), torch.cos, 0.0, math.pi / 2, 1.0),
}

# DDPM's: beta from 1e-4 to 0.02 in 1000 steps, between steps the one below; no derivatives, so for networks that predict
# x0, eps or v. The definition gives neither the table nor what is between steps.
ALPHA_BARS = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
AT = lambda t: ALPHA_BARS[(t * 1000 + 1e-3).floor().long()]
SCHEDULES["vp"] = Schedule(
    lambda t: AT(t).sqrt(), lambda t: (1 - AT(t)).sqrt(), torch.zeros_like, torch.zeros_like, 0.0, 0.999,
    (1 - ALPHA_BARS[-1]).sqrt().item(),
)  # fmt: skip


def like(t, x):
    """t [B] or [B,T] against x [B,...] or [B,C,T,H,W]."""
    if t.dim() == 0:
        return t
    if t.dim() == 1:
        return t.reshape(-1, *[1] * (x.dim() - 1))
    return t.reshape(t.shape[0], 1, t.shape[1], *[1] * (x.dim() - 3))


def away(d):
    """Clamped away from zero by 1e-6, keeping its sign."""
    return torch.where(d.abs() < 1e-6, torch.where(d < 0, -1e-6, 1e-6).to(d), d)


def convert(sch, x_t, t, pred, kind, to):
    """A prediction of `kind` as one of `to`."""
    if kind == to:
        return pred
    out = pred.dtype
    x_t, pred = x_t.double(), pred.double()
    a, s, da, ds = (like(f(t), x_t) for f in (sch.alpha, sch.sigma, sch.da, sch.ds))
    if kind == "x0":
        x0 = pred
    elif kind == "eps":
        x0 = (x_t - s * pred) / away(a)
    elif kind == "v":
        x0 = a * x_t - s * pred
    elif sch is SCHEDULES["rf"]:
        x0 = x_t - s * pred
    else:
        q = ds / away(s)
        x0 = (x_t * q - pred) / away(q * a - da)
    if to == "x0":
        return x0.to(out)
    if kind == "eps":
        eps = pred
    elif kind == "v":
        eps = s * x_t + a * pred
    elif kind == "flow" and sch is SCHEDULES["rf"]:
        eps = x_t + a * pred
    else:
        eps = (x_t - a * x0) / away(s)
    return {"eps": lambda: eps, "v": lambda: a * eps - s * x0, "flow": lambda: da * x0 + ds * eps}[to]().to(out)


def target(sch, x, eps, t, kind):
    """What a network predicting `kind` should have said."""
    a, s, da, ds = (like(f(t), x) for f in (sch.alpha, sch.sigma, sch.da, sch.ds))
    x, eps, out = x.double(), eps.double(), x.dtype
    return {"x0": x, "eps": eps, "v": a * eps - s * x, "flow": da * x + ds * eps}[kind].to(out)


def edm_sigmas():
    """The 1000 sigmas, ascending."""
    u = torch.linspace(0, 1, 1000, dtype=torch.float64)
    hi, lo = 80 ** (1 / 7), 0.002 ** (1 / 7)
    return ((hi + u * (lo - hi)) ** 7).flip(0)


def t_list(name, n):
    if name == "edm":
        i = torch.linspace(998, 2, n + 1, dtype=torch.float64).long()
        ts = edm_sigmas()[i]
        ts[-1] = 0
        return ts
    return torch.linspace(SCHEDULES[name].t_max, 0, n + 1, dtype=torch.float64)
