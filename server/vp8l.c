#include "server/vp8l.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

enum {
    MAX_SIDE = 16383,
    GREEN_SYMBOLS = 280, /* 256 literals, 24 length prefixes */
    DIST_SYMBOLS = 40,
    MAX_COPY = 4096,
    MIN_COPY = 4,
    MAX_BITS = 15,
    CODE_LENGTH_SYMBOLS = 19,
    PREDICTOR_BITS = 120, /* what declaring a predictor costs */
    RUNS_BITS = 300       /* what the longer code of the run symbols costs, about */
};

/* A copy token: bit 31, then the distance (0 above, 1 left) in bit 30, then the length. */
#define TOKEN_COPY UINT32_C(0x80000000)
#define TOKEN_LEFT UINT32_C(0x40000000)

typedef struct code {
    uint16_t bits[GREEN_SYMBOLS]; /* reversed, as VP8L packs least significant bit first */
    uint8_t len[GREEN_SYMBOLS];
} code;

/* ---- bits ---- */

typedef struct bit_writer {
    uint8_t *at; /* there is room for 8 bytes beyond the last full byte */
    uint64_t acc;
    unsigned n;
} bit_writer;

static inline void bits_flush(bit_writer *w)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(w->at, &w->acc, 8);
#else
    for (int i = 0; i < 8; i++)
        w->at[i] = (uint8_t)(w->acc >> (8 * i));
#endif
    w->at += w->n >> 3;
    w->acc >>= w->n & ~7u;
    w->n &= 7;
}

/* At most 57 bits between two flushes. */
static inline void bits_add(bit_writer *w, uint64_t value, unsigned n)
{
    w->acc |= value << w->n;
    w->n += n;
}

static void bits_put(bit_writer *w, uint32_t value, unsigned n)
{
    bits_add(w, value, n);
    bits_flush(w);
}

static uint8_t *bits_end(bit_writer *w)
{
    bits_flush(w);
    if (w->n)
        *w->at++ = (uint8_t)w->acc;
    return w->at;
}

/* ---- prefix codes ---- */

typedef struct leaf {
    uint32_t count;
    uint16_t symbol;
} leaf;

static int leaf_compare(const void *a, const void *b)
{
    const leaf *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? -1 : 1;
    return (int)x->symbol - (int)y->symbol;
}

/* Code lengths of n sorted leaves by merging two queues; returns the longest. */
static int merge_lengths(const leaf *leaves, int n, uint8_t *len)
{
    uint64_t weight[2 * GREEN_SYMBOLS];
    int parent[2 * GREEN_SYMBOLS], depth[2 * GREEN_SYMBOLS];
    for (int i = 0; i < n; i++)
        weight[i] = leaves[i].count;
    int next_leaf = 0, next_node = n, end = n;
    while (end < 2 * n - 1) {
        weight[end] = 0;
        for (int k = 0; k < 2; k++) {
            bool take_leaf =
                next_leaf < n && (next_node >= end || weight[next_leaf] <= weight[next_node]);
            int child = take_leaf ? next_leaf++ : next_node++;
            parent[child] = end;
            weight[end] += weight[child];
        }
        end++;
    }
    int longest = 0;
    depth[2 * n - 2] = 0;
    for (int i = 2 * n - 3; i >= 0; i--) {
        depth[i] = depth[parent[i]] + 1;
        if (i < n) {
            len[leaves[i].symbol] = (uint8_t)(depth[i] > 255 ? 255 : depth[i]);
            if (depth[i] > longest)
                longest = depth[i];
        }
    }
    return longest;
}

/* Lengths of at most `limit` bits. A lone symbol gets length 0: it costs no bits when used. */
static void code_lengths(const uint32_t *count, int n_symbols, int limit, uint8_t *len)
{
    leaf leaves[GREEN_SYMBOLS];
    int n = 0;
    memset(len, 0, (size_t)n_symbols);
    for (int s = 0; s < n_symbols; s++)
        if (count[s])
            leaves[n++] = (leaf){count[s], (uint16_t)s};
    if (n < 2)
        return;
    qsort(leaves, (size_t)n, sizeof *leaves, leaf_compare);
    while (merge_lengths(leaves, n, len) > limit)
        for (int i = 0; i < n; i++) /* halving keeps the order */
            leaves[i].count = (leaves[i].count + 1) >> 1;
}

