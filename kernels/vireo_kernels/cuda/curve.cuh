// SPDX-License-Identifier: MIT
// Light to its code by table: what transfer.cu and tone_mapping.cu share.
#pragma once
#include "vector.cuh"

constexpr int MANTISSA_BITS = 12;  // held against curves.py by a test

struct Curve {
    const u32* thresholds;
    const u16* first;
    int steps;

    // The code of a light: that of its bucket's beginning, and one more for each further code that begins below it.
    // Not inlined: there are 96 calls, and the tables' latency hides the call.
    __device__ __noinline__ u16 code_of(long long value) const {
        const u32 light = u32(value);
        const int shift = max(31 - MANTISSA_BITS - leading_zeros(light), 0);
        int code = first[(shift << MANTISSA_BITS) + (light >> shift)];
        for (int i = 0; i < steps; ++i) code += thresholds[code + 1] <= light;
        return u16(code);
    }
};
