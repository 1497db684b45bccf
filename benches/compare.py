"""Runs the benches with fgc and with PyTorch, and prints ratios and a markdown table.

compare.py [--fgc FGC] [--python PYTHON] [--rounds N] [--modes eager,compile,reduce-overhead] [--own] [--passive] [--limit SECONDS]
           [--out FILE.json] [--keep] [BENCH...]

A round gives each side about --seconds of steps. On a CPU the sides take turns, so that all meet the same noise. Before each the
machine should be quiet; --wait says how long to wait for that. PyTorch's threads spin, and lose far more than fgc's to another
process: on a machine that is never quiet, --passive makes them sleep instead. On a GPU one side ends before the next begins, as
PyTorch keeps the memory that it once had. --own measures fgc there without NVIDIA's libraries, too.

What fails (an error, no memory, no answer within --limit seconds) is recorded with the end of what it said, the rest goes on, and
the exit status is 1. FILE.json, and FILE.txt with the table, are written anew whenever something has been measured; with --keep what
FILE.json has of other benches and sides stays."""

import argparse
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
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


class Failed(Exception):
    """What happened, and the last lines that the command wrote."""

    def __init__(self, what, said=""):
        lines = [line.rstrip() for line in said.splitlines() if line.strip()]
        super().__init__("\n".join([what, *lines[-20:]]))


class Side:
    def __init__(self, args, bench):
        self.args, self.bench = args, bench

    def few(self, ms):
        """As many steps as take the seconds of a round."""
        return max(1, min(50 if self.args.device == "cpu" else 500, int(1e3 * self.args.seconds / ms)))

    def end(self):
        pass


class Fgc(Side):
    def __init__(self, args, bench, own=False):
        super().__init__(args, bench)
        self.env = {**os.environ, "FGC_LIBRARIES": "0"} if own else None
        self.first = None
        self.once = self.call(1)

    def call(self, steps, *more):
        args, bench = self.args, self.bench
        preset = HERE / f"{bench}.ron" if (HERE / f"{bench}.ron").exists() else HERE / "gpu" / f"{bench}.ron"
        command = [args.fgc, "bench", str(preset), "--json", "--steps", str(steps), *more]
        if args.device != "cpu":
            command += ["--device", args.device, "--precision", args.precision]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit, env=self.env)
        except subprocess.TimeoutExpired as e:
            raise Failed(f"no answer in {args.limit:.0f} s", (e.stderr or b"").decode(errors="replace")) from e
        if done.returncode:
            raise Failed(f"exit status {done.returncode}", done.stderr)
        try:
            found = json.loads(done.stdout)
        except ValueError as e:
            raise Failed("its answer is not JSON", done.stdout) from e
        if args.device != "cpu":
            found["peak_mib"] = found["buffers_mib"]
        return found

    def round(self):
        got = self.call(self.few(self.once["median_ms"]), "--warm")
        return got["median_ms"], got["fastest_ms"], got["peak_mib"]


class Torch(Side):
    def __init__(self, args, bench, mode):
        super().__init__(args, bench)
        command = [args.python, str(HERE / "torch" / "run.py"), bench, mode, args.device, args.precision]
        self.log = Path(tempfile.gettempdir()) / f"fgc-bench-{bench}-{mode}.log"
        env = {**os.environ, "OMP_WAIT_POLICY": "passive"} if args.passive else None
        pipe = subprocess.PIPE
        with self.log.open("w") as log:
            # A session of its own: what torch.compile starts ends with it.
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=env, start_new_session=True
            )
        self.answers = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()
        try:
            begun = time.time()
            self.run(1)
            self.first = time.time() - begun
            # CUDA graphs are recorded in the second step, and only then replayed.
            for steps in [1] if args.device == "cpu" else [3, 1]:
                self.run(steps)
        except BaseException:
            self.kill()
            raise

    def listen(self):
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)

    def run(self, steps):
        try:
            print(steps, file=self.process.stdin, flush=True)
            line = self.answers.get(timeout=self.args.limit)
        except queue.Empty:
            raise Failed(f"no answer in {self.args.limit:.0f} s", self.said()) from None
        except BrokenPipeError:
            line = None
        if line is None:
            raise Failed(f"stopped; see {self.log}", self.said())
        self.last = json.loads(line)
        return self.last["ms"]

    def said(self):
        return self.log.read_text(errors="replace")

    def round(self):
        ms = self.run(self.few(min(self.last["ms"])))
        return statistics.median(ms), min(ms), self.last["peak_mib"]

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def end(self):
        try:
            self.process.stdin.close()
            self.process.wait(timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            pass
        self.kill()


class Measured:
    """What is known of a bench, side by side; what fails is noted."""

    def __init__(self, args, bench, result, save):
        self.args, self.bench, self.result, self.save = args, bench, result, save
        self.sides = {}
        self.makers = {"fgc": lambda: Fgc(args, bench)}
        if args.own and args.device != "cpu":
            self.makers["fgc-own"] = lambda: Fgc(args, bench, own=True)
        for mode in filter(None, args.modes.split(",")):
            self.makers[mode] = lambda mode=mode: Torch(args, bench, mode)
        for part in ("ms", "fastest"):
            result.setdefault(part, {})
        for name in self.makers:
            result["ms"].pop(name, None), result["fastest"].pop(name, None)
            for key in (f"{name}_error", f"{name}_first_s", f"{name}_peak_mib"):
                result.pop(key, None)
        result.pop("fgc", None)
        result.update(quiet=0, rounds=args.rounds)

    def attempt(self, name, f):
        try:
            f()
        except BaseException as e:
            stop = not isinstance(e, Exception)
            text = str(e) if isinstance(e, Failed) else "stopped from outside" if stop else f"{type(e).__name__}: {e}"
            self.result[f"{name}_error"] = text
            self.close(name)
            self.save()
            if stop:
                raise

    def open(self, name):
        side = self.sides[name] = self.makers[name]()
        if name == "fgc":
            self.result["fgc"] = side.once
        elif side.first is not None:
            self.result[f"{name}_first_s"] = side.first

    def round(self, name):
        is_quiet = quiet(self.args.wait)
        if name == "fgc":
            self.result["quiet"] += is_quiet
        median, fastest, peak = self.sides[name].round()
        self.result["ms"].setdefault(name, []).append(median)
        self.result["fastest"][name] = min(fastest, self.result["fastest"].get(name, 1e9))
        if name == "fgc":
            self.result["fgc"]["peak_mib"] = peak
        else:
            self.result[f"{name}_peak_mib"] = peak

    def close(self, name):
        side = self.sides.pop(name, None)
        if side:
            side.end()

    def all(self):
        rounds = range(self.args.rounds)
        try:
            if self.args.device == "cpu":
                for name in self.makers:
                    self.attempt(name, lambda: self.open(name))
                for _ in rounds:
                    for name in list(self.sides):
                        self.attempt(name, lambda: self.round(name))
            else:
                for name in self.makers:
                    self.attempt(name, lambda: (self.open(name), [self.round(name) for _ in rounds]))
                    self.close(name)
                    self.save()
        finally:
            for name in list(self.sides):
                self.close(name)
            self.save()
        return [name for name in self.makers if f"{name}_error" in self.result]


def brief(error):
    """What happened, and the last that was said."""
    lines = error.splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1].strip()}"


