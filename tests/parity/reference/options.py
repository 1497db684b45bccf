"""What to record: every option by itself, at its edges, and in combinations."""

import torch

from schedules import edm_sigmas

CASES = []
SIGMAS = edm_sigmas()
RF, TRIG = dict(schedule="rf", predicts="flow"), dict(schedule="trig", predicts="v")


def case(name, method, hyper=None, *, iteration=0, steps=1, batch=6, schedule="edm", predicts="x0", labels=True,
         frames=6, chunk=2, dim=8, noise=False, change=None, optimizer=None, fake=None, seed=0):  # fmt: skip
    video = method in ("causal_sft", "causal_kd", "causvid", "self_forcing")
    hyper = dict(hyper or {})
    if video:
        schedule, predicts, batch, dim = "rf", "flow", 2, 16
        hyper.setdefault("chunk", chunk)
    CASES.append(dict(
        name=f"{name}-{'vdit' if video else 'mlp'}", method=method, hyper=hyper, iteration=iteration, steps=steps,
        batch=batch, schedule=schedule, predicts=predicts, labels=labels, frames=frames, chunk=chunk, dim=dim,
        noise=noise, change=change, optimizer=optimizer, fake=fake, seed=seed, video=video,
    ))  # fmt: skip


def pinned(**values):
    """Draws at given values."""
    def change(weights, pins):
        for k, v in values.items():
            pins[k] = torch.tensor(v, dtype=pins[k].dtype if k in pins else None)
    return change  # fmt: skip


def adam(kind, lr=2e-3, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8):
    return dict(kind=kind, lr=lr, weight_decay=weight_decay, betas=list(betas), eps=eps)


# sft: schedules, prediction types, dropout, optimisers.
case("sft-plain", "sft")
case("sft-unconditional", "sft", labels=False)
for p in (0.0, 0.5, 1.0):
    case(f"sft-drop{p}", "sft", dict(cond_dropout_prob=p))
for s, kinds in dict(
    edm=["eps", "flow"], rf=["flow", "x0", "eps"], trig=["v", "flow", "x0", "eps"], vp=["eps", "x0", "v"]
).items():
    for p in kinds:
        case(f"sft-{s}-{p}", "sft", dict(cond_dropout_prob=0.3), schedule=s, predicts=p)
case("sft-adamw", "sft", steps=12, optimizer=dict(student=adam("adamw", weight_decay=0.5)), **RF)
case("sft-adamw-eps", "sft", steps=6, optimizer=dict(student=adam("adamw", betas=(0.5, 0.9), eps=1e-2)), **RF)
case("sft-radam-decay", "sft", steps=12, optimizer=dict(student=adam("radam", weight_decay=0.5)), **RF)
case("sft-radam-betas", "sft", steps=12, optimizer=dict(student=adam("radam", betas=(0.9, 0.99), eps=1e-3)), **RF)

# causal_sft
for T, n in [(7, 2), (7, 3), (6, 1), (5, 5), (8, 3)]:
    case(f"causal-sft-{T}by{n}", "causal_sft", dict(cond_dropout_prob=0.5), frames=T, chunk=n)
case("causal-sft-plain", "causal_sft", frames=4)

# kd
case("kd-noise", "kd", noise=True)
case("kd-path1", "kd", dict(steps=1))
for n in (2, 4):
    case(f"kd-steps{n}", "kd", dict(steps=n))
    case(f"kd-rf{n}", "kd", dict(steps=n), **RF)
case("kd-list4", "kd", dict(t_list=[80.0, 10.0, 2.0, 0.5, 0.0]))
case("kd-rf-noise", "kd", noise=True, **RF)
case("kd-trig", "kd", dict(steps=4), **TRIG)

# causal_kd
for n in (1, 2, 4):
    case(f"causal-kd-steps{n}", "causal_kd", dict(steps=n))
case("causal-kd-list2", "causal_kd", dict(t_list=[0.999, 0.4, 0.0]))
case("causal-kd-7by3", "causal_kd", dict(steps=4), frames=7, chunk=3)
case("causal-kd-7by2", "causal_kd", dict(steps=2), frames=7, chunk=2)

# cm
R = dict(ratio=0.75)
for w in ("default", "c_out", "c_out_sq", "sigma_sq", "sqrt", "one"):
    case(f"cm-w-{w}", "cm", R | dict(weighting=w))
