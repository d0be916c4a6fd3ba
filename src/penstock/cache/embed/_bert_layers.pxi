cdef extern from *:
    """
    /* What is between the products, in 32-bit floats: attention, GELU, normalisation, pooling. */

    #include <math.h>

    typedef struct {
        bert_product joined, attended, wide, narrow;
        const float *first_weight, *first_bias, *second_weight, *second_bias;
    } bert_layer;

    typedef struct {
        int layers, heads, hidden, wide;
        float epsilon;
        const int8_t *words;      /* a row a piece */
        const float *words_scale, *places;
        const float *norm_weight, *norm_bias;
        bert_layer *each;
    } bert_model;

    /* Where one text is worked on: all of it in one piece of memory. */
    typedef struct {
        float *state, *joined, *context, *wide, *keys, *shares;
        uint8_t *bytes;
    } bert_desk;

    static size_t bert_needs(const bert_model *it, int rows) {
        const size_t padded = (size_t)(rows + 7) / 8 * 8, hidden = it->hidden;
        const size_t most = it->wide > it->hidden ? it->wide : it->hidden;
        const size_t floats = rows * (5 * hidden + it->wide) + padded * (hidden / it->heads + 1);
        return 4 * floats + rows * most + 64;
    }

    static bert_desk bert_lay(const bert_model *it, int rows, char *memory) {
        const size_t padded = (size_t)(rows + 7) / 8 * 8, hidden = it->hidden;
        bert_desk desk;
        desk.state = (float *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
        desk.joined = desk.state + rows * hidden;
        desk.context = desk.joined + rows * 3 * hidden;
        desk.wide = desk.context + rows * hidden;
        desk.keys = desk.wide + (size_t)rows * it->wide;
        desk.shares = desk.keys + padded * (hidden / it->heads);
        desk.bytes = (uint8_t *)(desk.shares + padded);
        return desk;
    }

    #if BERT_X86
    BERT_INLINE float bert_sum(__m256 eight) {
        __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        four = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
    }

    /* exp of at most 0: 2^n times Taylor's polynomial of the rest, at most ln 2 / 2 (1.2e-7 of it). */
    BERT_INLINE __m256 bert_exp(__m256 x) {
        x = _mm256_max_ps(x, _mm256_set1_ps(-87.0f));
        const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), 8);
        __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
        r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
        __m256 sum = _mm256_set1_ps(1.0f / 720);
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f / 120));
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f / 24));
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f / 6));
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(0.5f));
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f));
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f));
        const __m256i power = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        return _mm256_mul_ps(sum, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
    }

    /* x / 2 (1 + erf(x / sqrt 2)); erf by Abramowitz and Stegun 7.1.26, within 1.5e-7. */
    static BERT_TARGET void bert_gelu(float *x, size_t count) {
        const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
        for (size_t at = 0; at < count; at += 8) {
            const __m256 each = _mm256_loadu_ps(x + at);
            const __m256 z = _mm256_mul_ps(_mm256_andnot_ps(sign, each), _mm256_set1_ps(0.70710678f));
            const __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(z, _mm256_set1_ps(0.3275911f), one));
            __m256 sum = _mm256_set1_ps(1.061405429f);
            sum = _mm256_fmadd_ps(sum, t, _mm256_set1_ps(-1.453152027f));
            sum = _mm256_fmadd_ps(sum, t, _mm256_set1_ps(1.421413741f));
            sum = _mm256_fmadd_ps(sum, t, _mm256_set1_ps(-0.284496736f));
            sum = _mm256_fmadd_ps(sum, t, _mm256_set1_ps(0.254829592f));
            const __m256 e = bert_exp(_mm256_xor_ps(_mm256_mul_ps(z, z), sign));
            const __m256 erf = _mm256_fnmadd_ps(_mm256_mul_ps(sum, t), e, one);
            const __m256 half = _mm256_mul_ps(each, _mm256_set1_ps(0.5f));
            const __m256 odd = _mm256_or_ps(erf, _mm256_and_ps(each, sign));
            _mm256_storeu_ps(x + at, _mm256_fmadd_ps(half, odd, half));
        }
    }

    /* ``state`` = ``state`` + ``more`` (NULL: nothing), of mean 0 and variance 1, by weight and bias. One row. */
    static BERT_TARGET void bert_normalise(float *state, const float *more, int hidden, float epsilon,
                                           const float *weight, const float *bias) {
        __m256 sum = _mm256_setzero_ps(), squares = _mm256_setzero_ps();
        for (int at = 0; at < hidden; at += 8) {
            __m256 each = _mm256_loadu_ps(state + at);
            if (more)
                each = _mm256_add_ps(each, _mm256_loadu_ps(more + at));
            _mm256_storeu_ps(state + at, each);
            sum = _mm256_add_ps(sum, each);
        }
        const __m256 mean = _mm256_set1_ps(bert_sum(sum) / hidden);
        for (int at = 0; at < hidden; at += 8) {
            const __m256 off = _mm256_sub_ps(_mm256_loadu_ps(state + at), mean);
            squares = _mm256_fmadd_ps(off, off, squares);
        }
        const __m256 by = _mm256_set1_ps(1.0f / sqrtf(bert_sum(squares) / hidden + epsilon));
        for (int at = 0; at < hidden; at += 8) {
            const __m256 off = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(state + at), mean), by);
            const __m256 each = _mm256_fmadd_ps(off, _mm256_loadu_ps(weight + at), _mm256_loadu_ps(bias + at));
            _mm256_storeu_ps(state + at, each);
        }
    }

    /* What one query gives to each key, before it is divided by their sum, which is returned. ``keys`` lie by dimension. */
    static BERT_TARGET float bert_share(const float *query, const float *keys, int rows, int size, float *shares) {
        const int padded = (rows + 7) / 8 * 8;
        const __m256 scale = _mm256_set1_ps(1.0f / sqrtf((float)size));
        __m256 most = _mm256_set1_ps(-3e38f), total = _mm256_setzero_ps();
        for (int at = 0; at < padded; at += 8) {
            __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
            for (int d = 0; d < size; d += 2) {
                const float *key = keys + (size_t)d * padded + at;
                even = _mm256_fmadd_ps(_mm256_broadcast_ss(query + d), _mm256_loadu_ps(key), even);
                odd = _mm256_fmadd_ps(_mm256_broadcast_ss(query + d + 1), _mm256_loadu_ps(key + padded), odd);
            }
            _mm256_storeu_ps(shares + at, _mm256_mul_ps(_mm256_add_ps(even, odd), scale));
        }
        for (int at = rows; at < padded; at++)
            shares[at] = -3e38f;
        for (int at = 0; at < padded; at += 8)
            most = _mm256_max_ps(most, _mm256_loadu_ps(shares + at));
        most = _mm256_max_ps(most, _mm256_permute2f128_ps(most, most, 1));
        most = _mm256_max_ps(most, _mm256_permute_ps(most, 0x4E));
        most = _mm256_max_ps(most, _mm256_permute_ps(most, 0xB1));
        for (int at = 0; at < padded; at += 8) {
            const __m256 each = bert_exp(_mm256_sub_ps(_mm256_loadu_ps(shares + at), most));
            _mm256_storeu_ps(shares + at, each);
            total = _mm256_add_ps(total, each);
        }
        return bert_sum(total);
    }

    static BERT_TARGET void bert_attend(const bert_model *it, int rows, const bert_desk *desk) {
        const int hidden = it->hidden, size = hidden / it->heads, padded = (rows + 7) / 8 * 8;
        const size_t apart = 3 * (size_t)hidden;
        memset(desk->keys, 0, sizeof(float) * padded * size);
        for (int head = 0; head < it->heads; head++) {
            const float *query = desk->joined + head * size, *key = query + hidden, *value = key + hidden;
            for (int row = 0; row < rows; row++)
                for (int d = 0; d < size; d++)
                    desk->keys[(size_t)d * padded + row] = key[row * apart + d];
            for (int row = 0; row < rows; row++) {
                const float total = bert_share(query + row * apart, desk->keys, rows, size, desk->shares);
                const __m256 by = _mm256_set1_ps(1.0f / total);
                for (int d = 0; d < size; d += 32) {
                    __m256 four[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
                    for (int other = 0; other < rows; other++) {
                        const __m256 share = _mm256_broadcast_ss(desk->shares + other);
                        _Pragma("GCC unroll 4")
                        for (int part = 0; part < 4; part++) {
                            const __m256 eight = _mm256_loadu_ps(value + other * apart + d + 8 * part);
                            four[part] = _mm256_fmadd_ps(share, eight, four[part]);
                        }
                    }
                    float *out = desk->context + (size_t)row * hidden + head * size + d;
                    _Pragma("GCC unroll 4")
                    for (int part = 0; part < 4; part++)
                        _mm256_storeu_ps(out + 8 * part, _mm256_mul_ps(four[part], by));
                }
            }
        }
    }

    /* Word pieces to the first state: piece and place, normalised. */
    static BERT_TARGET void bert_begin(const bert_model *it, const int32_t *pieces, int rows, float *state) {
        for (int row = 0; row < rows; row++, state += it->hidden) {
            const int8_t *word = it->words + (size_t)pieces[row] * it->hidden;
            const __m256 scale = _mm256_set1_ps(it->words_scale[pieces[row]]);
            for (int at = 0; at < it->hidden; at += 8) {
                const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(word + at)));
                const __m256 place = _mm256_loadu_ps(it->places + (size_t)row * it->hidden + at);
                _mm256_storeu_ps(state + at, _mm256_fmadd_ps(_mm256_cvtepi32_ps(wide), scale, place));
            }
            bert_normalise(state, NULL, it->hidden, it->epsilon, it->norm_weight, it->norm_bias);
        }
    }

    static BERT_TARGET void bert_apply(const bert_layer *it, const bert_model *of, int rows, const bert_desk *desk) {
        const int hidden = of->hidden;
        const size_t all = (size_t)rows * hidden, every = (size_t)rows * of->wide;
        float *out = desk->joined; /* free again once attention is done */
        bert_multiply(&it->joined, rows, desk->bytes, bert_quantise(desk->state, all, desk->bytes), desk->joined);
        bert_attend(of, rows, desk);
        bert_multiply(&it->attended, rows, desk->bytes, bert_quantise(desk->context, all, desk->bytes), out);
        for (int row = 0; row < rows; row++)
            bert_normalise(desk->state + (size_t)row * hidden, out + (size_t)row * hidden, hidden, of->epsilon,
                           it->first_weight, it->first_bias);
        bert_multiply(&it->wide, rows, desk->bytes, bert_quantise(desk->state, all, desk->bytes), desk->wide);
        bert_gelu(desk->wide, every);
        bert_multiply(&it->narrow, rows, desk->bytes, bert_quantise(desk->wide, every, desk->bytes), out);
        for (int row = 0; row < rows; row++)
            bert_normalise(desk->state + (size_t)row * hidden, out + (size_t)row * hidden, hidden, of->epsilon,
                           it->second_weight, it->second_bias);
    }

    /* The mean of the last states, of length 1. */
    static BERT_TARGET void bert_end(const bert_model *it, int rows, const float *state, float *vector) {
        __m256 squares = _mm256_setzero_ps();
        for (int at = 0; at < it->hidden; at += 8) {
            __m256 sum = _mm256_setzero_ps();
            for (int row = 0; row < rows; row++)
                sum = _mm256_add_ps(sum, _mm256_loadu_ps(state + (size_t)row * it->hidden + at));
            sum = _mm256_div_ps(sum, _mm256_set1_ps((float)rows));
            squares = _mm256_fmadd_ps(sum, sum, squares);
            _mm256_storeu_ps(vector + at, sum);
        }
        const float length = sqrtf(bert_sum(squares));
        for (int at = 0; at < it->hidden; at++)
            vector[at] /= length > 0 ? length : 1.0f;
    }

    static int bert_able(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

    static void bert_embed(const bert_model *it, const int32_t *pieces, int rows, char *memory, float *vector) {
        const bert_desk desk = bert_lay(it, rows, memory);
        bert_begin(it, pieces, rows, desk.state);
        for (int layer = 0; layer < it->layers; layer++)
            bert_apply(it->each + layer, it, rows, &desk);
        bert_end(it, rows, desk.state, vector);
    }
    #else
    static int bert_able(void) { return 0; }
    static void bert_embed(const bert_model *it, const int32_t *pieces, int rows, char *memory, float *vector) {}
    #endif
    """
    ctypedef struct bert_layer:
        bert_product joined, attended, wide, narrow
        const float *first_weight
        const float *first_bias
        const float *second_weight
        const float *second_bias
    ctypedef struct bert_model:
        int layers, heads, hidden, wide
        float epsilon
        const signed char *words
        const float *words_scale
        const float *places
        const float *norm_weight
        const float *norm_bias
        bert_layer *each
    size_t bert_needs(const bert_model *it, int rows) noexcept nogil
    int bert_able() noexcept nogil
    void bert_embed(const bert_model *it, const int *pieces, int rows, char *memory, float *vector) noexcept nogil