static void canonical_codes(code *c, int n_symbols)
{
    uint32_t per_len[MAX_BITS + 1] = {0}, next[MAX_BITS + 2] = {0};
    for (int s = 0; s < n_symbols; s++)
        per_len[c->len[s]]++;
    per_len[0] = 0;
    for (int l = 1; l <= MAX_BITS; l++)
        next[l + 1] = (next[l] + per_len[l]) << 1;
    for (int s = 0; s < n_symbols; s++) {
        uint32_t v = c->len[s] ? next[c->len[s]]++ : 0, r = 0;
        for (int b = 0; b < c->len[s]; b++)
            r |= (v >> b & 1) << (c->len[s] - 1 - b);
        c->bits[s] = (uint16_t)r;
    }
}

/* The lengths as code-length symbols; 17 and 18 are runs of zeros with `extra` in 3 or 7 bits. */
static int length_tokens(const uint8_t *len, int n_symbols, uint8_t *symbol, uint8_t *extra)
{
    int n = 0;
    for (int s = 0; s < n_symbols;) {
        int zeros = 0;
        while (s + zeros < n_symbols && zeros < 138 && !len[s + zeros])
            zeros++;
        if (zeros >= 3) {
            symbol[n] = zeros >= 11 ? 18 : 17;
            extra[n++] = (uint8_t)(zeros - (zeros >= 11 ? 11 : 3));
            s += zeros;
        } else {
            symbol[n++] = len[s++];
        }
    }
    return n;
}

static void write_full_code(bit_writer *w, const code *c, int n_symbols)
{
    static const uint8_t order[CODE_LENGTH_SYMBOLS] = {17, 18, 0, 1,  2,  3,  4,  5,  16, 6,
                                                       7,  8,  9, 10, 11, 12, 13, 14, 15};
    uint8_t symbol[GREEN_SYMBOLS], extra[GREEN_SYMBOLS];
    int n = length_tokens(c->len, n_symbols, symbol, extra);
    uint32_t count[CODE_LENGTH_SYMBOLS] = {0};
    for (int i = 0; i < n; i++)
        count[symbol[i]]++;
    code lc = {0};
    code_lengths(count, CODE_LENGTH_SYMBOLS, 7, lc.len);
    int used = 0, lone = 0;
    for (int s = 0; s < CODE_LENGTH_SYMBOLS; s++)
        if (count[s]) {
            used++;
            lone = s;
        }
    if (used == 1) /* a code of one symbol needs a second, unused one to be complete */
        lc.len[lone] = lc.len[lone ? 0 : 1] = 1;
    canonical_codes(&lc, CODE_LENGTH_SYMBOLS);

    int m = CODE_LENGTH_SYMBOLS;
    while (m > 4 && !lc.len[order[m - 1]])
        m--;
    bits_put(w, 0, 1);
    bits_put(w, (uint32_t)(m - 4), 4);
    for (int i = 0; i < m; i++)
        bits_put(w, lc.len[order[i]], 3);
    bits_put(w, 0, 1); /* every symbol follows */
    for (int i = 0; i < n; i++) {
        bits_put(w, lc.bits[symbol[i]], lc.len[symbol[i]]);
        if (symbol[i] >= 17)
            bits_put(w, extra[i], symbol[i] == 17 ? 3 : 7);
    }
}

static void write_simple_code(bit_writer *w, const int *used, int n)
{
    bits_put(w, 1, 1);
    bits_put(w, (uint32_t)(n - 1), 1);
    if (used[0] < 2) {
        bits_put(w, 0, 1);
        bits_put(w, (uint32_t)used[0], 1);
    } else {
        bits_put(w, 1, 1);
        bits_put(w, (uint32_t)used[0], 8);
    }
    if (n == 2)
        bits_put(w, (uint32_t)used[1], 8);
}

/* Make the code of `count` and write it. No used symbol at all counts as symbol 0 alone. */
static void make_code(const uint32_t *count, int n_symbols, code *c)
{
    memset(c, 0, sizeof *c);
    code_lengths(count, n_symbols, MAX_BITS, c->len);
    int used = 0, lone = 0;
    for (int s = 0; s < n_symbols; s++)
        if (count[s]) {
            used++;
            lone = s;
        }
    if (used == 1 && lone >= 256) /* has no short form */
        c->len[lone] = c->len[0] = 1;
    canonical_codes(c, n_symbols);
}