case("cm-huber0", "cm", R | dict(huber_const=0.0))
case("cm-huber", "cm", R | dict(huber_const=0.01))
case("cm-huber-big", "cm", R | dict(huber_const=3.0, weighting="sqrt"))
case("cm-squared", "cm", R | dict(use_squared_l2=True))
case("cm-squared-huber", "cm", R | dict(use_squared_l2=True, huber_const=0.5, weighting="c_out"))
# Where t is r + 1e-6, D_t - D_r is all rounding: only weighted by little can it be compared.
calm = dict(use_squared_l2=True, weighting="one")
case("cm-min-r", "cm", R | calm | dict(min_r=0.5), change=pinned(t=[0.002, 0.3, 0.5, 0.5000001, 0.9, 6.0]))
case("cm-tiny-t", "cm", R | calm, change=pinned(t=[0.002, 0.0020005, 0.0021, 0.004, 0.02, 80.0]))
case("cm-ratio0", "cm", dict(ratio=0.0))
case("cm-min-r-plain", "cm", R | dict(min_r=0.1), change=pinned(t=[0.2, 0.3, 0.5, 0.11, 0.9, 6.0]))
case("cm-rf", "cm", R, **RF)
case("cm-rf-r0", "cm", dict(ratio=0.5), change=pinned(t=[0.1, 0.3, 0.5, 0.7, 0.9, 0.999]), **RF)
case("cm-rf-r0-half", "cm", dict(ratio=0.9, weighting="one"), **RF)
case("cm-trig", "cm", dict(ratio=0.8, weighting="sigma_sq"), **TRIG)
case("cm-quantize", "cm", R | dict(quantize=True))
close = dict(ratio=0.999, quantize=True)
case("cm-collide", "cm", close)
at = [float(v) for v in (80.0, SIGMAS[999], SIGMAS[998], 0.5 * (SIGMAS[999] + SIGMAS[998]) + 1e-3, 0.5, 1.0)]
case("cm-collide-top", "cm", close, change=pinned(t=at))
case("cm-collide-min-r", "cm", close | dict(min_r=1.0), change=pinned(t=[0.3, 0.9, 1.0, 1.001, 1.1, 3.0]))
case("cm-cd-plain", "cm", R | dict(use_cd=True))
case("cm-cd-rf", "cm", R | dict(use_cd=True, guidance=2.5), **RF)
case("cm-cd-quantize", "cm", dict(ratio=0.99, use_cd=True, guidance=0.5, quantize=True, weighting="c_out"))
case("cm-cd-min-r", "cm", R | calm | dict(use_cd=True, guidance=1.5, min_r=0.3))


def broken_teacher(weights, pins):
    """Not finite for class 3."""
    weights["teacher.map_label.weight"][:, 3] = 3e38
    pins["c"] = torch.eye(4)[[3, 0, 1, 3, 2, 0]]


case("cm-nonfinite", "cm", R | dict(use_cd=True), change=broken_teacher)
for it in (0, 12, 1000):
    case(f"cm-stage-it{it}", "cm", dict(kimg_per_stage=0.01), iteration=it)
case("cm-stage-q4", "cm", dict(kimg_per_stage=0.05, q=4.0, ratio_limit=0.95), iteration=10)
case("cm-stage-q1.5", "cm", dict(kimg_per_stage=0.02, q=1.5), iteration=13)
case("cm-stage-default", "cm", {}, iteration=4_500_000)
case("cm-stage-train", "cm", dict(kimg_per_stage=0.02), steps=10, iteration=3,
     optimizer=dict(student=adam("radam", weight_decay=0.0)))  # fmt: skip

# tcm
case("tcm-default", "tcm", dict(ratio=0.9))
case("tcm-k0", "tcm", dict(ratio=0.9), batch=3, change=pinned(u_boundary=[0.1, 0.9, 0.24]))
case("tcm-k0-none", "tcm", dict(ratio=0.9), batch=3, change=pinned(u_boundary=[0.5, 0.9, 0.25]))
case("tcm-k0-all", "tcm", dict(ratio=0.9, boundary_prob=0.3), batch=3, change=pinned(u_boundary=[0.0, 0.29, 0.1]))
case("tcm-prob0", "tcm", dict(ratio=0.9, boundary_prob=0.0))
case("tcm-prob1", "tcm", dict(ratio=0.9, boundary_prob=1.0))
case("tcm-w", "tcm", dict(ratio=0.9, w_boundary=2.0, boundary_prob=0.5))
case("tcm-transition", "tcm", dict(ratio=0.9, transition_t=3.0), change=pinned(t=[3.1, 3.0, 4.0, 9.0, 30.0, 80.0]))
case("tcm-cd", "tcm", dict(ratio=0.9, use_cd=True, guidance=1.7))
case("tcm-cd-plain", "tcm", dict(ratio=0.9, use_cd=True))
case("tcm-quantize", "tcm", dict(ratio=0.9, quantize=True))
case("tcm-min-r", "tcm", dict(ratio=0.5, min_r=0.9))
# r just below the transition, t just above: the two networks' distance is not small.
case("tcm-rule", "tcm", dict(ratio=0.9, min_r=0.9999999), change=pinned(t=[1.0, 1.0000001, 1.5, 3.0, 10.0, 80.0]))
case("tcm-min-r-above", "tcm", calm | dict(ratio=0.5, min_r=1.5), change=pinned(t=[1.2, 1.5, 1.6, 3.0, 10.0, 80.0]))
for w in ("c_out", "c_out_sq", "sigma_sq", "sqrt", "one"):
    case(f"tcm-w-{w}", "tcm", dict(ratio=0.9, weighting=w, huber_const=0.01))
