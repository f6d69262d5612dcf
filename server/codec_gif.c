/* GIF in, frame by frame: LZW, interlacing, transparency and the disposal methods. */
#include <stdlib.h>
#include <string.h>

#include "server/codec_internal.h"

enum {
    MAX_CODES = 4096,
    DISPOSE_BACKGROUND = 2,
    DISPOSE_PREVIOUS = 3
};

typedef struct frame {
    int x, y, w, h, delay_cs, disposal, transparent; /* transparent -1: none */
    bool interlaced;
    const uint8_t *palette;
    int n_colors;
} frame;

struct gif {
    const uint8_t *data;
    size_t len, at;
    int width, height;
    const uint8_t *global;
    int n_global;
    uint8_t *canvas, *saved, *indices; /* saved: what DISPOSE_PREVIOUS brings back */
    frame last;
    bool has_last, ended;
    int64_t end_us;
    uint16_t prefix[MAX_CODES];
    uint8_t suffix[MAX_CODES], stack[MAX_CODES];
};

static ts_status truncated(ts_error *err)
{
    return ts_fail(err, TS_E_FILE, "a truncated GIF");
}

static int le16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

static bool has(const gif *g, size_t n)
{
    return n <= g->len - g->at;
}

ts_status gif_open(const uint8_t *data, size_t len, gif **out, ts_error *err)
{
    if (len < 13)
        return truncated(err);
    gif *g = calloc(1, sizeof *g);
    if (!g)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a GIF");
    g->data = data;
    g->len = len;
    g->at = 13;
    g->width = le16(data + 6);
    g->height = le16(data + 8);
    if (data[10] & 0x80) {
        g->n_global = 2 << (data[10] & 7);
        g->global = data + 13;
        if (!has(g, 3 * (size_t)g->n_global)) {
            free(g);
            return truncated(err);
        }
        g->at += 3 * (size_t)g->n_global;
    }
    size_t n = (size_t)g->width * (size_t)g->height;
    g->canvas = calloc(n, 4);
    g->indices = malloc(n ? n : 1);
    if (!g->canvas || !g->indices) {
        gif_close(g);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a GIF of %zu pixels", n);
    }
    *out = g;
    return TS_OK;
}

void gif_close(gif *g)
{
    if (!g)
        return;
    free(g->canvas);
    free(g->saved);
    free(g->indices);
    free(g);
}

static ts_status skip_blocks(gif *g, ts_error *err)
{
    while (has(g, 1)) {
        size_t n = g->data[g->at++];
        if (!n)
            return TS_OK;
        if (!has(g, n))
            break;
        g->at += n;
    }
    return truncated(err);
}

static ts_status read_extension(gif *g, frame *f, ts_error *err)
{
    if (!has(g, 2))
        return truncated(err);
    int label = g->data[g->at++];
    if (label == 0xf9 && has(g, 6) && g->data[g->at] == 4) {
        const uint8_t *p = g->data + g->at + 1;
        f->disposal = p[0] >> 2 & 7;
        f->delay_cs = le16(p + 1);
        f->transparent = p[0] & 1 ? p[3] : -1;
    }
    return skip_blocks(g, err);
}

static ts_status read_descriptor(gif *g, frame *f, ts_error *err)
{
    if (!has(g, 9))
        return truncated(err);
    const uint8_t *p = g->data + g->at;
    g->at += 9;
    f->x = le16(p);
    f->y = le16(p + 2);
    f->w = le16(p + 4);
    f->h = le16(p + 6);
    f->interlaced = p[8] & 0x40;
    f->palette = g->global;
    f->n_colors = g->n_global;
    if (p[8] & 0x80) {
        f->n_colors = 2 << (p[8] & 7);
        f->palette = g->data + g->at;
        if (!has(g, 3 * (size_t)f->n_colors))
            return truncated(err);
        g->at += 3 * (size_t)f->n_colors;
    }
    if (f->x + f->w > g->width || f->y + f->h > g->height)
        return ts_fail(err, TS_E_FILE, "a GIF frame of %dx%d at %d,%d in a picture of %dx%d", f->w,
                       f->h, f->x, f->y, g->width, g->height);
    if (!f->palette)
        return ts_fail(err, TS_E_FILE, "a GIF frame without a palette");
    return TS_OK;
}

/* Bits of the sub-blocks, least significant first. */
typedef struct lzw_bits {
    gif *g;
    size_t block; /* bytes left in the sub-block */
    uint32_t acc;
    int n;
    bool end;
} lzw_bits;

static int next_code(lzw_bits *b, int size)
{
    while (b->n < size) {
        gif *g = b->g;
        if (!b->block) {
            if (b->end || !has(g, 1))
                return -1;
            b->block = g->data[g->at++];
            if (!b->block) {
                b->end = true;
                return -1;
            }
        }
        if (!has(g, 1))
            return -1;
        b->acc |= (uint32_t)g->data[g->at++] << b->n;
        b->block--;
        b->n += 8;
    }
    int code = (int)(b->acc & ((UINT32_C(1) << size) - 1));
    b->acc >>= size;
    b->n -= size;
    return code;
}

/* Write a code's string behind `at`; returns its first byte. */
static uint8_t unroll(gif *g, int code, size_t *at, size_t total)
{
    int n = 0;
    while (code >= 0 && n < MAX_CODES) {
        g->stack[n++] = g->suffix[code];
        code = g->prefix[code] == 0xffff ? -1 : g->prefix[code];
    }
    uint8_t first = g->stack[n - 1];
    while (n-- > 0 && *at < total)
        g->indices[(*at)++] = g->stack[n];
    return first;
}

