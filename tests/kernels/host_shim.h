// SPDX-License-Identifier: MIT
// Lets a host compiler read the .cu files: CUDA's words, and a loop over grid and blocks for each exported kernel.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)

struct alignas(8) uint2 {
    unsigned int x, y;
};
struct alignas(16) uint4 {
    unsigned int x, y, z, w;
};
struct Index {
    int x, y, z;
};
static Index gridDim, blockDim, blockIdx, threadIdx;

template <typename T>
T min(T a, T b) {
    return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
    return a < b ? b : a;
}

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

// On a GPU a misaligned vector access is a fault; here it is counted.
extern "C" {
int misaligned_accesses = 0;
int vector_accesses = 0;
}

inline void watch(const void* at, std::size_t size) {
    ++vector_accesses;
    if (reinterpret_cast<std::uintptr_t>(at) % size) ++misaligned_accesses;
}
inline uint4 load16(const void* at) {
    watch(at, 16);
    uint4 value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
template <typename Word>
void store_word(void* at, Word value) {
    watch(at, sizeof value);
    std::memcpy(at, &value, sizeof value);
}
inline void store16(void* at, uint4 value) { store_word(at, value); }
inline float divided(float a, float b) { return a / b; }
inline float scaled_plus(float a, float b, float c) {
    const volatile float product = a * b;
    return product + c;
}
inline int leading_zeros(u32 value) {
    int zeros = 0;
    for (u32 bit = 1u << 31; bit && !(value & bit); bit >>= 1) ++zeros;
    return zeros;
}

// float to half, to nearest, ties to even; of a finite number that is not negative.
inline u16 half_bits(float value) {
    u32 bits;
    std::memcpy(&bits, &value, sizeof bits);
    const int exponent = int(bits >> 23) - 127;
    if (exponent < -25) return 0;
    const u32 mantissa = (bits & 0x7fffff) | 0x800000;
    const int shift = exponent < -14 ? 13 + (-14 - exponent) : 13;
    const u32 kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
    const u32 rounded = kept + (rest > half || (rest == half && (kept & 1)));
    return u16(exponent < -14 ? rounded : rounded + (u32(exponent + 14) << 10));
}
inline float half_value(u16 half) {
    const u32 sign = u32(half & 0x8000) << 16, exponent = (half >> 10) & 31, mantissa = half & 0x3ff;
    u32 bits;
    if (exponent == 31) {
        bits = sign | 0x7f800000 | mantissa << 13;
    } else if (exponent) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        const float small = float(mantissa) / 16777216.0f;
        std::memcpy(&bits, &small, sizeof bits);
        bits |= sign;
    }
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename... Arguments, std::size_t... I>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<Arguments*>(arguments[I])...);
}

template <typename... Arguments>
void run(void (*kernel)(Arguments...), const int* grid, const int* block, void** arguments) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], 1};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
                for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
                    for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x)
                        call(kernel, arguments, std::make_index_sequence<sizeof...(Arguments)>());
}

// As the driver's launch: arguments by their addresses.
#define EXPORT(kernel)                                                                       \
    extern "C" void kernel##_on_host(const int* grid, const int* block, void** arguments) { \
        run(kernel, grid, block, arguments);                                                 \
    }                                                                                        \
    extern "C" int kernel##_arguments() { return count_arguments(kernel); }

template <typename... Arguments>
int count_arguments(void (*)(Arguments...)) {
    return sizeof...(Arguments);
}