case("tcm-squared", "tcm", dict(ratio=0.9, use_squared_l2=True))
case("tcm-stage", "tcm", dict(kimg_per_stage=0.01), iteration=9)
case("tcm-train", "tcm", dict(ratio=0.9), steps=6, optimizer=dict(student=adam("radam")))

# scm
W = dict(tangent_warmup_steps=1000)
for it in (0, 250, 1000, 5000):
    case(f"scm-warm{it}", "scm", W, iteration=it)
case("scm-default", "scm", {}, iteration=3000)
for schedule in ("rf", "trig"):
    net = RF if schedule == "rf" else TRIG
    case(f"scm-{schedule}", "scm", W, iteration=700, **net)
    case(f"scm-cd-{schedule}", "scm", W | dict(use_cd=True, guidance=1.5), iteration=700, **net)
case("scm-cd-plain", "scm", W | dict(use_cd=True), iteration=600)
case("scm-quantize", "scm", W | dict(quantize=True), iteration=600)
case("scm-cd-quantize", "scm", W | dict(quantize=True, use_cd=True, guidance=0.7), iteration=600)
case("scm-noprior", "scm", W | dict(prior_weighting=False), iteration=600)
case("scm-nonorm", "scm", W | dict(g_norm_spatial_invariance=False), iteration=600)
case("scm-nodivide", "scm", W | dict(divide_x_0_spatial_dim=False), iteration=600)
case("scm-const", "scm", W | dict(tangent_warmup_const=2.0), iteration=600)
case("scm-all-off", "scm", W | dict(prior_weighting=False, g_norm_spatial_invariance=False,
     divide_x_0_spatial_dim=False, tangent_warmup_const=0.5), iteration=1200)  # fmt: skip
FD = dict(jvp_finite_diff=True)
mid = pinned(t=[0.1, 0.3, 0.5, 0.8, 1.5, 4.0])
case("scm-fd", "scm", W | FD, iteration=600, change=mid)
case("scm-fd-wide", "scm", W | FD | dict(jvp_finite_diff_eps=0.05), iteration=1000, change=mid)
case("scm-fd-cd", "scm", W | FD | dict(jvp_finite_diff_eps=0.02, use_cd=True, guidance=1.5), iteration=1000, change=mid)
case("scm-fd-rf", "scm", W | FD | dict(jvp_finite_diff_eps=0.02), iteration=1000, **RF)
case("scm-fd-quantize", "scm", W | FD | dict(jvp_finite_diff_eps=0.02, quantize=True), iteration=1000, change=mid)
case("scm-train", "scm", dict(tangent_warmup_steps=8), steps=10,
     optimizer=dict(student=adam("radam", weight_decay=0.0, betas=(0.9, 0.99))))  # fmt: skip

# meanflow
M = dict(r_sample_ratio=0.5)
case("meanflow-default", "meanflow", {}, **RF)
case("meanflow-opt", "meanflow", M, **RF)
case("meanflow-l2", "meanflow", M | dict(loss_type="l2"), **RF)
for ratio in (0.25, 1.0):
    case(f"meanflow-ratio{ratio}", "meanflow", dict(r_sample_ratio=ratio), **RF)
for loss in ("l2", "opt_grad"):
    short = loss[:3].rstrip("_")
    for p in ("0.5", "0.0", "2.0"):
        case(f"meanflow-{short}-poly{p}", "meanflow", M | dict(loss_type=loss, norm_method=f"poly_{p}"), **RF)
    case(f"meanflow-{short}-exp", "meanflow", M | dict(loss_type=loss, norm_method="exp_0.7_-0.3"), **RF)
    case(f"meanflow-{short}-const", "meanflow", M | dict(loss_type=loss, norm_const=1e-3), **RF)
    case(f"meanflow-{short}-guided", "meanflow", M | dict(loss_type=loss, guidance=2.0, cond_dropout_prob=0.3), **RF)
case("meanflow-mixture", "meanflow", M | dict(guidance_mixture=0.4, cond_dropout_prob=0.3), **RF)
case("meanflow-both", "meanflow", M | dict(guidance=1.5, guidance_mixture=0.4, cond_dropout_prob=0.0), **RF)
case("meanflow-guided-nodrop", "meanflow", M | dict(guidance=1.5, guidance_mixture=0.4), **RF)
case("meanflow-drop", "meanflow", M | dict(cond_dropout_prob=0.6), **RF)
case("meanflow-drop1", "meanflow", M | dict(cond_dropout_prob=1.0, guidance=1.5), **RF)
window = dict(guidance_t_start=0.3, guidance_t_end=0.7)
inside = pinned(t_a=[0.2, 0.3, 0.5, 0.7, 0.8, 0.6], t_b=[0.1, 0.2, 0.3, 0.1, 0.6, 0.7])
case("meanflow-window", "meanflow", M | window | dict(guidance=2.0, cond_dropout_prob=0.2), change=inside, **RF)
case("meanflow-window-mixture", "meanflow", M | window | dict(guidance=2.0, guidance_mixture=0.5,
     cond_dropout_prob=0.2), change=inside, **RF)  # fmt: skip
