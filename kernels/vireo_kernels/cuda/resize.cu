// SPDX-License-Identifier: MIT
// Resizing in one pass; launched by resize.py, specified by ../reference/resize.py.
//
// A thread makes four neighbouring samples of a row. It sums each source row of its window in turn (rounding between the
// passes needs no array in between), four rows for each weight that it loads, 16 bytes of samples a load. Windows begin at
// multiples of 16 bytes and have whole 16-byte words: the tables carry zeros there.
#include "taps.cuh"

constexpr int OUTPUTS = 4;
constexpr int ROWS = 4;

struct Job {
    int source_pitch, source_height;             // samples of a row, rows
    int target_width, target_height;             // the part of the canvas that is picture
    int x_taps, y_taps, left, top;               // taps; where the picture begins on the canvas
    int canvas_pitch, canvas_height;
    bool aligned, aligned_out;
};

template <typename T>
__device__ __forceinline__ void resize(
    const T* source, T* out, const int* x_start, const int* x_weights, const int* y_start, const int* y_weights,
    const Job job, const Rounding r) {
    typedef typename Sums<T>::Total Total;
    constexpr int WORD = 16 / sizeof(T);
    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * OUTPUTS;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (first >= job.target_width || y >= job.target_height) return;
    const long long picture = blockIdx.z;
    const T* rows = source + picture * job.source_height * job.source_pitch;
    const Total half = Total(1) << (r.keep_shift - 1);

    Total sums[OUTPUTS];
#pragma unroll
    for (int i = 0; i < OUTPUTS; ++i) sums[i] = Total(1) << (r.end_shift - 1);
    for (int tap = 0; tap < job.y_taps; tap += ROWS) {
        const T* at[ROWS];
        int weights[ROWS];
#pragma unroll
        for (int j = 0; j < ROWS; ++j) {
            // The table of rows may end inside a group of four: the last row then counts nothing.
            const int row = min(tap + j, job.y_taps - 1);
            at[j] = rows + (long long)(y_start[y] + row) * job.source_pitch;
            weights[j] = tap + j < job.y_taps ? y_weights[(long long)y * job.y_taps + row] : 0;
        }
#pragma unroll
        for (int i = 0; i < OUTPUTS; ++i) {
            const int x = min(first + i, job.target_width - 1);
            const int* window = x_weights + (long long)x * job.x_taps;
            const int start = x_start[x];
            Total lines[ROWS] = {half, half, half, half};
            if (job.aligned) {
                for (int k = 0; k < job.x_taps; k += WORD) {
                    Pack<T, WORD> pack[ROWS];
#pragma unroll
                    for (int j = 0; j < ROWS; ++j) load_pack(pack[j], at[j] + start + k, WORD, true);
#pragma unroll
                    for (int quarter = 0; quarter < WORD; quarter += 4) {
                        const Weights4 four(window + k + quarter);
#pragma unroll
                        for (int n = 0; n < 4; ++n)
#pragma unroll
                            for (int j = 0; j < ROWS; ++j) lines[j] += Total(four.w[n]) * pack[j].samples[quarter + n];
                    }
                }
            } else {
                for (int k = 0; k < job.x_taps; ++k)
#pragma unroll
                    for (int j = 0; j < ROWS; ++j) lines[j] += Total(window[k]) * at[j][start + k];
            }
#pragma unroll
            for (int j = 0; j < ROWS; ++j) sums[i] += Total(weights[j]) * kept(lines[j], r);
        }
    }

    T* to = out + (picture * job.canvas_height + job.top + y) * job.canvas_pitch + job.left + first;
    T results[OUTPUTS];
#pragma unroll
    for (int i = 0; i < OUTPUTS; ++i) results[i] = finished<T>(sums[i], r);
    store4(to, results, job.target_width - first, job.aligned_out);
}

#define VARIANT(name, T)                                                                                                  \
    extern "C" __global__ void name(const T* source, T* out, const int* x_start, const int* x_weights,                    \
                                    const int* y_start, const int* y_weights, int source_pitch, int source_height,        \
                                    int target_width, int target_height, int x_taps, int y_taps, int left, int top,       \
                                    int canvas_pitch, int canvas_height, int aligned, int aligned_out, int keep_shift,    \
                                    int end_shift, int low, int high) {                                                   \
        const Job job = {source_pitch, source_height, target_width, target_height, x_taps, y_taps,                        \
                         left, top, canvas_pitch, canvas_height, aligned != 0, aligned_out != 0};                         \
        const Rounding r = {keep_shift, end_shift, low, high};                                                            \
        resize<T>(source, out, x_start, x_weights, y_start, y_weights, job, r);                                           \
    }                                                                                                                     \
    EXPORT(name)

VARIANT(resize_uint8, u8)
VARIANT(resize_uint16, u16)
