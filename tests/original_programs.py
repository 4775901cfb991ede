"""The programs of 2011, 2012 and 2014, unmodified: found, given a stand-in for their native module, and run.

``CONVNET_ORIGINALS`` names a folder with 2011/, 2012/ and 2014/, each as it was released, and ``CONVNET_PYTHON2`` the
command of a Python 2.7 with NumPy 1.16 and matplotlib (split as a shell does; else ``python2.7`` is tried). Where either is
missing, tests that are marked ``needs_originals`` are skipped. The stand-in computes nothing: it looks at what it is given
as the native module did, returns costs of the right number, and adds 1/8192 to every weight and bias for each batch that is
trained. Beside the originals' data providers there is ``matrices``, of random numbers; its path says how many rows each of
its matrices has, such as ``192,1,10``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from convnet import pickles

YEARS = ("2011", "2012", "2014")
STEP = 1 / 8192  # what a weight gains with each batch of the stand-in

# Python 2, as everything between here and the end of _FILES.
_NATIVE = r"""
import numpy as n

COSTS = {'cost.logreg': 3, 'cost.crossent': 2, 'cost.bce': 3, 'cost.msm': 3}  # values
layers, mini, costs, trained, writing = [], 0, None, 0, None

def as_native(where, value, seen):
    # What PyString and PyArray calls would have read as garbage.
    if id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, dict):
        for key in value:
            assert type(key) is str, '%s: key %r is no str' % (where, key)
            as_native('%s[%r]' % (where, key), value[key], seen)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            as_native('%s[%d]' % (where, i), item, seen)
    elif isinstance(value, n.ndarray):
        assert value.dtype == n.single and value.ndim == 2 and value.flags.writeable, '%s: %s' % (where, value.dtype)
    else:
        assert type(value) in (str, int, float, bool, type(None)), '%s is a %s' % (where, type(value))

def initModel(layers_, *rest):
    global layers, mini
    layers = layers_.values() if isinstance(layers_, dict) else layers_
    assert layers and all(type(l) is dict for l in layers), 'layers'
    mini = [v for v in rest if type(v) is int][0]
    for l in layers:
        as_native(l['name'], l, {})
        assert all(any(other is l2 for l2 in layers) for other in l.get('inputLayers', [])), '%s: inputLayers' % l['name']
    return 0

def begin(data, test):
    global costs, trained
    cases = data[0].shape[1]
    for l in layers:
        if l['type'] == 'data':
            matrix, end = data[l['dataIdx']], l.get('end', l.get('start', 0) + l['outputs'])
            assert matrix.dtype == n.single and matrix.shape[1] == cases, '%s: %s' % (l['name'], matrix.shape)
            assert end <= matrix.shape[0], '%s: %d of %d rows' % (l['name'], end, matrix.shape[0])
    found = [l for l in layers if l['type'].startswith('cost.')]
    counts = dict((l['name'], COSTS.get(l['type'], 1)) for l in found)
    counts.update((l['name'], 2 + 3 * l['numInputs'][1]) for l in found if l['type'] == 'cost.dce')
    costs = dict((name, [0.25 * cases] * count) for name, count in sorted(counts.items())), cases
    trained += not test
    return 0

def startBatch(data, *rest):
    return begin(data, rest[-1])

def startMultiviewTest(data, views, *rest):
    return begin(data, True)

def startFeatureWriter(data, *rest):
    for features in (rest[0] if type(rest[0]) is list else data[-1:]):
        features[:] = 1. / features.shape[1]
    return begin(data if type(rest[0]) is list else data[:-1], True)

def checkGradients(data):
    return begin(data, True)

def finishBatch():
    return costs

def syncWithHost():
    global trained
    done = {}
    for l in layers:
        for array in list(l.get('weights', [])) + [l[key] for key in ('biases',) if key in l]:
            if id(array) not in done:
                array += trained / 8192.
            done[id(array)] = array
    trained = 0
"""
_UTIL_2012 = r"""
import imp, os
util = imp.load_source('util_2011', os.path.join(os.environ['YEAR_2011'], 'util.py'))
globals().update((k, v) for k, v in vars(util).items() if not k.startswith('__'))

def is_kepler_machine():
    return False
"""
_MAGIC = r"""
MAGIC_NONE = 0
_open = open

class Magic(object):
    def load(self):
        pass

    def file(self, name):
        start = _open(name, 'rb').read(2)
        return {'PK': 'Zip archive data', '\x1f\x8b': 'gzip compressed data'}.get(start, 'data')

def open(flags):
    return Magic()
"""
_START = r"""
import os, runpy, sys
import numpy as n
sys.path[:1] = [p for p in os.environ['ORIGINAL_PATH'].split(os.pathsep)]
sys.argv = sys.argv[1:]
if os.environ['YEAR'] == '2012':
    import gpumodel
    gpumodel.IGPUModel.device_cpus = [0]
if os.environ['YEAR'] == '2014':
    from python_util import data
else:
    import data

class Matrices(object):
    # Three batches of random numbers, the labels in matrix 1, for whatever net.
    num_views = 1
    batch_meta = {'label_names': ['class %d' % i for i in range(10)], 'all_wnids': {'gproot': 12}}
    batch_meta['tree'] = [[] for i in range(10)] + [range(5), range(5, 10), [10, 11]]  # of 2012's tree-fc
    batch_meta['batch_size'] = 12

    def __init__(self, data_dir, batch_range, init_epoch=1, init_batchnum=None, dp_params=None, test=False):
        self.rows = [int(rows) for rows in data_dir.split(',')]
        self.batches, self.epoch = batch_range, init_epoch
        self.number = batch_range[0] if init_batchnum is None else init_batchnum

    def advance_batch(self):
        at = self.batches.index(self.number) + 1 if self.number in self.batches else 0
        self.epoch, self.number = self.epoch + at / len(self.batches), self.batches[at % len(self.batches)]

    def get_next_batch(self):
        here = self.epoch, self.number
        self.advance_batch()
        drawn = [n.require(n.random.rand(rows, 12), n.single, 'C') for rows in self.rows]
        drawn[1:2] = [n.require(n.random.randint(0, 10, (rows, 12)), n.single, 'C') for rows in self.rows[1:2]]
        return here[0], here[1], drawn

    def get_data_dims(self, idx=0):
        return self.rows[idx]

    def get_num_classes(self):
        return 10

