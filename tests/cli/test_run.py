"""Whole runs from the command line: training, resuming to the bit, signals, kills, and every mistake in one clear line."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from support import ROOT, SMALL_PARAMS, dump, write_cifar, write_net

from convnet import checkpoint
from convnet.cli import main as cli
from convnet.cli.run import main

COST = re.compile(r"^(\d+\.\d+) \(([\d.]+)%\)\.\.\. logprob:  ([\d.]+), ([\d.]+), ([\d.]+) ", re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small net and a CIFAR-shaped set."""
    folder = tmp_path_factory.mktemp("run")
    write_cifar(folder / "data")
    write_net(folder)
    return folder


def arguments(place, save, *more):
    base = ["--layer-def", str(place / "layers-small.cfg"), "--data-path", str(place / "data"), "--save-path", str(save)]
    return [*base, "--mini", "16", "--threads", "2", *map(str, more)]


def costs_of(text):
    return COST.findall(text)


def newest(save):
    return checkpoint.find_latest(save, checkpoint.load)


def weights_of(save):
    """Every array that learns, by layer and name."""
    arrays = {}
    for name, layer in newest(save)[1].layers.items():
        for key in ("weights", "weightsInc", "biases", "biasesInc"):
            held = layer.get(key, [])
            for i, array in enumerate(held if isinstance(held, list) else [held]):
                arrays[name, key, i] = array
    return arrays


def test_training_learns_and_prints_the_lines_of_2014(place, tmp_path, capsys):
    assert main(arguments(place, tmp_path, "--epochs", 6, "--test-freq", 4)) == 0
    out = capsys.readouterr().out
    assert "Initialized convolutional layer 'conv1' on GPUs 0, producing 17x17 8-channel output\n" in out
    assert "Initialized data layer 'labels', producing 1 outputs\n" in out
    assert "Initialized logistic regression cost 'logprob' on GPUs 0\n" in out
    assert "Data batch range: training                      : 1-2" in out
    costs = costs_of(out)
    assert [line[0] for line in costs] == [f"{epoch}.{batch}" for epoch in range(1, 7) for batch in (1, 2)]
    assert float(costs[-1][2]) < 0.5 * float(costs[0][2])
    assert re.search(
        r"======================Test output======================\n"
        r"logprob:  [\d.]+, [\d.]+, [\d.]+ \n"
        r"----------------------Averages-------------------------\n"
        r"logprob:  [\d.]+, [\d.]+, [\d.]+ \n"
        r"------------------------------------------------------- \n"
        r"Layer 'conv1' weights\[0\]: \d\.\d{6}e[-+]\d\d \[\d\.\d{6}e[-+]\d\d\] \[\d\.\d{6}e[-+]\d\d\] \n"
        r"Layer 'conv1' biases: \d\.\d{6}e[-+]\d\d \[\d\.\d{6}e[-+]\d\d\] \n"
        r"(Layer .*\n)+"
        r"-------------------------------------------------------\n"
        r"Saved checkpoint to .*\n"
        r"======================================================= \([\d.]+ sec\)\n",
        out,
    )
    assert re.search(r"shownet.* --load-file \S+ --show-filters conv1", out)


def test_backends_print_the_same_costs(tmp_path, capsys):
    """layers-cifar10-26pct on synthetic CIFAR-shaped data: 20 minibatches agree to 1e-4."""
    data = write_cifar(tmp_path / "data", batches=6, cases=8)
    printed = []
    for backend in ("reference", "cpu"):
        options = ["--layer-def", "layers-cifar10-26pct.cfg", "--data-path", data, "--mini", 2, "--epochs", 1, "--seed", 4]
        assert main([*map(str, options), "--backend", backend, "--save-path", str(tmp_path / backend)]) == 0
        printed.append(np.array([[float(v) for v in line[2:]] for line in costs_of(capsys.readouterr().out)]))
    assert printed[0].shape == (5, 3)  # five data batches of four minibatches
    np.testing.assert_allclose(printed[0], printed[1], rtol=1e-4)


