"""The thirteen methods (section 3): from networks `n`, data and draws `d`, hyper-parameters `h` and the iteration to
losses by name. `h` answers the default for what a case does not set. Times are float64, everything else float32 except
where said."""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from networks import chunk_of, discriminator
from schedules import convert, edm_sigmas, like, t_list, target

DEFAULTS = dict(
    guidance=None, cond_dropout_prob=None, steps=1, t_list=None, sample_type="sde", use_cd=False, ratio=None, q=2,
    ratio_limit=0.999, kimg_per_stage=12500, min_r=0, quantize=False, huber_const=1e-8, use_squared_l2=False,
    weighting="default", boundary_prob=0.25, w_boundary=0.1, transition_t=1, tangent_warmup_steps=None,
    tangent_warmup_const=0.1, prior_weighting=True, g_norm_spatial_invariance=True, divide_x_0_spatial_dim=True,
    jvp_finite_diff=False, jvp_finite_diff_eps=None, r_sample_ratio=0, guidance_mixture=None, guidance_t_start=0,
    guidance_t_end=1, norm_method="poly_1.0", norm_const=0.1, tangent_spatial_invariance=False, loss_type="opt_grad",
    student_every=5, gan_weight=1e-3, same_t_noise=False, r1_weight=0, r1_alpha=0.1, fake_score_predicts=None,
    features=None, f_div="js", ratio_lower=0.1, ratio_upper=20, ratio_normalization=True, ratio_bins=10,
    ratio_ema_rate=0, chunk=None, context_noise=0, same_step_across_blocks=True, last_step_only=False,
    start_gradient_frame=0, gradient_in_rollout=True,
)  # fmt: skip


def hyper(given):
    h = SimpleNamespace(**{**DEFAULTS, **given})
    assert not set(given) - set(DEFAULTS), set(given) - set(DEFAULTS)
    if h.t_list is not None:
        h.steps = len(h.t_list) - 1
    return h


def mse(a, b):
    return ((a - b) ** 2).mean()


def rows(x):
    """Per-sample sum over all other axes."""
    return x.flatten(1).sum(1)


def l2(x):
    return rows(x**2).sqrt()


def cfg(told, untold, s):
    return told + (s - 1) * (told - untold)


def guided(net, kind, x, t, d, s):
    """A frozen network's answer with guidance."""
    told = net.says(kind, x, t, d.c)
    return told if s is None else cfg(told, net.says(kind, x, t, d.c_neg), s)


def dsm(net, x, eps, t, c, kind=None):
    kind = kind or net.predicts
    y = net.sch.noised(x, t, eps)
    return mse(net.says(kind, y, t, c), target(net.sch, x, eps, t, kind))


def times(net, h):
    """The t list of a few-step student."""
    if h.t_list is not None:
        return torch.tensor(h.t_list, dtype=torch.float64)
    return t_list(net.schedule_name, h.steps)


def full(net, batch, t=None):
    return torch.full((batch,), net.sch.t_max if t is None else t, dtype=torch.float64)


def sft(n, d, h, it):
    c = d.c
    if h.cond_dropout_prob is not None:
        c = torch.where((d.u_drop >= h.cond_dropout_prob)[:, None], d.c, d.c_neg)
    loss = dsm(n.student, d.x, d.eps, d.t, c)
    return {"dsm_loss": loss, "total_loss": loss}


causal_sft = sft


