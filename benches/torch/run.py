"""A bench in PyTorch. Reads how many steps to take from standard input, a line at a time, and answers each with a line of JSON:
`ms` of each step, `peak_mib` above what the process held after importing PyTorch.

run.py BENCH eager|compile|reduce-overhead [cpu|cuda [f32|tf32|bf16]]

`eager` runs as it is, `compile` with torch.compile, `reduce-overhead` with torch.compile that also records CUDA graphs (on a CPU
the two are one). On a GPU
 * steps are not waited for one by one, as fgc does not either: the next is queued while one runs. They are timed in up to four
   blocks, each waited for at its end, and `ms` holds the mean of a step for each block;
 * peak_mib is what PyTorch held there at most;
 * bf16 is autocast."""

import json
import math
import sys
import time

import torch
import torch.nn.functional as F

from networks import Dit, Mlp, Unet, Vdit


def status(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) / 1024


def per_sample(t, x):
    return t.float().reshape(-1, *[1] * (x.dim() - 1))


class Net:
    """A network with its parameters, and what it makes of an answer: EDM's preconditioning, or flow on straight lines."""

    def __init__(self, net, p, edm):
        self.call, self.p, self.edm = net, p, edm

    def x0(self, x, t, c, **more):
        """x0 and the rest of the answer."""
        tt = per_sample(t, x)
        if not self.edm:
            out, *rest = self.call(self.p, x, t, c, **more)
            return x - tt * out, *rest
        root = (0.25 + tt**2).sqrt()
        out, *rest = self.call(self.p, x / root, t.log() / 4, c, **more)
        return None if out is None else 0.25 / root**2 * x + tt * 0.5 / root * out, *rest


def cfg(told, untold, s):
    return told + (s - 1) * (told - untold)


def vsd(x_g, real, fake):
    w = 1 / ((x_g.detach() - real).abs().flatten(1).mean(1) + 1e-6)
    goal = x_g.detach() - (fake - real) * per_sample(w, x_g)
    return 0.5 * F.mse_loss(x_g, goal)


class Bench:
    """What the methods share: networks from copies of one initial state, optimisers, the student's average, data."""

    edm = True

    def __init__(self, net, shape, batch, classes, trained, optimizer):
        self.net, self.batch, self.classes = net, batch, classes
        self.x = 0.5 * torch.randn(batch, *shape)
        self.c = F.one_hot(torch.randint(classes, (batch,)), classes).float() if classes else None
        self.none = torch.zeros_like(self.c) if classes else None
        p = net.init()
        self.params = {name: {k: v.clone().requires_grad_() for k, v in p.items()} for name in trained}
        self.teacher = Net(net, p, self.edm)
        self.ema = [v.detach().clone() for v in self.params["student"].values()]
        self.optimizers = {}
        self.make = optimizer
        self.compiled = lambda f: f

    def start(self, mode):
        self.graphs = mode == "reduce-overhead"
        if mode != "eager":
            torch._dynamo.config.recompile_limit = 64
            self.compiled = lambda f: torch.compile(f, dynamic=False, mode="reduce-overhead" if self.graphs else None)
        if self.graphs:
            # Weights come as arguments, which a graph copies at each call unless told that they stay where they are.
            for p in [self.teacher.p, *self.params.values()]:
                for v in p.values():
                    torch._dynamo.mark_static_address(v)
        call = self.compiled(self.net.__call__) if self.compile_networks else self.net
        self.teacher.call = call
        for name in self.params:
            setattr(self, name, Net(call, self.params[name], self.edm))
        for name, p in self.params.items():
            self.optimizers[name] = self.make(p.values())
        if not self.compile_networks:
            self.losses = {name: self.compiled(f) for name, f in self.losses.items()}

    compile_networks = True

    def turn(self, loss, trained):
        """One optimisation step of some networks."""
        p = [v for name in trained for v in self.params[name].values()]
        for v, g in zip(p, torch.autograd.grad(loss, p, allow_unused=True)):
            v.grad = g
        for name in trained:
            self.optimizers[name].step()
        if self.graphs:
            # They are the graph's, and not there in the next step.
            for v in p:
                v.grad = None
        if "student" in trained:
            torch._foreach_lerp_(self.ema, [v.detach() for v in self.params["student"].values()], 0.001)


