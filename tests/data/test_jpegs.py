"""simplejpeg decodes what Pillow would decode to the same bits, and leaves the rest to Pillow."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_files import encoded
from PIL import Image

from convnet.data import decoding, jpegs
from convnet.data.batches import write_file
from convnet.data.decoding import read_square
from convnet.data.pictures import Pictures
from convnet.data.provider import Request
from convnet.errors import DataError

simplejpeg = pytest.importorskip("simplejpeg")


def noise(height, width, mode="RGB", seed=0):
    """Coarse and fine noise, so that all frequencies of a block are there."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, 256, (-(-height // 8), -(-width // 8), 3)).repeat(8, 0).repeat(8, 1)[:height, :width]
    fine = random.randint(-40, 40, (height, width, 3))
    return Image.fromarray(np.clip(coarse + fine, 0, 255).astype(np.uint8)).convert(mode)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def other_samples(kind):
    return simplejpeg.encode_jpeg(np.asarray(noise(64, 64)), 80, colorsubsampling=kind)


# What is decoded by simplejpeg, of side 64; then what is not.
OURS = {
    **{
        f"4:{name} at {quality}": encoded(noise(64, 64), "JPEG", subsampling=subsampling, quality=quality)
        for subsampling, name in enumerate(("4:4", "2:2", "2:0"))
        for quality in (20, 75, 100)
    },
    "grey": encoded(noise(64, 64, "L"), "JPEG", quality=90),
    "wide": encoded(noise(64, 99), "JPEG"),
    "tall": encoded(noise(131, 64), "JPEG"),
    "wide and grey": encoded(noise(64, 77, "L"), "JPEG"),
    "RGB as it is": encoded(noise(64, 64), "JPEG", keep_rgb=True),
    "restarts": encoded(noise(64, 64), "JPEG", restart_marker_blocks=3),
    "optimised": encoded(noise(64, 64), "JPEG", optimize=True),
    "upright by EXIF": encoded(noise(64, 64), "JPEG", exif=turned(1)),
    "4:4:0": other_samples("440"),
    "4:1:1": other_samples("411"),
}
OTHERS = {
    "progressive": encoded(noise(64, 64), "JPEG", progressive=True),
    "progressive and grey": encoded(noise(64, 64, "L"), "JPEG", progressive=True),
    "CMYK": encoded(noise(64, 64, "CMYK"), "JPEG"),
    "to be scaled": encoded(noise(70, 80), "JPEG"),
    "shrunk by the decoder": encoded(noise(256, 256), "JPEG"),
    **{f"turned {n}": encoded(noise(64, 80), "JPEG", exif=turned(n)) for n in range(2, 9)},
    "cut short": encoded(noise(64, 64), "JPEG", quality=95)[:3000],
    "without an end": encoded(noise(64, 64), "JPEG")[:-2],
    "no picture": b"\xff\xd8\xff\xe0nothing",
    "PNG": encoded(noise(64, 64), "PNG"),
}
KINDS = OURS | OTHERS


@pytest.fixture
def calls(monkeypatch):
    """The pixels that simplejpeg made, one picture after another."""
    found, decode = [], jpegs.decode_jpeg

    def noted(*args):
        found.append(decode(*args))
        return found[-1]

    monkeypatch.setattr(decoding, "decode_jpeg", noted)
    return found


def outcome(data, **options):
    """The pixels, or what is wrong."""
    try:
        return read_square(io.BytesIO(data), 64, **options).copy()
    except DataError as error:
        return str(error)


def by_pillow(data, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "decode_jpeg", lambda *_: None)
        return outcome(data, **options)


def assert_same(data, **options):
    ours, theirs = outcome(data, **options), by_pillow(data, **options)
    assert type(ours) is type(theirs)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "options", [{}, {"mode": "L"}, {"offset": 0.3}, {"upright": False}, {"smooth": True}, {"canvas": 9}]
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits(kind, options):
    assert_same(KINDS[kind], **options)