def table(results):
    rows = ["| bench | | median ms | fastest ms | ÷ fgc (median) | ÷ fgc (fastest) | samples/s | peak MiB | ready after s |", "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    for bench, r in results.items():
        f, mine = r.get("fgc"), r["ms"].get("fgc")
        for side, ms in r["ms"].items():
            m, best = statistics.median(ms), r["fastest"][side]
            peak = f["peak_mib"] if side == "fgc" else r[f"{side}_peak_mib"]
            ready = ""
            if side == "fgc" and f["compile_cold_seconds"] is not None:
                ready = f"{f['compile_cold_seconds']:.1f} ({f['compile_cached_seconds']:.1f} cached)"
            elif f"{side}_first_s" in r:
                ready = f"{r[f'{side}_first_s']:.1f}"
            ratios = "| "
            if side != "fgc" and mine:
                ratios = f"{m / statistics.median(mine):.2f} | {best / r['fastest']['fgc']:.2f}"
            samples = f"{f['batch'] * 1e3 / m:.0f}" if f else ""
            rows.append(f"| {bench} | {side} | {m:{digits(m)}} | {best:{digits(m)}} | {ratios} | {samples} | {peak:.0f} | {ready} |")
    rows += ["", "| bench | GFLOP | GB | GFLOP/s | of limit | kernels | launches | by libraries |", "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for bench, r in results.items():
        if "fgc" not in r["ms"]:
            continue
        f, best = r["fgc"], r["fastest"]["fgc"]
        speed = f["gflop"] / best * 1e3
        limit = speed * f["fraction_of_limit"] / f["gflop_per_second"]
        work = f"{f['gflop']:.1f} | {f['gigabytes']:.2f} | {speed:.0f} | {100 * limit:.0f} %"
        rows.append(f"| {bench} | {work} | {f['kernels']} | {f['launches']} | {f.get('by_library', 0)} |")
    errors = [(bench, key[: -len("_error")], r[key]) for bench, r in results.items() for key in r if key.endswith("_error")]
    if errors:
        rows += ["", "Not measured, or not to the end:", ""] + [f"- {bench}, {side}: {brief(e)}" for bench, side, e in errors]
    return "\n".join(rows)


def digits(ms):
    return ".1f" if ms >= 10 else ".3f"


def write(path, text):
    """In one go, so that whoever stops this leaves the file whole."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("benches", nargs="*", default=ALL)
    p.add_argument("--fgc", default="target/release/fgc")
    p.add_argument("--python", default="venv/bin/python")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0)
    p.add_argument("--wait", type=float, default=20.0)
    p.add_argument("--limit", type=float, default=600.0)
    p.add_argument("--modes", default="eager,compile")
    p.add_argument("--own", action="store_true")
    p.add_argument("--passive", action="store_true")
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--precision", default="f32", choices=["f32", "tf32", "bf16"])
    p.add_argument("--out", type=Path)
    p.add_argument("--keep", action="store_true")
    args = p.parse_args()
    # So that what runs is ended and what is measured kept.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    results = json.loads(args.out.read_text()) if args.keep and args.out and args.out.exists() else {}

    def save():
        if args.out:
            write(args.out, json.dumps(results, indent=1))
            write(args.out.with_suffix(".txt"), table(results) + "\n")

    failed = False
    for bench in args.benches:
        r = results.setdefault(bench, {})
        errors = Measured(args, bench, r, save).all()
        failed |= bool(errors)
        medians = {side: round(statistics.median(ms), 3) for side, ms in r["ms"].items()}
        said = [f"{side}: {brief(r[f'{side}_error'])}" for side in errors]
        print(bench, medians, f"quiet {r['quiet']}/{r['rounds']}", *said, flush=True)
    print(table(results))
    return failed


if __name__ == "__main__":
    sys.exit(main())
