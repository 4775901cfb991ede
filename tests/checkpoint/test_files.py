"""Folders of checkpoints: claimed before a run, pruned without ending it, and read from whatever is left of them."""

import errno
import gzip
import io
import os
import random
import time
import zipfile
from pathlib import Path

import pytest
from support import dump, write_cifar, write_net

from convnet import checkpoint, pickles, storage
from convnet.checkpoint import CheckpointFolder, find_latest
from convnet.cli import main
from convnet.errors import CheckpointError
from convnet.storage import write_atomically
from convnet.storage.lock import NAME


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small net, a CIFAR-shaped set, and two checkpoints of a run."""
    folder = tmp_path_factory.mktemp("files")
    write_net(folder)
    write_cifar(folder / "data", cases=20)
    assert main([*train(folder), "--save-file", str(folder / "run"), "--max-batches", "2"]) == 0
    return folder


def train(folder):
    return ["run", "--layer-def", str(folder / "layers-small.cfg"), "--data-path", str(folder / "data"), "--test-freq", "1"]


@pytest.fixture
def run(place, tmp_path):
    """A copy of that run's folder."""
    (tmp_path / "run").mkdir()
    for name in ("1.1", "1.2"):
        (tmp_path / "run" / name).write_bytes((place / "run" / name).read_bytes())
    return tmp_path / "run"


def failing(call, number, wanted):
    """``call`` but with an ``OSError`` for paths that ``wanted`` says."""

    def faulty(path, *args, **kwargs):
        if wanted(Path(path)):
            raise OSError(number, os.strerror(number), os.fspath(path))
        return call(path, *args, **kwargs)

    return faulty


def test_dated_folders_are_made_exclusively(tmp_path, monkeypatch):
    """Four runs that begin in one second have four folders."""
    monkeypatch.setattr(time, "strftime", lambda _: "2026-11-27_10.00.00")
    folders = [CheckpointFolder(checkpoint.new_folder(tmp_path)) for _ in range(4)]
    for folder in folders:
        folder.claim(tmp_path)
    base = "ConvNet__2026-11-27_10.00.00"
    assert [folder.path.name for folder in folders] == [base, f"{base}_2", f"{base}_3", f"{base}_4"]
    folders[0].save({}, 1, 1)
    for folder in folders:
        folder.close()
    assert [path.name for path in tmp_path.iterdir()] == [base]  # those that stayed empty are removed


def test_a_run_that_saves_nothing_leaves_nothing(place, tmp_path, capsys):
    for more in (["--backend", "cuda"], ["--test-only"], ["--conv-to-local", "fcc"]):
        main([*train(place), "--save-path", str(tmp_path / "a" / "b"), *more])
        assert "Traceback" not in capsys.readouterr().err
        assert not (tmp_path / "a").exists()
    assert main([*train(place), "--save-path", str(tmp_path / "a"), "--test-only", "--force-save"]) == 0
    [folder] = (tmp_path / "a").iterdir()
    assert [path.name for path in folder.iterdir()] == ["0.0"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EDQUOT])
