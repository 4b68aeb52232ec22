// SPDX-License-Identifier: MIT
// The planes of a decoder's surface into one picture of FRAMES; launched by layout.py.
//
// A thread copies 16 bytes of a row; rows of luma and chroma have pitches of their own.
#include "vector.cuh"


// `bytes` of each row count; the target's rows have `row_bytes`, which is one sample more where the width is odd.
extern "C" __global__ void surface_to_frames(
    const u8* luma, const u8* chroma, u8* out, long long luma_pitch, long long chroma_pitch, int luma_rows,
    int chroma_rows, int luma_bytes, int row_bytes, int sample_bytes, int aligned) {
    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * 16;
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (first >= row_bytes || row >= luma_rows + chroma_rows) return;
    const bool is_luma = row < luma_rows;
    const u8* from = is_luma ? luma + row * luma_pitch : chroma + (row - luma_rows) * chroma_pitch;
    const int bytes = is_luma ? luma_bytes : row_bytes;
    Pack<u8, 16> pack;
    if (first < bytes) load_pack(pack, from + first, bytes - first, aligned != 0);
    if (bytes < row_bytes && first + 16 >= row_bytes) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            // The padding sample of an odd width repeats the last one.
            if (first + i >= bytes && first + i < row_bytes) pack.samples[i] = from[first + i - sample_bytes];
        }
    }
    store_pack(pack, out + (long long)row * row_bytes + first, row_bytes - first, aligned != 0);
}
EXPORT(surface_to_frames)
