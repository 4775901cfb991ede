"""Files of lines: whole whatever happens."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convnet.storage import GrowingFile, growing


@settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(st.binary(max_size=12), max_size=6), st.integers(1, 9))
def test_a_half_line_is_cut_off_and_the_rest_stays(tmp_path, monkeypatch, pieces, block):
    monkeypatch.setattr(growing, "_BLOCK", block)
    path, before = tmp_path / "lines", b"\n".join(pieces)
    path.write_bytes(before)
    file = GrowingFile(path)
    file.append("new", durable=True)
    file.append("newer")
    file.close()
    assert path.read_bytes() == before[: before.rfind(b"\n") + 1] + b"new\nnewer\n"


def test_a_line_that_a_full_disk_took_a_part_of(tmp_path, monkeypatch):
    file, write = GrowingFile(tmp_path / "lines"), os.write
    file.append("one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
        with pytest.raises(OSError) as raised:
            file.append("two")
    assert raised.value.errno == errno.ENOSPC and (tmp_path / "lines").read_bytes() == b"one\n"
    file.append("three")
    assert (tmp_path / "lines").read_bytes() == b"one\nthree\n"
    file.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_what_is_no_file(tmp_path):
    (tmp_path / "lines").symlink_to("/dev/full")
    with pytest.raises(OSError):
        GrowingFile(tmp_path / "lines").append("one")
    with pytest.raises(OSError):
        GrowingFile(tmp_path).append("one")
