"""Numbers with units: what each spelling means, and what is said of others."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnet.errors import OptionError
from convnet.planning.quantities import FLOPS, RATE, TIME


@pytest.mark.parametrize(
    "quantity, text, value",
    [
        (FLOPS, "67TF", 67e12),
        (FLOPS, "3.52 TFLOP/s", 3.52e12),
        (FLOPS, "552 GFLOPS", 552e9),
        (FLOPS, "1e3GF", 1e12),
        (RATE, "25GB/s", 25e9),
        (RATE, "25G", 25e9),
        (RATE, "100Gb", 12.5e9),
        (RATE, "100 Gbit/s", 12.5e9),
        (RATE, "10Gbps", 1.25e9),
        (RATE, "2 GiB/s", 2 * 2**30),
        (RATE, " 3.35 TB/s ", 3.35e12),
        (RATE, ".5kB", 500),
        (TIME, "5us", 5e-6),
        (TIME, "5 µs", 5e-6),
        (TIME, "5 μs", 5e-6),
        (TIME, "0.5ms", 5e-4),
        (TIME, "0", 0),
        (TIME, "2e-6 s", 2e-6),
    ],
)
def test_units(quantity, text, value):
    assert quantity.read("--x", text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "quantity, text, said",
    [
        (RATE, "fast", "--x: 'fast' is not bytes a second, such as 25GB/s"),
        (RATE, "25gb/s", "--x 25gb/s: 'gb/s' is no unit of bytes a second, such as 25GB/s; did you mean 'GB/s'?"),
        (RATE, "25 TF", "--x 25 TF: 'TF' is no unit of bytes a second, such as 25GB/s"),
        (RATE, "0GB/s", "--x: 0GB/s is out of the range of bytes a second"),
        (RATE, "1e400GB/s", "--x: 1e400GB/s is out of the range of bytes a second"),
        (RATE, "25", "--x: 25 has no unit; expected bytes a second, such as 25GB/s"),
        (TIME, "5", "--x: 5 has no unit; expected a time, such as 5us"),
        (FLOPS, "67TFLP", "--x 67TFLP: 'TFLP' is no unit of operations a second, such as 67TF; did you mean 'TFLOP/s'?"),
        (TIME, "-5us", "--x: '-5us' is not a time, such as 5us"),
        (TIME, "5uss", "--x 5uss: 'uss' is no unit of a time, such as 5us; did you mean 'us'?"),
    ],
)
def test_others_are_refused(quantity, text, said):
    with pytest.raises(OptionError) as caught:
        quantity.read("--x", text)
    assert str(caught.value) == said


@given(st.text())
def test_any_text_is_a_number_or_an_error(text):
    for quantity in (FLOPS, RATE, TIME):
        with suppress(OptionError):
            assert quantity.read("--x", text) >= 0