static void write_code(bit_writer *w, const uint32_t *count, const code *c, int n_symbols)
{
    int used[3] = {0}, n = 0;
    for (int s = 0; s < n_symbols && n < 3; s++)
        if (count[s])
            used[n++] = s;
    if (n == 0)
        n = 1;
    if (n <= 2 && used[n - 1] < 256)
        write_simple_code(w, used, n);
    else
        write_full_code(w, c, n_symbols);
}

static void write_lone_symbol(bit_writer *w, int symbol)
{
    write_simple_code(w, &symbol, 1);
}

/* ---- tokens ---- */

/* Symbol, number of extra bits and their value of a length or distance v >= 1. */
static inline unsigned prefix_symbol(uint32_t v, unsigned *n_extra, uint32_t *extra)
{
    uint32_t d = v - 1;
    if (d < 4) {
        *n_extra = 0;
        *extra = 0;
        return d;
    }
    unsigned hb = 31 - (unsigned)__builtin_clz(d);
    *n_extra = hb - 1;
    *extra = d & ((UINT32_C(1) << (hb - 1)) - 1);
    return 2 * hb + (d >> (hb - 1) & 1);
}

/* How many bytes from `a` on equal those from `b` on, at most `max`. */
static inline size_t equal_run(const uint8_t *a, const uint8_t *b, size_t max)
{
    size_t n = 0;
    while (n + 8 <= max) {
        uint64_t x, y;
        memcpy(&x, a + n, 8);
        memcpy(&y, b + n, 8);
        if (x != y) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return n + (size_t)(__builtin_ctzll(x ^ y) >> 3);
#else
            break;
#endif
        }
        n += 8;
    }
    while (n < max && a[n] == b[n])
        n++;
    return n;
}

static size_t tokenize(const uint8_t *p, size_t n, size_t width, uint32_t *token)
{
    size_t n_tokens = 0;
    for (size_t i = 0; i < n;) {
        size_t max = n - i < MAX_COPY ? n - i : MAX_COPY;
        size_t above = i >= width ? equal_run(p + i, p + i - width, max) : 0;
        size_t left = i && above < max ? equal_run(p + i, p + i - 1, max) : 0;
        size_t best = above >= left ? above : left;
        if (best < MIN_COPY) {
            token[n_tokens++] = p[i++];
            continue;
        }
        token[n_tokens++] = TOKEN_COPY | (above >= left ? 0 : TOKEN_LEFT) | (uint32_t)best;
        i += best;
    }
    return n_tokens;
}

/* Count token symbols; returns the number of extra bits. */
static uint64_t count_tokens(const uint32_t *token, size_t n, uint32_t *green, uint32_t *dist)
{
    uint64_t extra_bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t t = token[i];
        if (!(t & TOKEN_COPY)) {
            green[t]++;
            continue;
        }
        unsigned n_extra;
        uint32_t extra;
        green[256 + prefix_symbol(t & 0xffff, &n_extra, &extra)]++;
        dist[t & TOKEN_LEFT ? 1 : 0]++;
        extra_bits += n_extra;
    }
    return extra_bits;
}

static void write_tokens(bit_writer *w, const uint32_t *token, size_t n, const code *green,
                         const code *dist)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t t = token[i];
        if (!(t & TOKEN_COPY)) {
            bits_add(w, green->bits[t], green->len[t]);
        } else {
            unsigned n_extra;
            uint32_t extra;
            unsigned s = 256 + prefix_symbol(t & 0xffff, &n_extra, &extra);
            unsigned d = t & TOKEN_LEFT ? 1 : 0;
            bits_add(w, green->bits[s], green->len[s]);
            bits_add(w, extra, n_extra);
            bits_add(w, dist->bits[d], dist->len[d]);
        }
        bits_flush(w);
    }
}

static void write_literals(bit_writer *w, const uint8_t *p, size_t n, const code *green)
{
    uint32_t table[256]; /* code and length in one load */
    for (int s = 0; s < 256; s++)
        table[s] = (uint32_t)green->bits[s] | (uint32_t)green->len[s] << 16;
    bit_writer b = *w;
    size_t i = 0;
    for (; i + 3 <= n; i += 3) { /* 3 x 15 bits and 7 left over fit in 64 */
        uint32_t x = table[p[i]], y = table[p[i + 1]], z = table[p[i + 2]];
        bits_add(&b, x & 0xffff, x >> 16);
        bits_add(&b, y & 0xffff, y >> 16);
        bits_add(&b, z & 0xffff, z >> 16);
        bits_flush(&b);
    }
    for (; i < n; i++)
        bits_put(&b, table[p[i]] & 0xffff, table[p[i]] >> 16);
    *w = b;
}