def adamw(p):
    return torch.optim.AdamW(list(p), lr=1e-4, weight_decay=0.01, fused=True)


def radam(p):
    p = list(p)
    # Else it asks the GPU for the number of steps, once for each weight.
    return torch.optim.RAdam(p, lr=1e-4, foreach=True, capturable=p[0].is_cuda)


class Cm(Bench):
    def __init__(self, net, shape, batch, classes, whole):
        super().__init__(net, shape, batch, classes, ["student"], radam)
        self.compile_networks = not whole
        self.losses = {"cm": self.loss}

    def loss(self, u, eps):
        t = (-1.1 + 2.0 * math.sqrt(2) * torch.erfinv(2 * u - 1)).exp().clamp(0.002, 80)
        r = (t - t * 0.5 * (1 + 8 * torch.sigmoid(-t))).clamp(min=0.002)
        t = torch.where(r >= t - 1e-6, r + 1e-6, t)
        with torch.no_grad():
            d_r = self.student.x0(self.x + per_sample(r, eps) * eps, r, self.c)[0].nan_to_num()
        d_t = self.student.x0(self.x + per_sample(t, eps) * eps, t, self.c)[0]
        distance = (d_t - d_r).flatten(1).square().sum(1)
        return (((distance + 1e-16).sqrt() - 1e-8) / (t - r).float()).mean()

    def step(self):
        u = torch.rand(self.batch, dtype=torch.float64).clamp(1e-3, 1 - 1e-3)
        self.turn(self.losses["cm"](u, torch.randn_like(self.x)), ["student"])