@pytest.mark.parametrize("stop, period", [(1, 1), (3, 1), (1, 3)])
def test_resuming_continues_to_the_bit(place, tmp_path, capsys, stop, period):
    """Stopped between batches and resumed with --load-file alone: costs, weights and momenta of an uninterrupted run.

    With updates every third of four minibatches, the stop lies between two updates.
    """
    options = ["--epochs", 3, "--test-freq", 2, "--inner-size", 28, "--seed", 3, "--wupdate-freq", period]
    assert main(arguments(place, tmp_path / "whole", *options)) == 0
    whole = costs_of(capsys.readouterr().out)
    assert main(arguments(place, tmp_path / "parts", *options, "--max-batches", stop)) == 0
    parts = costs_of(capsys.readouterr().out)
    assert main(["--load-file", str(tmp_path / "parts"), "--threads", "2"]) == 0
    out = capsys.readouterr().out
    assert "Initialized" not in out
    assert parts + costs_of(out) == whole
    expected, found = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert expected.keys() == found.keys()
    for key in expected:
        np.testing.assert_array_equal(expected[key], found[key])
    outputs = [newest(tmp_path / name)[1]["model_state"]["test_outputs"] for name in ("whole", "parts")]
    assert outputs[0] == outputs[1]


def start(place, save, *more):
    command = [sys.executable, "-m", "convnet.run", *arguments(place, save, *more)]
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=place)


def wait_for(process, word):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_finish_the_minibatch_save_and_leave(place, tmp_path, capsys, number):
    """Stopped inside a batch, the run goes on to the numbers of one that was never stopped."""
    gentle = tmp_path / "gentle.cfg"
    gentle.write_text(SMALL_PARAMS.replace("base=0.0004", "base=0.00002"))
    options = ["--epochs", 40, "--mini", 2, "--layer-params", gentle]
    process = start(place, tmp_path, *options)
    wait_for(process, "1.2 ")
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"Stopped by {number.name}" in out and "Saved checkpoint to" in out
    state = newest(tmp_path)[1]["model_state"]
    position = state["convnet"]["position"]
    done = position["batches_done"] * 30 + position["minibatches"]
    assert state["convnet"]["step"] == done
    assert main(arguments(place, tmp_path / "whole", *options, "--max-batches", position["batches_done"] + 2)) == 0
    whole = costs_of(capsys.readouterr().out)
    assert main(["--load-file", str(tmp_path), "--threads", "2", "--max-batches", "2"]) == 0
    assert costs_of(capsys.readouterr().out) == whole[-2:]


@pytest.mark.slow
def test_killed_while_saving_ten_times(place, tmp_path):
    """Kill -9 at random moments of a run that saves all the time: it always resumes from a whole checkpoint."""
    moments = random.Random(0)
    process = start(place, tmp_path, "--epochs", 1000, "--test-freq", 1)
    reached = 0
    for _ in range(10):
        wait_for(process, "Saved checkpoint")
        time.sleep(moments.uniform(0, 0.06))
        process.kill()
        process.communicate()
        _, loaded, remarks = newest(tmp_path)
        assert not remarks
        done = loaded["model_state"]["convnet"]["position"]["batches_done"]
        assert done >= reached
        reached = done
        command = [sys.executable, "-m", "convnet.run", "--load-file", str(tmp_path), "--threads", "2"]
        env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    process.kill()
    process.communicate()
    assert reached > 5


def test_testing_only(place, tmp_path, capsys):
    assert main(arguments(place, tmp_path, "--epochs", 1, "--test-freq", 2)) == 0
    trained = capsys.readouterr().out
    last = re.search(r"Test output=+\nlogprob:  ([\d.]+)", trained)[1]
    before = sorted(p.name for p in newest(tmp_path)[0].parent.iterdir())
    assert main(["--load-file", str(tmp_path), "--test-only", "1"]) == 0
    line = re.search(r"batch 3: \(\{'logprob': \[([\d.]+), .*\]\}, 60\) \([\d.]+ sec\)", capsys.readouterr().out)
    assert float(line[1]) / 60 == pytest.approx(float(last), abs=1e-6)
    assert sorted(p.name for p in newest(tmp_path)[0].parent.iterdir()) == before


def test_parameters_are_read_anew_when_resuming(place, tmp_path, capsys):
    net = write_net(tmp_path)
    options = [
        "--layer-def",
        str(net),
        "--data-path",
        str(place / "data"),
        "--save-path",
        str(tmp_path),
        "--max-batches",
        "1",
    ]
    assert main(options) == 0
    params = net.with_name("layer-params-small.cfg")
    params.write_text(params.read_text().replace("base=0.0004", "base=0.002"))
    net.write_text(net.read_text().replace("filters=8", "filters=9"))
    capsys.readouterr()
    assert main(["--load-file", str(tmp_path), "--max-batches", "1"]) == 0
    out = capsys.readouterr().out
    assert "layer-params-small.cfg has changed" in out and "its new values hold" in out
    assert "layers-small.cfg has changed" in out and "the file is not read" in out
    stored = newest(tmp_path)[1].layers["conv1"]
    assert stored["epsW"][0]["params"]["base"] == 0.002 and stored["filters"] == 8