def kd(n, d, h, it):
    if h.steps == 1:
        y, t = (d.noise if hasattr(d, "noise") else d.path[:, 0]), full(n.student, len(d.x))
    else:
        y = d.path[torch.arange(len(d.x)), d.t_index * (4 // h.steps)]
        t = times(n.student, h)[d.t_index]
    loss = 0.5 * mse(n.student.x0(y, t, d.c), d.x)
    return {"recon_loss": loss, "total_loss": loss}


def causal_kd(n, d, h, it):
    t = times(n.student, h)[d.t_index]
    states = torch.cat([d.path, d.x[:, None]], 1)  # [B,5,C,T,H,W]
    # As kd: steps of one or two read every fourth or second entry of the path, and the last index is the clean video.
    entry = torch.where(d.t_index == h.steps, 4, d.t_index * (4 // h.steps))
    y = torch.stack([torch.stack([s[e, :, f] for f, e in enumerate(es)], 1) for s, es in zip(states, entry)])
    loss = 0.5 * mse(n.student.x0(y, t, d.c), d.x)
    return {"recon_loss": loss, "total_loss": loss}


def nearest(t):
    return (edm_sigmas()[None] - t[:, None]).abs().argmin(1)


def quantized(t, r):
    it, ir = nearest(t), nearest(r)
    same = it == ir
    up = same & (it < 999)
    it, ir = torch.where(up, it + 1, it), torch.where(same & ~up, ir - 1, ir)
    return edm_sigmas()[it], edm_sigmas()[ir]


def consistency(n, d, h, it, t, at):
    """l and its weighted form per sample, float64. `at(y, t, c)` is the network's x0."""
    sch = n.student.sch
    ratio = h.ratio
    if ratio is None:
        stage = math.floor(it * len(d.x) / (1000 * h.kimg_per_stage))
        ratio = min(1 - h.q ** -(stage + 1), h.ratio_limit)
    r = (t - t * (1 - ratio) * (1 + 8 * torch.sigmoid(-t))).clamp(min=max(sch.t_min, h.min_r))
    t = torch.where(r >= t - 1e-6, r + 1e-6, t)
    if h.quantize:
        t, r = quantized(t, r)
    y_t = sch.noised(d.x, t, d.eps)
    with torch.no_grad():
        if h.use_cd:
            y_r = (y_t.double() - like(t - r, y_t) * guided(n.teacher, "flow", y_t, t, d, h.guidance).double()).float()
        else:
            y_r = sch.noised(d.x, r, d.eps)
        d_r = torch.where(like(r == 0, d.x), d.x, torch.nan_to_num(at(y_r, r, d.c)))
    dist = l2((at(y_t, t, d.c) - d_r).double())
    if h.use_squared_l2:
        loss = dist**2
    elif h.huber_const > 0:
        loss = (dist**2 + h.huber_const**2).sqrt() - h.huber_const
    else:
        loss = dist
    c_out = t * 0.5 / (t**2 + 0.25).sqrt()
    weight = {
        "default": lambda: t - r, "c_out": lambda: c_out, "c_out_sq": lambda: c_out**2,
        "sigma_sq": lambda: sch.sigma(t) ** 2, "sqrt": lambda: (t - r).sqrt(), "one": lambda: torch.ones_like(t),
    }[h.weighting]()  # fmt: skip
    return loss, loss / weight


def cm(n, d, h, it):
    loss, weighted = consistency(n, d, h, it, d.t, n.student.x0)
    return {"cm_loss": weighted.mean(), "unweighted_cm_loss": loss.mean(), "total_loss": weighted.mean()}


def tcm(n, d, h, it):
    k = math.floor(len(d.x) * h.boundary_prob)
    edge = torch.zeros(len(d.x), dtype=torch.bool)
    if k:
        edge[d.perm[:k]] = True
    else:
        edge = d.u_boundary < h.boundary_prob
    t = torch.where(edge, h.transition_t + 1e-8, d.t)

    def piecewise(y, t, c):
        return torch.where(like(t >= h.transition_t, y), n.student.x0(y, t, c), n.stage1.x0(y, t, c).detach())

    def mean(v, where):
        return torch.where(where, v, 0).sum() / where.sum().clamp(min=1)

    loss, weighted = consistency(n, d, h, it, t, piecewise)
    inner, outer = mean(weighted, ~edge), mean(weighted, edge)
    return {
        "cm_loss": inner, "loss_boundary": outer, "unweighted_cm_loss": mean(loss, ~edge),
        "total_loss": inner + h.w_boundary * outer,
    }  # fmt: skip


SIGMA_D = 0.5


def trigflow(net, x_hat, t_hat, c, logvar=False):
    """F of an x0-network seen as a TrigFlow network."""
    if net.schedule_name == "edm":
        t = SIGMA_D * torch.tan(t_hat)
    elif net.schedule_name == "rf":
        t = 1 / (1 + torch.cos(t_hat) / (torch.sin(t_hat) * SIGMA_D))
    else:
        t = torch.atan(SIGMA_D * torch.tan(t_hat))
    a, s = net.sch.alpha(t), net.sch.sigma(t)
    y = (like((a**2 + (s / SIGMA_D) ** 2).sqrt(), x_hat) * x_hat.double()).float()
    out, _, lv = net.raw(y, t, c)
    x0 = convert(net.sch, y, t, out, net.predicts, "x0").double()
    cos, sin = like(t_hat.cos(), x_hat), like(t_hat.sin(), x_hat)
    f = ((cos * x_hat.double() - x0) / (sin * SIGMA_D)).float()
    return (f, lv) if logvar else f


def scm(n, d, h, it):
    sch, student = n.student.sch, n.student
    eps = 1e-3 if h.jvp_finite_diff_eps is None else h.jvp_finite_diff_eps
    t = edm_sigmas()[nearest(d.t)] if h.quantize else d.t
    t_hat = torch.atan2(sch.sigma(t), sch.alpha(t) * SIGMA_D)
    cos, sin = like(t_hat.cos(), d.x), like(t_hat.sin(), d.x)
    x, z = d.x.double(), SIGMA_D * d.z.double()
    x_hat = (cos * x + sin * z).float()
    with torch.no_grad():
        if h.use_cd:
            f = trigflow(n.teacher, x_hat, t_hat, d.c).double()
            if h.guidance is not None:
                f = cfg(f, trigflow(n.teacher, x_hat, t_hat, d.c_neg).double(), h.guidance)
            dx = SIGMA_D * f
        else:
            dx = -sin * x + cos * z
        if h.jvp_finite_diff:
            step = (eps * t_hat.abs()).clamp(min=1e-6)

            def moved(tt):
                xx = like(tt.cos(), x) * x + like(tt.sin(), x) * z
                return trigflow(student, xx.float(), tt, d.c).double()

            j = cos * sin * (moved(t_hat + step) - moved(t_hat - step)) / like(2 * step, x)
        else:
            tangents = ((cos * sin * dx).float(), t_hat.cos() * t_hat.sin())
            j = torch.func.jvp(lambda a, b: trigflow(student.frozen(), a, b, d.c), (x_hat, t_hat), tangents)[1].double()
    f, logvar = trigflow(student, x_hat, t_hat, d.c, logvar=True)
    f, logvar = f.double(), logvar.double()
    warm = min(1, it / (10000 if h.tangent_warmup_steps is None else h.tangent_warmup_steps))
    size = x[0].numel()
    g = -(cos**2) * (SIGMA_D * f.detach() - dx) - warm * (cos * sin * x_hat.double() + SIGMA_D * j)
    norm = l2(g) * (size**-0.5 if h.g_norm_spatial_invariance else 1)
    g = g / (like(norm, g) + h.tangent_warmup_const)
    loss = ((f - f.detach() - g) ** 2).flatten(1).mean(1)
    prior = 1 / sch.sigma(t) if h.prior_weighting else 1
    total = (prior / (logvar.exp() * (size if h.divide_x_0_spatial_dim else 1)) * loss + logvar).mean()
    return {
        "scm_loss": total, "unweighted_scm_loss": loss.mean(), "logvar_loss": logvar.mean(),
        "warmup_weight": torch.tensor(float(warm)), "total_loss": total,
    }  # fmt: skip


def meanflow(n, d, h, it):
    u_of, sch = n.student, n.student.sch
    t, r = torch.maximum(d.t_a, d.t_b), torch.minimum(d.t_a, d.t_b)
    first = torch.arange(len(t))
    r = torch.where(first < (d.u_fm >= h.r_sample_ratio).sum(), t, r)
    x_t = sch.noised(d.x, t, d.z)
    inside = (t >= h.guidance_t_start) & (t <= h.guidance_t_end)
    c = d.c
    with torch.no_grad():
        if h.use_cd:
            v = n.teacher.flow(x_t, t, d.c)
            if h.guidance is not None:
                v = torch.where(like(inside, v), cfg(v, n.teacher.flow(x_t, t, d.c_neg), h.guidance), v)
            v_hat = v
        else:
            v = (like(sch.da(t), d.x) * d.x.double() + like(sch.ds(t), d.x) * d.z.double()).float()
            v_hat = v
            if h.guidance is not None or h.guidance_mixture is not None:
                w = like(torch.where(inside, 1.0 if h.guidance is None else h.guidance, 1.0), v)
                k = like(torch.where(inside, h.guidance_mixture or 0.0, 0.0), v)
                v_neg, v_c = u_of.flow(x_t, t, d.c_neg, t), u_of.flow(x_t, t, d.c, t)
                v_hat = (w * v + (1 - w - k) * v_neg + k * v_c).float()
        if h.cond_dropout_prob is not None:
            drop = first < (d.u_drop < h.cond_dropout_prob).sum()
            v, c = torch.where(like(drop, v), v, v_hat), torch.where(like(drop, d.c), d.c_neg, d.c)
        if h.jvp_finite_diff:
            j = differences(u_of, h, x_t, t, r, v, c)
        else:
            u = u_of.frozen()
            tangents = (v, torch.ones_like(t), torch.zeros_like(r))
            j = torch.func.jvp(lambda *a: u.flow(a[0], a[1], c, a[2]), (x_t, t, r), tangents)[1]
    u = u_of.flow(x_t, t, c, r).double()
    v, j = v.double(), j.double()
    delta = like((t - r).clamp(sch.t_min, sch.t_max), v)
    warm = min(1, it / h.tangent_warmup_steps) if h.tangent_warmup_steps else 1
    goal = v - warm * delta * j
    kind, *ab = h.norm_method.split("_")

    def weight(e):
        if kind == "poly":
            return 1 / (e + h.norm_const) ** float(ab[0])
        return float(ab[0]) * torch.exp(float(ab[1]) * e + h.norm_const)

    if h.loss_type == "l2":
        e = rows((u - goal) ** 2)
        w, tangent = weight(e).detach(), goal
        loss = (e * w).mean()
    else:
        tangent = goal - u.detach()
        if h.tangent_spatial_invariance:
            tangent = tangent / math.sqrt(tangent[0].numel())
        w = weight(l2(tangent))
        loss = rows((u - (u + tangent * like(w, u)).detach()) ** 2).mean()
    return {
        "mf_loss": loss, "total_loss": loss, "v_loss": ((u - (d.z - d.x)) ** 2).mean(), "jvp_norm": l2(j).mean(),
        "tangent_norm": l2(tangent).mean(), "v_norm": l2(v).mean(), "loss_weight": w.mean(),
        "tangent_warmup_weight": torch.tensor(float(warm)),
    }  # fmt: skip


def differences(net, h, x_t, t, r, v, c):
    e, lo, hi = 1e-4 if h.jvp_finite_diff_eps is None else h.jvp_finite_diff_eps, net.sch.t_min, net.sch.t_max

    def at(step):
        return net.flow((x_t.double() + step * v.double()).float(), t + step, c, r).double()

    here, ahead, behind = at(0), at(e), at(-e)
    up, down = t + e <= hi, (t - e >= lo) & (t - e > r)
    both = up & down & (t + e >= lo) & (t - e <= hi)
    zero = torch.zeros_like(here)
    one_sided = torch.where(like(up, v), (ahead - here) / e, torch.where(like(down, v), (here - behind) / e, zero))
    return torch.where(like(both, v), (ahead - behind) / (2 * e), one_sided)


def vsd(x_g, real, fake, by=1.0):
    with torch.no_grad():
        w = by / ((x_g - real).abs().flatten(1).mean(1) + 1e-6)
        goal = x_g - (fake - real) * like(w, x_g)
    return 0.5 * mse(x_g, goal)


def gan_g(logits):
    return F.softplus(-logits).mean()


def gan_d(real, fake):
    return F.softplus(fake).mean() + F.softplus(-real).mean()


def generated(n, d, h):
    """One student call from pure or noised input."""
    if h.steps == 1:
        return n.student.x0(n.student.sch.latents(d.z), full(n.student, len(d.z)), d.c)
    y = n.student.sch.noised(d.x, d.t_student, d.z)
    return n.student.x0(y, d.t_student, d.c)


def student_step(n, d, h, x_g, divergence=None):
    sch = n.teacher.sch
    y = sch.noised(x_g, d.t, d.eps)
    fake = n.fake_score.x0(y, d.t, d.c).detach()
    real = guided(n.teacher, "x0", y, d.t, d, h.guidance).detach()
    out, gan, by = {}, 0, 1.0
    if h.gan_weight:
        logits = discriminator(n.discriminator, n.teacher.features(y, d.t, d.c, h.features))
        gan = out["gan_loss_gen"] = gan_g(logits)
    if divergence:
        by, extra = divergence(logits.detach())
        out |= extra
    loss = out["f_distill_loss" if divergence else "vsd_loss"] = vsd(x_g, real, fake, by)
    return out | {"total_loss": loss + h.gan_weight * gan}


def critic_step(n, d, h, x_g, adversarial_only=False):
    sch, out, total = n.teacher.sch, {}, 0
    x_g = x_g.detach()
    if not adversarial_only:
        total = out["fake_score_loss"] = dsm(n.fake_score, x_g, d.eps, d.t, d.c, h.fake_score_predicts or n.teacher.predicts)
    if h.gan_weight or adversarial_only:
        t_real, eps_real = (d.t, d.eps) if h.same_t_noise else (d.t_real, d.eps_real)
        with torch.no_grad():
            f_fake = n.teacher.features(sch.noised(x_g, d.t, d.eps), d.t, d.c, h.features)
            f_real = n.teacher.features(sch.noised(d.x, t_real, eps_real), t_real, d.c, h.features)
        real = discriminator(n.discriminator, f_real)
        gan = out["gan_loss_disc"] = gan_d(real, discriminator(n.discriminator, f_fake))
        total = total + gan
        if h.r1_weight > 0:
            with torch.no_grad():
                f_moved = n.teacher.features(d.x + h.r1_alpha * d.r1_noise, t_real, d.c, h.features)
            r1 = out["gan_loss_ar1"] = mse(real, discriminator(n.discriminator, f_moved))
            total = total + h.r1_weight * r1
    return out | {"total_loss": total}


def dmd2(n, d, h, it, divergence=None, sample=generated):
    if it % h.student_every == 0:
        return student_step(n, d, h, sample(n, d, h), divergence)
    with torch.no_grad():
        x_g = sample(n, d, h)
    return critic_step(n, d, h, x_g)


def f_distill(n, d, h, it):
    def divergence(logits):
        r = logits.mean(1).clamp(-10, 10).exp().clamp(h.ratio_lower, h.ratio_upper)
        if h.ratio_normalization:
            lo, hi, bins = n.teacher.sch.t_min, n.teacher.sch.t_max, h.ratio_bins
            i = (bins * (d.t - lo) / (hi - lo)).floor().long().clamp(0, bins - 1)
            count = torch.zeros(bins).index_add(0, i, torch.ones_like(r))
            new = torch.zeros(bins).index_add(0, i, r) / (count + 1e-6)
            b, rho = n.buffers["student.bins"], h.ratio_ema_rate
            b = torch.where(count > 0, b * rho + (1 - rho) * new, b)
            n.buffers["student.bins"] = b
            r = r / (b[i] + 1e-6)
        w = {
            "rkl": lambda: torch.ones_like(r), "kl": lambda: r, "js": lambda: 1 - 1 / (1 + r), "sf": lambda: 1 / (1 + r),
            "neyman": lambda: 1 / r.clamp(min=1e-8), "sh": lambda: r.sqrt(), "jf": lambda: 1 + r,
        }[h.f_div]()  # fmt: skip
        w = w / (w.mean() + 1e-6)
        return w, {"min_h": w.min(), "avg_h": w.mean(), "max_h": w.max()}

    return dmd2(n, d, h, it, divergence)


def ladd(n, d, h, it):
    if it % h.student_every == 0:
        y = n.teacher.sch.noised(generated(n, d, h), d.t, d.eps)
        loss = gan_g(discriminator(n.discriminator, n.teacher.features(y, d.t, d.c, h.features)))
        return {"gan_loss_gen": loss, "total_loss": loss}
    with torch.no_grad():
        x_g = generated(n, d, h)
    return critic_step(n, d, h, x_g, adversarial_only=True)


def causvid(n, d, h, it):
    def sample(n, d, h):
        t = times(n.student, h)[d.t_index]
        return n.student.x0(n.student.sch.noised(d.x, t, d.z), t, d.c)

    return dmd2(n, d, h, it, sample=sample)


def rollout(n, d, h):
    """Chunk by chunk from latents(z), each with gradient at one step only."""
    net, sch, frames = n.student, n.student.sch, d.z.shape[2]
    ts, size, batch = times(net, h), n.student.chunk, len(d.z)
    of = [chunk_of(f, frames, size) for f in range(frames)]
    cache, done, used = [], [], 0

    def fresh():
        nonlocal used
        used += 1
        return getattr(d, f"rollout_noise_{used - 1}")

    for k in range(of[-1] + 1):
        at = [f for f in range(frames) if of[f] == k]
        y = sch.latents(d.z[:, :, at])
        last = h.steps - 1 if h.last_step_only else int(d.exit_step[0 if h.same_step_across_blocks else k])
        for s in range(last + 1):
            t = full(net, batch, ts[s].item())
            graded = s == last and at[0] >= h.start_gradient_frame and h.gradient_in_rollout
            with torch.set_grad_enabled(graded and torch.is_grad_enabled()):
                x0 = net.x0(y, t, d.c, first=at[0], cache=cache)
                if s < last:
                    t_next = full(net, batch, ts[s + 1].item())
                    eps = fresh() if h.sample_type == "sde" else convert(sch, y, t, x0, "x0", "eps")
                    y = sch.noised(x0, t_next, eps)
        done.append(x0)
        with torch.no_grad():
            t = full(net, batch, float(h.context_noise))
            y = sch.noised(x0, t, fresh()) if h.context_noise > 0 else x0
            cache = net.raw(y, t, d.c, first=at[0], cache=cache)[2]
    return torch.cat(done, 2)


def self_forcing(n, d, h, it):
    return dmd2(n, d, h, it, sample=rollout)


METHODS = [sft, causal_sft, kd, causal_kd, cm, scm, tcm, meanflow, dmd2, f_distill, ladd, causvid, self_forcing]
METHODS = {m.__name__: m for m in METHODS[:1] + METHODS[2:]} | {"causal_sft": causal_sft}
