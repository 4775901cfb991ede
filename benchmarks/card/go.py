"""Proves and measures the CUDA engine on the card of this machine, within nine minutes; needs no network.

    python3 benchmarks/card/go.py --wheels .card --out results

Installs the wheels of ``prepare.py`` into a folder of its own, and runs the steps of ``steps.py``, each under a limit. One
that fails, hangs or dies does not stop the next. At most eight files are written; ``summary.txt``, at most 40 lines, is
printed last.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import prepare  # noqa: E402
import steps  # noqa: E402
from runner import Log, Outcome, Step, run_steps, summary  # noqa: E402

LIMIT = 535.0  # seconds in all


def install(wheels: Path, site: Path) -> str:
    """Unpack wheels into a folder, which is all that these need; returns what is wrong, or nothing."""
    found = sorted(wheels.glob("*.whl"))
    if not found:
        return f"no wheels in {wheels}: run benchmarks/card/prepare.py first"
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    if others := [wheel.name for wheel in found if wheel.name.split("-")[-3] not in (own, "py3")]:
        return f"this is Python {platform.python_version()}; for another one: {', '.join(others)} (prepare.py --python)"
    shutil.rmtree(site, ignore_errors=True)
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    return ""


def environment(site: Path, cache: Path) -> dict[str, str]:
    """Return the environment of the steps: ``site`` and the tests' folders before all else that is imported."""
    paths = [str(site), str(HERE), str(steps.ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "CONVNET_CACHE_DIR": os.environ.get("CONVNET_CACHE_DIR", str(cache))}
    return {**os.environ, **own, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def chosen(table: list[Step], only: str) -> list[Step]:
    """Return the steps that ``only`` names; raises ``SystemExit`` for a name that is none."""
    names = [name for name in only.split(",") if name]
    if unknown := set(names) - {step.name for step in table}:
        raise SystemExit(f"--only: {', '.join(sorted(unknown))}: the steps are {', '.join(step.name for step in table)}")
    return [step for step in table if step.name in names] if names else table


def title(wheels: Path, outcomes: list[Outcome], began: float) -> list[str]:
    """Return the first lines of the summary."""
    good = sum(outcome.ok for outcome in outcomes)
    seconds = time.monotonic() - began
    lines = [f"{good} of {len(outcomes)} steps ok, {seconds:.0f} s in all, Python {platform.python_version()}"]
    made_of = wheels / prepare.SOURCES
    if not made_of.is_file() or made_of.read_text() != prepare.digest_of_sources():
        lines.append("*** the wheel of convnet was built from other sources than those that lie here")
    return lines


def main() -> int:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, required=True, help="folder that prepare.py has filled")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--originals", type=Path, help="library of other convolutions to time beside ours (originals.py)")
    parser.add_argument("--tune", action="store_true", help="time every tile of every convolution, too")
    parser.add_argument("--only", default="", help="steps to run, with commas between them")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds in all")
    parser.add_argument("--site", type=Path, default=steps.ROOT / "build" / "card-site", help="where wheels are installed")
    parser.add_argument("--tiny", action="store_true", help="sizes of a rehearsal")
    parser.add_argument("--plant", action="store_true", help="add steps that fail, hang and are killed")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    out, site = args.out.resolve(), args.site.resolve()
    for name in steps.FILES:
        (out / name).unlink(missing_ok=True)
    originals = args.originals.resolve() if args.originals else None
    table = steps.steps(out, originals, args.tune, steps.TINY if args.tiny else steps.CARD)
    table = chosen(table, args.only)
    if args.plant:
        table[1:1] = steps.PLANTED
    if problem := install(args.wheels, site):
        (out / "summary.txt").write_text(problem + "\n")
        print(problem)
        return 1
    work = site.with_name(f"{site.name}-work")
    work.mkdir(parents=True, exist_ok=True)
    with Log(out / "log.txt") as log:
        outcomes = run_steps(table, log, environment(site, work / "cache"), work, began + args.limit)
    text = summary(title(args.wheels, outcomes, began), outcomes)
    (out / "summary.txt").write_text(text + "\n")
    print("\n" + text)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