def test_a_place_that_takes_no_files_is_noticed_before_the_first_batch(number, place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "mkdir", failing(os.mkdir, number, lambda path: path.is_relative_to(tmp_path)))
    assert main([*train(place), "--save-path", str(tmp_path / "x")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"convnet: no checkpoint can be written in {tmp_path}") and os.strerror(number) in said.err
    assert len(said.err.splitlines()) == 1 and "1.1" not in said.out


def test_two_runs_on_one_folder(run, capsys):
    """The second says who has it and touches nothing; reading is for all."""
    first = CheckpointFolder(run)
    first.claim()
    before = sorted(path.name for path in run.iterdir())
    for words in (["run", "--load-file", str(run)], ["run", "--load-file", str(run / "1.1"), "--max-batches", "1"]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert f"{run} is in use (process {os.getpid()} on " in said and len(said.splitlines()) == 1
    assert main(["run", "--load-file", str(run), "--test-only"]) == 0
    assert main(["run", "--load-file", str(run), "--test-only", "--force-save"]) == 1
    assert sorted(path.name for path in run.iterdir()) == before
    first.close()


def test_what_a_killed_run_left_is_removed_by_the_next(run):
    for name in (".1.2.12345-0a1b2c3d.tmp", ".2.1.99999.tmp", ".notes.tmp", ".1.2.backup.tmp"):
        (run / name).write_bytes(b"half")
    folder = CheckpointFolder(run)
    folder.claim()
    folder.close()
    assert {path.name for path in run.iterdir()} == {"1.1", "1.2", ".notes.tmp", ".1.2.backup.tmp"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT, errno.EBUSY])
def test_pruning_and_cleaning_never_end_a_run(number, run, monkeypatch, capsys):
    """Said once."""
    (run / ".1.2.12345-0a1b2c3d.tmp").write_bytes(b"half")
    monkeypatch.setattr(os, "unlink", failing(os.unlink, number, lambda path: path.parent == run and path.name != NAME))
    assert main(["run", "--load-file", str(run), "--max-batches", "3", "--keep", "1"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (number != errno.ENOENT) and all(os.strerror(number) in line for line in said)
    assert {"1.1", "1.2", "2.1", "2.2", "3.1"} <= {path.name for path in run.iterdir()}


def test_going_on_from_the_older_where_nothing_can_be_renamed(run, monkeypatch, capsys):
    monkeypatch.setattr(os, "replace", failing(os.replace, errno.EACCES, lambda path: path.name == "1.2"))
    assert main(["run", "--load-file", str(run / "1.1"), "--max-batches", "1"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "newer checkpoints" in said[0] and "will be taken at the next load" in said[0]


def test_a_run_that_does_not_begin_renames_nothing(run, capsys):
    assert main(["run", "--load-file", str(run / "1.1"), "--backend", "cuda"]) == 1
    assert sorted(path.name for path in run.iterdir()) == ["1.1", "1.2"]


def garbage(path):
    path.write_bytes(b"\x80\x02}" + random.Random(0).randbytes(500))


def a_folder(path):
    path.unlink()
    path.mkdir()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def damaged_zip(path):
    import zipfile

    data = path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", data)
    held = bytearray(path.read_bytes())
    held[100:140] = b"\xff" * 40
    path.write_bytes(held)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "pipe": a_pipe,
    "empty": lambda path: path.write_bytes(b""), "cut": cut, "garbage": garbage, "folder": a_folder,
    "another pickle": lambda path: path.write_bytes(b"\x80\x02}."), "zip": damaged_zip,
    "dangling": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "loop": lambda path: (path.unlink(), path.symlink_to("1.2")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_falls_back_on_the_one_before(damage, run, capsys):
    DAMAGE[damage](run / "1.2")
    path, _, remarks = find_latest(run, checkpoint.load)
    assert path.name == "1.1" and len(remarks) == 1
    assert "1.2" in remarks[0] and remarks[0].endswith("; falling back on the one before") and "\n" not in remarks[0]
    assert main(["run", "--load-file", str(run), "--max-batches", "2"]) == 0
    said = capsys.readouterr()
    assert remarks[0] in said.out and not said.err
    assert find_latest(run, checkpoint.load)[0].name == "2.1" and not find_latest(run, checkpoint.load)[2]


ERRORS = [OSError(n, os.strerror(n)) for n in (errno.EIO, errno.ESTALE, errno.EACCES)]
ERRORS += [
    KeyError("x"),
    ValueError("y"),
    EOFError(),
    IndexError("z"),
    RecursionError(),
    UnicodeDecodeError("a", b"b", 0, 1, "c"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_reading_raises_falls_back(error, run):
    def read(path):
        if path.name == "1.2":
            raise error
        return path.name

    assert find_latest(run, read)[1] == "1.1" and len(find_latest(run, read)[2]) == 1
    with pytest.raises(CheckpointError, match=r"1\.2"):
        find_latest(run / "1.2", read)


def test_a_good_one_too_large_for_the_memory_is_no_damage(run):
    def read(path):
        raise MemoryError

    with pytest.raises(MemoryError):
        find_latest(run, read)


def test_the_data_are_found_from_elsewhere(place, tmp_path, monkeypatch, capsys):
    """Relative paths of layer files and data are stored so that the printed command works from any folder."""
    monkeypatch.chdir(place)
    words = ["run", "--layer-def", "layers-small.cfg", "--data-path", "data", "--save-path", str(tmp_path)]
    assert main([*words, "--max-batches", "1"]) == 0
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Go on with:")).split()
    monkeypatch.chdir("/")
    assert main([*command[command.index("run") :], "--max-batches", "1"]) == 0
    loaded = find_latest(tmp_path, checkpoint.load)[1]
    assert loaded.option("data_path") == str(place / "data")
    assert loaded.files().definition_path == str(place / "layers-small.cfg")


# -- files in general


def test_a_file_hands_its_permissions_on_and_a_link_stays_one(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o600)
    link.symlink_to(file)
    write_atomically(link, lambda out: out.write(b"new"))
    assert link.is_symlink() and file.read_bytes() == b"new" and file.stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_no_file_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", lambda out: out.write(b"new"))
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    write_atomically(Path("/dev/null"), lambda out: out.write(b"new"))
    assert Path("/dev/null").is_char_device()


def test_names_may_be_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomically(path, lambda out: out.write(b"new"))
    assert path.read_bytes() == b"new"
    with pytest.raises(OSError, match="name too long") as raised:
        write_atomically(tmp_path / ("x" * 256), lambda out: out.write(b"new"))
    assert raised.value.filename == str(tmp_path / ("x" * 256))


def test_files_and_folders_are_synced_before_and_after_they_have_their_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace(a, b)))
    write_atomically(tmp_path / "x", lambda out: out.write(b"new"))
    assert done[0].endswith(".tmp") and done[1:] == ["renamed", str(tmp_path)]


def test_a_file_system_that_cannot_sync_is_no_error(tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(storage.files.os, "fsync", fsync)
    write_atomically(tmp_path / "x", lambda out: out.write(b"new"))
    assert (tmp_path / "x").read_bytes() == b"new"


def foreign(path):
    """A checkpoint that this program did not write: without its checksum and its part."""
    value = pickles.load(path)
    del value["model_state"]["convnet"]
    path.unlink()
    dump(path, {"model_state": value["model_state"], "op": {}})
    return path.read_bytes()


def go_on(place, *given):
    return main([*train(place)[:1], *train(place)[3:], "--load-file", *map(str, given)])


def test_what_another_program_wrote_is_never_pruned(place, run, capsys):
    """Whatever the run saves beside it, and although only what this program wrote counts for --keep."""
    before = {name: foreign(run / name) for name in ("1.1", "1.2")}
    assert go_on(place, run, "--epochs", 4) == 0
    assert {name: (run / name).read_bytes() for name in before} == before
    assert sorted(path.name for path in run.iterdir()) == ["1.1", "1.2", "4.1", "4.2", "log.jsonl"]
    assert go_on(place, run / "1.2", "--max-batches", 1, "--save-path", run / "new") == 0


@pytest.mark.parametrize("packed", [False, True])
def test_what_another_program_wrote_is_not_put_aside(packed, place, run, capsys):
    """A newer one would win at the next load, a best one be replaced: the run does not begin."""
    data = foreign(run / "1.2")
    if packed:
        (run / "1.2").write_bytes(gzip.compress(data))
    (run / "best").write_bytes(data)
    for name, more in (("1.2", []), ("best", ["--keep-best", "logprob"])):
        assert go_on(place, run / "1.1", *more) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"{name}" in said and "not of this program: move it to another folder" in said
        (run / "1.2").unlink(missing_ok=True)
    assert (run / "best").read_bytes() == data
    assert go_on(place, run / "1.1", "--max-batches", 1) == 0
    assert (run / "best").read_bytes() == data and checkpoint.is_own(run / "1.2")


def test_what_would_be_replaced_is_kept(run, caplog):
    """A run that is stopped within its first batch saves under the name of what it went on from."""
    data = foreign(run / "1.2")
    folder = CheckpointFolder(run)
    for _ in range(2):
        folder.save({"a": 1}, 1, 2)
    assert (run / "1.2.aside").read_bytes() == data and pickles.load(run / "1.2") == {"a": 1}
    assert "which this program did not write, is kept as 1.2.aside" in caplog.text and len(caplog.records) == 1
    (run / "best").write_bytes(data)
    folder.keep_best(run / "1.2", {"a": 1})
    assert (run / "best.aside").read_bytes() == data and pickles.load(run / "best") == {"a": 1}
    (run / "1.2").write_bytes(data + b"x")
    folder.save({"a": 2}, 1, 2)
    assert (run / "1.2.aside").read_bytes() == data and (run / "1.2.aside1").read_bytes() == data + b"x"


def test_what_cannot_be_kept_is_not_replaced(run, monkeypatch):
    data = foreign(run / "1.2")
    monkeypatch.setattr(Path, "replace", failing(Path.replace, errno.EACCES, lambda path: path.name == "1.2"))
    with pytest.raises(CheckpointError, match=r"cannot be renamed: .*; nothing is saved"):
        CheckpointFolder(run).save({"a": 1}, 1, 2)
    assert (run / "1.2").read_bytes() == data


def zipped(data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", data)
    return file.getvalue()


@pytest.mark.parametrize("pack", [bytes, zipped], ids=["plain", "zipped"])
def test_own_files_are_told_by_their_end(pack, run):
    whole = (run / "1.2").read_bytes()
    for data, expected in ((whole, True), (whole[:-1], False), (whole[:-74], False), (b"", False), (b"PK\3\4x", False)):
        (run / "1.2").write_bytes(pack(data))
        assert checkpoint.is_own(run / "1.2") is expected