case("meanflow-cd", "meanflow", M | dict(use_cd=True), **RF)
case("meanflow-cd-l2", "meanflow", M | dict(use_cd=True, guidance=1.5, loss_type="l2"), **RF)
case("meanflow-cd-window", "meanflow", M | window | dict(use_cd=True, guidance=2.0), change=inside, **RF)
case("meanflow-cd-drop", "meanflow", M | dict(use_cd=True, guidance=2.0, cond_dropout_prob=0.4), **RF)
case("meanflow-cd-mixture", "meanflow", M | dict(use_cd=True, guidance=2.0, guidance_mixture=0.5), **RF)
for it in (0, 30, 500):
    case(f"meanflow-warm{it}", "meanflow", M | dict(tangent_warmup_steps=100), iteration=it, **RF)
case("meanflow-warm-l2", "meanflow", M | dict(tangent_warmup_steps=100, loss_type="l2"), iteration=30, **RF)
case("meanflow-invariant", "meanflow", M | dict(tangent_spatial_invariance=True), **RF)
case("meanflow-invariant-l2", "meanflow", M | dict(tangent_spatial_invariance=True, loss_type="l2"), **RF)
# Differences: central, backward at the end, forward at r = t, forward near r, neither (r = t at the end).
ends = pinned(t_a=[0.5, 0.999, 0.3, 0.4, 0.998, 0.999], t_b=[0.1, 0.2, 0.3, 0.395, 0.9, 0.995], u_fm=[0.0] * 6)
case("meanflow-fd", "meanflow", dict(jvp_finite_diff=True, jvp_finite_diff_eps=0.01, r_sample_ratio=1.0), change=ends, **RF)
case("meanflow-fd-l2", "meanflow", dict(jvp_finite_diff=True, jvp_finite_diff_eps=0.02, r_sample_ratio=1.0,
     loss_type="l2"), change=ends, **RF)  # fmt: skip
case("meanflow-fd-fm", "meanflow", M | dict(jvp_finite_diff=True, jvp_finite_diff_eps=0.01), change=pinned(
    t_a=[0.5, 0.995, 0.3, 0.4, 0.998, 0.2], t_b=[0.1, 0.2, 0.3, 0.395, 0.9, 0.7]), **RF)  # fmt: skip
case("meanflow-fd-default", "meanflow", M | dict(jvp_finite_diff=True), **RF)
case("meanflow-fd-cd", "meanflow", M | dict(jvp_finite_diff=True, jvp_finite_diff_eps=0.01, use_cd=True), **RF)
case("meanflow-trig", "meanflow", M, schedule="trig", predicts="flow")
case("meanflow-edm", "meanflow", M | dict(loss_type="l2"), schedule="edm", predicts="flow")
case("meanflow-trig-guided", "meanflow", M | dict(guidance=1.5, cond_dropout_prob=0.3), schedule="trig", predicts="v")
case("meanflow-train", "meanflow", M | dict(tangent_warmup_steps=4), steps=6, optimizer=dict(student=adam("adamw")), **RF)

# dmd2, f_distill, ladd
D = dict(features=[0, 1], gan_weight=0.05, student_every=2)
for method, tag in (("dmd2", "dmd2"), ("f_distill", "fdistill"), ("ladd", "ladd")):
    base = {k: v for k, v in D.items() if method != "ladd" or k != "gan_weight"}
    for role, it in (("student", 0), ("critic", 1)):
        case(f"{tag}-{role}-plain", method, base, iteration=it)
        case(f"{tag}-{role}-guided", method, base | dict(guidance=2.0), iteration=it)
        case(f"{tag}-{role}-feature1", method, base | dict(features=[1]), iteration=it)
        case(f"{tag}-{role}-features10", method, base | dict(features=[1, 0]), iteration=it)
        case(f"{tag}-{role}-steps2", method, base | dict(steps=2), iteration=it)
        case(f"{tag}-{role}-list", method, base | dict(t_list=[80.0, 5.0, 0.5, 0.0]), iteration=it)
        case(f"{tag}-{role}-list1", method, base | dict(t_list=[40.0, 0.0]), iteration=it)
        case(f"{tag}-{role}-rf", method, base | dict(guidance=1.5), iteration=it, **RF)
        case(f"{tag}-{role}-rf-steps4", method, base | dict(steps=4, guidance=1.5), iteration=it, **RF)
        case(f"{tag}-{role}-trig", method, base | dict(steps=2), iteration=it, **TRIG)
    case(f"{tag}-same", method, base | dict(same_t_noise=True), iteration=1)
    case(f"{tag}-same-r1", method, base | dict(same_t_noise=True, r1_weight=3.0, r1_alpha=0.5), iteration=1)
    case(f"{tag}-r1", method, base | dict(r1_weight=10.0, r1_alpha=0.3), iteration=1)
    case(f"{tag}-every5", method, {k: v for k, v in base.items() if k != "student_every"}, iteration=4)
    case(f"{tag}-every1", method, base | dict(student_every=1), iteration=3)
    if method != "ladd":
        for kind in ("x0", "eps", "flow"):
            case(f"{tag}-fake-{kind}", method, base | dict(fake_score_predicts=kind), iteration=1)
            case(f"{tag}-fake-rf-{kind}", method, base | dict(fake_score_predicts=kind), iteration=1, **RF)
        case(f"{tag}-fake-trig-v", method, base | dict(fake_score_predicts="v"), iteration=1, **TRIG)
        case(f"{tag}-fake-trig-x0", method, base | dict(fake_score_predicts="x0"), iteration=1, **TRIG)
        case(f"{tag}-fake-trig-flow", method, base | dict(fake_score_predicts="flow"), iteration=1, **TRIG)
    opts = dict(student=adam("adamw"), fake_score=adam("adamw", weight_decay=0.3), discriminator=adam("radam", betas=(0.5, 0.9)))
    if method == "ladd":
        del opts["fake_score"]
    case(f"{tag}-train-r1", method, base | dict(r1_weight=1.0, student_every=3), steps=7, iteration=1, optimizer=opts)