/* ---- residuals and the choice of a method ---- */

static void residual_left(const uint8_t *row, uint8_t *out, size_t w)
{
    for (size_t x = 1; x < w; x++)
        out[x] = (uint8_t)(row[x] - row[x - 1]);
}

static void residual_top(const uint8_t *row, const uint8_t *up, uint8_t *out, size_t w)
{
    for (size_t x = 0; x < w; x++)
        out[x] = (uint8_t)(row[x] - up[x]);
}

static void residual_mean(const uint8_t *row, const uint8_t *up, uint8_t *out, size_t w)
{
    for (size_t x = 1; x < w; x++)
        out[x] = (uint8_t)(row[x] - ((row[x - 1] & up[x]) + ((row[x - 1] ^ up[x]) >> 1)));
}

/* One row's residuals; the first row predicts left and the first column above in every mode. */
static void residual_row(ts_vp8l_method method, const uint8_t *row, const uint8_t *up, uint8_t *out,
                         size_t w)
{
    if (method == TS_VP8L_RAW) {
        memcpy(out, row, w);
        return;
    }
    out[0] = (uint8_t)(row[0] - (up ? up[0] : 0));
    if (!up || method == TS_VP8L_LEFT)
        residual_left(row, out, w);
    else if (method == TS_VP8L_TOP)
        residual_top(row, up, out, w);
    else
        residual_mean(row, up, out, w);
}

/* Four tables, so that equal neighbours do not wait for each other's store. */
static void histogram_add(uint32_t table[4][256], const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        table[0][p[i]]++;
        table[1][p[i + 1]]++;
        table[2][p[i + 2]]++;
        table[3][p[i + 3]]++;
    }
    for (; i < n; i++)
        table[0][p[i]]++;
}

static double entropy_bits(const uint32_t *count, int n)
{
    double total = 0, sum = 0;
    for (int i = 0; i < n; i++)
        if (count[i]) {
            total += count[i];
            sum -= count[i] * log2(count[i]);
        }
    return total > 0 ? sum + total * log2(total) : 0;
}

/* Share of the pixels that equal the left or the upper neighbour. */
static double equal_share(const uint8_t *p, size_t w, size_t h, size_t stride)
{
    enum {
        LANES = 32
    };
    size_t equal = 0;
    for (size_t y = 0; y < h; y++) {
        const uint8_t *row = p + y * stride, *up = y ? row - stride : row + 1;
        uint8_t lane[LANES] = {0};
        size_t x = 1, steps = 0;
        size_t end = y ? w : w - 1; /* the first row has no other neighbour: compare inside it */
        if (!y && w < 2)
            continue;
        for (; x + LANES <= end; x += LANES) {
            for (int k = 0; k < LANES; k++)
                lane[k] = (uint8_t)(lane[k] + ((row[x + (size_t)k] == row[x + (size_t)k - 1]) |
                                               (row[x + (size_t)k] == up[x + (size_t)k])));
            if (++steps == 255) {
                for (int k = 0; k < LANES; k++)
                    equal += lane[k];
                memset(lane, 0, sizeof lane);
                steps = 0;
            }
        }
        for (int k = 0; k < LANES; k++)
            equal += lane[k];
        for (; x < end; x++)
            equal += row[x] == row[x - 1] || row[x] == up[x];
    }
    return (double)equal / ((double)w * (double)h);
}

/* The literal method of least entropy, on every row or, for large pictures, on some. */
static ts_vp8l_method best_literal(const uint8_t *p, size_t w, size_t h, size_t stride,
                                   double *bits)
{
    enum {
        SAMPLE_PX = 32 * 1024
    };
    uint32_t table[4][4][256] = {0};
    uint8_t residual[MAX_SIDE];
    size_t step = w * h / SAMPLE_PX > 1 ? w * h / SAMPLE_PX : 1, rows = 0;
    for (size_t y = 0; y < h; y += step, rows++) {
        const uint8_t *row = p + y * stride, *up = y ? row - stride : NULL;
        histogram_add(table[0], row, w);
        for (int m = 1; m < 4; m++) {
            residual_row((ts_vp8l_method)(TS_VP8L_RAW + m), row, up, residual, w);
            histogram_add(table[m], residual, w);
        }
    }
    ts_vp8l_method best = TS_VP8L_RAW;
    *bits = INFINITY;
    for (int m = 0; m < 4; m++) {
        for (int s = 0; s < 256; s++)
            table[m][0][s] += table[m][1][s] + table[m][2][s] + table[m][3][s];
        double b = entropy_bits(table[m][0], 256) * (double)h / (double)rows;
        b += m ? PREDICTOR_BITS : 0;
        if (b < *bits) {
            *bits = b;
            best = (ts_vp8l_method)(TS_VP8L_RAW + m);
        }
    }
    return best;
}

