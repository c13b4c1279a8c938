// One more token of every row through all layers of a Llama-like model, from its embedding to the scores.
//
// Matrices are fp32 or bf16 (T) and are read once for all rows, which is what a step costs; everything else is in
// fp32. Each matrix has its adapters beside it: [[W, B], [s·A, unused]], see jobs/training/adapted_linear.py.
// Every value is computed by one thread, so results do not depend on how many threads there are. Strides count
// values.

#include "numbers.h"

#include <type_traits>
#include <vector>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

struct Linear {
    const void *matrix, *bias;
    Size outputs, inputs, stride;
};

struct Layer {
    Linear qkv, out, gate_up, down;
    const void *first_norm, *second_norm, *query_norm, *key_norm;
    void *keys, *values; // (slots, key-value heads, room, head size)
    Size turns;
};

struct Model {
    const Layer *layers;
    const void *embeddings, *final_norm, *head, *cos, *sin;
    Size count, hidden, heads, kv_heads, head_size, rotated, inner, vocabulary, room;
    float eps, scale;
};

// `gains` are (rows, rank) for each kind of matrix: what a row takes of each column; `ranks` may be 0.
struct Batch {
    const Size *tokens, *slots, *lengths;
    const float *gains[4];
    Size ranks[4], gain_strides[4];
    float *scores;
    Size rows;
};

constexpr Size WIDE = 16, ROWS = 4;
#if defined(__AVX512F__)
constexpr Size OUTPUTS = 4; // so many sums fit into the registers
#else
constexpr Size OUTPUTS = 2;
#endif
constexpr Size AHEAD = 1; // blocks of outputs that are fetched before they are needed
constexpr Size CHUNK = 8; // blocks of outputs that a thread takes at once

typedef float Wide __attribute__((vector_size(WIDE * sizeof(float)), aligned(4)));
typedef uint32_t WideBits __attribute__((vector_size(WIDE * sizeof(uint32_t)), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(WIDE * sizeof(uint16_t)), aligned(2)));

inline Wide load(const float *from) {
    Wide values;
    std::memcpy(&values, from, sizeof values);
    return values;
}

inline Wide load(const bf16 *from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    const WideBits bits = __builtin_convertvector(halves, WideBits) << 16;
    Wide values;
    std::memcpy(&values, &bits, sizeof values);
    return values;
}

inline float sum(Wide values) {
    float total = 0;
    for (Size i = 0; i < WIDE; i++) total += values[i];
    return total;
}

// Products of `R` rows of x with `O` rows of a matrix; x in fp32, or in the format that the processor multiplies
// with the matrix's.
template <class X, class T, Size R, Size O>
inline void products(const X *x, Size x_stride, const T *matrix, Size stride, Size width, float *result) {
    Wide sums[R][O] = {};
    Size i = 0;
#if defined(__AVX512BF16__)
    if constexpr (std::is_same<X, bf16>::value)
        for (; i + 2 * WIDE <= width; i += 2 * WIDE) {
            __m512bh weights[O];
            for (Size o = 0; o < O; o++) {
                weights[o] = (__m512bh)_mm512_loadu_si512(matrix + o * stride + i);
                __builtin_prefetch(matrix + (o + AHEAD * O) * stride + i);
            }
            for (Size r = 0; r < R; r++) {
                const __m512bh values = (__m512bh)_mm512_loadu_si512(x + r * x_stride + i);
                for (Size o = 0; o < O; o++)
                    sums[r][o] = (Wide)_mm512_dpbf16_ps((__m512)sums[r][o], values, weights[o]);
            }
        }
#endif
    for (; i + WIDE <= width; i += WIDE) {
        Wide weights[O];
        for (Size o = 0; o < O; o++) {
            weights[o] = load(matrix + o * stride + i);
            __builtin_prefetch(matrix + (o + AHEAD * O) * stride + i);
        }
        for (Size r = 0; r < R; r++) {
            const Wide values = load(x + r * x_stride + i);
            for (Size o = 0; o < O; o++) sums[r][o] += values * weights[o];
        }
    }
    for (Size r = 0; r < R; r++)
        for (Size o = 0; o < O; o++) {
            float total = sum(sums[r][o]);
            for (Size rest = i; rest < width; rest++)
                total += get(x[r * x_stride + rest]) * get(matrix[o * stride + rest]);
            result[r * O + o] = total;
        }
}

