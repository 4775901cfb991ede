"""What benchmarks/card/counters.py makes of Nsight Compute's output, over an ncu that is a script of this test."""

import csv
import sys
from pathlib import Path

import pytest
from support import ROOT

from convnet.backends.cuda import Cuda
from convnet.backends.cuda.recorder import Recorder

sys.path.insert(0, str(ROOT / "benchmarks/card"))
import counters
import ncu_pages

HEAD = '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC"'
WHERE = '"127.0.0.1","{}","1","13","(128, 1, 1)","(2916, 1, 1)","0","9.0"'
WIDE = f"""==PROF== Connected to process 4711 (/usr/bin/python3.12)
==PROF== Profiling "conv_forward" - 0: 0%....50%....100% - 9 passes
{HEAD},"dram__bytes.sum","gpu__time_duration.sum","launch__registers_per_thread","smsp__issue_active{ncu_pages.PEAK}","x__y.sum"
"","","","","","","","","","","","byte","ns","register/thread","%",""
"0","4711","python3.12",{WHERE.format("conv_forward")},"43,210,000","628,128","125","81.25","n/a"
"1","4711","python3.12",{WHERE.format("conv_input_grad(const float *, float)")},"1,000","0.5","141","n/a","n/a"
==PROF== Disconnected from process 4711
"""
LINE = f'"{{}}","4711","python3.12",{WHERE.format("conv_forward")},"Command line profiler metrics",{{}}'
LONG = "\n".join(
    [
        f'{HEAD},"Section Name","Metric Name","Metric Unit","Metric Value"',
        LINE.format(0, '"dram__bytes.sum","Mbyte","43.21"'),
        LINE.format(0, '"gpu__time_duration.sum","us","628.13"'),
        LINE.format(0, '"lts__t_bytes.sum","","n/a"'),
        LINE.format(1, '"gpu__time_duration.sum","msecond","1.5"'),
    ]
)


def test_a_page_with_a_column_for_each_metric():
    forward, input_grad = ncu_pages.parse_page(WIDE)
    assert forward.name == "conv_forward" and forward.grid == "(2916, 1, 1)" and forward.block == "(128, 1, 1)"
    assert forward.of("time") == pytest.approx(628.128e-6) and forward.of("DRAM bytes") == 43_210_000
    assert forward.of("issue slots") == 81.25, "the second of the metrics that the column may have"
    assert "x__y.sum" not in forward.values
    assert input_grad.name == "conv_input_grad" and input_grad.of("registers") == 141
    assert input_grad.of("issue slots") is None and input_grad.of("waves") is None


def test_a_page_with_a_line_for_each_metric():
    first, second = ncu_pages.parse_page(LONG)
    assert first.of("time") == pytest.approx(628.13e-6) and first.of("DRAM bytes") == pytest.approx(43.21e6)
    assert first.of("L2 bytes") is None and second.values == {"gpu__time_duration.sum": pytest.approx(1.5e-3)}


def test_nothing_is_found_where_there_is_no_table():
    assert ncu_pages.parse_page('==ERROR== ERR_NVGPUCTRPERM\n"a","b"\n') == []
    assert ncu_pages.table([]) == "nothing was measured"


def test_the_table_has_a_cell_for_each_head():
    lines = ncu_pages.table([("conv2a forward, float32", kernel) for kernel in ncu_pages.parse_page(WIDE)]).splitlines()
    assert {line.count("|") for line in lines} == {14}
    assert lines[2] == "| conv2a forward, float32 | 628 | 81 % | - | - | - | - | - | 43.2 | - (-) | - | 125 | - |"


def test_unknown_metrics_are_those_that_an_error_names():
    metrics = ["dram__bytes.sum", "lts__t_bytes.sum", "gpu__time_duration.sum"]
    said = "==ERROR== Failed to find metric regex:^lts__t_bytes.sum$\n==PROF== dram__bytes.sum\n"
    assert ncu_pages.unknown_metrics(said, metrics) == ["lts__t_bytes.sum"]
    assert ncu_pages.unknown_metrics("==WARNING== Metric dram__bytes not found.", metrics) == ["dram__bytes.sum"]


@pytest.mark.parametrize("math", counters.MATH)
def test_the_child_labels_each_kernel_that_is_measured(math):
    device, lines = Recorder(math), []
    counters.launch_each(Cuda(device), math, 128, lines.append)
    labels = counters.labels_of("\n".join(["other output", *lines]))
    launched = [kernel for _, kernel, *_ in device.seen if kernel in counters.KERNELS.values()]
    assert [label.kernel for label in labels] == launched
    assert [(label.layer, label.kind) for label in labels] == [
        (a, b) for a in ("conv2a", "conv3a") for b in counters.KERNELS
    ]
    assert {label.math for label in labels} == {math}


