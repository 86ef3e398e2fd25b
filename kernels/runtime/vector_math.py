"""Elementwise functions that LLVM can vectorize: exp, tanh, the normal distribution, a hash.

`math.exp` and `math.erf` are calls of the C library, one element at a time. In float32 the functions here are sums and
products instead, 16 elements at a time; in float64, which only checks gradients, they are those of the C library.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from .compiling import kernel, ordered_kernel

f32 = np.float32
INV_SQRT2 = 1.0 / math.sqrt(2.0)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


@kernel
def _exp_f32(x):
    """e^x for float32: x = n ln 2 + r, so e^x = 2^n e^r, and e^r is a short series (Taylor, degree 6).

    The relative error is below 3e-7 for x from -87.3 to 88.3. Below this range the result is 0, above it infinite, a
    little before the true limits. The range reduction, with ln 2 in two parts, is Cody & Waite's (1980, Software Manual
    for the Elementary Functions), and its two constants are those of expf.c in Cephes (Moshier, 1992).
    """
    n = np.floor(x * f32(1.44269504) + f32(0.5))
    r = x - n * f32(0.693359375)  # the first part of ln 2 has few bits, so the product is exact
    r = r + n * f32(2.12194440e-4)
    series = f32(1 / 720)
    series = series * r + f32(1 / 120)
    series = series * r + f32(1 / 24)
    series = series * r + f32(1 / 6)
    series = series * r + f32(0.5)
    series = series * r + f32(1)
    series = series * r + f32(1)
    two_to_n = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(f32)  # n in the bits of the exponent
    y = series * two_to_n
    y = f32(0) if x < f32(-87.3) else y
    return f32(np.inf) if x > f32(88.3) else y  # NaN fails both tests and is still in the series


def exp(x):
    """e^x in the type of x."""
    return math.exp(x)


@overload(exp, inline="always")
def _exp_of_type(x):
    if x == types.float32:
        return lambda x: _exp_f32(x)
    return lambda x: math.exp(x)


@kernel
def _normal_f32(x):
    """(cdf, pdf) of the standard normal distribution in float32.

    For x >= 0, 1 - cdf(x) = exp(-x^2 / 2) P(s) with s = 0.314 x / (1 + 0.314 x): the form of Abramowitz & Stegun (1964,
    Handbook of Mathematical Functions), 7.1.26. The coefficients of P were fitted for this file (minimax, weighted by
    the exponential); the largest error is 1.2e-8. As x goes to zero, so do s and all terms but the first, and
    P(0) = 0.5 is exact: there is no jump where the two halves meet.
    """
    gaussian = _exp_f32(f32(-0.5) * x * x)
    size = abs(x) if abs(x) < f32(16) else f32(16)  # exp(-x^2 / 2) is 0 from 14 on; infinity / infinity would be NaN
    s = f32(0.314) * size / (f32(1) + f32(0.314) * size)
    series = f32(0.1366506399995392)
    series = series * s + f32(-0.13023010035810417)
    series = series * s + f32(-0.4933028665043423)
    series = series * s + f32(1.264995334530681)
    series = series * s + f32(-1.2705149886161526)
    series = series * s + f32(0.5)
    tail = gaussian * series
    return (f32(1) - tail if x > f32(0) else tail), gaussian * f32(INV_SQRT_2PI)


def normal(x):
    """(cdf, pdf) of the standard normal distribution at x, in the type of x."""
    return 0.5 * (1.0 + math.erf(x * INV_SQRT2)), math.exp(-0.5 * x * x) * INV_SQRT_2PI


@overload(normal, inline="always")
def _normal_of_type(x):
    if x == types.float32:
        return lambda x: _normal_f32(x)
    return lambda x: (0.5 * math.erfc(-x * INV_SQRT2), math.exp(-0.5 * x * x) * INV_SQRT_2PI)


@kernel
def _tanh_f32(x):
    """tanh for float32: the absolute error is below 2e-7, as GELU needs it; the relative error near zero is large."""
    e = _exp_f32(f32(-2) * abs(x))  # the exponent is not positive, so exp cannot overflow
    y = (f32(1) - e) / (f32(1) + e)
    return -y if x < f32(0) else y


def tanh(x):
    """The hyperbolic tangent in the type of x."""
    return math.tanh(x)


@overload(tanh, inline="always")
def _tanh_of_type(x):
    if x == types.float32:
        return lambda x: _tanh_f32(x)
    return lambda x: math.tanh(x)


@ordered_kernel
def add_four(total, x, y):
    """total + x[0] y[0] + x[1] y[1] + x[2] y[2] + x[3] y[3], in this order."""
    return total + x[0] * y[0] + x[1] * y[1] + x[2] * y[2] + x[3] * y[3]


@kernel
def four(row, k):
    """Four consecutive elements of a row."""
    return row[k], row[k + 1], row[k + 2], row[k + 3]


@kernel
def random_bits(key_low, key_high, index):
    """32 random bits for an index: two rounds of an integer hash, each after half of the key.

    The hash is lowbias32 (Wellons, 2018, Prospecting for Hash Functions). The bits do not depend on the order of the
    calls or on the thread, so a dropout mask need not be stored: backward computes it again. All three arguments are
    uint32; Numba widens uint32 arithmetic to 64 bits, hence the casts.
    """
    h = np.uint32(index ^ key_low)
    for key in (key_high, np.uint32(0)):
        h = np.uint32(h ^ (h >> np.uint32(16)))
        h = np.uint32(h * np.uint32(0x7FEB352D))
        h = np.uint32(h ^ (h >> np.uint32(15)))
        h = np.uint32(h * np.uint32(0x846CA68B))
        h = np.uint32(h ^ (h >> np.uint32(16)))
        h = np.uint32(h ^ key)
    return h
