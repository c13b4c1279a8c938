// The functions of `portable` for processors, each in one pass over its values; see there for their meaning.
//
// Values are fp32 or bf16 (T), statistics and sums fp32. Rows are independent and each is computed by one
// thread, so results do not depend on how many threads there are. Strides count values.

#include "numbers.h"

namespace {

template <class T>
void add_norm(const T *residual, const T *delta, const T *weight, T *total, T *wide, float *inverse_rms,
              float eps, Size rows, Size width, Size residual_stride, Size delta_stride, Size wide_stride,
              Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++) {
        const T *from = residual + row * residual_stride;
        if (delta) {
            const T *added = delta + row * delta_stride;
            T *sums = total + row * width;
#pragma omp simd
            for (Size i = 0; i < width; i++) put(sums[i], get(from[i]) + get(added[i]));
            // What later layers add to is the rounded sum, so the norm is taken of it.
            from = sums;
        }
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (Size i = 0; i < width; i++) squares += get(from[i]) * get(from[i]);
        const float inverse = 1.0f / std::sqrt(squares / float(width) + eps);
        inverse_rms[row] = inverse;
        T *normed = wide + row * wide_stride;
#pragma omp simd
        for (Size i = 0; i < width; i++) put(normed[i], get(from[i]) * inverse * get(weight[i]));
    }
}

template <class T>
void norm_again(const T *total, const float *inverse_rms, const T *weight, T *wide, Size rows, Size width,
                Size total_stride, Size wide_stride, Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++) {
        const T *from = total + row * total_stride;
        T *normed = wide + row * wide_stride;
        const float inverse = inverse_rms[row];
#pragma omp simd
        for (Size i = 0; i < width; i++) put(normed[i], get(from[i]) * inverse * get(weight[i]));
    }
}

template <class T>
void norm_backward(const T *d_normed, const T *total, const float *inverse_rms, const T *weight,
                   const T *d_residual, T *wide, Size rows, Size width, Size d_normed_stride,
                   Size total_stride, Size d_residual_stride, Size wide_stride, Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++) {
        const T *d = d_normed + row * d_normed_stride, *from = total + row * total_stride;
        const float inverse = inverse_rms[row];
        float mean = 0;
#pragma omp simd reduction(+ : mean)
        for (Size i = 0; i < width; i++) mean += get(d[i]) * get(weight[i]) * get(from[i]);
        mean *= inverse / float(width);
        T *gradient = wide + row * wide_stride;
        if (d_residual) {
            const T *beside = d_residual + row * d_residual_stride;
#pragma omp simd
            for (Size i = 0; i < width; i++) {
                const float unit = get(from[i]) * inverse;
                put(gradient[i], (get(d[i]) * get(weight[i]) - unit * mean) * inverse + get(beside[i]));
            }
        } else {
#pragma omp simd
            for (Size i = 0; i < width; i++) {
                const float unit = get(from[i]) * inverse;
                put(gradient[i], (get(d[i]) * get(weight[i]) - unit * mean) * inverse);
            }
        }
    }
}

// Heads of one row turned by `sign` times their position; `from` and `to` may be the same.
template <class T>
void turn_row(const T *from, T *to, const T *cos, const T *sin, float sign, Size heads, Size head_size,
              Size half, Size head_stride) {
    for (Size head = 0; head < heads; head++) {
        const T *source = from + head * head_stride;
        T *target = to + head * head_size;
        // In place no value is read after another one is written over it.
#pragma omp simd
        for (Size i = 0; i < half; i++) {
            const float first = get(source[i]), second = get(source[i + half]);
            const float cosine = get(cos[i]), sine = sign * get(sin[i]);
            put(target[i], first * cosine - second * sine);
            put(target[i + half], second * cosine + first * sine);
        }
        if (source != target)
            std::memcpy(target + 2 * half, source + 2 * half, (head_size - 2 * half) * sizeof(T));
    }
}

template <class T>
void turn(const T *source, T *target, const T *cos, const T *sin, float sign, Size rows, Size heads,
          Size head_size, Size half, Size source_stride, Size head_stride, Size target_stride,
          Size side_stride, Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++)
        turn_row(source + row * source_stride, target + row * target_stride, cos + row * side_stride,
                 sin + row * side_stride, sign, heads, head_size, half, head_stride);
}

