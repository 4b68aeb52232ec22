// SPDX-License-Identifier: MIT
// Tone mapping of gamma 2.4 signals; launched by tone_mapping.py, specified by ../reference/tone_mapping.py.
//
// A thread maps 16 pixels: 16-byte loads and stores, one table entry a pixel.
#include "curve.cuh"

constexpr int PIXELS = 16;
constexpr int LEVEL_BITS = 12;  // these three held against tone_curves.py by a test
constexpr int FACTOR_BITS = 24;
constexpr int WEIGHT_BITS = 16;

struct Tones {
    const int* entries;  // level and factor of each Y'
    const u32* light;
    Curve curve;
    int red, green, blue;
    bool of_light;
    int red_pull;

    __device__ __forceinline__ int index_of(int r, int g, int b) const {
        const long long half = 1LL << (WEIGHT_BITS - 1);
        if (!of_light) return int(((long long)red * r + (long long)green * g + (long long)blue * b + half) >> WEIGHT_BITS);
        const long long sum = (long long)red * light[r] + (long long)green * light[g] + (long long)blue * light[b];
        return curve.code_of((sum + half) >> WEIGHT_BITS);
    }

    __device__ __forceinline__ void map(u16& r, u16& g, u16& b) const {
        const int index = index_of(r, g, b);
        const long long level = entries[2 * index], factor = entries[2 * index + 1];
        const long long up = factor * (int(r) - index);
        const long long pull = ((up > 0 ? up : 0) * red_pull) >> 16;
        const long long base = (level << (FACTOR_BITS - LEVEL_BITS)) - pull + (1LL << (FACTOR_BITS - 1));
        r = mapped(base, factor, int(r) - index);
        g = mapped(base, factor, int(g) - index);
        b = mapped(base, factor, int(b) - index);
    }

    static __device__ __forceinline__ u16 mapped(long long base, long long factor, int distance) {
        return u16(clipped((base + factor * distance) >> FACTOR_BITS, 0LL, 65535LL));
    }
};

// Source and result may be the same memory: a thread reads all of its pixels before it writes one.
extern "C" __global__ void map_tones(const u16* rgb, u16* out, const int* entries, const u32* light, const u32* thresholds,
                                     const u16* first, int steps, int red, int green, int blue, int of_light, int red_pull,
                                     long long plane, int interleaved, int aligned, int aligned_out) {
    const Tones tones = {entries, light, {thresholds, first, steps}, red, green, blue, of_light != 0, red_pull};
    const long long start = unit() * PIXELS;
    if (start >= plane) return;
    const int count = int(plane - start < PIXELS ? plane - start : PIXELS);
    const long long picture = 3 * plane * blockIdx.z;
    if (interleaved) {
        Pack<u16, 3 * PIXELS> pack;
        load_pack(pack, rgb + picture + 3 * start, 3 * count, aligned != 0);
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) tones.map(pack.samples[3 * i], pack.samples[3 * i + 1], pack.samples[3 * i + 2]);
        store_pack(pack, out + picture + 3 * start, 3 * count, aligned_out != 0);
    } else {
        Pack<u16, PIXELS> pack[3];
#pragma unroll
        for (int row = 0; row < 3; ++row) load_pack(pack[row], rgb + picture + row * plane + start, count, aligned != 0);
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) tones.map(pack[0].samples[i], pack[1].samples[i], pack[2].samples[i]);
#pragma unroll
        for (int row = 0; row < 3; ++row)
            store_pack(pack[row], out + picture + row * plane + start, count, aligned_out != 0);
    }
}
EXPORT(map_tones)
