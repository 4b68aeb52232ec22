// SPDX-License-Identifier: MIT
// The weighted sums of a resize along a row: what resize.cu and frames_to_input.cu share.
#pragma once
#include "vector.cuh"

// The arithmetic that sums of a sample type need.
template <typename T>
struct Sums;
template <>
struct Sums<u8> {
    typedef int Total;
    static constexpr int top = 255;
};
template <>
struct Sums<u16> {
    typedef long long Total;
    static constexpr int top = 65535;
};

// How a resize rounds (see ../filters.py): shifts after the rows and after the columns, and the range in between.
struct Rounding {
    int keep_shift, end_shift, low, high;
};

template <typename Total>
__device__ __forceinline__ int kept(Total total, const Rounding& r) {
    return int(clipped(total >> r.keep_shift, Total(r.low), Total(r.high)));
}

template <typename T>
__device__ __forceinline__ T finished(typename Sums<T>::Total total, const Rounding& r) {
    typedef typename Sums<T>::Total Total;
    return T(clipped(total >> r.end_shift, Total(0), Total(Sums<T>::top)));
}

// Four weights at once; tables are made of multiples of four, aligned to 16 bytes.
struct Weights4 {
    int w[4];
    __device__ __forceinline__ explicit Weights4(const int* at) {
        Pack<int, 4> pack;
        load_pack(pack, at, 4, true);
#pragma unroll
        for (int i = 0; i < 4; ++i) w[i] = pack.samples[i];
    }
};

// The word that holds four samples.
template <int bytes>
struct Words;
template <>
struct Words<4> {
    typedef u32 type;
};
template <>
struct Words<8> {
    typedef uint2 type;
};
template <>
struct Words<16> {
    typedef uint4 type;
};

// Four samples at once where they are aligned to their size, else one by one.
template <typename T>
__device__ __forceinline__ void store4(T* to, const T (&samples)[4], int count, bool aligned) {
    if (aligned && count >= 4) {
        union Four {
            T samples[4];
            typename Words<sizeof(T) * 4>::type word;
            __device__ Four() {}
        } four;
#pragma unroll
        for (int i = 0; i < 4; ++i) four.samples[i] = samples[i];
        store_word(to, four.word);
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (i < count) to[i] = samples[i];
    }
}