static ts_status decode_lzw(gif *g, size_t total, ts_error *err)
{
    if (!has(g, 1))
        return truncated(err);
    int min = g->data[g->at++];
    if (min < 1 || min > 8)
        return ts_fail(err, TS_E_FILE, "a GIF with LZW codes of %d bits", min);
    int clear = 1 << min, size = min + 1, next = clear + 2, previous = -1;
    for (int i = 0; i < clear; i++) {
        g->prefix[i] = 0xffff;
        g->suffix[i] = (uint8_t)i;
    }
    lzw_bits bits = {.g = g};
    size_t at = 0;
    for (int code; at < total && (code = next_code(&bits, size)) >= 0;) {
        if (code == clear) {
            size = min + 1;
            next = clear + 2;
            previous = -1;
            continue;
        }
        if (code == clear + 1)
            break;
        if (code > next || (code == next && previous < 0) || (previous < 0 && code >= clear))
            return ts_fail(err, TS_E_FILE, "a GIF with a broken LZW code");
        if (previous >= 0 && next < MAX_CODES) {
            g->prefix[next] = (uint16_t)previous;
            /* The first byte of this string; a code not yet known starts like the one before. */
            int c = code == next ? previous : code;
            while (g->prefix[c] != 0xffff)
                c = g->prefix[c];
            g->suffix[next++] = g->suffix[c];
        } else if (code >= next) {
            return ts_fail(err, TS_E_FILE, "a GIF with a broken LZW code");
        }
        (void)unroll(g, code, &at, total);
        if (next == 1 << size && size < 12)
            size++;
        previous = code;
    }
    if (at < total)
        return ts_fail(err, TS_E_FILE, "a GIF frame with %zu pixels of %zu", at, total);
    g->at += bits.block;
    if (g->at > g->len)
        return truncated(err);
    return bits.end ? TS_OK : skip_blocks(g, err);
}

static void fill_clear(gif *g, const frame *f)
{
    for (int y = f->y; y < f->y + f->h; y++)
        memset(g->canvas + 4 * ((size_t)y * (size_t)g->width + (size_t)f->x), 0, 4 * (size_t)f->w);
}

static int interlaced_row(int i, int h)
{
    static const int start[4] = {0, 4, 2, 1}, step[4] = {8, 8, 4, 2};
    for (int pass = 0; pass < 4; pass++) {
        int n = (h - start[pass] + step[pass] - 1) / step[pass];
        n = n < 0 ? 0 : n;
        if (i < n)
            return start[pass] + i * step[pass];
        i -= n;
    }
    return 0;
}

static void draw(gif *g, const frame *f)
{
    for (int i = 0; i < f->h; i++) {
        int y = f->y + (f->interlaced ? interlaced_row(i, f->h) : i);
        const uint8_t *in = g->indices + (size_t)i * (size_t)f->w;
        uint8_t *out = g->canvas + 4 * ((size_t)y * (size_t)g->width + (size_t)f->x);
        for (int x = 0; x < f->w; x++, out += 4) {
            if (in[x] == f->transparent || in[x] >= f->n_colors)
                continue;
            memcpy(out, f->palette + 3 * in[x], 3);
            out[3] = 255;
        }
    }
}

static ts_status dispose_last(gif *g, const frame *f, ts_error *err)
{
    size_t bytes = 4 * (size_t)g->width * (size_t)g->height;
    if (g->has_last && g->last.disposal == DISPOSE_BACKGROUND)
        fill_clear(g, &g->last);
    else if (g->has_last && g->last.disposal == DISPOSE_PREVIOUS && g->saved)
        memcpy(g->canvas, g->saved, bytes);
    if (f->disposal == DISPOSE_PREVIOUS) {
        if (!g->saved && !(g->saved = malloc(bytes)))
            return ts_fail(err, TS_E_NO_MEMORY, "no memory for a GIF's saved picture");
        memcpy(g->saved, g->canvas, bytes);
    }
    return TS_OK;
}

static ts_status read_frame(gif *g, frame *f, ts_error *err)
{
    ts_status st = read_descriptor(g, f, err);
    if (st == TS_OK)
        st = decode_lzw(g, (size_t)f->w * (size_t)f->h, err);
    if (st == TS_OK)
        st = dispose_last(g, f, err);
    if (st != TS_OK)
        return st;
    draw(g, f);
    g->last = *f;
    g->has_last = true;
    /* As browsers do: 0 and 10 ms are shown for 100 ms. */
    g->end_us += (f->delay_cs > 1 ? f->delay_cs : 10) * INT64_C(10000);
    return TS_OK;
}

ts_status gif_next(gif *g, const uint8_t **rgba, int64_t *end_us, ts_error *err)
{
    frame f = {.transparent = -1};
    *rgba = NULL;
    while (!g->ended) {
        if (!has(g, 1))
            return truncated(err);
        ts_status st = TS_OK;
        int kind = g->data[g->at++];
        if (kind == 0x21) {
            st = read_extension(g, &f, err);
        } else if (kind == 0x2c) {
            st = read_frame(g, &f, err);
            *rgba = st == TS_OK ? g->canvas : NULL;
            *end_us = g->end_us;
            return st;
        } else if (kind == 0x3b) {
            g->ended = true;
            if (g->at != g->len)
                st = ts_fail(err, TS_E_FILE, "%zu bytes after the end of a GIF", g->len - g->at);
        } else {
            st = ts_fail(err, TS_E_FILE, "a GIF with an unknown block 0x%02x", (unsigned)kind);
        }
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}