template <class X, class T, Size O>
inline void products_of(Size rows, const X *x, Size x_stride, const T *matrix, Size stride, Size width,
                        float *result) {
    if (rows == 4) products<X, T, 4, O>(x, x_stride, matrix, stride, width, result);
    else if (rows == 3) products<X, T, 3, O>(x, x_stride, matrix, stride, width, result);
    else if (rows == 2) products<X, T, 2, O>(x, x_stride, matrix, stride, width, result);
    else products<X, T, 1, O>(x, x_stride, matrix, stride, width, result);
}

#if defined(__AVX512BF16__)
template <class T> struct Factor { typedef T type; };
#else
template <class T> struct Factor { typedef float type; };
#endif

// What a thread multiplies with: rows of `inputs` + rank values in the format that suits the matrix. Every thread
// has its own, because waiting for another one costs more than computing a row's norm twice.
template <class T> struct Factors {
    typedef typename Factor<T>::type X;
    std::vector<X> values;
    Size stride = 0;

    Factors(Size rows, Size widest) : values(rows * widest), stride(widest) {}

    // Rows of `width` values from `from`, laid behind the first `start` ones.
    void fill(const float *from, Size from_stride, Size width, Size start, Size rows) {
        for (Size row = 0; row < rows; row++) {
            X *own = values.data() + row * stride + start;
            for (Size i = 0; i < width; i++) put(own[i], from[row * from_stride + i]);
        }
    }
};

// y = x · matrixᵀ + bias, or each column of it times a row's gain; called by all threads together.
template <class T>
void multiply(const Factors<T> &x, const T *matrix, Size stride, Size outputs, Size width, const T *bias,
              const float *gains, Size gain_stride, float *y, Size y_stride, Size rows) {
    typedef typename Factor<T>::type X;
    const Size blocks = (outputs + OUTPUTS - 1) / OUTPUTS;
#pragma omp for schedule(dynamic, CHUNK)
    for (Size block = 0; block < blocks; block++) {
        const Size first = block * OUTPUTS, count = outputs - first < OUTPUTS ? outputs - first : OUTPUTS;
        for (Size row = 0; row < rows; row += ROWS) {
            const Size some = rows - row < ROWS ? rows - row : ROWS;
            float result[ROWS * OUTPUTS];
            const X *own = x.values.data() + row * x.stride;
            const T *weights = matrix + first * stride;
            if (count == OUTPUTS)
                products_of<X, T, OUTPUTS>(some, own, x.stride, weights, stride, width, result);
            else
                for (Size o = 0; o < count; o++) {
                    float alone[ROWS];
                    products_of<X, T, 1>(some, own, x.stride, weights + o * stride, stride, width, alone);
                    for (Size r = 0; r < some; r++) result[r * OUTPUTS + o] = alone[r];
                }
            for (Size r = 0; r < some; r++)
                for (Size o = 0; o < count; o++) {
                    float value = result[r * OUTPUTS + o];
                    if (bias) value += get(bias[first + o]);
                    if (gains) value *= gains[(row + r) * gain_stride + first + o];
                    y[(row + r) * y_stride + first + o] = value;
                }
        }
    }
}

// y = Wx + B(gains ⊙ s·Ax); the second factor goes behind x. `down` (rows, rank) is shared by all threads.
template <class T>
void adapted(const Linear &linear, const Batch &batch, int kind, Factors<T> &x, float *down, float *y,
             Size y_stride) {
    const T *matrix = static_cast<const T *>(linear.matrix), *bias = static_cast<const T *>(linear.bias);
    const Size rank = batch.ranks[kind], inputs = linear.inputs;
    if (rank) {
        multiply<T>(x, matrix + linear.outputs * linear.stride, linear.stride, rank, inputs, nullptr,
                    batch.gains[kind], batch.gain_strides[kind], down, rank, batch.rows);
        x.fill(down, rank, rank, inputs, batch.rows);
    }
    multiply<T>(x, matrix, linear.stride, linear.outputs, inputs + rank, bias, nullptr, 0, y, y_stride, batch.rows);
}

