"""Small files that cost much, each refused by name within the memory and time that its size allows."""

import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from convnet import pickles
from convnet.pickles import LegacyObject, UnsafePickle, loads

HEAD = b"\x80\x02"
ARRAY_OF_TEXT = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(J%btcnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89h\x01tb"
)
CODECS = b"c_codecs\nencode\n"


def long_text(size):
    return b"T" + struct.pack("<i", size) + b"a" * size


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


MEMORY, SHARED = "takes more than", "lists that are there again and again"
OBJECTS = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x01tcnumpy\ndtype\n(U\x02O8K\x00K\x01tR"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]%bh\x00%batb"
)
ATTACKS = {
    "arrays of arrays": (
        HEAD + b"N" + (b"q\x000" + OBJECTS % (b"", b"")) * 50_000 + b".",
        "arrays of objects within each other",
    ),
    "arrays of lists of arrays": (HEAD + b"N" + (b"q\x000" + OBJECTS % (b"]", b"a")) * 50_000 + b".", "nested too deeply"),
    "arrays of tuples of arrays": (
        HEAD + b"N" + (b"q\x000" + OBJECTS % (b"", b"\x85")) * 50_000 + b".",
        "nested too deeply",
    ),
    "a memo index of two billion": (HEAD + b"Nr\xff\xff\xff\x7f.", "a memo of 2,147,483,647 places"),
    "a memo index in text": (b"Np99999999999999999999\n.", "a memo of"),
    "a declared length": (HEAD + b"T\xff\xff\xff\x7fab.", "truncated: 2,147,483,647 bytes are announced"),
    "a negative length": (HEAD + b"T\xff\xff\xff\xffab.", "truncated"),
    "a length of 64 bits": (b"\x80\x05\x8e" + b"\xff" * 8 + b".", "truncated"),
    "a byte array of 64 bits": (b"\x80\x05\x96" + b"\x7f" * 8 + b".", "truncated"),
    "a whole number of 2 GiB": (HEAD + b"\x8b\xff\xff\xff\x7f.", "a whole number of 2,147,483,647 bytes"),
    "a whole number of many bytes": (HEAD + b"\x8b" + struct.pack("<i", 10**6) + b"a" * 10**6 + b".", "a whole number of"),
    "a whole number in decimals": (b"L" + b"9" * 10**6 + b"L\n.", "a line without end"),
    "a name without end": (b"c" + b"a" * 10**6 + b"\nb\n.", "a line without end"),
    "lists": (HEAD + b"]" * 1_500_000 + b".", MEMORY),
    "dictionaries": (HEAD + b"}" * 1_500_000 + b".", MEMORY),
    "dictionaries of one": (HEAD + b"}K\x00Ns" * 1_000_000 + b".", MEMORY),
    "lists in a list": (HEAD + b"]" + b"]Na" * 1_500_000 + b".", MEMORY),
    "sets": (b"\x80\x04" + b"\x8f" * 1_500_000 + b".", MEMORY),
    "tuples": (HEAD + b"N\x85" * 2_500_000 + b".", MEMORY),
    "marks": (HEAD + b"(" * 3_000_000 + b".", MEMORY),
    "a large memo": (b"\x80\x04N" + b"\x94" * 1_500_000 + b".", MEMORY),
    "one text in 400 arrays": (
        HEAD + b"(" + long_text(8 << 20) + b"q\x01" + ARRAY_OF_TEXT % struct.pack("<i", 8 << 20) * 400 + b"t.",
        MEMORY,
    ),
    "one text encoded 400 times": (
        HEAD + b"]" + long_text(8 << 20) + b"q\x010" + (CODECS + b"h\x01\x85Ra") * 400 + b".",
        MEMORY,
    ),
    "one tuple copied 400,000 times": (
        HEAD + b"((" + long_text(300) + b"N" * 100_000 + b"tq\x01]" + b"h\x01a" * 400_000 + b".",
        MEMORY,
    ),
    "one state for many objects": (
        HEAD
        + b"}("
        + b"".join(b"U\x06%06dN" % i for i in range(50_000))
        + b"uq\x01"
        + b"(ioptions\nOption\nh\x01b" * 999
        + b".",
        MEMORY,
    ),
    "tuples of themselves": (HEAD + b"N\x85" + b"2\x86" * 5000 + b".", "nested too deeply"),
    "nested lists": (HEAD + b"]" * 300_000 + b"a" * 299_999 + b".", "nested too deeply"),
    "nested lists, inside out": (HEAD + b"]q\x00" + b"]q\x01h\x00aq\x00" * 50_000 + b".", "nested too deeply"),
    "nested objects": (
        HEAD + b"Nq\x00" + b"(ioptions\nOption\n}U\x01ah\x00sbq\x00" * 1000 + b".",
        "nested too deeply",
    ),
    "one list for many arrays of objects": (
        (HEAD + b"](" + b"N" * 20_000 + b"eq\x05](" + OBJECTS.replace(b"]%bh\x00%ba", b"h\x05") * 3000 + b"e.").replace(
            b"(K\x01tc", b"(M\x20\x4etc"
        ),
        MEMORY,
    ),
    "a list of one list": (
        HEAD + b"](" + b"K\x01" * 20_000 + b"eq\x01](" + b"h\x01" * 20_000 + b"e.",
        SHARED,
    ),
    "tuples of one dictionary of one list": (
        HEAD + b"](" + b"K\x01" * 20_000 + b"eq\x01}U\x01ah\x01sq\x02](" + b"h\x02K\x01\x86" * 20_000 + b"e.",
        SHARED,
    ),
    "a list of one array": (
        HEAD
        + b"T"
        + struct.pack("<i", 20_000)
        + b"\1" * 20_000
        + b"q\x01"
        + ARRAY_OF_TEXT % struct.pack("<i", 20_000)
        + b"q\x02]("
        + b"h\x02" * 20_000
        + b"e.",
        SHARED,
    ),
    "lists of two lists of two lists": (
        HEAD + b"]q\x00" + b"](" + b"h\x00" * 100 + b"eq\x00" + (b"](" + b"h\x00" * 100 + b"eq\x00") * 5 + b".",
        SHARED,
    ),
    "a name that is a long text": (
        b"\x80\x04U\x05numpy" + long_text(300) + b"\x93.",
        "otherwise than by a short text",
    ),
    "keys that collide": (
        HEAD
        + b"}("
        + b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N" for i in range(1, 50_000))
        + b"u.",
        "a number of more than 60 bits as its key",
    ),
    "many keys that are tuples": (
        HEAD + b"}(" + b"".join(b"M%bK\x02\x86N" % struct.pack("<H", i) for i in range(2000)) + b"u.",
        "keys of dictionaries that are nested, or more than",
    ),
    "a key that is a deep tuple": (HEAD + b"}N" + b"\x85" * 9000 + b"Ns.", "keys of dictionaries that are nested"),
    "a set of lists": (b"\x80\x04\x8f(]\x90.", "neither texts nor numbers"),
    "a dictionary as a key": (HEAD + b"}}Ns.", "neither texts nor numbers"),
    "ends of lines of Windows": (HEAD + b"\r\n" * 1_500_000, "no opcode"),
    "a frame that lies": (b"\x80\x04\x95" + b"\xff" * 8 + b"N", "not a readable pickle"),
    "methods of the reader's own class": (
        HEAD + b"coptions\nOptionsParser\n(N}U\x0c__setstate__" + CODECS + b"stb.",
        "it holds part of an array, or a name",
    ),
    "attributes for a class": (
        HEAD + b"coptions\nOptionsParser\n}U\x0c__setstate__Nsb.",
        "attributes for what is not an object",
    ),
    "attributes for a list": (HEAD + b"]}b.", "attributes for what is not an object"),
    "a state that is a list": (HEAD + b"(ioptions\nOption\n]b.", "attributes for what is not an object"),
    "an array built twice": (
        HEAD + b"U\x01aq\x010" + ARRAY_OF_TEXT[:-1] % struct.pack("<i", 1) + b"bNb.",
        "attributes for what is not an object",
    ),
    "an array that is never built": (
        HEAD + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR.",
        "part of an array",
    ),
    "a type of arrays": (HEAD + b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR.", "part of an array"),
    "a call with many arguments": (HEAD + CODECS + b"(" + b"U\x01a" * 100_000 + b"tR.", "another encoding"),
    "a call of a list": (HEAD + b"])R.", "a call of what cannot be called"),
    "a call of a class by NEWOBJ": (HEAD + b"cnumpy\nndarray\n)\x81.", "not one of the originals'"),
    "named arguments": (b"\x80\x04coptions\nOption\n)}\x92.", "named arguments"),
    "an extension": (HEAD + b"\x82\x01.", "an extension of the program"),
    "memory of another process": (b"\x80\x05\x97\x98.", "memory outside the file"),
    "a file of another folder": (b"P/etc/passwd\n.", "objects outside the file"),
    "characters that do not exist": (
        (HEAD + ARRAY_OF_TEXT % struct.pack("<i", 1)).replace(b"u1", b"U1").replace(b"h\x01tb", b"U\x04\xff\xff\xff\xfftb")
        + b".",
        "characters that do not exist",
    ),
    "a gzip of 1 GiB": (gzip.compress(bytes(1 << 20), 9) * 1024, "an archive of 1,0"),
    "a gzip of nothing but steps": (gzip.compress(HEAD + b"N0" * 30_000_000), MEMORY),
    "a gzip in a gzip": (gzip.compress(gzip.compress(HEAD + b"N.")), "not a readable pickle"),
    "a zip of 1 GiB": (zipped(("data", bytes(1 << 28))), "an archive of"),
    "a zip of many files": (zipped(*((str(i), b"") for i in range(2000))), "more than 1000 files"),
    "a zip packed with LZMA": (zipped(("data", b"N."), method=zipfile.ZIP_LZMA), "packed in another way"),
    "a zip without files": (b"PK\x03\x04" + zipped(), "an archive"),
    "a zip whose directory lies": (
        zipped(("data", b"N" * 100)).replace(struct.pack("<I", 100), b"\xff\xff\xff\x7f"),
        "not a readable pickle",
    ),
    "a zip whose contents are damaged": (
        zipped(("data", bytes(range(256)))).replace(b"\x00\x01\x02\x03", b"\xff" * 4),
        "archive",
    ),
}


def attacked(folder, names):
    """What a process says of attacks that may have no more than 512 MiB: (seconds, line) of each."""
    for i, name in enumerate(names):
        (folder / str(i)).write_bytes(ATTACKS[name][0])
    command = [sys.executable, "-c", ATTACKED, str(folder), str(len(names))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.partition(" ")[::2] for line in done.stdout.splitlines()]


ATTACKED = """
import resource, sys, time
from pathlib import Path
from convnet import pickles
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (512 << 20),) * 2)
for i in range(int(sys.argv[2])):
    started = time.process_time()
    try:
        print("read:", pickles.load(Path(sys.argv[1]) / str(i)))
    except pickles.UnsafePickle as error:
        print(f"{time.process_time() - started:.2f}", error)
"""


SMALL = [name for name, (data, _) in ATTACKS.items() if len(data) < 70_000 and "gzip of nothing" not in name]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux how much memory a process has")
@pytest.mark.parametrize(
    "names", [SMALL, pytest.param([n for n in ATTACKS if n not in SMALL], marks=pytest.mark.slow)], ids=["small", "large"]
)
def test_refused_by_name(names, tmp_path):
    for name, (seconds, said) in zip(names, attacked(tmp_path, names), strict=True):
        assert ATTACKS[name][1] in said, (name, said)
        assert float(seconds) < 5, name


def test_classes_stay_as_they_are():
    """What a file gives to an object is that object's alone."""
    data = pickle.dumps(None)  # any file in between
    first = loads(HEAD + b"(ioptions\nOption\n}U\x0c__setstate__Nsb.")
    second = loads(HEAD + b"(ioptions\nOption\n}U\x05valueK\x07sb.")
    assert vars(first) == {"__setstate__": None} and second.value == 7 and loads(data) is None
    assert set(vars(type(first))) <= {"__module__", "__doc__", "legacy_class"} and isinstance(first, LegacyObject)


def test_what_is_shared_stays_shared():
    """A long text, a tuple of arrays and a list that many places name are one object each."""
    text = "x" * 5000
    found = loads(pickle.dumps([text, text, {"a": [text]}], 2))
    assert found[0] is found[1] is found[2]["a"][0]
    label = [0]
    found = loads(pickle.dumps({"labels": [label] * 100_000, "sizes": [(4, 4)] * 100_000}, 2))
    assert found["labels"] == [label] * 100_000 and found["labels"][0] is found["labels"][99_999]
    cycle: list = []
    cycle.append(cycle)
    found = loads(pickle.dumps(cycle, 2))
    assert found[0] is found


@pytest.mark.parametrize("protocol", range(6))
def test_all_protocols_of_python(protocol):
    value = {
        "a": [1, -1, 300, 70000, 2**40, -(2**63), 1.5, True, None],
        "é": ("x" * 300, b"y" * 300, b"", "", ()),
        3: {1, 2},
    }
    value["array"] = [1] * 3
    assert loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_all_protocols(protocol):
    np = pytest.importorskip("numpy")
    arrays = [
        np.arange(600.0).reshape(20, 30),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array(["a", "bcd"]),
        np.array([True, False]),
        np.array([b"x", [1, 2], None], object),
        np.zeros((0, 3), np.float32),
    ]
    for array, found in zip(arrays, loads(pickle.dumps(arrays, protocol)), strict=True):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype and found.flags.writeable and found.shape == array.shape


def test_an_archive_of_zeros_that_a_batch_may_be(tmp_path):
    """A batch of one colour: 31 MB that become 30 kB."""
    file = io.BytesIO()
    pickles.dump({"data": b"\0" * 30_720_000}, file)
    assert len(loads(gzip.compress(file.getvalue()))["data"]) == 30_720_000
    assert len(loads(zipped(("data", file.getvalue())))["data"]) == 30_720_000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe(tmp_path):
    """It would be waited for, without end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafePickle, match="a device or a pipe"):
        pickles.load(tmp_path / "pipe")


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 5000)):
        with pytest.raises(UnsafePickle, match="cannot be read"):
            pickles.load(path)