data.DataProvider.register_data_provider('matrices', 'random numbers', Matrices)
try:
    runpy.run_path(os.path.join(os.environ['ORIGINAL'], sys.argv[0]), run_name='__main__')
finally:
    if 'matplotlib.pyplot' in sys.modules:
        from matplotlib import pyplot
        for number in pyplot.get_fignums():
            pyplot.figure(number).savefig('figure-%d.png' % number)
"""
_PARSE = r"""
import cPickle, os, sys
sys.path[:1] = os.environ['ORIGINAL_PATH'].split(os.pathsep)
import layer
definition, params, dims, classes, gpus, out = sys.argv[1:7]
dims = dict((int(k), int(v)) for k, v in (pair.split(':') for pair in dims.split(',')))

class Provider(object):
    batch_meta = {'label_names': ['%d' % i for i in range(int(classes))], 'all_wnids': {'gproot': int(classes)}}
    batch_meta['tree'] = [[] for _ in range(int(classes))] + [range(int(classes))]  # of 2012's tree-fc

    def get_data_dims(self, idx=0):
        return dims[idx]

    def get_num_classes(self):
        return int(classes)

class Options(object):
    def get_value(self, name):
        return {'gpu': range(int(gpus)), 'num_gpus': int(gpus), 'conserve_mem': 0}[name]

class Model(object):
    op, train_data_provider, test_data_provider = Options(), Provider(), Provider()

layers = layer.LayerParser.parse_layers(definition, params, Model())
cPickle.dump(layers, open(out, 'wb'), cPickle.HIGHEST_PROTOCOL)
"""
_FILES = {
    "_ConvNet.py": _NATIVE,
    "_convnet.py": _NATIVE,
    "cudaconvnet/__init__.py": "",
    "cudaconvnet/_ConvNet.py": _NATIVE,
    "Image.py": "",
    "PIL/__init__.py": "",
    "PIL/Image.py": "",
    "start.py": _START,
    "parse.py": _PARSE,
}
_OF_YEAR = {"2011": {"magic.py": _MAGIC}, "2012": {"magic.py": _MAGIC, "util.py": _UTIL_2012}, "2014": {}}


@cache
def python2() -> list[str]:
    """The command of a Python 2.7 with what the originals need; empty where there is none."""
    command = shlex.split(os.environ.get("CONVNET_PYTHON2", "python2.7"))
    try:
        found = subprocess.run([*command, "-c", "import numpy, matplotlib; print 7"], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return command if found.stdout == b"7\n" else []


def folder_of(year: str) -> Path:
    """The folder of a year's programs."""
    return Path(os.environ["CONVNET_ORIGINALS"], year)


def why_not() -> str:
    """Why the originals cannot be run; empty where they can."""
    if not os.environ.get("CONVNET_ORIGINALS") or not all(folder_of(year).is_dir() for year in YEARS):
        return "CONVNET_ORIGINALS names no folder with the programs of 2011, 2012 and 2014"
    return "" if python2() else "CONVNET_PYTHON2 names no Python 2.7 with NumPy and matplotlib"


needs_originals = pytest.mark.skipif(bool(why_not()), reason=why_not())


@dataclass(frozen=True)
class Outcome:
    """What a program of the originals did: its exit status, and all that it printed."""

    status: int
    output: str


def run_original(year: str, script: str, *arguments: object, folder: Path) -> Outcome:
    """Run ``convnet.py`` or ``shownet.py`` of a year in ``folder``, where its figures are left as figure-N.png."""
    return _python(year, "start.py", script, *arguments, folder=folder)


def checkpoint_of(folder: Path) -> Path:
    """The newest checkpoint that an original left below ``folder``."""
    return max((path for path in folder.rglob("*.*") if path.name.replace(".", "").isdigit()), key=os.path.getmtime)


def original_layers(
    year: str, definition: Path, params: Path, dims: dict[int, int], classes: int, folder: Path, gpus: int = 1
) -> Any:
    """The layer dicts that a year's parser makes of layer files: a list in 2011, else a dict by names."""
    out, sizes = folder / f"layers-{year}.pickle", ",".join(f"{i}:{rows}" for i, rows in dims.items())
    found = _python(year, "parse.py", definition, params, sizes, classes, gpus, out, folder=folder)
    assert found.status == 0 and out.is_file(), found.output
    return pickles.load(out)


def _python(year: str, script: str, *arguments: object, folder: Path) -> Outcome:
    beside = folder / f"stand-in-{year}"
    for name, text in (_FILES | _OF_YEAR[year]).items():
        (beside / name).parent.mkdir(parents=True, exist_ok=True)
        (beside / name).write_text(text)
    original, first = folder_of(year), folder_of("2011")
    path = [beside, original, *([first] if year == "2012" else [])]
    variables = {"ORIGINAL": original, "ORIGINAL_PATH": os.pathsep.join(map(str, path)), "YEAR": year, "YEAR_2011": first}
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    environment |= {"MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)}
    environment.pop("PYTHONPATH", None)
    command = [*python2(), str(beside / script), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120
    )
    return Outcome(done.returncode, done.stdout.decode("utf-8", "replace"))
