// SPDX-License-Identifier: MIT
// What every kernel shares: 16-byte loads and stores, arithmetic that rounds as the reference does, half precision.
//
// A host compiler reads these files too (tests/kernels/host_shim.h stands in for CUDA), so there is nothing here that only
// nvcc understands but what is marked by __CUDACC__.
#pragma once

#ifdef __CUDACC__
#define EXPORT(kernel)
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

__device__ __forceinline__ uint4 load16(const void* at) { return *reinterpret_cast<const uint4*>(at); }
__device__ __forceinline__ void store16(void* at, uint4 value) { *reinterpret_cast<uint4*>(at) = value; }
template <typename Word>
__device__ __forceinline__ void store_word(void* at, Word value) {
    *reinterpret_cast<Word*>(at) = value;
}
__device__ __forceinline__ float divided(float a, float b) { return __fdiv_rn(a, b); }
// Two roundings, never one: the compiler may not contract these.
__device__ __forceinline__ float scaled_plus(float a, float b, float c) { return __fadd_rn(__fmul_rn(a, b), c); }
__device__ __forceinline__ u16 half_bits(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
__device__ __forceinline__ float half_value(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ __forceinline__ int leading_zeros(u32 value) { return __clz(value); }
#endif

// A float16 as its bits: no header of CUDA's is needed, which NVRTC alone does not have.
struct half16 {
    u16 bits;
};

// N samples in registers, filled and emptied 16 bytes at a time.
template <typename T, int N>
union Pack {
    static_assert(sizeof(T) * N % 16 == 0, "a pack is made of 16-byte words");
    uint4 words[sizeof(T) * N / 16];
    T samples[N];
    __device__ Pack() {}
};

// The first `count` samples at `from`; the rest repeats the last one. `aligned` promises 16-byte alignment.
template <typename T, int N>
__device__ __forceinline__ void load_pack(Pack<T, N>& pack, const T* from, int count, bool aligned) {
    if (aligned && count >= N) {
#pragma unroll
        for (int i = 0; i < int(sizeof(T) * N / 16); ++i) pack.words[i] = load16(from + i * (16 / sizeof(T)));
    } else {
#pragma unroll
        for (int i = 0; i < N; ++i) pack.samples[i] = from[i < count ? i : count - 1];
    }
}

template <typename T, int N>
__device__ __forceinline__ void store_pack(const Pack<T, N>& pack, T* to, int count, bool aligned) {
    if (aligned && count >= N) {
#pragma unroll
        for (int i = 0; i < int(sizeof(T) * N / 16); ++i) store16(to + i * (16 / sizeof(T)), pack.words[i]);
    } else {
#pragma unroll
        for (int i = 0; i < N; ++i)
            if (i < count) to[i] = pack.samples[i];
    }
}

template <typename T>
__device__ __forceinline__ T clipped(T value, T low, T high) {
    return value < low ? low : value > high ? high : value;
}

// Which unit of a picture's pixels this thread works on, where their rows do not matter: runner.py's `spread` launches it.
__device__ __forceinline__ long long unit() {
    const long long column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    return row * gridDim.x * blockDim.x + column;
}