for role, it in (("student", 0), ("critic", 1)):
    case(f"dmd2-nogan-{role}", "dmd2", dict(gan_weight=0.0, student_every=2, guidance=1.5, r1_weight=1.0), iteration=it)
for f in ("rkl", "kl", "js", "sf", "neyman", "sh", "jf"):
    case(f"fdistill-{f}", "f_distill", D | dict(f_div=f, ratio_ema_rate=0.3))
    case(f"fdistill-{f}-raw", "f_distill", D | dict(f_div=f, ratio_normalization=False))


def loud(weights, pins):
    """Logits beyond every bound."""
    for j in (0, 1):
        weights[f"discriminator.heads.{j}.lin1.weight"] *= 30


case("fdistill-bounds", "f_distill", D | dict(f_div="kl", ratio_lower=0.7, ratio_upper=1.2), change=loud)
case("fdistill-clip10", "f_distill", D | dict(f_div="kl", ratio_lower=0.0, ratio_upper=1e9, ratio_normalization=False), change=loud)
case("fdistill-neyman0", "f_distill", D | dict(f_div="neyman", ratio_lower=0.0, ratio_upper=1e9,
     ratio_normalization=False), change=loud)  # fmt: skip
case("fdistill-bins3", "f_distill", D | dict(ratio_bins=3, ratio_ema_rate=0.9), change=pinned(t=[0.002, 20.0, 26.7, 53.4, 79.0, 80.0]))
case("fdistill-bins-rf", "f_distill", D | dict(ratio_bins=7, ratio_ema_rate=0.2), **RF)
case("fdistill-state", "f_distill", D | dict(ratio_ema_rate=0.8, student_every=2), steps=6, optimizer=dict(
    student=adam("adamw"), fake_score=adam("adamw"), discriminator=adam("adamw")), **RF)  # fmt: skip

# causvid
V = dict(features=[0, 1], gan_weight=0.05, student_every=2, steps=4)
for role, it in (("student", 0), ("critic", 1)):
    case(f"causvid-{role}-plain", "causvid", V, iteration=it, frames=4)
    case(f"causvid-{role}-7by3", "causvid", V | dict(guidance=2.0), iteration=it, frames=7, chunk=3)
    case(f"causvid-{role}-list", "causvid", V | dict(t_list=[0.9, 0.4, 0.0], features=[1]), iteration=it, frames=4)
    case(f"causvid-{role}-nogan", "causvid", V | dict(gan_weight=0.0), iteration=it, frames=4)
for kind in ("flow", "eps"):
    case(f"causvid-fake-{kind}", "causvid", V | dict(fake_score_predicts=kind), iteration=1, frames=4)
case("causvid-same-r1", "causvid", V | dict(same_t_noise=True, r1_weight=2.0), iteration=1, frames=4)
case("causvid-steps1", "causvid", V | dict(steps=1), frames=4)

# self_forcing
S = V | dict(guidance=1.5)
off = dict(same_step_across_blocks=False)
for role, it in (("student", 0), ("critic", 1)):
    case(f"self-forcing-{role}-own", "self_forcing", S | off, iteration=it, change=pinned(exit_step=[2, 0, 3]))
    case(f"self-forcing-{role}-ode", "self_forcing", S | dict(sample_type="ode"), iteration=it)
    case(f"self-forcing-{role}-context", "self_forcing", S | dict(context_noise=0.1), iteration=it)