/* ---- the file ---- */

static bool grow(void **mem, size_t *cap, size_t n, size_t item)
{
    if (n <= *cap)
        return true;
    void *p = ts_realloc_array(*mem, n, item);
    if (!p)
        return false;
    *mem = p;
    *cap = n;
    return true;
}

static int max_index(const uint8_t *p, size_t w, size_t h, size_t stride)
{
    uint8_t lane[32] = {0};
    for (size_t y = 0; y < h; y++) {
        const uint8_t *row = p + y * stride;
        size_t x = 0;
        for (; x + 32 <= w; x += 32)
            for (size_t k = 0; k < 32; k++)
                lane[k] = row[x + k] > lane[k] ? row[x + k] : lane[k];
        for (; x < w; x++)
            lane[0] = row[x] > lane[0] ? row[x] : lane[0];
    }
    int max = 0;
    for (int k = 0; k < 32; k++)
        max = lane[k] > max ? lane[k] : max;
    return max;
}

static void write_palette(bit_writer *w, const uint8_t (*palette)[3], int n_colors)
{
    /* More than 16 entries keep one index per pixel; padding repeats the last colour. */
    int n = n_colors > 17 ? n_colors : 17;
    uint8_t delta[3][256]; /* green, red, blue: the order in the stream */
    static const int channel[3] = {1, 0, 2};
    uint32_t count[4][256] = {0};
    for (int i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) {
            int now = palette[i < n_colors ? i : n_colors - 1][channel[c]];
            int before = i ? palette[i - 1 < n_colors ? i - 1 : n_colors - 1][channel[c]] : 0;
            delta[c][i] = (uint8_t)(now - before);
            count[c][delta[c][i]]++;
        }
    count[3][255] = 1; /* alpha: 255 first, then differences of 0 */
    count[3][0] = (uint32_t)n - 1;

    bits_put(w, 1, 1); /* a transform: */
    bits_put(w, 3, 2); /* colour indexing */
    bits_put(w, (uint32_t)(n - 1), 8);
    bits_put(w, 0, 1); /* no colour cache */
    code codes[4];
    for (int c = 0; c < 4; c++) {
        uint32_t all[GREEN_SYMBOLS] = {0};
        memcpy(all, count[c], sizeof count[c]);
        int n_symbols = c ? 256 : GREEN_SYMBOLS;
        make_code(all, n_symbols, &codes[c]);
        write_code(w, all, &codes[c], n_symbols);
    }
    write_lone_symbol(w, 0); /* distance */
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < 3; c++)
            bits_put(w, codes[c].bits[delta[c][i]], codes[c].len[delta[c][i]]);
        int a = i ? 0 : 255;
        bits_put(w, codes[3].bits[a], codes[3].len[a]);
    }
}

static void write_predictor(bit_writer *w, ts_vp8l_method method)
{
    int mode = method == TS_VP8L_LEFT ? 1 : method == TS_VP8L_TOP ? 2 : 7;
    bits_put(w, 1, 1);
    bits_put(w, 0, 2);
    bits_put(w, 7, 3); /* tiles of 512 pixels: no bits each, as one mode serves all */
    bits_put(w, 0, 1);
    write_lone_symbol(w, mode);
    write_lone_symbol(w, 0);
    write_lone_symbol(w, 0);
    write_lone_symbol(w, 255);
    write_lone_symbol(w, 0);
}