template <class T>
void norm_rotate(const T *qkv, const T *weight, const T *cos, const T *sin, T *turned, float *inverse_rms,
                 float eps, Size rows, Size heads, Size head_size, Size half, Size qkv_stride,
                 Size turned_stride, Size rms_stride, Size side_stride, Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++) {
        T *to = turned + row * turned_stride;
        for (Size head = 0; head < heads; head++) {
            const T *from = qkv + row * qkv_stride + head * head_size;
            float squares = 0;
#pragma omp simd reduction(+ : squares)
            for (Size i = 0; i < head_size; i++) squares += get(from[i]) * get(from[i]);
            const float inverse = 1.0f / std::sqrt(squares / float(head_size) + eps);
            inverse_rms[row * rms_stride + head] = inverse;
            T *normed = to + head * head_size;
#pragma omp simd
            for (Size i = 0; i < head_size; i++) put(normed[i], get(from[i]) * inverse * get(weight[i]));
        }
        turn_row<T>(to, to, cos + row * side_stride, sin + row * side_stride, 1.0f, heads, head_size, half,
                    head_size);
    }
}

// The gradient at `wide` in place, from that behind the norm to that before it.
template <class T>
void head_norm_backward(T *wide, const T *qkv, const float *inverse_rms, const T *weight, Size rows,
                        Size heads, Size head_size, Size wide_stride, Size qkv_stride, Size rms_stride,
                        Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++)
        for (Size head = 0; head < heads; head++) {
            T *d = wide + row * wide_stride + head * head_size;
            const T *from = qkv + row * qkv_stride + head * head_size;
            const float inverse = inverse_rms[row * rms_stride + head];
            float mean = 0;
#pragma omp simd reduction(+ : mean)
            for (Size i = 0; i < head_size; i++) mean += get(d[i]) * get(weight[i]) * get(from[i]);
            mean *= inverse / float(head_size);
#pragma omp simd
            for (Size i = 0; i < head_size; i++)
                put(d[i], (get(d[i]) * get(weight[i]) - get(from[i]) * inverse * mean) * inverse);
        }
}

template <class T>
void swiglu(const T *gate_up, T *wide, Size rows, Size width, Size gate_up_stride, Size wide_stride,
            Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++) {
        const T *gates = gate_up + row * gate_up_stride, *ups = gates + width;
        T *product = wide + row * wide_stride;
#pragma omp simd
        for (Size i = 0; i < width; i++) {
            const float gate = get(gates[i]);
            put(product[i], gate * sigmoid(gate) * get(ups[i]));
        }
    }
}

template <class T>
void swiglu_backward(const T *d_product, const T *gate_up, T *wide, Size rows, Size width, Size d_stride,
                     Size gate_up_stride, Size wide_stride, Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++) {
        const T *gates = gate_up + row * gate_up_stride, *ups = gates + width;
        const T *d = d_product + row * d_stride;
        T *d_gates = wide + row * wide_stride, *d_ups = d_gates + width;
#pragma omp simd
        for (Size i = 0; i < width; i++) {
            const float gate = get(gates[i]), share = sigmoid(gate), both = get(d[i]) * share;
            put(d_gates[i], both * get(ups[i]) * (1.0f + gate * (1.0f - share)));
            put(d_ups[i], both * gate);
        }
    }
}

template <class T>
void cross_entropy(T *logits, const int64_t *targets, const float *weights, float *losses, Size rows,
                   Size vocabulary, Size stride, Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++) {
        T *scores = logits + row * stride;
        float highest = get(scores[0]), sum = 0;
#pragma omp simd reduction(max : highest)
        for (Size i = 0; i < vocabulary; i++) {
            const float score = get(scores[i]);
            highest = score > highest ? score : highest;
        }
#pragma omp simd reduction(+ : sum)
        for (Size i = 0; i < vocabulary; i++) sum += exponential(get(scores[i]) - highest);
        const float normalizer = highest + std::log(sum), wanted = get(scores[targets[row]]);
        const float weight = weights[row];
        losses[row] = (normalizer - wanted) * weight;
#pragma omp simd
        for (Size i = 0; i < vocabulary; i++)
            put(scores[i], exponential(get(scores[i]) - normalizer) * weight);
        put(scores[targets[row]], (exponential(wanted - normalizer) - 1.0f) * weight);
    }
}

template <class T>
void copy_rows(const T *source, T *target, Size rows, Size width, Size source_stride, Size target_stride,
               Size threads) {
#pragma omp parallel for num_threads(threads)
    for (Size row = 0; row < rows; row++)
        std::memcpy(target + row * target_stride, source + row * source_stride, width * sizeof(T));
}

} // namespace

// What Python calls: a pointer to each function for either format.
#define EXPORT(name)                                            \
    extern "C" {                                                \
    void *name##_fp32 = reinterpret_cast<void *>(&name<float>); \
    void *name##_bf16 = reinterpret_cast<void *>(&name<bf16>);  \
    }

EXPORT(add_norm)
EXPORT(norm_again)
EXPORT(norm_backward)
EXPORT(turn)
EXPORT(norm_rotate)
EXPORT(head_norm_backward)
EXPORT(swiglu)
EXPORT(swiglu_backward)
EXPORT(cross_entropy)
EXPORT(copy_rows)
