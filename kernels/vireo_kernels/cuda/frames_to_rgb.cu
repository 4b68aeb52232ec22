// SPDX-License-Identifier: MIT
// FRAMES to RGB; launched by frames_to_rgb.py, specified by ../reference/color.py.
//
// A thread converts 16 columns of two rows: 16-byte loads of luma and chroma, 16-byte stores of each colour, one pass.
#include "color.cuh"

__device__ __forceinline__ void finish(u8& out, int value) { out = u8(value); }
__device__ __forceinline__ void finish(u16& out, int value) { out = u16(value); }
__device__ __forceinline__ void finish(float& out, int value) { out = divided(float(value), 65535.0f); }
__device__ __forceinline__ void finish(half16& out, int value) { out.bits = half_bits(divided(float(value), 65535.0f)); }

template <typename Word, typename Out, typename Sum>
__device__ __forceinline__ void convert(
    const Word* frames, Out* rgb, Picture p, Factors k, int middle4, bool interleaved, bool aligned_out) {
    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * COLUMNS;
    const int chroma_row = blockIdx.y * blockDim.y + threadIdx.y;
    const int chroma_rows = (p.height + 1) / 2;
    if (first >= p.width || chroma_row >= chroma_rows) return;
    const long long picture = blockIdx.z;
    const Word* luma = frames + picture * (p.height + chroma_rows) * p.pitch;
    const Word* chroma = luma + (long long)p.height * p.pitch;
    const long long plane = (long long)p.height * p.width;
    const int count = p.width - first;
    ChromaRow<Word> near, far;
    near.load(chroma + (long long)chroma_row * p.pitch, first / 2, p);
#pragma unroll 1
    for (int row = 2 * chroma_row; row < min(2 * chroma_row + 2, p.height); ++row) {
        const Rows rows(row, p);
        far.load(chroma + (long long)rows.far * p.pitch, first / 2, p);
        WideChroma wide;
        wide.mix(near, far, rows.far_weight, middle4, p);
        Pack<Word, COLUMNS> codes;
        load_pack(codes, luma + (long long)row * p.pitch + first, count, p.aligned);
        if (interleaved) {
            Pack<Out, 3 * COLUMNS> out;
#pragma unroll
            for (int i = 0; i < COLUMNS; ++i) {
                const int y = code_of(codes.samples[i]), u = wide.u[i], v = wide.v[i];
                finish(out.samples[3 * i], Sum::sum(k, y, 0, u, k.rv, v));
                finish(out.samples[3 * i + 1], Sum::sum(k, y, k.gu, u, k.gv, v));
                finish(out.samples[3 * i + 2], Sum::sum(k, y, k.bu, u, 0, v));
            }
            store_pack(out, rgb + 3 * (picture * plane + (long long)row * p.width + first), 3 * count, aligned_out);
        } else {
            Pack<Out, COLUMNS> red, green, blue;
#pragma unroll
            for (int i = 0; i < COLUMNS; ++i) {
                const int y = code_of(codes.samples[i]), u = wide.u[i], v = wide.v[i];
                finish(red.samples[i], Sum::sum(k, y, 0, u, k.rv, v));
                finish(green.samples[i], Sum::sum(k, y, k.gu, u, k.gv, v));
                finish(blue.samples[i], Sum::sum(k, y, k.bu, u, 0, v));
            }
            Out* to = rgb + 3 * picture * plane + (long long)row * p.width + first;
            store_pack(red, to, count, aligned_out);
            store_pack(green, to + plane, count, aligned_out);
            store_pack(blue, to + 2 * plane, count, aligned_out);
        }
    }
}

#define VARIANT(name, Word, Out, Sum)                                                                                    \
    extern "C" __global__ void __launch_bounds__(128, 4) name(                                                            \
        const Word* frames, Out* rgb, int width, int height, int pitch, int vertical,                                     \
                                    int horizontal, int aligned, int y, int rv, int gu, int gv, int bu, long long offset, \
                                    int middle4, int interleaved, int aligned_out) {                                      \
        const Picture p = {width, height, pitch, vertical != 0, horizontal != 0, aligned != 0};                           \
        const Factors k = {y, rv, gu, gv, bu, offset};                                                                    \
        convert<Word, Out, Sum>(frames, rgb, p, k, middle4, interleaved != 0, aligned_out != 0);                          \
    }                                                                                                                     \
    EXPORT(name)

VARIANT(frames_to_rgb_nv12_uint8, u8, u8, Rgb8)
VARIANT(frames_to_rgb_nv12_uint16, u8, u16, Rgb16)
VARIANT(frames_to_rgb_nv12_float16, u8, half16, Rgb16)
VARIANT(frames_to_rgb_nv12_float32, u8, float, Rgb16)
VARIANT(frames_to_rgb_p010_uint8, u16, u8, Rgb8)
VARIANT(frames_to_rgb_p010_uint16, u16, u16, Rgb16)
VARIANT(frames_to_rgb_p010_float16, u16, half16, Rgb16)
VARIANT(frames_to_rgb_p010_float32, u16, float, Rgb16)