typedef struct picture {
    const uint8_t *plane; /* indices or residuals, contiguous; NULL for runs */
    const uint32_t *tokens;
    size_t n_pixels, n_tokens;
    ts_vp8l_method method;
    uint32_t green[GREEN_SYMBOLS], dist[DIST_SYMBOLS];
    uint64_t extra_bits;
} picture;

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static ts_status write_file(const picture *pic, int width, int height, const uint8_t (*palette)[3],
                            int n_colors, ts_buf *out, ts_error *err)
{
    enum {
        HEADER_ROOM = 8192 /* RIFF, palette and codes stay below 4 KiB */
    };
    code green, dist;
    make_code(pic->green, GREEN_SYMBOLS, &green);
    make_code(pic->dist, DIST_SYMBOLS, &dist);
    uint64_t bits = pic->extra_bits;
    for (int s = 0; s < GREEN_SYMBOLS; s++)
        bits += (uint64_t)pic->green[s] * green.len[s];
    for (int s = 0; s < DIST_SYMBOLS; s++)
        bits += (uint64_t)pic->dist[s] * dist.len[s];
    if (!ts_buf_reserve(out, (size_t)(bits / 8) + HEADER_ROOM))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for an exact WebP of %dx%d px", width,
                       height);

    uint8_t *file = out->data + out->len;
    bit_writer w = {.at = file + 20};
    bits_put(&w, 0x2f, 8);
    bits_put(&w, (uint32_t)width - 1, 14);
    bits_put(&w, (uint32_t)height - 1, 14);
    bits_put(&w, 0, 4); /* alpha unused, version 0 */
    write_palette(&w, palette, n_colors);
    bool predicted =
        pic->method == TS_VP8L_LEFT || pic->method == TS_VP8L_TOP || pic->method == TS_VP8L_MEAN;
    if (predicted)
        write_predictor(&w, pic->method);
    bits_put(&w, 0, 3); /* no more transforms, no colour cache, one group of codes */
    write_code(&w, pic->green, &green, GREEN_SYMBOLS);
    write_lone_symbol(&w, 0);
    write_lone_symbol(&w, 0);
    write_lone_symbol(&w, predicted ? 0 : 255);
    write_code(&w, pic->dist, &dist, DIST_SYMBOLS);
    if (pic->tokens)
        write_tokens(&w, pic->tokens, pic->n_tokens, &green, &dist);
    else
        write_literals(&w, pic->plane, pic->n_pixels, &green);
    uint8_t *end = bits_end(&w);

    size_t body = (size_t)(end - file) - 20;
    if (body & 1)
        *end++ = 0;
    memcpy(file, "RIFF", 4);
    put_u32(file + 4, (uint32_t)(end - file - 8));
    memcpy(file + 8, "WEBPVP8L", 8);
    put_u32(file + 16, (uint32_t)body);
    out->len += (size_t)(end - file);
    return TS_OK;
}

/* Bits of the token form, estimated as the literal forms are. */
static double runs_bits(const picture *pic)
{
    return entropy_bits(pic->green, GREEN_SYMBOLS) + entropy_bits(pic->dist, DIST_SYMBOLS) +
           (double)pic->extra_bits + RUNS_BITS;
}

static ts_status make_runs(ts_vp8l *enc, const uint8_t *plane, size_t width, picture *pic,
                           ts_error *err)
{
    if (!grow((void **)&enc->tokens, &enc->tokens_cap, pic->n_pixels, sizeof *enc->tokens))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %zu tokens", pic->n_pixels);
    pic->n_tokens = tokenize(plane, pic->n_pixels, width, enc->tokens);
    pic->tokens = enc->tokens;
    pic->extra_bits = count_tokens(enc->tokens, pic->n_tokens, pic->green, pic->dist);
    return TS_OK;
}

static void make_literals(ts_vp8l *enc, const uint8_t *indices, size_t stride, size_t w, size_t h,
                          picture *pic)
{
    uint32_t table[4][256] = {0};
    const uint8_t *up = NULL;
    memset(pic->green, 0, sizeof pic->green);
    memset(pic->dist, 0, sizeof pic->dist);
    pic->extra_bits = 0;
    pic->tokens = NULL;
    pic->plane = enc->plane;
    for (size_t y = 0; y < h; y++) {
        const uint8_t *row = indices + y * stride;
        uint8_t *residual = enc->plane + y * w;
        residual_row(pic->method, row, up, residual, w);
        histogram_add(table, residual, w);
        up = row;
    }
    for (int s = 0; s < 256; s++)
        pic->green[s] = table[0][s] + table[1][s] + table[2][s] + table[3][s];
}

