# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Packs pictures into the net's layout: bytes (N, H, W, C) to floats (C, S, S, N), cropped, mirrored, normalised.

    out[c, y, x, n] = (pixels[n, top_n + y, left_n + x', c] - mean[c, y, x] + shift[n, c]) * gain

with x' = S-1-x where picture n is mirrored. Threads share the rows y: one row of all pictures fits the cache, and
writes run along the cases.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t


def pack(
    const uint8_t[:, :, :, :] pixels,  # IN, any strides
    const int64_t[::1] tops,           # IN
    const int64_t[::1] lefts,          # IN
    const uint8_t[::1] flips,          # IN
    const float[:, :, ::1] mean,       # IN
    const float[:, ::1] shifts,        # IN
    float gain,
    float[:, :, :, ::1] out,           # OUT
    int threads,
):
    cdef Py_ssize_t C = out.shape[0], S = out.shape[1], N = out.shape[3]
    cdef Py_ssize_t c, y, x, n, at
    for n in range(N):
        if tops[n] < 0 or lefts[n] < 0 or tops[n] + S > pixels.shape[1] or lefts[n] + S > pixels.shape[2]:
            raise ValueError(f"crop {tops[n]}, {lefts[n]} of side {S} leaves a picture of {pixels.shape[1]}x{pixels.shape[2]}")
    if pixels.shape[0] < N or pixels.shape[3] < C or mean.shape[0] != C or mean.shape[1] != S or shifts.shape[0] < N:
        raise ValueError("pictures, mean and output do not fit each other")
    for y in prange(S, nogil=True, schedule="static", num_threads=threads):
        for c in range(C):
            for x in range(S):
                for n in range(N):
                    at = S - 1 - x if flips[n] else x
                    out[c, y, x, n] = (
                        pixels[n, tops[n] + y, lefts[n] + at, c] - mean[c, y, x] + shifts[n, c]
                    ) * gain