def test_rolling_back_keeps_the_newer_checkpoint_aside(place, tmp_path, capsys):
    assert main(arguments(place, tmp_path, "--max-batches", 3, "--test-freq", 1)) == 0
    folder = newest(tmp_path)[0].parent
    assert sorted(p.name for p in folder.iterdir()) == ["1.2", "2.1", "log.jsonl"]  # --keep 2
    assert main(["--load-file", str(folder / "1.2"), "--max-batches", "1", "--test-freq", "9"]) == 0
    assert sorted(p.name for p in folder.iterdir()) == ["1.2", "2.1", "2.1.aside", "log.jsonl"]


def test_options_from_a_file(place, tmp_path, capsys):
    config = tmp_path / "run.toml"
    config.write_text(
        f'layer-def = "{place / "layers-small.cfg"}"\ndata-path = "{place / "data"}"\nmini = 16\n'
        f'save-path = "{tmp_path}"\nepochs = 7\nmax-batches = 1\ntrain-range = "2"\ntest-one = false\n'
    )
    assert main(["--config", str(config), "--epochs", "9"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"Number of epochs +: 9 ", out) and re.search(r"training +: 2-2 ", out)
    assert [line[0] for line in costs_of(out)] == ["1.2"]


def test_commands_work_from_any_folder(place, tmp_path):
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    for command in (["-m", "convnet.run"], ["-m", "convnet", "run"]):
        full = [sys.executable, *command, "--layer-def", "layers-cifar10-26pct.cfg", "--data-path", str(place / "data")]
        done = subprocess.run(
            [*full, "--max-batches", "1", "--save-path", str(tmp_path)],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "1.1 (0.00%)... logprob:  2.302" in done.stdout


def test_no_numbers_stop_the_run_and_keep_the_checkpoint(place, tmp_path, capsys):
    net = write_net(tmp_path, params="[DEFAULT]\nepsW=0.001\nepsB=0.002\nmomW=0.9\nmomB=0.9\ncoeff=1\n")
    options = ["--layer-def", str(net), "--data-path", str(place / "data"), "--save-path", str(tmp_path), "--test-freq", "1"]
    assert main([*options, "--max-batches", "1"]) == 0
    good = newest(tmp_path)[0]
    wild = tmp_path / "wild.cfg"
    wild.write_text("[DEFAULT]\nepsW=1e30\nepsB=0.002\nmomW=0.9\nmomB=0.9\ncoeff=1\n")
    capsys.readouterr()
    assert main(["--load-file", str(tmp_path), "--layer-params", str(wild)]) == 1
    error = capsys.readouterr().err
    assert re.search(r"layer '\w+'.*not.* finite", error) and "epsW" in error
    assert newest(tmp_path)[0] == good


MISTAKES = {
    "no definition": (["--layer-def", "nowhere.cfg"], "nowhere.cfg: .*no such layer file"),
    "nothing to do": ([], "--layer-def is missing"),
    "unknown option": (["--layer-deff", "x"], "unknown option '--layer-deff'; did you mean '--layer-def'"),
    "stray argument": (["--mini", "16", "net.cfg"], "unexpected argument 'net.cfg'"),
    "no number": (["--mini", "many"], "--mini.*many"),
    "bad range": (["--train-range", "5-1"], "not a range of batches"),
    "-f=": (["-f=x"], "write '-f x'"),
    "no checkpoint": (["--load-file", "nowhere"], "no checkpoint nowhere"),
    "bad provider": (["--layer-def", "{net}", "--data-provider", "cifa", "--data-path", "{data}"], "did you mean 'cifar'"),
    "no data": (["--layer-def", "{net}", "--data-path", "nowhere"], "no folder nowhere"),
    "missing batches": (
        ["--layer-def", "{net}", "--data-path", "{data}", "--test-range", "1-9"],
        "name them with --test-range",
    ),
    "crop too large": (["--layer-def", "{net}", "--data-path", "{data}", "--inner-size", "40"], "--inner-size 40"),
    "wrong dimensions": (
        ["--layer-def", "layers-digits.cfg", "--data-path", "{data}"],
        "3,072 values, which are not 1 square",
    ),
    "too few classes": (
        ["--layer-def", "layers-imagenet-1gpu.cfg", "--data-path", "{data}"],
        "layers-imagenet-1gpu.cfg:149:.*1000 outputs.*has 10 classes",
    ),
    "cuda": (["--layer-def", "{net}", "--data-path", "{data}", "--backend", "cuda"], "cuda"),
}


@pytest.mark.parametrize("options, words", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(place, tmp_path, capsys, options, words):
    """One clear message, a status that is not 0, no traceback, nothing written."""
    filled = [option.format(net=place / "layers-small.cfg", data=place / "data") for option in options]
    save = tmp_path / "checkpoints"
    assert main([*filled, "--save-path", str(save)]) in (1, 2)
    error = capsys.readouterr().err
    assert re.search(words, error, re.DOTALL), error
    assert "Traceback" not in error and not save.exists()


def damage(folder, fault):
    path = folder / "data_batch_2"
    if fault == "label":
        dump(path, {"data": np.zeros((3072, 4), np.uint8), "labels": [0, 1, 10, 2]})
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif fault == "shape":
        dump(path, {"data": np.zeros((3071, 4), np.uint8), "labels": [0, 1, 2, 3]})
    elif fault == "count":
        dump(path, {"data": np.zeros((3072, 4), np.uint8), "labels": [0, 1, 2]})
    else:
        path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")


FAULTS = {
    "label": "case 2 has label 10; labels must be 0 to 9",
    "truncated": "data_batch_2.*damaged",
    "shape": "data_batch_2.*3071x4.*3,072 values",
    "count": "4 cases but 3 labels",
    "code": "data_batch_2.*not plain data",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_data_lose_nothing(tmp_path, capsys, fault):
    """The first batch is trained and saved; the damaged second one ends the run with one clear line."""
    data = write_cifar(tmp_path / "data")
    damage(data, fault)
    options = ["--layer-def", str(write_net(tmp_path)), "--data-path", str(data), "--save-path", str(tmp_path)]
    assert main(options) == 1
    assert re.search(FAULTS[fault], capsys.readouterr().err)
    assert newest(tmp_path)[0].name == "1.1"


def test_full_disk_keeps_earlier_checkpoints(place, tmp_path):
    """With a limit on file sizes in place of a full disk."""
    assert main(arguments(place, tmp_path, "--max-batches", 1)) == 0
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from convnet.cli.run import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "--load-file", str(tmp_path), "--max-batches", "1"]
    done = subprocess.run(command, env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"checkpoint .*1\.2 cannot be saved: .*earlier checkpoints are untouched", done.stderr)
    path, loaded, _ = newest(tmp_path)
    assert path.name == "1.1" and loaded["model_state"]["batchnum"] == 1
    assert sorted(p.name for p in path.parent.iterdir()) == ["1.1", "log.jsonl"]


def test_foreign_files_are_left_alone(place, tmp_path):
    assert main(arguments(place, tmp_path, "--max-batches", 1)) == 0
    folder = newest(tmp_path)[0].parent
    for name in ("notes.txt", ".DS_Store", "9.9.txt"):
        (folder / name).write_text("mine")
    (folder / "99.9").write_text("not a checkpoint")
    path, _, remarks = newest(folder)
    assert path.name == "1.1" and len(remarks) == 1
    assert main(["--load-file", str(folder), "--epochs", "3", "--test-freq", "1", "--keep", "1"]) == 0
    names = {p.name for p in folder.iterdir()}
    assert {"notes.txt", ".DS_Store", "9.9.txt"} <= names


def test_unknown_verb(capsys):
    for word in ("rum", "train", "test"):
        assert cli([word]) == 2
        assert f"unknown verb '{word}'; did you mean 'run'" in capsys.readouterr().err
    assert cli([]) == 0 and "makebatches" in capsys.readouterr().out


@pytest.mark.slow
def test_demonstration_trains(tmp_path, monkeypatch, capsys):
    """Without data, a net of ten classes learns the drawn shapes, stops by itself and says what to try next."""
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["--layer-def", "layers-cifar10-26pct.cfg", "--save-path", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    costs = [float(line[2]) for line in costs_of(out)]
    assert len(costs) == 12 and costs[-1] < 0.3 * costs[0]
    assert "demonstration set" in out and "noise yet" in out
    (sheet,) = tmp_path.glob("ConvNet__*/predictions.png")
    assert f"What it says of test pictures: {sheet}\n" in out and out.index(str(sheet)) < out.index("--show-filters")
    with Image.open(sheet) as picture:
        assert min(picture.size) > 300