// total += delta, and the RMS norm of it as factors; `normed` has room for one row.
template <class T>
void add_norm(float *total, const float *delta, const T *weight, Factors<T> &x, float *normed, Size width, float eps,
              Size rows) {
    for (Size row = 0; row < rows; row++) {
        float *own = total + row * width, squares = 0;
        if (delta) {
            const float *added = delta + row * width;
#pragma omp simd
            for (Size i = 0; i < width; i++) own[i] += added[i];
        }
#pragma omp simd reduction(+ : squares)
        for (Size i = 0; i < width; i++) squares += own[i] * own[i];
        const float inverse = 1.0f / std::sqrt(squares / float(width) + eps);
#pragma omp simd
        for (Size i = 0; i < width; i++) normed[i] = own[i] * inverse * get(weight[i]);
        for (Size i = 0; i < width; i++) put(x.values[row * x.stride + i], normed[i]);
    }
}

// One head, normed where there is a norm, and turned where there are turns.
template <class T>
void prepare(const float *from, float *to, const T *norm, const T *cos, const T *sin, const Model &model) {
    const Size size = model.head_size, half = model.rotated / 2;
    float inverse = 1;
    if (norm) {
        float squares = 0;
        for (Size i = 0; i < size; i++) squares += from[i] * from[i];
        inverse = 1.0f / std::sqrt(squares / float(size) + model.eps);
    }
    for (Size i = 0; i < size; i++) to[i] = norm ? from[i] * inverse * get(norm[i]) : from[i];
    if (cos)
        for (Size i = 0; i < half; i++) {
            const float first = to[i], second = to[i + half], cosine = get(cos[i]), sine = get(sin[i]);
            to[i] = first * cosine - second * sine;
            to[i + half] = second * cosine + first * sine;
        }
}

template <class T>
void attend(const Model &model, const Layer &layer, const Batch &batch, const float *qkv, Size qkv_stride,
            float *mixed, Size mixed_stride) {
    const Size size = model.head_size, group = model.heads / model.kv_heads;
#pragma omp for schedule(dynamic, 1)
    for (Size part = 0; part < batch.rows * model.kv_heads; part++) {
        const Size row = part / model.kv_heads, head = part % model.kv_heads, length = batch.lengths[row];
        const T *cos = nullptr, *sin = nullptr;
        if (layer.turns) {
            cos = static_cast<const T *>(model.cos) + length * model.rotated;
            sin = static_cast<const T *>(model.sin) + length * model.rotated;
        }
        const Size place = (batch.slots[row] * model.kv_heads + head) * model.room * size;
        T *keys = static_cast<T *>(layer.keys) + place, *values = static_cast<T *>(layer.values) + place;
        const float *own = qkv + row * qkv_stride;
        std::vector<float> queries(group * size), key(size), scores(length + 1);
        prepare<T>(own + (model.heads + head) * size, key.data(), static_cast<const T *>(layer.key_norm), cos, sin,
                   model);
        const float *value = own + (model.heads + model.kv_heads + head) * size;
        for (Size i = 0; i < size; i++) {
            put(keys[length * size + i], key[i]);
            put(values[length * size + i], value[i]);
        }
        for (Size g = 0; g < group; g++) {
            const Size number = head * group + g;
            float *query = queries.data() + g * size, *result = mixed + row * mixed_stride + number * size;
            prepare<T>(own + number * size, query, static_cast<const T *>(layer.query_norm), cos, sin, model);
            float highest = -INFINITY, total = 0;
            for (Size at = 0; at <= length; at++) {
                const T *other = keys + at * size;
                float score = 0;
#pragma omp simd reduction(+ : score)
                for (Size i = 0; i < size; i++) score += query[i] * get(other[i]);
                scores[at] = score * model.scale;
                highest = scores[at] > highest ? scores[at] : highest;
            }
#pragma omp simd reduction(+ : total)
            for (Size at = 0; at <= length; at++) {
                scores[at] = exponential(scores[at] - highest);
                total += scores[at];
            }
            for (Size i = 0; i < size; i++) result[i] = 0;
            for (Size at = 0; at <= length; at++) {
                const float share = scores[at] / total;
                const T *other = values + at * size;
#pragma omp simd
                for (Size i = 0; i < size; i++) result[i] += share * get(other[i]);
            }
        }
    }
}

