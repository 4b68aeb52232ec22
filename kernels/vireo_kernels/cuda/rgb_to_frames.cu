// SPDX-License-Identifier: MIT
// RGB to FRAMES; launched by rgb_to_frames.py, specified by ../reference/color.py.
//
// A thread makes 16 columns of two luma rows and their 8 chroma pairs: 16-byte loads and stores, each sample read once
// but for the neighbours that chroma on luma samples needs.
#include "vector.cuh"

constexpr int COLUMNS = 16;
constexpr int PAIRS = COLUMNS / 2;
constexpr int CHROMA_BITS = 4;   // held against coefficients.py by a test
constexpr int ENCODE8_BITS = 16;
constexpr int ENCODE16_BITS = 30;
constexpr int DITHER_BITS = 6;

// How codes come from samples and add up. Narrow: 8-bit codes in 32 bits. Wide: 16-bit codes in 64 bits.
struct Narrow {
    typedef int Total;
    static constexpr int bits = ENCODE8_BITS;
    static __device__ __forceinline__ int code(u8 sample) { return sample; }
};

struct Wide {
    typedef long long Total;
    static constexpr int bits = ENCODE16_BITS;
    static __device__ __forceinline__ int code(u8 sample) { return 257 * sample; }
    static __device__ __forceinline__ int code(u16 sample) { return sample; }
    static __device__ __forceinline__ int code(float sample) {
        // The comparison is false for NaN.
        const float inside = sample > 0.0f ? (sample < 1.0f ? sample : 1.0f) : 0.0f;
        return int(scaled_plus(inside, 65535.0f, 0.5f));
    }
    static __device__ __forceinline__ int code(half16 sample) { return code(half_value(sample.bits)); }
};

template <typename Word>
__device__ __forceinline__ Word word_of(long long code);
template <>
__device__ __forceinline__ u8 word_of<u8>(long long code) {
    return u8(clipped(code, 0LL, 255LL));
}
template <>
__device__ __forceinline__ u16 word_of<u16>(long long code) {
    return u16(clipped(code, 0LL, 1023LL) << 6);
}

// Bayer's 8 x 8 pattern: the bits of x ^ y and y, interleaved, in reverse order.
__device__ __forceinline__ int bayer(int row, int column) {
    int value = 0;
#pragma unroll
    for (int bit = 0; bit < 3; ++bit) {
        const int y = (row >> bit) & 1, x = (column >> bit) & 1;
        value |= ((x ^ y) << 1 | y) << (4 - 2 * bit);
    }
    return value;
}

template <typename Total>
__device__ __forceinline__ Total dither_offset(int row, int column, int shift) {
    return Total(2 * bayer(row, column) + 1 - (1 << DITHER_BITS)) << (shift - DITHER_BITS - 1);
}

struct Size {
    int width, height, pitch;
    bool vertical, horizontal, interleaved, aligned, aligned_out, dither;
};

struct Factors {
    int yr, yg, yb, ur, ug, ub, vr, vg, vb;
    long long offset_y, offset_c;
};

// Codes of 16 columns of a row, and of the column before them; edges repeated.
template <typename In, typename Kind>
struct RgbRow {
    int red[COLUMNS + 1], green[COLUMNS + 1], blue[COLUMNS + 1];

    __device__ __forceinline__ void load(const In* rgb, long long picture, int row, int first, const Size& s) {
        const long long plane = (long long)s.height * s.width;
        const int count = s.width - first;
        const int before = first > 0 ? -1 : 0;
        if (s.interleaved) {
            const In* from = rgb + 3 * (picture * plane + (long long)row * s.width + first);
            Pack<In, 3 * COLUMNS> pack;
            load_pack(pack, from, 3 * count, s.aligned);
            red[0] = Kind::code(from[3 * before]);
            green[0] = Kind::code(from[3 * before + 1]);
            blue[0] = Kind::code(from[3 * before + 2]);
            const int last = 3 * (count - 1);
#pragma unroll
            for (int i = 0; i < COLUMNS; ++i) {
                // A pack that ends early repeats its last sample, a blue one: look the last pixel up instead.
                const bool inside = i < count;
                red[i + 1] = Kind::code(inside ? pack.samples[3 * i] : from[last]);
                green[i + 1] = Kind::code(inside ? pack.samples[3 * i + 1] : from[last + 1]);
                blue[i + 1] = Kind::code(inside ? pack.samples[3 * i + 2] : from[last + 2]);
            }
        } else {
            const In* from = rgb + 3 * picture * plane + (long long)row * s.width + first;
            load_plane(red, from, before, count, s);
            load_plane(green, from + plane, before, count, s);
            load_plane(blue, from + 2 * plane, before, count, s);
        }
    }