exits = pinned(exit_step=[1, 3, 0])
case("self-forcing-first", "self_forcing", S, change=pinned(exit_step=[0, 3, 2]))
case("self-forcing-last", "self_forcing", S | dict(last_step_only=True), change=exits)
case("self-forcing-last-own", "self_forcing", S | off | dict(last_step_only=True), change=exits)
case("self-forcing-start2", "self_forcing", S | off | dict(start_gradient_frame=2), change=exits)
case("self-forcing-start3", "self_forcing", S | dict(start_gradient_frame=3), change=exits)
case("self-forcing-own-context", "self_forcing", S | off | dict(context_noise=0.2), change=exits)
case("self-forcing-own-ode-context", "self_forcing", S | off | dict(context_noise=0.2, sample_type="ode"), change=exits)
case("self-forcing-steps1", "self_forcing", S | dict(steps=1))
case("self-forcing-list2", "self_forcing", S | dict(t_list=[0.95, 0.5, 0.0]), change=pinned(exit_step=[1, 0, 0]))
case("self-forcing-chunk1", "self_forcing", S | off, frames=3, chunk=1, change=pinned(exit_step=[3, 0, 2]))
case("self-forcing-chunk6", "self_forcing", S, chunk=6)
case("self-forcing-nogan", "self_forcing", S | dict(gan_weight=0.0))
case("self-forcing-same-r1", "self_forcing", S | dict(same_t_noise=True, r1_weight=2.0), iteration=1)
for role, it in (("student", 0), ("critic", 1)):
    case(f"self-forcing-{role}-7by3", "self_forcing", S | off, iteration=it, frames=7, chunk=3, change=pinned(exit_step=[2, 1]))
    case(f"self-forcing-{role}-nograd", "self_forcing", S | dict(gradient_in_rollout=False), iteration=it)
case("self-forcing-5by2-context", "self_forcing", S | off | dict(context_noise=0.2), frames=5, change=pinned(exit_step=[1, 2]))
case("self-forcing-start-7by3", "self_forcing", S | off | dict(start_gradient_frame=1), frames=7, chunk=3)

# Numbers written as integers, nulls, and defaults spelled out; a batch of one; no classes; the ends of time.
case("form-cm", "cm", dict(ratio=None, kimg_per_stage=1, q=3, ratio_limit=0.999, huber_const=0, min_r=0, guidance=None,
     t_list=None, steps=1, use_cd=False), iteration=400)  # fmt: skip
case("form-cm-cd", "cm", dict(ratio=0.5, use_cd=True, guidance=2, huber_const=1, min_r=1e-05))
case("form-meanflow", "meanflow", dict(r_sample_ratio=1, norm_method="exp_1_-1", norm_const=0, guidance=None,
     guidance_mixture=None, cond_dropout_prob=None, tangent_warmup_steps=10), iteration=5, **RF)  # fmt: skip
case("form-meanflow-poly", "meanflow", dict(r_sample_ratio=0.5, norm_method="poly_2", norm_const=1), **RF)
case("form-dmd2", "dmd2", dict(features=[0], gan_weight=0, guidance=3, t_list=None, fake_score_predicts=None), iteration=5)
case("form-dmd2-list", "dmd2", dict(features=[0], gan_weight=1, t_list=[80, 1, 0], r1_weight=0), iteration=5)
case("form-fdistill", "f_distill", dict(features=[1], ratio_upper=20, ratio_lower=0, ratio_ema_rate=1, f_div="kl"))
case("form-scm", "scm", dict(tangent_warmup_steps=100, guidance=None, quantize=False), iteration=7)
case("form-tcm", "tcm", dict(ratio=None, transition_t=1, w_boundary=1, boundary_prob=0.5, q=2, kimg_per_stage=1), iteration=999)
for method, extra in dict(sft={}, cm=R, tcm=dict(ratio=0.9), scm={}, dmd2=D, f_distill=D, kd={}).items():
    case(f"one-{method}", method, extra, batch=1, change=pinned(u_boundary=[0.1]) if method == "tcm" else None)
    if method != "kd":
        case(f"nolabel-{method}", method, extra, labels=False)
case("one-meanflow", "meanflow", M, batch=1, **RF)
case("nolabel-meanflow", "meanflow", M, labels=False, **RF)
case("nolabel-ladd", "ladd", dict(features=[0]), labels=False, iteration=1)
case("nolabel-kd", "kd", dict(steps=2), labels=False)
case("scm-ends", "scm", W, iteration=500, change=pinned(t=[0.002, 0.005, 0.02, 10.0, 60.0, 80.0]))
case("scm-ends-cd", "scm", W | dict(use_cd=True), iteration=500, change=pinned(t=[0.01, 0.05, 0.2, 10.0, 60.0, 80.0]))
case("meanflow-same-times", "meanflow", dict(r_sample_ratio=1.0), change=pinned(
    t_a=[0.5, 0.999, 0.3, 0.0, 0.2, 0.7], t_b=[0.5, 0.0, 0.3, 0.0, 0.1, 0.0]), **RF)  # fmt: skip
case("sft-rf-ends", "sft", change=pinned(t=[0.0, 1e-7, 0.5, 0.9, 0.999, 0.2]), **RF)

