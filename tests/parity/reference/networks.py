"""The reference networks (section 4): parameters are a dict of tensors by name."""

import math

import torch
import torch.nn.functional as F

from schedules import SCHEDULES, convert, like


def emb(s, dim):
    i = torch.arange(dim // 2, dtype=torch.float64)
    f = (10000.0 ** (-i / (dim // 2 - 1))).float()
    a = s.float()[..., None] * f
    return torch.cat([a.sin(), a.cos()], -1)


def lin(p, name, x):
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def mlp(p, x, s, c, s_r=None):
    """Output, features, logvar."""
    dim = p["logvar_linear.weight"].shape[1]
    e0 = emb(s, dim)
    e = e0 if s_r is None else torch.cat([e0, emb(s_r, dim)], -1)
    if c is not None:
        e = e + lin(p, "map_label", c * math.sqrt(c.shape[1]))
    e = F.silu(lin(p, "map_layer1", F.silu(lin(p, "map_layer0", e))))
    h, features, i = lin(p, "inp", x), [], 0
    while f"blocks.{i}.lin0.weight" in p:
        b = f"blocks.{i}"
        h = h + lin(p, f"{b}.lin1", F.silu(lin(p, f"{b}.lin0", F.silu(h)) + lin(p, f"{b}.affine", e)))
        features.append(h)
        i += 1
    return lin(p, "out", F.silu(h)), features, lin(p, "logvar_linear", e0)[:, 0]


def chunk_of(frame, frames, size):
    return max(0, (frame - frames % size) // size)


def norm(h):
    return F.layer_norm(h, h.shape[-1:], eps=1e-6)


def vdit(p, x, t, c, chunk=None, frames=None, first=0, cache=None, heads=2, patch=2):
    """x [B,C,T,H,W], t [B] or [B,T]. `first` is the absolute index of the first frame; with a `cache` (a pair of keys and
    values per block, or none at the start) queries see the cache and everything here. Also returns the new cache."""
    batch, ch, n, hh, ww = x.shape
    gh, gw = hh // patch, ww // patch
    dim = p["x_embed.weight"].shape[0]
    tok = x.reshape(batch, ch, n, gh, patch, gw, patch).permute(0, 2, 3, 5, 1, 4, 6).reshape(batch, n, gh * gw, -1)
    h = lin(p, "x_embed", tok) + emb(torch.arange(gh * gw), dim) + emb(torch.arange(first, first + n), dim)[:, None]
    h = h.reshape(batch, n * gh * gw, dim)
    if t.dim() == 1:
        t = t[:, None].expand(batch, n)
    e = lin(p, "t_embed1", F.silu(lin(p, "t_embed0", emb(1000 * t, dim)))) + lin(p, "y_embed", c)[:, None]
    e = F.silu(e)  # [B,T,dim]

    def mod(name, k):
        return lin(p, name, e).repeat_interleave(gh * gw, 1).chunk(k, -1)

    bias = 0
    if chunk is not None and cache is None:
        at = torch.tensor([chunk_of(f, n, chunk) for f in range(n)]).repeat_interleave(gh * gw)
        bias = torch.where(at[:, None] >= at[None, :], 0.0, -math.inf)
    features, new, i = [], [], 0
    while f"blocks.{i}.qkv.weight" in p:
        b = f"blocks.{i}"
        s1, c1, g1, s2, c2, g2 = mod(f"{b}.mod", 6)
        qkv = lin(p, f"{b}.qkv", norm(h) * (1 + c1) + s1).reshape(batch, -1, 3, heads, dim // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        new.append((k, v))
        if cache:
            k, v = torch.cat([cache[i][0], k], 2), torch.cat([cache[i][1], v], 2)
        a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(dim // heads) + bias, -1) @ v
        h = h + g1 * lin(p, f"{b}.proj", a.transpose(1, 2).reshape(batch, -1, dim))
        m = F.gelu(lin(p, f"{b}.fc0", norm(h) * (1 + c2) + s2), approximate="tanh")
        h = h + g2 * lin(p, f"{b}.fc1", m)
        features.append(h)
        i += 1
    s, cc = mod("final_mod", 2)
    out = lin(p, "final", norm(h) * (1 + cc) + s).reshape(batch, n, gh, gw, ch, patch, patch)
    out = out.permute(0, 4, 1, 2, 5, 3, 6).reshape(x.shape)
    both = [(torch.cat([o[0], w[0]], 2), torch.cat([o[1], w[1]], 2)) for o, w in zip(cache, new)] if cache else new
    return out, features, both


def discriminator(p, features):
    """Logits [B, heads]. Features of tokens are averaged."""
    logits = []
    for j, f in enumerate(features):
        f = f.mean(1) if f.dim() == 3 else f
        logits.append(lin(p, f"heads.{j}.lin1", F.silu(lin(p, f"heads.{j}.lin0", f))))
    return torch.cat(logits, 1)


class Net:
    """A denoiser: a network, its schedule, what it predicts, its preconditioning."""

    def __init__(self, params, kind="mlp", schedule="edm", predicts="x0", precondition="edm", chunk=None):
        self.p, self.kind, self.predicts, self.chunk = params, kind, predicts, chunk
        self.schedule_name, self.sch, self.edm = schedule, SCHEDULES[schedule], precondition == "edm"
        self.two_times = kind == "mlp" and params["map_layer0.weight"].shape[1] > params["logvar_linear.weight"].shape[1]

    def frozen(self):
        other = object.__new__(Net)
        other.__dict__ = {**self.__dict__, "p": {k: v.detach() for k, v in self.p.items()}}
        return other

    def raw(self, x, t, c, r=None, **rollout):
        if self.kind == "vdit":
            return vdit(self.p, x, t, c, self.chunk, **rollout)
        r = r if self.two_times else None
        if not self.edm:
            return mlp(self.p, x, t, c, r)
        tt, sd2 = like(t, x), 0.25
        c_in, c_skip = 1 / (sd2 + tt**2).sqrt(), sd2 / (tt**2 + sd2)
        c_out = tt * 0.5 / (tt**2 + sd2).sqrt()
        f, features, logvar = mlp(self.p, (c_in * x).float(), t.log() / 4, c, None if r is None else r.log() / 4)
        return (c_skip * x + c_out * f).float(), features, logvar

    def says(self, kind, x, t, c, r=None, **rollout):
        return convert(self.sch, x, t, self.raw(x, t, c, r, **rollout)[0], self.predicts, kind)

    def x0(self, x, t, c, r=None, **rollout):
        return self.says("x0", x, t, c, r, **rollout)

    def flow(self, x, t, c, r=None):
        return self.says("flow", x, t, c, r)

    def features(self, x, t, c, which):
        f = self.raw(x, t, c)[1]
        return [f[i] for i in which]
