// SPDX-License-Identifier: MIT
// Colour, resize and normalisation in one pass; launched by network_input.py, specified by ../reference/network_input.py.
//
// A thread makes one pixel: it converts the rows of its window 16 columns at a time (16-byte loads of luma and chroma) and
// sums the three colours. RGB of the picture is never in memory.
#include "color.cuh"
#include "taps.cuh"

struct Job {
    int target_width, target_height;  // the part of the canvas that is picture
    int x_taps, y_taps, left, top;    // taps, a multiple of 16 along rows; where the picture begins on the canvas
    int canvas_width, canvas_height;
    bool interleaved;
};

__device__ __forceinline__ void finish(u8& out, const u8*, int value) { out = u8(value); }
__device__ __forceinline__ void finish(u16& out, const u16* table, int value) { out = table[value]; }
__device__ __forceinline__ void finish(float& out, const float* table, int value) { out = table[value]; }

template <typename Word, typename Out>
__device__ __forceinline__ void convert(
    const Word* frames, Out* out, const Out* table, const int* x_start, const int* x_weights, const int* y_start,
    const int* y_weights, const Picture p, const Factors k, int middle4, const Job job, const Rounding r) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= job.target_width || y >= job.target_height) return;
    const long long picture = blockIdx.z;
    const Word* luma = frames + picture * (p.height + (p.height + 1) / 2) * p.pitch;
    const Word* chroma = luma + (long long)p.height * p.pitch;
    const int* window = x_weights + (long long)x * job.x_taps;
    const int half = 1 << (r.keep_shift - 1);

    int red = 1 << (r.end_shift - 1), green = red, blue = red;
    for (int tap = 0; tap < job.y_taps; ++tap) {
        const int row = y_start[y] + tap;
        const int weight = y_weights[(long long)y * job.y_taps + tap];
        // Windows reach over the picture's end by words of zero weight, and tables have rows of zeros.
        if (weight == 0 || row >= p.height) continue;
        const Rows rows(row, p);
        int line_red = half, line_green = half, line_blue = half;
        for (int n = 0; n < job.x_taps; n += COLUMNS) {
            const int first = x_start[x] + n;
            if (first >= p.width) break;
            ChromaRow<Word> near, far;
            near.load(chroma + (long long)rows.near * p.pitch, first / 2, p);
            far.load(chroma + (long long)rows.far * p.pitch, first / 2, p);
            WideChroma wide;
            wide.mix(near, far, rows.far_weight, middle4, p);
            Pack<Word, COLUMNS> codes;
            load_pack(codes, luma + (long long)row * p.pitch + first, p.width - first, p.aligned);
#pragma unroll
            for (int quarter = 0; quarter < COLUMNS; quarter += 4) {
                const Weights4 four(window + n + quarter);
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int at = quarter + i, luma_code = code_of(codes.samples[at]);
                    line_red += four.w[i] * Rgb8::sum(k, luma_code, 0, wide.u[at], k.rv, wide.v[at]);
                    line_green += four.w[i] * Rgb8::sum(k, luma_code, k.gu, wide.u[at], k.gv, wide.v[at]);
                    line_blue += four.w[i] * Rgb8::sum(k, luma_code, k.bu, wide.u[at], 0, wide.v[at]);
                }
            }
        }
        red += weight * kept(line_red, r);
        green += weight * kept(line_green, r);
        blue += weight * kept(line_blue, r);
    }

    const long long plane = (long long)job.canvas_height * job.canvas_width;
    const long long at = (long long)(job.top + y) * job.canvas_width + job.left + x;
    Out* to = out + 3 * picture * plane + (job.interleaved ? 3 * at : at);
    const long long step = job.interleaved ? 1 : plane;
    finish(to[0], table, finished<u8>(red, r));
    finish(to[step], table + 256, finished<u8>(green, r));
    finish(to[2 * step], table + 512, finished<u8>(blue, r));
}

#define VARIANT(name, Word, Out)                                                                                          \
    extern "C" __global__ void name(                                                                                      \
        const Word* frames, Out* out, const Out* table, const int* x_start, const int* x_weights, const int* y_start,     \
        const int* y_weights, int width, int height, int pitch, int vertical, int horizontal, int aligned, int ky, int rv, \
        int gu, int gv, int bu, long long offset, int middle4, int target_width, int target_height, int x_taps,           \
        int y_taps, int left, int top, int canvas_width, int canvas_height, int interleaved, int keep_shift,              \
        int end_shift, int low, int high) {                                                                               \
        const Picture p = {width, height, pitch, vertical != 0, horizontal != 0, aligned != 0};                           \
        const Factors k = {ky, rv, gu, gv, bu, offset};                                                                   \
        const Job job = {target_width, target_height, x_taps, y_taps, left, top, canvas_width, canvas_height,             \
                         interleaved != 0};                                                                               \
        const Rounding r = {keep_shift, end_shift, low, high};                                                            \
        convert<Word, Out>(frames, out, table, x_start, x_weights, y_start, y_weights, p, k, middle4, job, r);            \
    }                                                                                                                     \
    EXPORT(name)

// float16 goes by its bits.
VARIANT(frames_to_input_nv12_uint8, u8, u8)
VARIANT(frames_to_input_nv12_float16, u8, u16)
VARIANT(frames_to_input_nv12_float32, u8, float)
VARIANT(frames_to_input_p010_uint8, u16, u8)
VARIANT(frames_to_input_p010_float16, u16, u16)
VARIANT(frames_to_input_p010_float32, u16, float)