# Networks that predict noise on a tabulated schedule.
VP = dict(schedule="vp", predicts="eps")
case("cm-vp", "cm", dict(ratio=0.5), **VP)
case("cm-vp-r0", "cm", dict(ratio=0.5, weighting="sigma_sq"), change=pinned(t=[0.1, 0.3, 0.5, 0.7, 0.9, 0.999]), **VP)
for it in (0, 1):
    case(f"dmd2-vp-{it}", "dmd2", D | dict(guidance=2.0), iteration=it, **VP)
    case(f"dmd2-vp-list-{it}", "dmd2", D | dict(t_list=[0.999, 0.749, 0.25, 0.0], fake_score_predicts="x0"), iteration=it, **VP)
    case(f"ladd-vp-{it}", "ladd", dict(features=[0, 1], student_every=2, t_list=[0.999, 0.749, 0.25, 0.0]), iteration=it, **VP)
case("kd-vp", "kd", dict(t_list=[0.999, 0.749, 0.499, 0.249, 0.0]), **VP)

# Video: several steps with every network, a single frame.
# The keys' biases have no gradient but rounding: an eps keeps AdamW from making steps of it.
quiet = adam("adamw", eps=1e-3)
opts = dict(student=quiet, fake_score=quiet, discriminator=quiet)
case("causvid-train", "causvid", V | dict(guidance=1.5, r1_weight=1.0), steps=4, iteration=1, frames=4, optimizer=opts)
case("causal-sft-train", "causal_sft", dict(cond_dropout_prob=0.2), steps=5, frames=5, optimizer=dict(student=quiet))
case("causal-sft-1by1", "causal_sft", frames=1, chunk=1)
case("causal-kd-1by1", "causal_kd", dict(steps=2), frames=1, chunk=1, change=pinned(t_index=[[1], [2]]))

# Options together.
every = dict(features=[1, 0], gan_weight=0.05, student_every=2)
judge = dict(same_t_noise=True, r1_weight=3.0, r1_alpha=0.5)
for s, net in dict(edm={}, rf=RF, trig=TRIG).items():
    for role, it in (("student", 0), ("critic", 1)):
        case(f"all-dmd2-{role}-{s}", "dmd2", every | judge | dict(steps=3, guidance=0.5, fake_score_predicts="eps"),
             iteration=it, **net)  # fmt: skip
        case(f"all-fdistill-{role}-{s}", "f_distill", every | judge | dict(steps=2, guidance=2.0, f_div="sh",
             fake_score_predicts="x0", ratio_bins=4, ratio_ema_rate=0.6), iteration=it, **net)  # fmt: skip
        ladd = {k: v for k, v in every.items() if k != "gan_weight"}
        case(f"all-ladd-{role}-{s}", "ladd", ladd | judge | dict(steps=4), iteration=it, **net)
# A fake score that predicts something else than the teacher learns the teacher's type, unless told another.
case("dmd2-fake-of-another-type", "dmd2", every, iteration=1, fake="eps")
case("fake-flow-fdistill", "f_distill", every, iteration=1, fake="flow")
case("fake-eps-dmd2-told", "dmd2", every | dict(fake_score_predicts="flow"), iteration=1, fake="eps")
case("fake-x0-dmd2-rf", "dmd2", every | dict(steps=2), iteration=1, fake="x0", **RF)
case("fake-eps-dmd2-student", "dmd2", every | dict(guidance=1.5), fake="eps")
cd = dict(use_cd=True, guidance=1.6)
case("all-cm-cd-r0", "cm", cd | dict(ratio=0.5), change=pinned(t=[0.1, 0.3, 0.5, 0.7, 0.9, 0.999]), **RF)
case("all-cm-cd-collide", "cm", close | cd | dict(min_r=0.5, weighting="c_out_sq"), change=pinned(t=at))
case("all-cm-collide-top-squared", "cm", close | dict(use_squared_l2=True, weighting="sigma_sq"), change=pinned(t=at))
case("all-cm-nonfinite-quantize", "cm", R | cd | dict(quantize=True, weighting="sqrt"), change=broken_teacher)
case("all-tcm-k0-quantize", "tcm", dict(ratio=0.9, quantize=True), batch=3, change=pinned(u_boundary=[0.1, 0.9, 0.24]))
case("all-tcm-k0-quantize-cd", "tcm", cd | dict(ratio=0.8, quantize=True, boundary_prob=0.3, weighting="c_out"),
     batch=3, change=pinned(u_boundary=[0.1, 0.9, 0.29]))  # fmt: skip
case("all-tcm-cd-list", "tcm", cd | dict(ratio=0.7, transition_t=2.0, min_r=0.5, use_squared_l2=True, weighting="one"),
     change=pinned(t=[2.1, 2.0, 4.0, 9.0, 30.0, 80.0]))  # fmt: skip
case("all-scm-fd-cd-off", "scm", W | FD | cd | dict(jvp_finite_diff_eps=0.02, quantize=True, prior_weighting=False,
     g_norm_spatial_invariance=False, divide_x_0_spatial_dim=False), iteration=800, change=mid)  # fmt: skip
