"""The commands for a visit to a card: what is installed and run there, what comes back, and a rehearsal of all of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import card_page
import go
import on_a_card
import prepare
import pytest
import rehearse
import sanitize
import steps
import train
from support import ROOT, are_gone

from convnet.storage import cache_folder

OWN = f"cp{sys.version_info.major}{sys.version_info.minor}"


def wheel(folder, name, **files):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, text in files.items():
            archive.writestr(f"{path}.py", text)


def test_wheels_are_unpacked_without_pip(tmp_path):
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    assert "run benchmarks/card/prepare.py first" in go.install(wheels, site)
    wheel(wheels, f"one-1.0-{OWN}-{OWN}-linux_x86_64.whl", one="x = 1")
    wheel(wheels, "two-1.0-py3-none-any.whl", two="y = 2")
    site.mkdir()
    (site / "mine.py").write_text("")
    assert "files that are not of go.py" in go.install(wheels, site)
    (site / "mine.py").unlink()
    assert go.install(wheels, site) == ""
    (site / "old.py").write_text("")
    assert go.install(wheels, site) == ""
    assert sorted(path.name for path in site.iterdir()) == [go.MARK, "one.py", "two.py"]
    (wheels / "two-1.0-py3-none-any.whl").write_bytes(b"half a")
    assert go.install(wheels, site).startswith("not whole: two-1.0-py3-none-any.whl: ")
    wheel(wheels, "three-1.0-cp27-cp27m-linux_x86_64.whl", three="")
    assert "for another one: three-1.0-cp27-cp27m-linux_x86_64.whl" in go.install(wheels, site)


def test_steps_and_files(tmp_path, capsys):
    names = [step.name for step in steps.steps(tmp_path, None, tune=False)]
    assert names == ["doctor", "ops", "steps", "nccl", "originals", "sanitizer", "counters", "run"]
    table = steps.steps(tmp_path, tmp_path / "originals.so", tune=True)
    assert [step.name for step in table if step.name not in names] == ["tune"]
    assert len(steps.FILES) == 8 and all(part.isalnum() for name in steps.FILES for part in name.split("."))
    scripts = [step.command[1] for step in table if step.command[1] != "-m"]
    assert [path for path in scripts if not os.path.isfile(path)] == []  # noqa: PTH113
    assert table[5].command[2:4] == ("--library", str(tmp_path / "originals.so"))
    assert [step.name for step in go.chosen(table, ["run", "ops"])] == ["ops", "run"]
    with pytest.raises(SystemExit):
        go.chosen(table, ["ops", "sleep"])
    assert capsys.readouterr().err.startswith("--only: sleep: the steps are doctor, ")


def test_another_library_is_timed_where_one_is_given(tmp_path):
    for given in (None, tmp_path / "other.so"):
        (step,) = (step for step in steps.steps(tmp_path, given, tune=False) if step.name == "originals")
        assert ("--library" in step.command) == (given is not None)


def test_a_stale_wheel_is_told(tmp_path):
    (tmp_path / prepare.SOURCES).write_text(prepare.digest_of_sources())
    assert len(go.title(tmp_path, [], 0.0)) == 1
    (tmp_path / prepare.SOURCES).write_text("0")
    assert "built from other sources" in go.title(tmp_path, [], 0.0)[1]
    (tmp_path / prepare.SOURCES).unlink()  # prepare.py was interrupted
    assert "wheels may be missing" in go.title(tmp_path, [], 0.0)[1]


def visit(out, wheels, *arguments, **more):
    command = [sys.executable, ROOT / "benchmarks" / "card" / "go.py", "--wheels", wheels, "--out", out, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CONVNET_CACHE_DIR": str(cache_folder())}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, **more)


@pytest.fixture
def place(tmp_path):
    """A folder with a blank in its name, and in it a wheel, and results of an earlier visit."""
    place = tmp_path / "a place"
    place.mkdir()
    wheel(place / "wheels", "one-1.0-py3-none-any.whl", one="x = 1")
    (place / "out").mkdir()
    (place / "out" / "steps.json").write_text("dear")
    (place / "file").write_text("")
    return place


@pytest.mark.parametrize(
    "wheels, out, arguments, said",
    [
        ("nothing", "out", [], "no wheels in "),
        ("file", "out", [], "no wheels in "),
        ("wheels", "file", [], "File exists"),
        ("wheels", "file/out", [], "Not a directory"),
        ("wheels", "out", ["--only", "ops, sleep"], "--only: sleep: the steps are doctor, ops, "),
        ("wheels", "out", ["--site", "{place}"], "files that are not of go.py"),
    ],
)
def test_a_visit_that_cannot_begin_says_why_and_removes_nothing(place, wheels, out, arguments, said):
    options = [argument.format(place=place) for argument in arguments] or ["--site", place / "site"]
    process = visit(place / out, place / wheels, *options)
    printed, _ = process.communicate()
    assert process.returncode == 2 and said in printed and len(printed.splitlines()) == 1
    assert (place / "out" / "steps.json").read_text() == "dear"


def test_two_visits_at_once_and_a_signal(place):
    """The second is refused; a signal ends the step of the first, whose summary says what was done."""
    slow = place / "wheels" / "slow-1.0-py3-none-any.whl"
    with zipfile.ZipFile(slow, "w") as archive:  # imported by whatever a step runs
        archive.writestr("sitecustomize.py", "import sys, time\nif 'first.py' in sys.argv[0]: time.sleep(60)\n")
    options = ["--site", place / "site", "--only", "doctor run"]
    first = visit(place / "out", place / "wheels", *options, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    while "not ended" not in "".join(path.read_text() for path in (place / "out").glob("summary.txt")):
        assert first.poll() is None
        time.sleep(0.02)
    second = visit(place / "out", place / "wheels", *options)
    assert "another run is at work in " in second.communicate()[0] and second.returncode == 2
    first.send_signal(signal.SIGINT)
    printed, _ = first.communicate()
    summary = (place / "out" / "summary.txt").read_text()
    assert first.returncode == 1 and printed.endswith("\n" + summary) and summary.startswith("0 of 2 steps ok, ")
    assert "*** doctor: stopped by SIGINT, " in summary and "*** run: left out: stopped by SIGINT, 0 s" in summary
    assert sorted(path.name for path in (place / "out").iterdir()) == ["log.txt", "summary.txt"]


@pytest.mark.parametrize(
    "python, said",
    [
        ("3.99", "no Python 3.99 here: not on the PATH"),
        ("/no/such/python", "no Python at /no/such/python"),
        ("/bin/true", "/bin/true is no Python"),
    ],
)
def test_a_python_that_is_not_there_is_told(tmp_path, monkeypatch, capsys, python, said):
    (tmp_path / "dear.whl").write_text("")
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--python", python, "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        prepare.main()
    assert said in capsys.readouterr().err and (tmp_path / "dear.whl").exists()


def test_what_prepare_runs_ends_with_it(tmp_path):
    text = f"import prepare, sys\nprepare.call('sh', '-c', 'sleep 60 & echo $$ $! > {tmp_path}/pids; sleep 60')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks" / "card")}
    handled = text.replace("\n", "\nimport signal; signal.signal(signal.SIGTERM, prepare.interrupted)\n", 1)
    process = subprocess.Popen([sys.executable, "-c", handled], env=environment, stderr=subprocess.PIPE, text=True)
    pids = tmp_path / "pids"
    while process.poll() is None and not (pids.is_file() and pids.read_text().endswith("\n")):
        time.sleep(0.02)
    process.terminate()
    assert process.communicate()[1].startswith("interrupted; what is finished is kept")
    assert are_gone(pids.read_text().split())


def test_one_that_prepares_at_a_time(tmp_path, capsys):
    lock = prepare.take(tmp_path / "wheels")
    with pytest.raises(SystemExit):
        prepare.take(tmp_path / "wheels")
    assert "another run is at work in " in capsys.readouterr().err
    os.close(lock)
    os.close(prepare.take(tmp_path / "wheels"))


def test_wheels_of_an_interrupted_build_and_of_other_versions_are_left_behind(tmp_path, monkeypatch):
    built, kept, wheels = tmp_path / "built", tmp_path / "as-they-are", tmp_path / "wheels"
    for folder in (kept, wheels):
        folder.mkdir()
    (kept / "old-1.0-py3-none-any.whl").write_text("")

    def pip(_own, verb, *arguments, **_):
        folder = prepare.Path(arguments[arguments.index("--wheel-dir" if verb == "wheel" else "--dest") + 1])
        wheel(folder, "new-2.0-py3-none-any.whl", new="")
        if verb == "wheel" and not tried:
            tried.append(1)
            raise SystemExit("interrupted")

    tried = []
    monkeypatch.setattr(prepare, "_pip", pip)
    with pytest.raises(SystemExit, match="interrupted"):
        prepare.build(tmp_path, tmp_path, built)
    assert not built.exists()
    prepare.build(tmp_path, tmp_path, built)
    assert [path.name for path in built.iterdir()] == ["new-2.0-py3-none-any.whl"]
    prepare.as_they_are(tmp_path, tmp_path, wheels)
    assert [path.name for path in wheels.iterdir()] == ["new-2.0-py3-none-any.whl"]


def test_sources_of_the_wheel_are_all_that_builds_it():
    found = {str(path.relative_to(ROOT)) for path in prepare.source_files()}
    assert {
        "setup.py",
        "convnet/py.typed",
        "cuda/conv.cu",
        "convnet/backends/cpu/_kernels.pyx",
    } <= found
    assert "convnet/backends/cpu/_kernels.c" not in found


def report(net, math, ms):
    timed = {"ms": {"median": ms}, "gflops": 100.0, "gbs": 1.0, "of_flops": 0.5, "of_bytes": 0.25}
    layers = [{"name": "conv1", "type": "conv", "forward": timed, "backward": timed}]
    peak = {"gflops": 200.0, "gbs": 3000.0}
    return {
        "net": net,
        "math": math,
        "device": "a card",
        "step_ms": {"median": ms},
        "images_per_s": 10.0,
        "peak": peak,
        "layers": layers,
    }


def test_results_are_written_as_they_come(tmp_path, capsys):
    results = on_a_card.Measurements(tmp_path, 128, 5)
    results.add("ours", report("layers-x", "float32", 8.0))
    assert "| convnet | **8.00** |" in (tmp_path / "steps.md").read_text()
    for mode, ms in (("eager", 20.0), ("compiled", 10.0)):
        results.add("theirs", {"mode": mode, "net": "layers-x", "math": "float32", "ms": ms})
    results.miss("PyTorch max", "stopped")
    page = (tmp_path / "steps.md").read_text()
    assert "| convnet over PyTorch's best | 0.80 |" in page and "| PyTorch, eager | 20.00 |" in page
    assert "| conv1 | forward | 8.000 | 50% | 25% |" in page and "- PyTorch max: stopped" in page
    found = json.loads((tmp_path / "steps.json").read_text())
    line = "layers-x, float32: 8.00 ms, PyTorch's best 10.00 (compiled): 0.80; convolutions at 50% of the peak"
    assert card_page.summary(found) == [line, "PyTorch max: stopped"]
    assert capsys.readouterr().err == "PyTorch max: stopped\n"


def test_a_page_of_nothing_and_a_stop_in_the_middle(tmp_path, monkeypatch, capsys):
    (tmp_path / "cut.json").write_text('{"date": "2026')
    for name in ("cut.json", "none.json"):
        with pytest.raises(SystemExit, match="of this program"):
            on_a_card.read_page(tmp_path / name)
    monkeypatch.setattr(on_a_card, "why_not", lambda *_: "no GPU on this machine")
    monkeypatch.setattr(sys, "argv", ["on_a_card.py", "--out", str(tmp_path / "out")])
    assert on_a_card.main() == 1 and not (tmp_path / "out").exists()
    assert capsys.readouterr() == ("", "nothing is measured: no GPU on this machine\n")

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(on_a_card, "why_not", lambda *_: "")
    monkeypatch.setattr(on_a_card, "ours", stopped)
    assert on_a_card.main() == 1
    found = json.loads((tmp_path / "out" / "steps.json").read_text())
    assert found["missing"] == ["what was to follow: stopped before its end"]
    page = (tmp_path / "out" / "steps.md").read_text()
    assert page.startswith("# Training steps on no device") and "- what was to follow: stopped" in page and "|" not in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["steps.json", "steps.md"]


@pytest.mark.parametrize(
    "test, status, said",
    [
        ("def test(): pass", 0, "1 passed"),
        ("import pytest\ndef test(): pytest.skip('no card')", 5, "no test has passed: nothing is proved"),
        ("def test(): assert 0", 1, "--- FAILED after 0 that passed"),
    ],
)
def test_tests_that_were_all_skipped_prove_nothing(tmp_path, test, status, said):
    (tmp_path / "test_x.py").write_text(test)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks" / "card")])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "suite",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, cwd=tmp_path)
    assert done.returncode == status and said in done.stdout


@pytest.mark.parametrize(
    "tests, found", [("echo 2 passed in \\\\377", True), ("echo '2 skipped in 1 s'", False), ("exit 1", False)]
)
def test_a_sanitizer_without_tests_has_found_nothing_out(tmp_path, capsys, tests, found):
    (tmp_path / "tool").write_text(f"#!/bin/sh\n{tests}\necho '========= ERROR SUMMARY: 0 errors'\n")
    (tmp_path / "tool").chmod(0o755)
    assert sanitize.check("memcheck", sanitize.TOOLS["memcheck"], str(tmp_path / "tool"), [], 60)[0] == found
    assert "--- memcheck" in capsys.readouterr().out


@pytest.mark.parametrize(
    "first, second, status, said",
    [
        ([(1, 1, 2.0), (1, 2, 1.9)], [(1, 3, 1.5)], 0, "2 batches to 1.2, then 1 from 1.3"),
        ([(1, 1, 2.0), (1, 2, 1.9)], [(1, 1, 1.5)], 1, "from 1.1"),  # it began anew
        ([(1, 1, 2.0)], [(1, 2, 2.5)], 1, "cost 2.0000 at first, 2.5000 at last"),
        ([(1, 1, 2.0)], [], 1, "the run did not go on"),
    ],
)
def test_a_run_goes_on_and_its_cost_falls(first, second, status, said, capsys):
    assert train.verdict(first, second, [0, 0]) == status
    assert said in capsys.readouterr().out


def wheels_like_those_of_prepare(folder):
    """Wheels of this Python, of what is installed here: the sources of convnet with the compiled kernels."""
    wheel(folder, f"convnet-0.1.0-{OWN}-{OWN}-linux_x86_64.whl")
    with zipfile.ZipFile(next(folder.glob("convnet-*.whl")), "w") as archive:
        trees = (("convnet", "convnet"), ("cuda", "convnet/cuda"), ("layers-cfg", "convnet/layers_cfg"))
        for tree, package in trees:
            for path in (ROOT / tree).rglob("*"):
                if path.suffix in (*prepare.KINDS, ".so") and path.is_file():
                    archive.write(path, f"{package}/{path.relative_to(ROOT / tree)}")
    (folder / prepare.SOURCES).write_text(prepare.digest_of_sources())


def rehearse_with(arguments, out, monkeypatch, capfd):
    """Rehearse all steps; there are four planted ones besides."""
    count = len(steps.steps(out, None, tune=True))
    monkeypatch.setattr(sys, "argv", ["rehearse.py", "--out", str(out), *arguments])
    status, log = rehearse.main(), out / "log.txt"
    assert status == 0, "\n".join([*capfd.readouterr(), log.read_text() if log.is_file() else "no log"])
    text = (out / "summary.txt").read_text()
    good, all_steps, absent = map(int, re.match(r"(\d+) of (\d+) steps ok, (\d) not here", text).groups())
    assert (good + absent, all_steps, absent) == (count, count + 4, 3)  # NCCL, counters, another library: without a card
    assert len(text.splitlines()) <= 40 and "every kernel was launched" in text


@pytest.mark.slow
def test_the_rehearsal(tmp_path, monkeypatch, capfd):
    """All of ``go.py`` over the emulated driver, with steps that fail, hang, are killed and are missing."""
    wheels_like_those_of_prepare(tmp_path / "wheels")
    monkeypatch.setattr(rehearse, "environment_of", lambda *_: sys.executable)
    places = ["--wheels", str(tmp_path / "wheels"), "--folder", str(tmp_path / "there")]
    rehearse_with([*places, "--python", sys.executable], tmp_path / "out", monkeypatch, capfd)


@pytest.mark.slow
@pytest.mark.minutes
def test_the_rehearsal_as_on_a_card(tmp_path, monkeypatch, capfd):
    """With its version of Python, the wheels of ``prepare.py``, the real PyCUDA and nvmath; what was built is kept."""
    try:
        python = prepare.find_python("3.12")
        prepare.call(python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), "pytools")
    except SystemExit as error:
        pytest.skip(f"the card's Python, or the package index, is not here: {str(error).splitlines()[0]}")
    kept, wheels = cache_folder() / "card", tmp_path / "wheels"
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--out", str(wheels), "--work", str(kept / "build")])
    prepare.main()
    assert sum(path.stat().st_size for path in wheels.iterdir()) < prepare.MOST
    with zipfile.ZipFile(next(wheels.glob("pycuda-*.whl"))) as archive:
        (driver,) = (archive.read(name) for name in archive.namelist() if name.startswith("pycuda/_driver."))
    assert b"libcuda.so.1" in driver and b"libcurand" not in driver and b"libcudart" not in driver
    rehearse_with(["--wheels", str(wheels), "--folder", str(kept / "there")], tmp_path / "out", monkeypatch, capfd)
