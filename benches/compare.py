"""Runs the benches with fgc and with PyTorch in turns, so that both meet the same noise, and prints ratios and a markdown table.

compare.py [--fgc FGC] [--python PYTHON] [--rounds N] [--modes eager,compile] [--passive] [--out FILE.json] [BENCH...]

A round gives each side about --seconds of steps. Before each the machine should be quiet; --wait says how long to wait for that.
PyTorch's threads spin, and lose far more than fgc's to another process: on a machine that is never quiet, --passive makes them
sleep instead."""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ALL = ["cm-mlp", "dmd2-mlp", "cm-unet", "dmd2-unet", "meanflow-dit", "self-forcing-vdit"]


def busy():
    """Share of the processors that others use, over a fifth of a second."""
    read = lambda: [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    a = read()
    time.sleep(0.2)
    d = [y - x for x, y in zip(a, read())]
    return 1 - (d[3] + d[4]) / max(1, sum(d))


def quiet(wait):
    """Waits for a quiet moment; whether there was one."""
    end = time.time() + wait
    while busy() > 0.15:
        if time.time() > end:
            return False
        time.sleep(0.3)
    return True


class Torch:
    def __init__(self, args, bench, mode):
        command = [args.python, str(HERE / "torch" / "run.py"), bench, mode, args.device, args.precision]
        self.log = Path(tempfile.gettempdir()) / f"fgc-bench-{bench}-{mode}.log"
        env = {**os.environ, "OMP_WAIT_POLICY": "passive"} if args.passive else None
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.log.open("w"), text=True, env=env)
        begun = time.time()
        self.run(1)
        self.first = time.time() - begun
        self.run(1)

    def run(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"stopped; see {self.log}")
        self.last = json.loads(line)
        return self.last["ms"]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def fgc(args, bench, steps, *more):
    preset = HERE / f"{bench}.ron" if (HERE / f"{bench}.ron").exists() else HERE / "gpu" / f"{bench}.ron"
    command = [args.fgc, "bench", str(preset), "--json", "--steps", str(steps), *more]
    if args.device != "cpu":
        command += ["--device", args.device, "--precision", args.precision]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if args.device != "cpu":
        found["peak_mib"] = found["buffers_mib"]
    return found


def measure(args, bench):
    once = fgc(args, bench, 1)
    result = {"fgc": once, "quiet": 0, "rounds": args.rounds, "ms": {"fgc": []}, "fastest": {}}
    sides = {}
    for mode in filter(None, args.modes.split(",")):
        try:
            sides[mode] = Torch(args, bench, mode)
            result["ms"][mode] = []
            result[f"{mode}_first_s"] = sides[mode].first
        except (RuntimeError, OSError) as e:
            result[f"{mode}_error"] = str(e)
    few = lambda ms: max(1, min(50, int(1e3 * args.seconds / ms)))
    for _ in range(args.rounds):
        result["quiet"] += quiet(args.wait)
        got = fgc(args, bench, few(once["median_ms"]), "--warm")
        result["ms"]["fgc"].append(got["median_ms"])
        result["fastest"]["fgc"] = min(got["fastest_ms"], result["fastest"].get("fgc", 1e9))
        result["fgc"]["peak_mib"] = got["peak_mib"]
        for mode, side in sides.items():
            quiet(args.wait)
            ms = side.run(few(min(side.last["ms"])))
            result["ms"][mode].append(statistics.median(ms))
            result["fastest"][mode] = min(*ms, result["fastest"].get(mode, 1e9))
            result[f"{mode}_peak_mib"] = side.last["peak_mib"]
    for side in sides.values():
        side.end()
    return result


def table(results):
    rows = ["| bench | | median ms | fastest ms | ÷ fgc (median) | ÷ fgc (fastest) | samples/s | peak MiB | ready after s |", "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    for bench, r in results.items():
        f, mine = r["fgc"], statistics.median(r["ms"]["fgc"])
        for side, ms in r["ms"].items():
            m, best = statistics.median(ms), r["fastest"][side]
            peak = f["peak_mib"] if side == "fgc" else r[f"{side}_peak_mib"]
            cold = f["compile_cold_seconds"]
            known = f"{cold:.1f} ({f['compile_cached_seconds']:.1f} cached)" if cold is not None else ""
            ready = known if side == "fgc" else f"{r[f'{side}_first_s']:.1f}"
            ratios = "| " if side == "fgc" else f"{m / mine:.2f} | {best / r['fastest']['fgc']:.2f}"
            rows.append(f"| {bench} | {side} | {m:.1f} | {best:.1f} | {ratios} | {f['batch'] * 1e3 / m:.0f} | {peak:.0f} | {ready} |")
    rows += ["", "| bench | GFLOP | GB | GFLOP/s | of limit | kernels | launches |", "|---|--:|--:|--:|--:|--:|--:|"]
    for bench, r in results.items():
        f, best = r["fgc"], r["fastest"]["fgc"]
        speed = f["gflop"] / best * 1e3
        limit = speed * f["fraction_of_limit"] / f["gflop_per_second"]
        rows.append(f"| {bench} | {f['gflop']:.1f} | {f['gigabytes']:.2f} | {speed:.0f} | {100 * limit:.0f} % | {f['kernels']} | {f['launches']} |")
    return "\n".join(rows)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("benches", nargs="*", default=ALL)
    p.add_argument("--fgc", default="target/release/fgc")
    p.add_argument("--python", default="venv/bin/python")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0)
    p.add_argument("--wait", type=float, default=20.0)
    p.add_argument("--modes", default="eager,compile")
    p.add_argument("--passive", action="store_true")
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--precision", default="f32", choices=["f32", "tf32", "bf16"])
    p.add_argument("--out")
    args = p.parse_args()
    results = {}
    for bench in args.benches:
        r = results[bench] = measure(args, bench)
        errors = [f"{mode}: {r[f'{mode}_error']}" for mode in args.modes.split(",") if f"{mode}_error" in r]
        medians = {side: round(statistics.median(ms), 1) for side, ms in r["ms"].items()}
        print(bench, medians, f"quiet {r['quiet']}/{r['rounds']}", *errors, flush=True)
        if args.out:
            Path(args.out).write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
