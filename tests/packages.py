"""What a source distribution and a wheel hold: ``python tests/packages.py DIST``, a folder with one of each.

``.ci/run`` calls it with what it has built, then installs both outside the checkout.
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_SENT = re.compile(r"\.(ci/.*|gitignore|pre-commit-config\.yaml)")  # for work on the checkout
BUILT = re.compile(r"(PKG-INFO|setup\.cfg|convnet\.egg-info/.*)")  # by setuptools
RUNS = re.compile(
    r"convnet/(.*\.py|py\.typed|pages/.*\.(css|js)|cuda/\w+\.cuh?|layers_cfg/[\w-]+\.(cfg|toml)|backends/cpu/_kernels\.[\w.-]+\.so)"
)
FOLDERS = {"cuda": "convnet/cuda", "layers-cfg": "convnet/layers_cfg"}  # in the checkout, in a wheel


def tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split("\n")) - {""}


def check_sdist(path: Path) -> None:
    """It holds what the checkout does: all that builds, explains and tests."""
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    sources = {name for name in tracked() if not NOT_SENT.fullmatch(name)}
    assert sources <= names, f"not in {path.name}: {sorted(sources - names)}"
    assert not {name for name in names - sources if not BUILT.fullmatch(name)}, f"too much in {path.name}: {names - sources}"


def check_wheel(path: Path) -> None:
    """It holds what runs, with its licences, and nothing else."""
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        (metadata,) = (archive.read(name) for name in names if name.endswith(".dist-info/METADATA"))
    product = {name for name in names if ".dist-info/" not in name}
    assert not {name for name in product if not RUNS.fullmatch(name)}, f"too much in {path.name}"
    kinds = (".py", "py.typed", ".css", ".js")
    expected = {name for name in tracked() if name.startswith("convnet/") and name.endswith(kinds)}
    for folder, inside in FOLDERS.items():
        expected |= {name.replace(folder, inside, 1) for name in tracked() if name.startswith(f"{folder}/")}
    assert expected <= product, f"not in {path.name}: {sorted(expected - product)}"
    assert {name.rpartition("/")[2] for name in names - product} >= {"LICENSE", "NOTICE", "entry_points.txt"}
    fields = message_from_bytes(metadata)
    assert fields["License-Expression"] == "BSD-2-Clause" and "Typing :: Typed" in fields.get_all("Classifier")
    check_page(fields.get_payload())


def check_page(text: str) -> None:
    """Whoever reads it on an index can follow its links and see its pictures."""
    assert text.startswith("# convnet")
    assert not re.findall(r"\]\((?!https?:|#)", text), "relative links in the description"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    check_sdist(source)
    check_wheel(wheel)
    print(f"{source.name} and {wheel.name} hold what they should")