@pytest.mark.parametrize("kind", KINDS)
def test_who_decodes(kind, calls):
    outcome(KINDS[kind], mode="L" if "grey" in kind else "RGB")
    assert any(pixels is not None for pixels in calls) == (kind in OURS)


@given(st.sampled_from(sorted(OURS)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), st.floats(0, 1))
def test_damaged_files_come_out_as_with_pillow(kind, changes, length):
    data = bytearray(OURS[kind])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    for damaged in (bytes(data), bytes(data[: int(length * len(data))])):
        assert_same(damaged)


def test_a_file_of_two_sizes_is_left_to_pillow(calls):
    """The decoder would make pixels of another size than that which was checked."""
    data = OURS["4:4:4 at 75"]
    frame = data.index(b"\xff\xc0")
    other = bytearray(data[frame : frame + 19])
    other[5:9] = b"\x7f\xff\x00\x40"
    assert_same(data[:frame] + bytes(other) + data[frame:])
    assert calls == [None]


def test_room_is_used(calls):
    room = np.zeros((64, 64, 3), np.uint8)
    pixels = read_square(io.BytesIO(OURS["4:2:0 at 75"]), 64, 0.5, room)
    assert np.shares_memory(pixels, room) and calls[0] is not None
    np.testing.assert_array_equal(room, by_pillow(OURS["4:2:0 at 75"]))
    assert not np.shares_memory(read_square(io.BytesIO(OURS["wide"]), 64, 0.5, room), room)


@pytest.fixture
def asked_anew():
    """Whether simplejpeg agrees with Pillow is asked once in a process."""
    jpegs._simplejpeg.cache_clear(), jpegs.is_used.cache_clear()
    yield
    jpegs._simplejpeg.cache_clear(), jpegs.is_used.cache_clear()


def test_a_library_that_differs_is_not_used(monkeypatch, asked_anew):
    def brighter(*args, **options):
        return simplejpeg.decode_jpeg(*args, **options) | 1

    other = SimpleNamespace(decode_jpeg=brighter, decode_jpeg_header=simplejpeg.decode_jpeg_header)
    monkeypatch.setitem(sys.modules, "simplejpeg", other)
    assert not jpegs.is_used()
    assert_same(OURS["4:2:0 at 75"])


def test_without_simplejpeg(monkeypatch, asked_anew):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert not jpegs.is_used()
    assert_same(OURS["4:2:0 at 75"])


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("channels", [3, 1])
def test_batches_are_the_same_with_and_without(tmp_path, monkeypatch, channels, threads):
    """Pictures of every kind, damaged ones among them, which are left out at their places."""
    mean = np.zeros((channels * 64**2, 1), np.float32)
    meta = {"num_vis": mean.size, "num_colors": channels, "label_names": [*KINDS], "data_mean": mean}
    write_file(tmp_path / "batches.meta", meta)
    write_file(tmp_path / "data_batch_1", {"data": [*KINDS.values()], "labels": [[i] for i in range(len(KINDS))]})
    found = []
    for decode in (jpegs.decode_jpeg, lambda *_: None):
        monkeypatch.setattr(decoding, "decode_jpeg", decode)
        provider = Pictures(Request(str(tmp_path), training=True, threads=threads))
        batch = provider.batch(1, 1)
        found.append((batch.pixels, batch.labels[0], provider.problems))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]
    left = [i for i, kind in enumerate(KINDS) if not isinstance(by_pillow(KINDS[kind]), str)]
    assert found[0][1][0].tolist() == left and 0 < len(left) < len(KINDS)
    for i in (0, len(left) - 1):
        kind = [*KINDS][left[i]]
        offset = Request(training=True).random(1, 1).random(len(KINDS))[left[i]]
        expected = by_pillow(KINDS[kind], mode="L" if channels == 1 else "RGB", offset=offset)
        np.testing.assert_array_equal(found[0][0][i].squeeze(), expected)