def test_launches_are_matched_by_name_and_order():
    kernels = [ncu_pages.Kernel(name, "", "", {"n": n}) for n, name in enumerate("abba")]
    labels = [counters.Label("layer", "", "", name) for name in "baacb"]
    assert [kernel.values["n"] for _, kernel in counters.match(labels, kernels)] == [1, 0, 3, 2]


def fake_ncu(folder: Path, log: str, before: str = "") -> list[str]:
    """A script in the place of ncu, which writes ``log`` where it was asked to; the child says one label for each line."""
    folder.joinpath("log").write_text(log)
    script = folder / "ncu"
    script.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, subprocess, sys, time\n"
        "log = pathlib.Path(sys.argv[sys.argv.index('--log-file') + 1])\n"
        "metrics = sys.argv[sys.argv.index('--metrics') + 1].split(',')\n"
        f"with open({str(folder / 'calls')!r}, 'a') as calls: print(len(metrics), file=calls)\n"
        f"{before}\n"
        "subprocess.run(sys.argv[sys.argv.index('--metrics') + 2:], check=True)\n"
        f"log.write_text(pathlib.Path({str(folder / 'log')!r}).read_text())\n"
    )
    script.chmod(0o755)
    labels = [["conv2a", kind, "float32", kernel] for kind, kernel in counters.KERNELS.items()]
    return [sys.executable, "-c", f"import json\nfor label in {labels}: print('label', json.dumps(label))"]


def test_what_was_measured_is_written(tmp_path):
    child = fake_ncu(tmp_path, WIDE)
    found, missing = counters.measure(str(tmp_path / "ncu"), child, 60)
    assert missing == "1 of 3 launches were not measured"
    counters.write_csv(tmp_path / "out.csv", found)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert {(row["layer"], row["pass"]) for row in rows} == {("conv2a", "forward"), ("conv2a", "input grad")}
    assert [row["value"] for row in rows if row["metric"] == "dram__bytes.sum"] == ["43210000.0", "1000.0"]


def test_an_unknown_metric_costs_only_itself(tmp_path):
    refuse = (
        "if 'lts__t_bytes.sum' in metrics:\n"
        "    log.write_text('==ERROR== Failed to find metric lts__t_bytes.sum\\n'); sys.exit(1)\n"
    )
    found, missing = counters.measure(str(tmp_path / "ncu"), fake_ncu(tmp_path, WIDE, refuse), 60)
    assert len(found) == 2 and missing.endswith("ncu does not know lts__t_bytes.sum")
    first, second = map(int, (tmp_path / "calls").read_text().split())
    assert second == first - 1


def test_the_time_is_measured_where_ncu_does_not_say_which_metric_it_lacks(tmp_path):
    refuse = "if len(metrics) > 1:\n    log.write_text('==ERROR== invalid value\\n'); sys.exit(1)\n"
    found, _ = counters.measure(str(tmp_path / "ncu"), fake_ncu(tmp_path, WIDE, refuse), 60)
    assert len(found) == 2 and (tmp_path / "calls").read_text().split()[1:] == ["1"]


def test_a_run_without_a_right_to_counters_is_not_repeated(tmp_path):
    refuse = "log.write_text('==PROF== Connected\\n==ERROR== ERR_NVGPUCTRPERM - no permission\\n'); sys.exit(1)\n"
    found, missing = counters.measure(str(tmp_path / "ncu"), fake_ncu(tmp_path, WIDE, refuse), 60)
    assert (found, missing) == ([], "ERR_NVGPUCTRPERM - no permission")
    assert len((tmp_path / "calls").read_text().split()) == 1


def test_a_run_that_hangs_is_ended(tmp_path):
    child = fake_ncu(tmp_path, WIDE, "time.sleep(600)")
    assert counters.measure(str(tmp_path / "ncu"), child, 1) == ([], "no result within 1 s")


def test_without_ncu_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(counters, "find_ncu", lambda: None)
    assert counters.main([]) == 0
    assert capsys.readouterr().out == "not here: ncu (Nsight Compute) is not installed\n"


def test_a_mode_that_fails_leaves_the_other(tmp_path, monkeypatch, capsys):
    child = fake_ncu(tmp_path, WIDE)
    monkeypatch.setattr(counters, "find_ncu", lambda: str(tmp_path / "ncu"))
    monkeypatch.setattr(counters, "why_not_cuda", lambda: "")
    measure = counters.measure

    def one_fails(ncu, command, limit):
        return ([], "it broke") if "float32" in command else measure(ncu, child, limit)

    monkeypatch.setattr(counters, "measure", one_fails)
    assert counters.main(["--out", str(tmp_path / "out.csv"), "--limit", "60"]) == 0
    out = capsys.readouterr().out
    assert "float32: it broke" in out and "| conv2a forward, float32 | 628 |" in out
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 4 + 3
