"""Compares losses and gradients' norms of a bench's first step with those of a reference: on whole networks, where recorded steps
are small. Of the products and convolutions of that size, it tells where no library comes to what fgc's own functions do.

agree.py REFERENCE.json MEASURED.json...

All are what `fgc bench --json` printed, from the same seed. Measured files are named BENCH-PRECISION-LIBRARIES.json, as in
cm-edm-bf16-0.json; where one is missing or empty, what is in the .err beside it says why. Prints a line for each. The exit status is 1
where numbers disagree, where a number is missing on one side, or where nothing was compared; it is 3 if nothing is wrong but that
the GPU has too little memory for the reference or for any of them."""

import json
import math
import re
import sys
from pathlib import Path

TOLERANCE = {"f32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}
# What `fgc bench` notes where no way of a library does what fgc's own function does: one of the two is wrong.
UNLIKE = re.compile(r"no way of the library will do: .*results that are")
NO_MEMORY = re.compile(r"bytes left|out of memory|OUT_OF_MEMORY|ALLOC_FAILED", re.IGNORECASE)


class Unusable(Exception):
    pass


class NoMemory(Unusable):
    pass


def numbers(path):
    """Losses and norms by name."""
    text = path.read_text(errors="replace") if path.exists() else ""
    if not text.strip():
        err = path.with_suffix(".err")
        said = err.read_text(errors="replace").strip() if err.exists() else ""
        if NO_MEMORY.search(said):
            raise NoMemory("out of memory")
        last = said.splitlines()[-1] if said else f"there is no {path}"
        raise Unusable(last)
    try:
        found = json.loads(text)
        return {kind: dict(found[kind]) for kind in ("losses", "grad_norms")}
    except KeyError as e:
        raise Unusable(f"no {e.args[0]} in {path}") from e
    except (ValueError, TypeError) as e:
        raise Unusable(f"{path} is not what `fgc bench --json` prints: {e}") from e


def unlike(path):
    """Products and convolutions that a library and fgc do otherwise."""
    return [note for note in json.loads(path.read_text()).get("notes", {}) if UNLIKE.search(note)]


def finite(x):
    return isinstance(x, (int, float)) and math.isfinite(x)


def differences(reference, measured):
    """Relative differences by name, and what is wrong whatever the tolerance."""
    found, wrong = {}, []
    for kind in reference:
        a, b = reference[kind], measured[kind]
        for key in sorted({*a, *b}):
            if key not in a or key not in b:
                wrong.append(f"{kind} has no {key} " + ("in the reference" if key not in a else "measured"))
            elif not finite(a[key]) or not finite(b[key]):
                wrong.append(f"{kind} {key}: {b[key]} for {a[key]}")
            else:
                found[kind, key] = abs(b[key] - a[key]) / max(abs(a[key]), 1e-6)
    return found, wrong


def worst(found, kind):
    all = [(d, key) for (k, key), d in found.items() if k == kind]
    return "{}, {:.1e} at most ({})".format(len(all), *max(all)) if all else "none"


def main(reference, *measured):
    name = re.compile(r"(.+)-(f32|tf32|bf16)-([01])$")
    bad = compared = scarce = 0
    try:
        expected = numbers(Path(reference))
    except NoMemory:
        print(f"-     no reference: out of memory ({reference})")
        return 3
    except Unusable as e:
        print(f"ERROR no reference: {e}")
        return 1
    for path in map(Path, measured):
        match = name.match(path.stem)
        if not match:
            sys.exit(f"{path}: its name is not BENCH-PRECISION-LIBRARIES.json")
        bench, precision, libraries = match.groups()
        place = f"{bench:<18} {precision:<5} {'libraries' if libraries == '1' else 'own':<10}"
        try:
            got = numbers(path)
            found, wrong = differences(expected, got)
            wrong += unlike(path)
        except NoMemory as e:
            scarce += 1
            print(f"-     {place} {e}")
            continue
        except Unusable as e:
            bad += 1
            print(f"ERROR {place} {e}")
            continue
        tolerance = TOLERANCE[precision]
        for (kind, key), d in found.items():
            if d > tolerance:
                wrong.append(f"{kind} {key}: {got[kind][key]:.6g} for {expected[kind][key]:.6g}, off by {d:.1e}")
        if not found:
            wrong.append("nothing to compare")
        compared += bool(found)
        bad += bool(wrong)
        told = f"losses: {worst(found, 'losses')}; norms: {worst(found, 'grad_norms')}; allowed {tolerance:.0e}"
        print(f"{'WRONG' if wrong else 'ok   '} {place} {told}")
        for line in wrong[:8]:
            print(f"        {line}")
    if not bad and not compared and not scarce:
        print("ERROR nothing was compared")
        bad = 1
    return 1 if bad else 3 if scarce else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
