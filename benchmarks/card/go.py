"""Proves and measures the CUDA engine on the card of this machine, within nine minutes; needs no network.

    python3 benchmarks/card/go.py --wheels .card --out results

Installs the wheels of ``prepare.py`` into a folder of its own, and runs the steps of ``steps.py``, each under a limit. One
that fails, hangs or dies does not stop the next. At most eight files are written, in place of those of an earlier run;
``summary.txt``, at most 40 lines, is rewritten before each step, and printed last. Exit status 0 if all steps ended well, 1
if not, 2 if none was begun. Ctrl-C and SIGTERM end the step that runs, and leave the summary of what was done.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import sys
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import prepare  # noqa: E402
import steps  # noqa: E402
from runner import Log, Outcome, Step, Stop, run_steps, say, summary  # noqa: E402

LIMIT = 535.0  # seconds in all
PARTS = tuple(f"{name}.part" for name in steps.FILES)  # of a file that a step was writing when it was killed
MARK = ".card-site"  # in a folder that ``install`` may empty


def wrong_wheels(wheels: Path) -> str:
    """Return what is wrong with the wheels for this Python, or nothing."""
    found = sorted(wheels.glob("*.whl"))
    if not found:
        return f"no wheels in {wheels}: run benchmarks/card/prepare.py first"
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    if others := [wheel.name for wheel in found if f"-{own}-" not in wheel.name and "py3-" not in wheel.name]:
        return f"this is Python {platform.python_version()}; for another one: {', '.join(others)} (prepare.py --python)"
    if broken := [wheel.name for wheel in found if not zipfile.is_zipfile(wheel)]:
        return f"not whole: {', '.join(broken)}: run benchmarks/card/prepare.py again, or copy its folder again"
    return ""


def install(wheels: Path, site: Path) -> str:
    """Unpack wheels into a folder, which is all that these need; returns what is wrong, or nothing."""
    if problem := wrong_wheels(wheels):
        return problem
    ours = site.is_relative_to(steps.ROOT / "build") or (site / MARK).is_file()
    if site.exists() and not (ours or (site.is_dir() and not any(site.iterdir()))):
        return f"{site} has files that are not of go.py, which empties the folder: --site names another one"
    shutil.rmtree(site, ignore_errors=True)
    try:
        site.mkdir(parents=True)
        (site / MARK).touch()
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
    except (OSError, zipfile.BadZipFile) as error:
        return f"wheels cannot be unpacked into {site}: {error}"
    return ""


def environment(site: Path, cache: Path) -> dict[str, str]:
    """Return the environment of the steps: ``site`` and the tests' folders before all else that is imported."""
    paths = [str(site), str(HERE), str(steps.ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "CONVNET_CACHE_DIR": os.environ.get("CONVNET_CACHE_DIR", str(cache))}
    return {**os.environ, **own, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def chosen(table: list[Step], names: list[str]) -> list[Step]:
    """Return the steps of these names, or all for none; raises ``SystemExit`` for a name that is none."""
    if unknown := set(names) - {step.name for step in table}:
        known = ", ".join(step.name for step in table)
        raise prepare.refusal(f"--only: {', '.join(sorted(unknown))}: the steps are {known}")
    return [step for step in table if step.name in names] if names else table


def title(wheels: Path, outcomes: list[Outcome], began: float) -> list[str]:
    """Return the first lines of the summary."""
    good, absent = (sum(outcome.how == how for outcome in outcomes) for how in ("ok", "not here"))
    done = f"{good} of {len(outcomes)} steps ok" + (f", {absent} not here" if absent else "")
    lines = [f"{done}, {time.monotonic() - began:.0f} s in all, Python {platform.python_version()}"]
    made_of = wheels / prepare.SOURCES
    if not made_of.is_file():
        lines.append(f"*** wheels may be missing: there is no {made_of}, which prepare.py writes when it has done its work")
    elif made_of.read_text() != prepare.digest_of_sources():
        lines.append("*** the wheel of convnet was built from other sources than those that lie here")
    return lines


def remove(out: Path, names: Iterable[str]) -> None:
    """Remove files of these names, where there are any."""
    for name in names:
        (out / name).unlink(missing_ok=True)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, required=True, help="folder that prepare.py has filled")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; earlier ones there are removed")
    parser.add_argument("--originals", type=Path, help="library of other convolutions to time beside ours (originals.py)")
    parser.add_argument("--tune", action="store_true", help="time every tile of every convolution, after doctor")
    parser.add_argument("--only", default="", metavar="NAMES", help="steps to run, with commas between them")
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS", help="for all (default %(default).0f)")
    default = steps.ROOT / "build" / "card-site"
    parser.add_argument("--site", type=Path, default=default, help="folder that wheels are unpacked into (build/card-site)")
    parser.add_argument("--tiny", action="store_true", help="sizes of a rehearsal")
    parser.add_argument("--plant", action="store_true", help="add steps that fail, hang and are killed")
    return parser.parse_args()


def main() -> int:
    began = time.monotonic()
    args = options()
    stop = Stop()
    stop.listen()
    out, site, wheels = args.out.resolve(), args.site.resolve(), args.wheels.resolve()
    names = [name for name in args.only.replace(",", " ").split() if name]
    originals = args.originals.resolve() if args.originals else None
    sizes = steps.TINY if args.tiny else steps.CARD
    table = chosen(steps.steps(out, originals, args.tune or "tune" in names, sizes), names)
    if args.plant:
        table[1:1] = steps.PLANTED
    work = site.with_name(f"{site.name}-work")
    locks = [prepare.take(folder) for folder in (work, out)]
    if problem := install(wheels, site):
        raise prepare.refusal(problem)
    remove(out, (*steps.FILES, *PARTS))

    def report(outcomes: list[Outcome]) -> str:
        text = summary(title(wheels, outcomes, began), outcomes)
        with contextlib.suppress(OSError):  # a full disk: it is printed all the same
            (out / "summary.txt").write_text(text + "\n", encoding="utf-8")
        return text

    with Log(out / "log.txt") as log:
        outcomes = run_steps(table, log, environment(site, work / "cache"), work, began + args.limit, stop, report)
    remove(out, PARTS)
    say("\n" + report(outcomes))
    for lock in locks:
        os.close(lock)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # what steps print need not fit the terminal's characters
    sys.exit(main())
