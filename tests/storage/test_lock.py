"""One run at a time writes in a folder: who is kept out, who may take over, with the kernel's locks and without."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest
from support import ROOT

from convnet.checkpoint import CheckpointFolder
from convnet.errors import ConvnetError
from convnet.storage import lock
from convnet.storage.lock import NAME, STALE, TURN, FolderLock
from convnet.storage.owner import ROOT_NAMESPACE, Owner

HOLD = "import sys, time; from pathlib import Path; from convnet.storage.lock import FolderLock\n"
HOLD += "FolderLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"


@pytest.fixture(params=["kernel", "file"])
def kind(request, monkeypatch):
    """With the kernel's locks, and on a file system that has none."""
    if request.param == "file":
        monkeypatch.setattr(lock, "_lock", refuse_locks)
    return request.param


def refuse_locks(_descriptor):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def leave(folder, owner, age=0.0):
    """Write the lock of ``owner``, refreshed ``age`` seconds ago."""
    path = folder / NAME
    path.write_text(json.dumps(asdict(owner)) if isinstance(owner, Owner) else owner)
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))


ME = Owner.myself()
ELSEWHERE = replace(ME, host="other", boot="another", machine="foreign", token="theirs")
CONTAINER = replace(ME, host="box", namespace="pid:[1]", token="theirs")
DEAD = replace(ME, pid=2**22 + 1, token="theirs")  # more than Linux gives out
USED_AGAIN = replace(ME, start=ME.start + 1, token="theirs")


def test_the_second_is_refused_by_name(kind, tmp_path):
    first = FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(ConvnetError, match=f"in use \\(process {os.getpid()} on .*, since 2"):
        FolderLock(tmp_path).acquire()
    first.check()
    first.release()
    assert not list(tmp_path.iterdir())
    again = FolderLock(tmp_path)
    again.acquire()
    again.release()


def test_a_killed_owner_blocks_nobody(kind, tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConvnetError, match=f"process {holder.pid} on"):
        FolderLock(tmp_path).acquire()
    holder.kill()
    holder.communicate()
    assert Owner.read(tmp_path / NAME).pid == holder.pid
    mine = FolderLock(tmp_path)
    mine.acquire()
    assert Owner.read(tmp_path / NAME) == mine.me
    mine.release()


@pytest.mark.parametrize("owner", [DEAD, USED_AGAIN, replace(DEAD, pid=-1), replace(DEAD, pid=2**70)])
def test_owners_that_are_gone_are_told_apart(kind, owner, tmp_path):
    leave(tmp_path, owner)
    mine = FolderLock(tmp_path)
    mine.acquire()
    mine.check()
    mine.release()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("owner", [ELSEWHERE, CONTAINER, "", "[" * 3000, '{"pid": "x"}', "null"])
def test_owners_that_cannot_be_looked_up(kind, owner, tmp_path):
    """They are believed while they give signs of life; with the kernel's lock, of those on this machine nothing is left."""
    mine = FolderLock(tmp_path)
    leave(tmp_path, owner, age=100)
    if kind == "file" or owner is ELSEWHERE or owner == '{"pid": "x"}':
        with pytest.raises(
            ConvnetError, match=r"last refreshed 1\d\d seconds ago\); if that has ended, delete .*, or wait \d min"
        ):
            mine.acquire()
        assert [path.name for path in tmp_path.iterdir()] == [NAME]
        leave(tmp_path, owner, age=STALE + 1)
    mine.acquire()
    mine.check()
    mine.release()


def test_a_machine_that_was_started_again_is_known(kind, tmp_path):
    before = replace(ME, boot="before", namespace=ROOT_NAMESPACE, machine="m")
    assert before.is_gone(replace(before, boot="now"))
    assert before.is_gone(replace(before, boot="now", namespace="pid:[5]")) is None
    assert before.is_gone(replace(before, boot="now", machine="other")) is None
    assert replace(before, machine="").is_gone(replace(before, boot="now", machine="")) is None


def test_one_of_many_takes_over(kind, tmp_path):
    leave(tmp_path, DEAD)
    locks, held, start = [FolderLock(tmp_path) for _ in range(8)], [], threading.Barrier(8)

    def take(one):
        start.wait()
        try:
            one.acquire()
            held.append(one)
        except ConvnetError:
            pass

    threads = [threading.Thread(target=take, args=(one,)) for one in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    held[0].check()
    held[0].release()
    assert not list(tmp_path.iterdir())


def test_one_that_was_killed_while_it_took_over_blocks_nobody(monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "_lock", refuse_locks)
    leave(tmp_path, DEAD)
    (tmp_path / TURN).mkdir()
    long_ago = time.time() - STALE - 9
    os.utime(tmp_path / TURN, (long_ago, long_ago))
    mine = FolderLock(tmp_path)
    mine.acquire()
    mine.check()
    mine.release()
    assert not list(tmp_path.iterdir())


def test_who_lost_the_lock_writes_nothing(kind, tmp_path):
    """A process that slept for long, while another machine took over."""
    folder = CheckpointFolder(tmp_path / "run")
    folder.claim()
    folder.save({"model_state": {}}, 1, 1)
    leave(folder.path, ELSEWHERE)
    with pytest.raises(ConvnetError, match=r"no longer this process.s, process .* on other, since .* having taken it over"):
        folder.save({"model_state": {}}, 1, 2)
    folder.close()
    assert {path.name for path in folder.path.iterdir()} == {"1.1", NAME}  # theirs stays


def test_signs_of_life(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "REFRESH", 0.01)
    mine = FolderLock(tmp_path)
    mine.acquire()
    os.utime(mine.path, (0, 0))
    for _ in range(1000):
        if mine.path.stat().st_mtime > 0:
            break
        mine._ended.wait(0.01)
    assert mine.path.stat().st_mtime > 0
    mine.release()


def test_control_characters_of_a_foreign_lock_are_not_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_lock", refuse_locks)
    leave(tmp_path, replace(ELSEWHERE, host="a\033[31m\nb"))
    with pytest.raises(ConvnetError) as raised:
        FolderLock(tmp_path).acquire()
    assert "\033" not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("other")], ids=["pipe", "dir", "link"])
def test_a_lock_that_is_no_file(make, kind, tmp_path):
    """Neither waited for nor followed."""
    make(tmp_path / NAME)
    with pytest.raises((OSError, ConvnetError)):
        FolderLock(tmp_path).acquire()
    assert not (tmp_path / "other").exists()
