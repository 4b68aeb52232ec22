// SPDX-License-Identifier: MIT
// Signal to light to signal; launched by transfer.py, specified by ../reference/transfer.py.
//
// A thread converts 16 pixels: 16-byte loads and stores, tables for both curves, 64-bit arithmetic for the matrix.
#include "curve.cuh"

constexpr int PIXELS = 16;
constexpr long long LIGHT_ONE = 1LL << 31;

struct Matrix {
    int m[3][3];
    int shift;

    __device__ __forceinline__ long long light(int row, u32 red, u32 green, u32 blue) const {
        long long sum = (long long)m[row][0] * red + (long long)m[row][1] * green + (long long)m[row][2] * blue;
        sum = (sum + (1LL << (shift - 1))) >> shift;
        return clipped(sum, 0LL, LIGHT_ONE);
    }
};

template <typename In>
__device__ __forceinline__ void convert(
    const In* rgb, u16* out, const u32* table, const Curve curve, const Matrix matrix, long long plane, bool interleaved,
    bool aligned, bool aligned_out) {
    const long long first = unit() * PIXELS;
    if (first >= plane) return;
    const int count = int(plane - first < PIXELS ? plane - first : PIXELS);
    const long long picture = 3 * plane * blockIdx.z;
    if (interleaved) {
        Pack<In, 3 * PIXELS> in;
        Pack<u16, 3 * PIXELS> result;
        load_pack(in, rgb + picture + 3 * first, 3 * count, aligned);
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) {
            const u32 red = table[in.samples[3 * i]], green = table[in.samples[3 * i + 1]];
            const u32 blue = table[in.samples[3 * i + 2]];
#pragma unroll
            for (int row = 0; row < 3; ++row)
                result.samples[3 * i + row] = curve.code_of(matrix.light(row, red, green, blue));
        }
        store_pack(result, out + picture + 3 * first, 3 * count, aligned_out);
    } else {
        Pack<In, PIXELS> in[3];
        Pack<u16, PIXELS> result[3];
#pragma unroll
        for (int row = 0; row < 3; ++row) load_pack(in[row], rgb + picture + row * plane + first, count, aligned);
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) {
            const u32 red = table[in[0].samples[i]], green = table[in[1].samples[i]], blue = table[in[2].samples[i]];
#pragma unroll
            for (int row = 0; row < 3; ++row)
                result[row].samples[i] = curve.code_of(matrix.light(row, red, green, blue));
        }
#pragma unroll
        for (int row = 0; row < 3; ++row)
            store_pack(result[row], out + picture + row * plane + first, count, aligned_out);
    }
}

#define VARIANT(name, In)                                                                                                 \
    extern "C" __global__ void name(const In* rgb, u16* out, const u32* table, const u32* thresholds, const u16* first,   \
                                    int steps, int m00, int m01, int m02, int m10, int m11, int m12, int m20, int m21,    \
                                    int m22, int shift, long long plane, int interleaved, int aligned, int aligned_out) { \
        const Curve curve = {thresholds, first, steps};                                                                   \
        const Matrix matrix = {{{m00, m01, m02}, {m10, m11, m12}, {m20, m21, m22}}, shift};                               \
        convert<In>(rgb, out, table, curve, matrix, plane, interleaved != 0, aligned != 0, aligned_out != 0);             \
    }                                                                                                                     \
    EXPORT(name)

VARIANT(convert_light_uint8, u8)
VARIANT(convert_light_uint16, u16)