/* Copies refer to earlier pixels in raster order, so they need rows without gaps. */
static const uint8_t *contiguous(ts_vp8l *enc, const uint8_t *indices, size_t stride, size_t w,
                                 size_t h)
{
    if (stride == w)
        return indices;
    for (size_t y = 0; y < h; y++)
        memcpy(enc->plane + y * w, indices + y * stride, w);
    return enc->plane;
}

/* Bits of the token form from a sample of bands of rows, for pictures too large to try it on. */
static ts_status estimate_runs(ts_vp8l *enc, const uint8_t *plane, size_t w, size_t h, double *bits,
                               ts_error *err)
{
    enum {
        BAND = 16,
        SAMPLE_PX = 24 * 1024
    };
    picture sample = {0};
    size_t rows = 0, step = BAND * (w * h / SAMPLE_PX > 1 ? w * h / SAMPLE_PX : 1);
    if (!grow((void **)&enc->tokens, &enc->tokens_cap, BAND * w, sizeof *enc->tokens))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %zu tokens", BAND * w);
    for (size_t y = 0; y < h; y += step) {
        size_t n = h - y < BAND ? h - y : BAND;
        size_t n_tokens = tokenize(plane + y * w, n * w, w, enc->tokens);
        sample.extra_bits += count_tokens(enc->tokens, n_tokens, sample.green, sample.dist);
        rows += n;
    }
    *bits = runs_bits(&sample) * (double)h / (double)rows;
    return TS_OK;
}

/* Decide between literals and copies, and prepare what is written. */
static ts_status choose(ts_vp8l *enc, const uint8_t *indices, size_t stride, size_t w, size_t h,
                        picture *pic, ts_error *err)
{
    enum {
        TRY_PX = 128 * 1024 /* so small that both are simply made */
    };
    const double surely_runs = 0.95, maybe_runs = 0.4;
    bool runs = pic->method == TS_VP8L_RUNS;
    if (pic->method == TS_VP8L_AUTO) {
        double share = equal_share(indices, w, h, stride), literal_bits = INFINITY, bits = 0;
        pic->method = TS_VP8L_RUNS;
        if (share < surely_runs)
            pic->method = best_literal(indices, w, h, stride, &literal_bits);
        if (share >= maybe_runs && share < surely_runs && w * h > TRY_PX) {
            const uint8_t *plane = contiguous(enc, indices, stride, w, h);
            ts_status st = estimate_runs(enc, plane, w, h, &bits, err);
            if (st != TS_OK)
                return st;
            runs = bits < literal_bits;
        } else if (share >= maybe_runs) {
            ts_status st = make_runs(enc, contiguous(enc, indices, stride, w, h), w, pic, err);
            if (st != TS_OK)
                return st;
            if (runs_bits(pic) < literal_bits) {
                pic->method = TS_VP8L_RUNS;
                return TS_OK;
            }
        }
    }
    if (runs) {
        pic->method = TS_VP8L_RUNS;
        return make_runs(enc, contiguous(enc, indices, stride, w, h), w, pic, err);
    }
    make_literals(enc, indices, stride, w, h, pic);
    return TS_OK;
}

ts_status ts_vp8l_encode(ts_vp8l *enc, const uint8_t *indices, size_t stride, int width, int height,
                         const uint8_t (*palette)[3], int n_colors, ts_vp8l_method method,
                         ts_buf *out, ts_error *err)
{
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE)
        return ts_fail(err, TS_E_TOO_LARGE, "WebP takes sides of 1 to %d px, not %dx%d", MAX_SIDE,
                       width, height);
    if (n_colors < 1 || n_colors > 256)
        return ts_fail(err, TS_E_OPTION, "a palette has 1 to 256 colours, not %d", n_colors);
    size_t w = (size_t)width, h = (size_t)height;
    if (n_colors < 256 && max_index(indices, w, h, stride) >= n_colors)
        return ts_fail(err, TS_E_INDEX, "an index is %d, the palette has %d colours",
                       max_index(indices, w, h, stride), n_colors);
    if (!grow((void **)&enc->plane, &enc->plane_cap, w * h, 1))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %d x %d indices", width, height);
    picture pic = {.n_pixels = w * h, .method = method};
    ts_status st = choose(enc, indices, stride, w, h, &pic, err);
    if (st != TS_OK)
        return st;
    return write_file(&pic, width, height, palette, n_colors, out, err);
}

void ts_vp8l_finish(ts_vp8l *enc)
{
    free(enc->plane);
    free(enc->tokens);
    *enc = (ts_vp8l){0};
}
