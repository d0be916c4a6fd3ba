cdef extern from *:
    """
    /* Products of bytes: quantised rows by packed columns, in 32 bits exactly.

       A panel is 16 columns; a group is 8 numbers of each: four registers of 8 columns by 4 numbers. maddubs adds two
       products of a byte and a signed byte in 16 bits. Where the weights of a group are small enough that four products stay
       within 16 bits whatever the bytes are (safe; native.py says which when it packs them), one widening does for two: five
       instructions in the place of six. Of each panel the safe groups come first, so that no branch is guessed. */

    #include <stdint.h>
    #include <string.h>

    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif

    #if defined(__x86_64__) && defined(__GNUC__)
    #define BERT_X86 1
    #include <immintrin.h>
    #define BERT_TARGET __attribute__((target("avx2,fma")))
    #define BERT_INLINE static inline __attribute__((always_inline, target("avx2,fma")))
    #else
    #define BERT_X86 0
    #endif

    enum { BERT_COLUMNS = 16, BERT_GROUP = 8, BERT_ROWS = 4 };

    typedef struct {
        const int8_t *packed;
        const int32_t *order;     /* of each panel: how many groups are safe, then where each group begins, those first */
        const int32_t *sums;      /* of each column */
        const float *scale, *bias;
        int in, out;
    } bert_product;

    typedef struct {
        float scale;
        int32_t zero;
    } bert_quantum;

    #if BERT_X86
    BERT_INLINE __m256i bert_spread(const uint8_t *four) {
        int32_t word;
        memcpy(&word, four, 4);
        return _mm256_set1_epi32(word);
    }

    BERT_INLINE __m256i bert_widened(__m256i words, __m256i total) {
        return _mm256_add_epi32(total, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
    }

    /* Groups of one panel by up to four rows. ``rows`` and ``safe`` are constants where it is called. */
    BERT_INLINE const int8_t *bert_groups(const int rows, const int safe, const int8_t *w, const int32_t *from,
                                          const int32_t *to, const uint8_t *x, int apart, __m256i *left, __m256i *right) {
        for (; from < to; from++, w += BERT_GROUP * BERT_COLUMNS) {
            const __m256i a = _mm256_load_si256((const __m256i *)w);
            const __m256i b = _mm256_load_si256((const __m256i *)(w + 32));
            const __m256i c = _mm256_load_si256((const __m256i *)(w + 64));
            const __m256i d = _mm256_load_si256((const __m256i *)(w + 96));
            const uint8_t *at = x + *from;
            _Pragma("GCC unroll 4")
            for (int row = 0; row < rows; row++, at += apart) {
                const __m256i p = bert_spread(at), q = bert_spread(at + 4);
                const __m256i pa = _mm256_maddubs_epi16(p, a), pb = _mm256_maddubs_epi16(p, b);
                const __m256i qc = _mm256_maddubs_epi16(q, c), qd = _mm256_maddubs_epi16(q, d);
                if (safe) {
                    left[row] = bert_widened(_mm256_add_epi16(pa, qc), left[row]);
                    right[row] = bert_widened(_mm256_add_epi16(pb, qd), right[row]);
                } else {
                    left[row] = bert_widened(qc, bert_widened(pa, left[row]));
                    right[row] = bert_widened(qd, bert_widened(pb, right[row]));
                }
            }
        }
        return w;
    }

    /* Up to four rows by one panel. ``rows`` is a constant where it is called. */
    BERT_INLINE void bert_tile(const int rows, const bert_product *it, int panel, const uint8_t *x,
                               bert_quantum quantum, float *out) {
        const int groups = it->in / BERT_GROUP;
        const int32_t *order = it->order + (size_t)panel * (groups + 1), *first = order + 1;
        const int8_t *w = it->packed + (size_t)panel * it->in * BERT_COLUMNS;
        __m256i left[BERT_ROWS], right[BERT_ROWS];
        _Pragma("GCC unroll 4")
        for (int row = 0; row < rows; row++)
            left[row] = right[row] = _mm256_setzero_si256();
        w = bert_groups(rows, 1, w, first, first + *order, x, it->in, left, right);
        bert_groups(rows, 0, w, first + *order, first + groups, x, it->in, left, right);
        const int column = panel * BERT_COLUMNS;
        const __m256i zero = _mm256_set1_epi32(quantum.zero);
        const __m256 by = _mm256_set1_ps(quantum.scale);
        for (int half = 0; half < 2; half++) {
            const int from = column + 8 * half;
            const __m256i over = _mm256_mullo_epi32(zero, _mm256_loadu_si256((const __m256i *)(it->sums + from)));
            const __m256 scale = _mm256_mul_ps(by, _mm256_loadu_ps(it->scale + from));
            const __m256 bias = _mm256_loadu_ps(it->bias + from);
            _Pragma("GCC unroll 4")
            for (int row = 0; row < rows; row++) {
                const __m256 sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(half ? right[row] : left[row], over));
                _mm256_storeu_ps(out + (size_t)row * it->out + from, _mm256_fmadd_ps(sum, scale, bias));
            }
        }
    }

    /* ``out`` = rows of ``x`` by the matrix, plus its bias. A panel stays in the nearest cache for all rows. */
    static BERT_TARGET void bert_multiply(const bert_product *it, int rows, const uint8_t *x,
                                          bert_quantum quantum, float *out) {
        for (int panel = 0; panel < it->out / BERT_COLUMNS; panel++) {
            const char *next = (const char *)it->packed + (size_t)(panel + 1) * it->in * BERT_COLUMNS;
            for (int at = 0; at < it->in * BERT_COLUMNS; at += 64)
                _mm_prefetch(next + at, _MM_HINT_T1);
            int row = 0;
            for (; row + BERT_ROWS <= rows; row += BERT_ROWS)
                bert_tile(4, it, panel, x + (size_t)row * it->in, quantum, out + (size_t)row * it->out);
            const uint8_t *rest = x + (size_t)row * it->in;
            float *there = out + (size_t)row * it->out;
            if (rows - row == 3)
                bert_tile(3, it, panel, rest, quantum, there);
            else if (rows - row == 2)
                bert_tile(2, it, panel, rest, quantum, there);
            else if (rows - row == 1)
                bert_tile(1, it, panel, rest, quantum, there);
        }
    }

    /* Bytes of ``count`` numbers, as DynamicQuantizeLinear of ONNX makes them: zero is among their values. */
    static BERT_TARGET bert_quantum bert_quantise(const float *x, size_t count, uint8_t *out) {
        __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
        for (size_t at = 0; at < count; at += 8) {
            const __m256 eight = _mm256_loadu_ps(x + at);
            low = _mm256_min_ps(low, eight);
            high = _mm256_max_ps(high, eight);
        }
        float least = 0, most = 0, lows[8], highs[8];
        _mm256_storeu_ps(lows, low);
        _mm256_storeu_ps(highs, high);
        for (int at = 0; at < 8; at++) {
            least = lows[at] < least ? lows[at] : least;
            most = highs[at] > most ? highs[at] : most;
        }
        bert_quantum quantum = {1.0f, 0};
        if (most > least)
            quantum.scale = (most - least) / 255.0f;
        quantum.zero = _mm_cvtss_si32(_mm_set_ss(0.0f - least / quantum.scale));
        const __m256 scale = _mm256_set1_ps(quantum.scale);
        const __m256i zero = _mm256_set1_epi32(quantum.zero);
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for (size_t at = 0; at < count; at += 32) {
            __m256i four[4];
            _Pragma("GCC unroll 4")
            for (int part = 0; part < 4; part++) {
                const __m256 each = _mm256_div_ps(_mm256_loadu_ps(x + at + 8 * part), scale);
                four[part] = _mm256_add_epi32(_mm256_cvtps_epi32(each), zero);
            }
            const __m256i one = _mm256_packs_epi32(four[0], four[1]), other = _mm256_packs_epi32(four[2], four[3]);
            const __m256i packed = _mm256_packus_epi16(one, other); /* saturates at 0 and 255 */
            _mm256_storeu_si256((__m256i *)(out + at), _mm256_permutevar8x32_epi32(packed, order));
        }
        return quantum;
    }
    #endif
    """
    const char *PENSTOCK_SOURCES
    ctypedef signed char int8_t
    ctypedef unsigned char uint8_t
    ctypedef struct bert_product:
        const signed char *packed
        const int *order
        const int *sums
        const float *scale
        const float *bias
        int columns_in "in"
        int columns_out "out"
