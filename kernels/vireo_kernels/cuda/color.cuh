// SPDX-License-Identifier: MIT
// Luma and chroma of 16 columns, and their RGB: what frames_to_rgb.cu and frames_to_input.cu share.
#pragma once
#include "vector.cuh"

constexpr int COLUMNS = 16;           // luma samples a thread converts of a row
constexpr int PAIRS = COLUMNS / 2;    // chroma samples of them
constexpr int DECODE8_SHIFT = 21;     // held against coefficients.py by a test
constexpr int DECODE16_SHIFT = 24;

// Word is the sample of FRAMES: u8 (NV12) or u16 (P010, the code in the upper ten bits).
__device__ __forceinline__ int code_of(u8 word) { return word; }
__device__ __forceinline__ int code_of(u16 word) { return word >> 6; }

// Where chroma lies, and how large a picture is.
struct Picture {
    int width, height, pitch;  // pitch: samples of a row, 2 ceil(width / 2)
    bool vertical, horizontal; // chroma lies on luma samples (else midway), along either axis
    bool aligned;              // rows begin at multiples of 16 bytes
};

// A row of PAIRS chroma samples from `first` on, with one neighbour on each side; edges repeated.
template <typename Word>
struct ChromaRow {
    int u[PAIRS + 2], v[PAIRS + 2];

    __device__ __forceinline__ void load(const Word* row, int first, const Picture& p) {
        const int pairs = p.pitch / 2;
        Pack<Word, COLUMNS> pack;
        load_pack(pack, row + 2 * first, 2 * (pairs - first), p.aligned);
        const int before = first > 0 ? first - 1 : 0;
        const int after = first + PAIRS < pairs ? first + PAIRS : pairs - 1;
        u[0] = code_of(row[2 * before]);
        v[0] = code_of(row[2 * before + 1]);
        u[PAIRS + 1] = code_of(row[2 * after]);
        v[PAIRS + 1] = code_of(row[2 * after + 1]);
#pragma unroll
        for (int i = 0; i < PAIRS; ++i) {
            // A pack that ends early repeats its last sample, a v: look the last pair up instead.
            const bool inside = first + i < pairs;
            u[i + 1] = inside ? code_of(pack.samples[2 * i]) : u[PAIRS + 1];
            v[i + 1] = inside ? code_of(pack.samples[2 * i + 1]) : v[PAIRS + 1];
        }
    }
};

// Which chroma row lies nearest to a luma row, which one is mixed into it, and by how many quarters.
struct Rows {
    int near, far, far_weight;

    __device__ __forceinline__ Rows(int row, const Picture& p) {
        const int last = (p.height + 1) / 2 - 1, odd = row & 1;
        near = row >> 1;
        far = clipped(p.vertical ? near + 1 : near - 1 + 2 * odd, 0, last);
        far_weight = p.vertical ? 2 * odd : 1;
    }
};

// Sixteen times (chroma - middle) of COLUMNS columns.
struct WideChroma {
    int u[COLUMNS], v[COLUMNS];

    template <typename Word>
    __device__ __forceinline__ void mix(
        const ChromaRow<Word>& near, const ChromaRow<Word>& far, int far_weight, int middle4, const Picture& p) {
        int tall_u[PAIRS + 2], tall_v[PAIRS + 2];
#pragma unroll
        for (int i = 0; i < PAIRS + 2; ++i) {
            tall_u[i] = (4 - far_weight) * near.u[i] + far_weight * far.u[i] - middle4;
            tall_v[i] = (4 - far_weight) * near.v[i] + far_weight * far.v[i] - middle4;
        }
        const int even_before = p.horizontal ? 0 : 1, even_here = 4 - even_before;
        const int odd_after = p.horizontal ? 2 : 1, odd_here = 4 - odd_after;
#pragma unroll
        for (int i = 0; i < PAIRS; ++i) {
            u[2 * i] = even_before * tall_u[i] + even_here * tall_u[i + 1];
            v[2 * i] = even_before * tall_v[i] + even_here * tall_v[i + 1];
            u[2 * i + 1] = odd_here * tall_u[i + 1] + odd_after * tall_u[i + 2];
            v[2 * i + 1] = odd_here * tall_v[i + 1] + odd_after * tall_v[i + 2];
        }
    }
};

// y, rv, gu, gv, bu and the offset (the chroma middle is taken off before).
struct Factors {
    int y, rv, gu, gv, bu;
    long long offset;
};

struct Rgb8 {
    static __device__ __forceinline__ int sum(const Factors& k, int y, int cu, int u, int cv, int v) {
        return clipped((k.y * y + cu * u + cv * v + int(k.offset)) >> DECODE8_SHIFT, 0, 255);
    }
};

struct Rgb16 {
    // k.y is a sixteenth here, so that it fits in 32 bits.
    static __device__ __forceinline__ int sum(const Factors& k, int y, int cu, int u, int cv, int v) {
        const long long total = (long long)k.y * (16 * y) + (long long)cu * u + (long long)cv * v + k.offset;
        return int(clipped(total >> DECODE16_SHIFT, 0LL, 65535LL));
    }
};
