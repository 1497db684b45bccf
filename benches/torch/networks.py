"""The benches' networks in PyTorch, written as one would for speed: fused attention where nothing is differentiated forwards,
channels-last convolutions, no repeated modulations. Parameters are a dict by name; `init` makes one. `upto`: the last feature
that is wanted, and nothing after it."""

import math

import torch
import torch.nn.functional as F

FREQS = {}


def freqs(dim, denominator):
    """10000^(−i/denominator), i < dim/2; made once, when a network is: what a CUDA graph makes does not outlive the step."""
    key = dim, denominator
    if key not in FREQS:
        i = torch.arange(dim // 2, dtype=torch.float64)
        FREQS[key] = (10000.0 ** (-i / denominator)).float()
    return FREQS[key]


def emb(s, dim):
    a = s.float()[..., None] * freqs(dim, dim // 2 - 1)
    return torch.cat([a.sin(), a.cos()], -1)


def lin(p, name, x):
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def attend(q, k, v, plain):
    if plain:  # PyTorch's fused attention has no forward-mode derivative
        return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v
    return F.scaled_dot_product_attention(q, k, v)


def norm(h):
    return F.layer_norm(h, h.shape[-1:], eps=1e-6)


class Shapes:
    """Collects what parameters a network needs, in place of them."""

    def __init__(self):
        self.p, self.seed = {}, torch.Generator(torch.get_default_device()).manual_seed(0)

    def linear(self, name, n, out):
        self.uniform(f"{name}.weight", (out, n), n**-0.5)
        self.uniform(f"{name}.bias", (out,), n**-0.5)

    def conv(self, name, n, out, k):
        self.uniform(f"{name}.weight", (out, n, k, k), (n * k * k) ** -0.5)
        self.p[f"{name}.weight"] = self.p[f"{name}.weight"].to(memory_format=torch.channels_last)
        self.uniform(f"{name}.bias", (out,), (n * k * k) ** -0.5)

    def norm(self, name, n):
        self.p[f"{name}.weight"], self.p[f"{name}.bias"] = torch.ones(n), torch.zeros(n)

    def uniform(self, name, shape, bound):
        self.p[name] = (2 * torch.rand(shape, generator=self.seed) - 1) * bound


class Mlp:
    def __init__(self, hidden, blocks, emb, classes):
        self.blocks, self.dim, self.hidden, self.classes = blocks, emb, hidden, classes
        freqs(emb, emb // 2 - 1)

    def init(self):
        s, h = Shapes(), self.hidden
        if self.classes:
            s.linear("map_label", self.classes, self.dim)
        s.linear("map_layer0", self.dim, h), s.linear("map_layer1", h, h), s.linear("inp", 2, h), s.linear("out", h, 2)
        s.linear("logvar_linear", self.dim, 1)
        for i in range(self.blocks):
            for part in ("lin0", "affine", "lin1"):
                s.linear(f"blocks.{i}.{part}", h, h)
        return s.p

    def __call__(self, p, x, t, c, upto=None):
        e = emb(t, self.dim)
        if self.classes:
            e = e + lin(p, "map_label", c * math.sqrt(self.classes))
        e = F.silu(lin(p, "map_layer1", F.silu(lin(p, "map_layer0", e))))
        h, features = lin(p, "inp", x), []
        for i in range(self.blocks):
            b = f"blocks.{i}"
            h = h + lin(p, f"{b}.lin1", F.silu(lin(p, f"{b}.lin0", F.silu(h)) + lin(p, f"{b}.affine", e)))
            features.append(h)
            if i == upto:
                return None, features
        return lin(p, "out", F.silu(h)), features

    def critic(self, which):
        s = Shapes()
        for j in range(len(which)):
            s.linear(f"heads.{j}.lin0", self.hidden, self.hidden), s.linear(f"heads.{j}.lin1", self.hidden, 1)
        return s.p

    @staticmethod
    def judge(p, features):
        heads = [lin(p, f"heads.{j}.lin1", F.silu(lin(p, f"heads.{j}.lin0", f))) for j, f in enumerate(features)]
        return torch.cat(heads, 1)


class Unet:
    """EDM's DDPM++."""

    def __init__(self, channels, multipliers, blocks, attention, classes, size=32, image=3):
        self.channels, self.classes, self.size, self.image = channels, classes, size, image
        self.plan = []  # name, in, out, kind, attention
        res, n, skips = size, channels, [channels]
        for level, m in enumerate(multipliers):
            if level:
                res //= 2
                self.plan.append((f"enc.{res}x{res}_down", n, n, "down", False))
                skips.append(n)
            for i in range(blocks):
                last = i == blocks - 1
                self.plan.append((f"enc.{res}x{res}_block{i}", n, channels * m, "feature" if last else "enc", res in attention))
                n = channels * m
                skips.append(n)
        self.width = n
        for level in reversed(range(len(multipliers))):
            if level == len(multipliers) - 1:
                self.plan.append((f"dec.{res}x{res}_in0", n, n, "mid", True))
                self.plan.append((f"dec.{res}x{res}_in1", n, n, "mid", False))
            else:
                res *= 2
                self.plan.append((f"dec.{res}x{res}_up", n, n, "up", False))
            for i in range(blocks + 1):
                out = channels * multipliers[level]
                self.plan.append((f"dec.{res}x{res}_block{i}", n + skips.pop(), out, "dec", i == blocks and res in attention))
                n = out

    def init(self):
        s, n = Shapes(), self.channels
        s.linear("map_label", self.classes, n), s.linear("map_layer0", n, 4 * n), s.linear("map_layer1", 4 * n, 4 * n)
        s.linear("logvar_linear", n, 1)
        s.conv("in", self.image, n, 3), s.norm("out_norm", n * 2), s.conv("out", n * 2, self.image, 3)
        for b, i, o, kind, attention in self.plan:
            s.norm(f"{b}.norm0", i), s.conv(f"{b}.conv0", i, o, 3), s.norm(f"{b}.norm1", o), s.conv(f"{b}.conv1", o, o, 3)
            s.linear(f"{b}.affine", 4 * n, o)
            if i != o or kind in ("up", "down"):
                s.conv(f"{b}.skip", i, o, 1)
            if attention:
                s.norm(f"{b}.norm2", o), s.conv(f"{b}.qkv", o, 3 * o, 1), s.conv(f"{b}.proj", o, o, 1)
        return s.p

    @staticmethod
    def gn(p, name, x, groups=None, eps=1e-6):
        return F.group_norm(x, groups or min(32, x.shape[1] // 4), p[f"{name}.weight"], p[f"{name}.bias"], eps)

    @staticmethod
    def conv(p, name, x, stride=1, pad=0):
        return F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], stride, pad)

    def block(self, p, b, x, e, kind, attention, plain):
        a = F.silu(self.gn(p, f"{b}.norm0", x))
        if kind == "down":
            a, x = F.avg_pool2d(a, 2), F.avg_pool2d(x, 2)
        elif kind == "up":
            a, x = F.interpolate(a, scale_factor=2), F.interpolate(x, scale_factor=2)
        h = self.conv(p, f"{b}.conv0", a, pad=1) + lin(p, f"{b}.affine", e)[:, :, None, None]
        h = self.conv(p, f"{b}.conv1", F.silu(self.gn(p, f"{b}.norm1", h)), pad=1)
        h = (h + (self.conv(p, f"{b}.skip", x) if f"{b}.skip.weight" in p else x)) * 0.5**0.5
        if not attention:
            return h
        batch, n, rows, columns = h.shape
        qkv = self.conv(p, f"{b}.qkv", self.gn(p, f"{b}.norm2", h)).permute(0, 2, 3, 1)
        q, k, v = qkv.reshape(batch, 1, rows * columns, n, 3).unbind(-1)
        a = attend(q, k, v, plain).reshape(batch, rows, columns, n).permute(0, 3, 1, 2)
        return (h + self.conv(p, f"{b}.proj", a)) * 0.5**0.5

    def __call__(self, p, x, t, c, upto=None, plain=False):
        e = emb(t, self.channels) + lin(p, "map_label", c * math.sqrt(self.classes))
        e = F.silu(lin(p, "map_layer1", F.silu(lin(p, "map_layer0", e))))
        h = self.conv(p, "in", x.contiguous(memory_format=torch.channels_last), pad=1)
        skips, features = [h], []
        for b, _, _, kind, attention in self.plan:
            if kind == "dec":
                h = torch.cat([h, skips.pop()], 1)
            h = self.block(p, b, h, e, kind, attention, plain)
            if b.startswith("enc"):
                skips.append(h)
            if kind == "feature":
                features.append(h)
                if len(features) - 1 == upto:
                    return None, features
        return self.conv(p, "out", F.silu(self.gn(p, "out_norm", h)), pad=1), features

    def logvar(self, p, t):
        return lin(p, "logvar_linear", emb(t, self.channels))[:, 0]

    def critic(self, which):
        """Heads for features of 8×8, the coarsest."""
        s = Shapes()
        for j in range(len(which)):
            n = self.width
            s.conv(f"{j}.0", n, n, 4), s.norm(f"{j}.1", n), s.conv(f"{j}.3", n, n, 4), s.norm(f"{j}.4", n), s.conv(f"{j}.6", n, 1, 1)
        return s.p

    def judge(self, p, features):
        logits = []
        for j, h in enumerate(features):
            groups = max(g for g in range(1, 33) if h.shape[1] % g == 0)
            h = F.silu(self.gn(p, f"{j}.1", self.conv(p, f"{j}.0", h, 2, 1), groups, 1e-5))
            h = F.silu(self.gn(p, f"{j}.4", self.conv(p, f"{j}.3", h, 4), groups, 1e-5))
            logits.append(self.conv(p, f"{j}.6", h).mean((2, 3)))
        return torch.cat(logits, 1)


class Dit:
    """DiT with a second time."""

    def __init__(self, dim, depth, heads, patch, classes, size=32, image=4):
        self.dim, self.depth, self.heads, self.patch, self.classes = dim, depth, heads, patch, classes
        self.size, self.image = size, image
        freqs(256, 128)
        at = torch.arange(size // patch, dtype=torch.float64)
        angle = at[:, None] * 10000.0 ** (-torch.arange(dim // 4) / (dim / 4))
        half = torch.cat([angle.sin(), angle.cos()], 1).float()
        n = len(at)
        self.place = torch.cat([half[None].expand(n, n, -1), half[:, None].expand(n, n, -1)], -1).reshape(1, n * n, dim)

    def init(self):
        s, d = Shapes(), self.dim
        s.linear("x", self.image * self.patch**2, d), s.uniform("y", (self.classes + 1, d), 0.03)
        for name in ("t", "r"):
            s.linear(f"{name}.0", 256, d), s.linear(f"{name}.2", d, d)
        for i in range(self.depth):
            b = f"blocks.{i}"
            s.linear(f"{b}.qkv", d, 3 * d), s.linear(f"{b}.proj", d, d), s.linear(f"{b}.mod", d, 6 * d)
            s.linear(f"{b}.fc1", d, 4 * d), s.linear(f"{b}.fc2", 4 * d, d)
        s.linear("final_mod", d, 2 * d), s.linear("final", d, self.image * self.patch**2)
        return s.p

    def time(self, p, name, t):
        a = t.float()[:, None] * freqs(256, 128)
        return lin(p, f"{name}.2", F.silu(lin(p, f"{name}.0", torch.cat([a.cos(), a.sin()], -1))))

    def __call__(self, p, x, t, c, r=None, plain=False):
        batch, ch, rows, columns = x.shape
        k, gh, gw = self.patch, rows // self.patch, columns // self.patch
        cut = x.reshape(batch, ch, gh, k, gw, k).permute(0, 2, 4, 1, 3, 5).reshape(batch, gh * gw, -1)
        h = lin(p, "x", cut) + self.place
        e = self.time(p, "t", t) + torch.cat([c, 1 - c.sum(1, keepdim=True)], 1) @ p["y"]
        if r is not None:
            e = e + self.time(p, "r", t - r)
        e, features = F.silu(e), []
        for i in range(self.depth):
            b = f"blocks.{i}"
            s1, c1, g1, s2, c2, g2 = lin(p, f"{b}.mod", e)[:, None].chunk(6, -1)
            qkv = lin(p, f"{b}.qkv", norm(h) * (1 + c1) + s1).reshape(batch, -1, 3, self.heads, self.dim // self.heads)
            a = attend(*qkv.permute(2, 0, 3, 1, 4), plain)
            h = h + g1 * lin(p, f"{b}.proj", a.transpose(1, 2).reshape(batch, -1, self.dim))
            h = h + g2 * lin(p, f"{b}.fc2", F.gelu(lin(p, f"{b}.fc1", norm(h) * (1 + c2) + s2), approximate="tanh"))
            features.append(h)
        s, m = lin(p, "final_mod", e)[:, None].chunk(2, -1)
        out = lin(p, "final", norm(h) * (1 + m) + s).reshape(batch, gh, gw, k, k, ch)
        return out.permute(0, 5, 1, 3, 2, 4).reshape(x.shape), features


class Vdit:
    """The video transformer. `past`: keys and values of each block that a rollout has; `first`: absolute number of the first
    frame. Also returns this call's keys and values."""

    def __init__(self, dim, heads, blocks, patch, classes, channels=8):
        self.dim, self.heads, self.blocks, self.patch, self.classes, self.channels = dim, heads, blocks, patch, classes, channels
        freqs(dim, dim // 2 - 1)

    def init(self):
        s, d, n = Shapes(), self.dim, self.channels * self.patch**2
        s.linear("x_embed", n, d), s.linear("t_embed0", d, d), s.linear("t_embed1", d, d), s.linear("y_embed", self.classes, d)
        for i in range(self.blocks):
            b = f"blocks.{i}"
            s.linear(f"{b}.qkv", d, 3 * d), s.linear(f"{b}.proj", d, d), s.linear(f"{b}.mod", d, 6 * d)
            s.linear(f"{b}.fc0", d, 4 * d), s.linear(f"{b}.fc1", 4 * d, d)
        s.linear("final_mod", d, 2 * d), s.linear("final", d, n)
        return s.p

    def __call__(self, p, x, t, c, first=0, past=None):
        batch, ch, n, rows, columns = x.shape
        k, dim = self.patch, self.dim
        gh, gw = rows // k, columns // k
        tokens = x.reshape(batch, ch, n, gh, k, gw, k).permute(0, 2, 3, 5, 1, 4, 6).reshape(batch, n, gh * gw, -1)
        place = emb(torch.arange(gh * gw), dim) + emb(torch.arange(first, first + n), dim)[:, None]
        h = (lin(p, "x_embed", tokens) + place).reshape(batch, n * gh * gw, dim)
        e = lin(p, "t_embed1", F.silu(lin(p, "t_embed0", emb(1000 * t, dim)))) + lin(p, "y_embed", c)
        e, features, own = F.silu(e)[:, None], [], []
        for i in range(self.blocks):
            b = f"blocks.{i}"
            s1, c1, g1, s2, c2, g2 = lin(p, f"{b}.mod", e).chunk(6, -1)
            qkv = lin(p, f"{b}.qkv", norm(h) * (1 + c1) + s1).reshape(batch, -1, 3, self.heads, dim // self.heads)
            q, key, v = qkv.permute(2, 0, 3, 1, 4)
            own.append((key, v))
            if past:
                key, v = torch.cat([past[i][0], key], 2), torch.cat([past[i][1], v], 2)
            a = attend(q, key, v, False)
            h = h + g1 * lin(p, f"{b}.proj", a.transpose(1, 2).reshape(batch, -1, dim))
            h = h + g2 * lin(p, f"{b}.fc1", F.gelu(lin(p, f"{b}.fc0", norm(h) * (1 + c2) + s2), approximate="tanh"))
            features.append(h)
        s, m = lin(p, "final_mod", e).chunk(2, -1)
        out = lin(p, "final", norm(h) * (1 + m) + s).reshape(batch, n, gh, gw, ch, k, k)
        return out.permute(0, 4, 1, 2, 5, 3, 6).reshape(x.shape), features, own