case("all-scm-fd-trig", "scm", W | FD | cd | dict(jvp_finite_diff_eps=0.02), iteration=800, **TRIG)
mixed = window | dict(guidance=2.0, guidance_mixture=0.3, cond_dropout_prob=0.4)
case("all-meanflow-l2", "meanflow", M | mixed | dict(loss_type="l2", tangent_spatial_invariance=True, norm_method="exp_0.5_-0.2",
     tangent_warmup_steps=50), iteration=20, change=inside, **RF)  # fmt: skip
case("all-meanflow-opt", "meanflow", M | mixed | dict(tangent_spatial_invariance=True, norm_method="exp_0.5_-0.2",
     tangent_warmup_steps=50), iteration=20, change=inside, **RF)  # fmt: skip
case("all-meanflow-cd", "meanflow", M | mixed | dict(use_cd=True, loss_type="l2", tangent_spatial_invariance=True,
     tangent_warmup_steps=50), iteration=20, change=inside, **RF)  # fmt: skip
case("all-meanflow-mixture-alone", "meanflow", M | window | dict(guidance_mixture=0.3, cond_dropout_prob=0.0),
     change=inside, **RF)  # fmt: skip
fd = dict(jvp_finite_diff=True, jvp_finite_diff_eps=0.01, r_sample_ratio=1.0)
case("all-meanflow-fd-cd", "meanflow", fd | dict(use_cd=True, guidance=1.5, cond_dropout_prob=0.5,
     tangent_spatial_invariance=True), change=ends, **RF)  # fmt: skip
case("all-meanflow-fd-mixed", "meanflow", fd | mixed | dict(loss_type="l2"), change=ends, **RF)
case("all-causvid-7by2", "causvid", V | judge | dict(guidance=0.5, fake_score_predicts="x0"), iteration=1, frames=7)
case("all-causvid-student-7by2", "causvid", V | judge | dict(guidance=0.5, steps=2), frames=7)
context = off | dict(context_noise=0.15, sample_type="ode", start_gradient_frame=3)
for n, steps in ((2, [2, 0, 3]), (3, [3, 1])):
    exits = pinned(exit_step=steps)
    case(f"all-sf-ode-7by{n}", "self_forcing", S | context, frames=7, chunk=n, change=exits)
    case(f"all-sf-last-7by{n}", "self_forcing", S | dict(last_step_only=True, context_noise=0.15), frames=7, chunk=n)
    case(f"all-sf-critic-7by{n}", "self_forcing", S | context | judge | dict(fake_score_predicts="x0"), iteration=1,
         frames=7, chunk=n, change=exits)  # fmt: skip
    case(f"all-sf-nograd-7by{n}", "self_forcing", S | off | dict(gradient_in_rollout=False, context_noise=0.1),
         frames=7, chunk=n, change=exits)  # fmt: skip
    case(f"all-kd-7by{n}", "causal_kd", dict(t_list=[0.999, 0.7, 0.3, 0.1, 0.0]), frames=7, chunk=n)

# Samplers, by parity --samples.
for kind in ("sde", "ode"):
    for s, net in dict(edm={}, rf=RF).items():
        case(f"sampler-kd-{s}-{kind}", "kd", dict(steps=4, sample_type=kind), **net)
    case(f"sampler-tcm-{kind}", "tcm", dict(ratio=0.9, t_list=[80.0, 5.0, 0.9, 0.2, 0.0], sample_type=kind))
    case(f"sampler-meanflow-{kind}", "meanflow", dict(r_sample_ratio=0.5, steps=4, sample_type=kind), **RF)
    case(f"sampler-meanflow-list-{kind}", "meanflow", dict(r_sample_ratio=0.5, t_list=[0.999, 0.3, 0.0], sample_type=kind), **RF)
    case(f"sampler-causvid-{kind}", "causvid", V | dict(sample_type=kind))
    case(f"sampler-causvid-7by3-{kind}", "causvid", V | dict(sample_type=kind), frames=7, chunk=3)
    case(f"sampler-scm-{kind}", "scm", dict(steps=3, sample_type=kind), **RF)
case("sampler-dmd2-trig", "dmd2", D | dict(t_list=[1.5, 1.0, 0.3, 0.0], guidance=1.5), **TRIG)
case("sampler-dmd2-vp", "dmd2", D | dict(t_list=[0.999, 0.749, 0.25, 0.0]), **VP)
case("sampler-sft-guided", "sft", dict(guidance=2.0, steps=10, cond_dropout_prob=0.1))
case("sampler-sft-rf-guided", "sft", dict(guidance=2.0, steps=10), **RF)
case("sampler-sft-trig", "sft", dict(steps=10), **TRIG)
case("sampler-causal-sft", "causal_sft", dict(steps=6), frames=5)
case("sampler-causal-sft-guided", "causal_sft", dict(steps=3, guidance=2.0), frames=5)
case("sampler-causal-kd", "causal_kd", dict(steps=2), frames=7, chunk=2)