class Dmd2(Bench):
    def __init__(self, net, shape, batch, classes, which, whole):
        super().__init__(net, shape, batch, classes, ["student", "fake_score"], adamw)
        self.params["discriminator"] = {k: v.requires_grad_() for k, v in net.critic(which).items()}
        self.which, self.compile_networks = which, not whole
        self.losses = {"student": self.student_loss, "critic": self.critic_loss}
        i = torch.arange(1000, dtype=torch.float64) / 999
        self.levels = ((80 ** (1 / 7) + i * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7).flip(0)

    def judge(self, features):
        return self.net.judge(self.params["discriminator"], [features[i] for i in self.which])

    def student_loss(self, z, t, eps):
        x_g = self.student.x0(80 * z, torch.full((self.batch,), 80.0), self.c)[0]
        y = x_g + per_sample(t, eps) * eps
        told, features = self.teacher.x0(y, t, self.c)
        with torch.no_grad():
            fake = self.fake_score.x0(y, t, self.c)[0]
            real = cfg(told, self.teacher.x0(y, t, self.none)[0], 1.5)
        return vsd(x_g, real, fake) + 1e-3 * F.softplus(-self.judge(features)).mean()

    def critic_loss(self, z, t, eps, t_real, eps_real):
        with torch.no_grad():
            x_g = self.student.x0(80 * z, torch.full((self.batch,), 80.0), self.c)[0]
            y = x_g + per_sample(t, eps) * eps
            upto = max(self.which)
            f_fake = self.teacher.x0(y, t, self.c, upto=upto)[1]
            f_real = self.teacher.x0(self.x + per_sample(t_real, eps) * eps_real, t_real, self.c, upto=upto)[1]
        loss = F.mse_loss(self.fake_score.x0(y, t, self.c)[0], x_g)
        return loss + F.softplus(self.judge(f_fake)).mean() + F.softplus(-self.judge(f_real)).mean()

    def draw(self):
        return self.levels[torch.randint(2, 999, (self.batch,))], torch.randn_like(self.x)

    def step(self):
        self.turn(self.losses["student"](torch.randn_like(self.x), *self.draw()), ["student"])
        loss = self.losses["critic"](torch.randn_like(self.x), *self.draw(), *self.draw())
        self.turn(loss, ["fake_score", "discriminator"])


class MeanFlow(Bench):
    edm, compile_networks = False, False

    def __init__(self, net, shape, batch, classes):
        super().__init__(net, shape, batch, classes, ["student"], adamw)
        self.losses = {"meanflow": self.loss}

    def loss(self, t, r, z):
        tt = per_sample(t, z)
        x_t, v, p = (1 - tt) * self.x + tt * z, z - self.x, self.params["student"]
        with torch.no_grad():
            still = {k: w.detach() for k, w in p.items()}
            f = lambda x, t, r: self.net(still, x, t, self.c, r, plain=True)[0]
            j = torch.func.jvp(f, (x_t, t, r), (v, torch.ones_like(t), torch.zeros_like(r)))[1]
        u = self.net(p, x_t, t, self.c, r)[0]
        goal = v - per_sample((t - r).clamp(0, 0.999), v) * j
        e = (u - goal).square().flatten(1).sum(1)
        return (e / (e.detach() + 0.1)).mean()

    def step(self):
        a, b = (torch.sigmoid(torch.randn(self.batch) - 0.4) * 0.999 for _ in range(2))
        t, r = torch.maximum(a, b), torch.minimum(a, b)
        r = torch.where(torch.arange(self.batch) < (torch.rand(self.batch) >= 0.25).sum(), t, r)
        self.turn(self.losses["meanflow"](t, r, torch.randn_like(self.x)), ["student"])


class Scm(Bench):
    """TrigFlow's view of the network, consistency training."""

    compile_networks, done = False, 0

    def __init__(self, net, shape, batch, classes):
        super().__init__(net, shape, batch, classes, ["student"], radam)
        self.losses = {"scm": self.loss}

    def view(self, p, y, angle, **more):
        x0 = Net(self.net, p, True).x0(y / per_sample(angle.cos(), y), 0.5 * angle.tan(), self.c, **more)[0]
        return (angle_times(torch.cos, angle, y) - x0) / (0.5 * per_sample(angle.sin(), y))

    def loss(self, t, noise, warm):
        a, p = torch.atan2(t, torch.full_like(t, 0.5)), self.params["student"]
        cs = a.cos() * a.sin()
        x_hat = angle_times(torch.cos, a, self.x) + angle_times(torch.sin, a, noise)
        dx = angle_times(torch.cos, a, noise) - angle_times(torch.sin, a, self.x)
        with torch.no_grad():
            still = {k: w.detach() for k, w in p.items()}
            f = lambda y, angle: self.view(still, y, angle, plain=True)
            j = torch.func.jvp(f, (x_hat, a), (per_sample(cs, dx) * dx, cs))[1]
        out = self.view(p, x_hat, a)
        still = out.detach()
        g = -per_sample(a.cos() ** 2, out) * (0.5 * still - dx) - warm * (per_sample(cs, out) * x_hat + 0.5 * j)
        n, d = g.flatten(1).norm(dim=1), self.x[0].numel()
        l = (out - still - g / per_sample(n / d**0.5 + 0.1, g)).square().flatten(1).mean(1)
        logvar = self.net.logvar(p, t.log() / 4)
        return (l / (t.float() * logvar.exp() * d) + logvar).mean()

    def step(self):
        t = (-1.0 + 1.4 * torch.randn(self.batch, dtype=torch.float64)).exp().clamp(0.002, 80)
        warm = torch.full((), min(1.0, self.done / 10000))  # a number would be compiled anew each step, torch.tensor wait for the GPU
        self.done += 1
        self.turn(self.losses["scm"](t, 0.5 * torch.randn_like(self.x), warm), ["student"])


def angle_times(f, angle, x):
    return per_sample(f(angle), x) * x


class SelfForcing(Bench):
    edm = False
    chunk, times = 3, torch.linspace(0.999, 0, 5)

    def __init__(self, net, shape, batch, classes):
        super().__init__(net, shape, batch, classes, ["student", "fake_score"], adamw)

    def rollout(self, graded):
        z, past, done = torch.randn_like(self.x), None, []
        starts = range(0, z.shape[2], self.chunk)
        for start in starts:
            y = 0.999 * z[:, :, start : start + self.chunk]
            for s in range(4):
                with torch.set_grad_enabled(graded and s == 3):
                    t = torch.full((self.batch,), self.times[s].item())
                    x0 = self.student.x0(y, t, self.c, first=start, past=past)[0]
                    if s < 3:
                        t_next = self.times[s + 1].item()
                        y = (1 - t_next) * x0 + t_next * torch.randn_like(x0)
            done.append(x0)
            if start != starts[-1]:
                with torch.no_grad():
                    t = torch.zeros(self.batch)
                    own = self.student.x0(x0.detach(), t, self.c, first=start, past=past)[2]
                    both = zip(past, own) if past else None
                    past = [(torch.cat([o[0], w[0]], 2), torch.cat([o[1], w[1]], 2)) for o, w in both] if past else own
        return torch.cat(done, 2)

    def noised(self, x):
        u = torch.rand(self.batch)
        t, eps = (5 * u / (4 * u + 1)).clamp(0.001, 0.999), torch.randn_like(x)
        return (1 - per_sample(t, x)) * x + per_sample(t, x) * eps, t, eps

    def step(self):
        x_g = self.rollout(True)
        with torch.no_grad():
            y, t, _ = self.noised(x_g)
            real = cfg(self.teacher.x0(y, t, self.c)[0], self.teacher.x0(y, t, self.none)[0], 3.0)
            fake = self.fake_score.x0(y, t, self.c)[0]
        self.turn(vsd(x_g, real, fake), ["student"])
        with torch.no_grad():
            x_g = self.rollout(False)
            y, t, eps = self.noised(x_g)
        flow = self.fake_score.call(self.fake_score.p, y, t, self.c)[0]
        self.turn(F.mse_loss(flow, eps - x_g), ["fake_score"])


def edm():
    return Unet(128, [2, 2, 2], 4, [16], 10)


def unet():
    return Unet(32, [2, 2, 2], 4, [16], 10)


BENCHES = {
    "cm-edm": lambda: Cm(edm(), (3, 32, 32), 64, 10, False),
    "scm-edm": lambda: Scm(edm(), (3, 32, 32), 64, 10),
    "dmd2-edm": lambda: Dmd2(edm(), (3, 32, 32), 256, 10, [2], False),
    "meanflow-b2": lambda: MeanFlow(Dit(768, 12, 12, 2, 10), (4, 32, 32), 64, 10),
    "meanflow-xl2": lambda: MeanFlow(Dit(1152, 28, 16, 2, 10), (4, 32, 32), 16, 10),
    "cm-mlp": lambda: Cm(Mlp(256, 4, 64, 0), (2,), 1024, 0, True),
    "dmd2-mlp": lambda: Dmd2(Mlp(256, 4, 64, 4), (2,), 1024, 4, [1, 3], True),
    "cm-unet": lambda: Cm(unet(), (3, 32, 32), 16, 10, False),
    "dmd2-unet": lambda: Dmd2(unet(), (3, 32, 32), 8, 10, [2], False),
    "meanflow-dit": lambda: MeanFlow(Dit(384, 12, 6, 4, 10), (4, 32, 32), 16, 10),
    "self-forcing-vdit": lambda: SelfForcing(Vdit(256, 4, 6, 2, 4), (8, 12, 16, 16), 2, 4),
    "self-forcing-1b": lambda: SelfForcing(Vdit(1536, 12, 30, 2, 4, 16), (16, 6, 32, 32), 1, 4),
}


def blocks(steps, on_gpu):
    """How many steps to take before each wait: one on a CPU; on a GPU so many that the wait costs nothing."""
    if not on_gpu:
        return [1] * steps
    parts = min(4, max(1, steps // 5))
    return [steps // parts + (i < steps % parts) for i in range(parts)]


def main(name, mode, device="cpu", precision="f32"):
    if mode not in ("eager", "compile", "reduce-overhead"):
        sys.exit(f"no mode {mode}")
    torch.set_num_threads(2)
    torch.set_default_device(device)
    torch.set_float32_matmul_precision("highest" if precision == "f32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "f32"
    torch.manual_seed(0)
    on_gpu = device != "cpu"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    start = status("VmRSS")
    bench = BENCHES[name]()
    bench.start(mode)
    for line in sys.stdin:
        ms = []
        for n in blocks(int(line), on_gpu):
            begun = time.perf_counter()
            for _ in range(n):
                if bench.graphs:
                    torch.compiler.cudagraph_mark_step_begin()
                with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu and precision == "bf16"):
                    bench.step()
            wait()
            ms.append(1e3 * (time.perf_counter() - begun) / n)
        peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else status("VmHWM") - start
        print(json.dumps({"ms": ms, "peak_mib": peak}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