    __device__ __forceinline__ void load_plane(int* codes, const In* from, int before, int count, const Size& s) {
        Pack<In, COLUMNS> pack;
        load_pack(pack, from, count, s.aligned);
        codes[0] = Kind::code(from[before]);
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) codes[i + 1] = Kind::code(pack.samples[i]);
    }

    template <typename Word>
    __device__ __forceinline__ void store_luma(Word* to, int row, int first, const Size& s, const Factors& k) const {
        typedef typename Kind::Total Total;
        Pack<Word, COLUMNS> pack;
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) {
            Total total = Total(k.yr) * red[i + 1] + Total(k.yg) * green[i + 1] + Total(k.yb) * blue[i + 1];
            total += Total(k.offset_y);
            if (s.dither) total += dither_offset<Total>(row, first + i, Kind::bits);
            pack.samples[i] = word_of<Word>(total >> Kind::bits);
        }
        if (s.pitch > s.width && first + COLUMNS >= s.pitch) {
            // The padding sample of an odd width repeats the last one as it was written, dithering included.
            const int last = s.width - 1 - first;
#pragma unroll
            for (int i = 0; i < COLUMNS - 1; ++i)
                if (i == last) pack.samples[i + 1] = pack.samples[i];
        }
        store_pack(pack, to, s.pitch - first, s.aligned_out);
    }
};

template <typename In, typename Word, typename Kind>
__device__ __forceinline__ void convert(const In* rgb, Word* frames, const Size s, const Factors k) {
    typedef typename Kind::Total Total;
    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * COLUMNS;
    const int chroma_row = blockIdx.y * blockDim.y + threadIdx.y;
    const int chroma_rows = (s.height + 1) / 2;
    if (first >= s.width || chroma_row >= chroma_rows) return;
    const long long picture = blockIdx.z;
    Word* luma = frames + picture * (s.height + chroma_rows) * s.pitch;
    Word* chroma = luma + ((long long)s.height + chroma_row) * s.pitch + first;

    // Column sums, four times the average of the rows around the chroma row. Below an odd height's last row there is none:
    // that row stands in for it.
    int red[COLUMNS + 1] = {}, green[COLUMNS + 1] = {}, blue[COLUMNS + 1] = {};
    const int even = 2 * chroma_row, odd = min(even + 1, s.height - 1);
#pragma unroll 1
    for (int n = s.vertical ? 0 : 1; n < 3; ++n) {
        const int row = n == 0 ? max(even - 1, 0) : n == 1 ? even : odd;
        const int weight = n == 1 || (n == 2 && !s.vertical) ? 2 : 1;
        RgbRow<In, Kind> current;
        current.load(rgb, picture, row, first, s);
        if (n > 0) current.store_luma(luma + (long long)row * s.pitch + first, row, first, s, k);
#pragma unroll
        for (int i = 0; i <= COLUMNS; ++i) {
            red[i] += weight * current.red[i];
            green[i] += weight * current.green[i];
            blue[i] += weight * current.blue[i];
        }
    }

    const int left = s.horizontal ? 1 : 0, right = 2 - left;
    Pack<Word, COLUMNS> pack;
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
        const int r = left * red[2 * i] + 2 * red[2 * i + 1] + right * red[2 * i + 2];
        const int g = left * green[2 * i] + 2 * green[2 * i + 1] + right * green[2 * i + 2];
        const int b = left * blue[2 * i] + 2 * blue[2 * i + 1] + right * blue[2 * i + 2];
        Total u = Total(k.ur) * r + Total(k.ug) * g + Total(k.ub) * b + Total(k.offset_c);
        Total v = Total(k.vr) * r + Total(k.vg) * g + Total(k.vb) * b + Total(k.offset_c);
        if (s.dither) {
            const Total offset = dither_offset<Total>(chroma_row, first / 2 + i, Kind::bits + CHROMA_BITS);
            u += offset;
            v += offset;
        }
        pack.samples[2 * i] = word_of<Word>(u >> (Kind::bits + CHROMA_BITS));
        pack.samples[2 * i + 1] = word_of<Word>(v >> (Kind::bits + CHROMA_BITS));
    }
    store_pack(pack, chroma, s.pitch - first, s.aligned_out);
}

#define VARIANT(name, In, Word, Kind)                                                                                    \
    extern "C" __global__ void name(const In* rgb, Word* frames, int width, int height, int pitch, int vertical,          \
                                    int horizontal, int interleaved, int aligned, int aligned_out, int dither, int yr,    \
                                    int yg, int yb, int ur, int ug, int ub, int vr, int vg, int vb, long long offset_y,   \
                                    long long offset_c) {                                                                 \
        const Size s = {width, height, pitch, vertical != 0, horizontal != 0, interleaved != 0,                           \
                        aligned != 0, aligned_out != 0, dither != 0};                                                     \
        const Factors k = {yr, yg, yb, ur, ug, ub, vr, vg, vb, offset_y, offset_c};                                       \
        convert<In, Word, Kind>(rgb, frames, s, k);                                                                       \
    }                                                                                                                     \
    EXPORT(name)

VARIANT(rgb_to_frames_uint8_nv12, u8, u8, Narrow)
VARIANT(rgb_to_frames_uint8_p010, u8, u16, Narrow)
VARIANT(rgb_to_frames_dithered_uint8_nv12, u8, u8, Wide)
VARIANT(rgb_to_frames_dithered_uint8_p010, u8, u16, Wide)
VARIANT(rgb_to_frames_uint16_nv12, u16, u8, Wide)
VARIANT(rgb_to_frames_uint16_p010, u16, u16, Wide)
VARIANT(rgb_to_frames_float16_nv12, half16, u8, Wide)
VARIANT(rgb_to_frames_float16_p010, half16, u16, Wide)
VARIANT(rgb_to_frames_float32_nv12, float, u8, Wide)
VARIANT(rgb_to_frames_float32_p010, float, u16, Wide)