template <class T>
void swiglu(const float *gate_up, Factors<T> &x, float *product, Size width, Size rows) {
    for (Size row = 0; row < rows; row++) {
        const float *gates = gate_up + row * 2 * width, *ups = gates + width;
#pragma omp simd
        for (Size i = 0; i < width; i++) product[i] = gates[i] * sigmoid(gates[i]) * ups[i];
        for (Size i = 0; i < width; i++) put(x.values[row * x.stride + i], product[i]);
    }
}

inline Size larger(Size one, Size other) { return one > other ? one : other; }

template <class T>
void step(const Model *of, const Batch *of_rows, Size threads) {
    const Model &model = *of;
    const Batch &batch = *of_rows;
    const Size rows = batch.rows, hidden = model.hidden, inner = model.inner;
    const Size width = model.heads * model.head_size, all = width + 2 * model.kv_heads * model.head_size;
    Size rank = 0;
    for (Size own : batch.ranks) rank = larger(rank, own);
    const Size widest = larger(larger(hidden, width), inner) + rank;
    std::vector<float> delta(rows * hidden), qkv(rows * all), mixed(rows * width), gate_up(rows * 2 * inner);
    std::vector<float> down(rows * rank);
#pragma omp parallel num_threads(threads)
    {
        Factors<T> x(rows, widest);
        std::vector<float> total(rows * hidden), row_values(widest);
        for (Size row = 0; row < rows; row++) {
            const T *embedded = static_cast<const T *>(model.embeddings) + batch.tokens[row] * hidden;
            for (Size i = 0; i < hidden; i++) total[row * hidden + i] = get(embedded[i]);
        }
        for (Size number = 0; number < model.count; number++) {
            const Layer &layer = model.layers[number];
            add_norm<T>(total.data(), number ? delta.data() : nullptr, static_cast<const T *>(layer.first_norm), x,
                        row_values.data(), hidden, model.eps, rows);
            adapted<T>(layer.qkv, batch, 0, x, down.data(), qkv.data(), all);
            attend<T>(model, layer, batch, qkv.data(), all, mixed.data(), width);
            x.fill(mixed.data(), width, width, 0, rows);
            adapted<T>(layer.out, batch, 1, x, down.data(), delta.data(), hidden);
            add_norm<T>(total.data(), delta.data(), static_cast<const T *>(layer.second_norm), x, row_values.data(),
                        hidden, model.eps, rows);
            adapted<T>(layer.gate_up, batch, 2, x, down.data(), gate_up.data(), 2 * inner);
            swiglu<T>(gate_up.data(), x, row_values.data(), inner, rows);
            adapted<T>(layer.down, batch, 3, x, down.data(), delta.data(), hidden);
        }
        add_norm<T>(total.data(), delta.data(), static_cast<const T *>(model.final_norm), x, row_values.data(),
                    hidden, model.eps, rows);
        multiply<T>(x, static_cast<const T *>(model.head), hidden, model.vocabulary, hidden, nullptr, nullptr, 0,
                    batch.scores, model.vocabulary, rows);
    }
}

} // namespace

extern "C" {
void *step_fp32 = reinterpret_cast<void *>(&step<float>);
void *step_bf16 = reinterpret_cast<void *>(&step<bf16>);
}
