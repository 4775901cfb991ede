"""``docs/seeing.md``: what it says is typed works, and makes its pictures.

python tests/test_seeing.py [FOLDER]     types all of it in FOLDER, or a new one, and takes its pictures into docs/seeing

The tests type the same with a smaller demonstration set, and leave out what a browser takes pictures of.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support import ROOT

from convnet import cli
from convnet.data import demo

PICTURES = ROOT / "docs/seeing"
PAGE = (ROOT / "docs/seeing.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"\]\(seeing/([^)]+)\)", PAGE)
TYPED = re.findall(r"^ {4}((?:convnet(?! watch)|cp|sed|timeout|sleep|wait;) .*)$", PAGE, re.MULTILINE)
MOST, MOST_EACH = 1_200_000, 150_000  # bytes of all pictures, and of a PNG


def test_each_picture_is_made_by_a_command():
    made = re.findall(r"--(?:out |screenshot=)(\S+\.(?:png|svg))", "\n".join(TYPED))
    assert sorted(made) == sorted(SHOWN) == sorted(path.name for path in PICTURES.iterdir())
    sizes = {path.name: path.stat().st_size for path in PICTURES.iterdir()}
    assert sum(sizes.values()) <= MOST
    assert [name for name, size in sizes.items() if name.endswith(".png") and size > MOST_EACH] == []


def test_the_page_is_one_that_is_read():
    assert len(PAGE.splitlines()) <= 250


@pytest.mark.slow
def test_what_the_page_says_can_be_typed(tmp_path, monkeypatch):
    for library in ("sklearn", "matplotlib", "tensorboardX"):
        pytest.importorskip(library)
    monkeypatch.setattr(demo, "BATCH_CASES", 48)
    monkeypatch.setenv("CONVNET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("layers-cfg").symlink_to(ROOT / "layers-cfg")
    for line in TYPED:
        verb, *arguments = shlex.split(line, comments=True)
        if verb == "convnet":
            assert cli.main(arguments) == 0, line
        elif verb in ("cp", "sed"):
            subprocess.run([verb, *arguments], check=True)
    assert {name for name in SHOWN if not Path(name).is_file()} == {"live.png", "report.png"}
    assert Path("run.html").is_file()


def make_pictures(folder: Path) -> None:
    """Type what the page says in an empty ``folder``, and take its pictures into the docs."""
    (folder / "layers-cfg").symlink_to(ROOT / "layers-cfg")
    browser = shutil.which("chromium") or "chromium"
    for name, words in (
        ("convnet", [sys.executable, "-m", "convnet"]),
        ("chromium", [browser, "--no-sandbox", "--hide-scrollbars"]),
    ):
        shim = folder / "bin" / name
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        shim.chmod(0o755)
    script = ["set -ex", "PATH=$PWD/bin:$PATH", *TYPED, "wait"]
    subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    for name in SHOWN:
        shutil.copy(folder / name, PICTURES / name)


if __name__ == "__main__":
    make_pictures(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="seeing-")))
