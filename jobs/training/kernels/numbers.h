// Numbers in the formats that processors compute with here: fp32, and bf16 read and written as fp32.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

using Size = int64_t;

namespace {

struct bf16 {
    uint16_t bits;
};

inline float get(float value) { return value; }

inline float get(bf16 value) {
    uint32_t bits = uint32_t(value.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

inline void put(float &target, float value) { target = value; }

// To the nearest, ties to even.
inline void put(bf16 &target, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    target.bits = uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// e^x within a few units in the last place, of operations that vectorise: 2^whole × e^rest, |rest| ≤ ln 2 / 2, by
// the Taylor series. ln 2 is taken off in two parts, of which the first is exact in few bits. NaN stays NaN.
inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float whole = std::nearbyint(x * 1.44269504088896341f);
    const float rest = (x - whole * 0.693145751953125f) - whole * 1.42860677e-6f;
    float sum = 1.98412698e-4f;
    sum = sum * rest + 1.38888889e-3f;
    sum = sum * rest + 8.33333333e-3f;
    sum = sum * rest + 4.16666667e-2f;
    sum = sum * rest + 1.66666667e-1f;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    const uint32_t bits = uint32_t(int32_t(whole) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return sum * power;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

} // namespace
