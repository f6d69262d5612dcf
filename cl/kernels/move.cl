/*
 * Moving elements without changing them: strided copies (transpose, slice, concat, expand), gathers,
 * padding. By element width, so any dtype. Global: any number of items. Reference:
 * tests/ref/ref_move.c.
 */
#include "ops.clh"

typedef struct move_args {
    int rank;
    uint dim[8]; /* extents that are walked, outermost first */
    long sx[8], sy[8];
} move_args;

/* y[yo + Σ i·sy] = x[xo + Σ i·sx] for all i. */
#define DEFINE_COPY(T, NAME)                                                                   \
    kernel void NAME(global const T *x, ulong xo, global T *y, ulong yo, move_args p, ulong n) \
    {                                                                                          \
        const uint inner = p.dim[p.rank - 1];                                                  \
        const long ix = p.sx[p.rank - 1], iy = p.sy[p.rank - 1];                               \
        TS_COPY_ROWS(n / inner)                                                                \
        {                                                                                      \
            ulong rest = row;                                                                  \
            long at = xo, to = yo;                                                             \
            for (int d = p.rank - 2; d >= 0; --d) {                                            \
                const uint k = rest % p.dim[d];                                                \
                rest /= p.dim[d];                                                              \
                at += k * p.sx[d];                                                             \
                to += k * p.sy[d];                                                             \
            }                                                                                  \
            TS_COPY_INNER                                                                      \
        }                                                                                      \
    }

#ifdef TS_CPU
#    define TS_COPY_ROWS(rows)       \
        TS_PIECE(rows, first, last); \
        for (ulong row = first; row < last; ++row)
#    define TS_COPY_INNER                        \
        if (ix == 1 && iy == 1) {                \
            for (uint c = 0; c < inner; ++c)     \
                y[to + c] = x[at + c];           \
        } else {                                 \
            for (uint c = 0; c < inner; ++c)     \
                y[to + c * iy] = x[at + c * ix]; \
        }
#else
/* One element per item: consecutive items write consecutive elements. */
#    define TS_COPY_ROWS(rows)                                   \
        for (ulong e = get_global_id(0), row = e / inner; e < n; \
             e += get_global_size(0), row = e / inner)
#    define TS_COPY_INNER y[to + e % inner * iy] = x[at + e % inner * ix];
#endif

DEFINE_COPY(uchar, move_copy_1)
DEFINE_COPY(ushort, move_copy_2)
DEFINE_COPY(uint, move_copy_4)
DEFINE_COPY(ulong, move_copy_8)

/*
 * y [outer][count][inner] = x [outer][n][inner] at the indices (i32 or i64, negative from the end;
 * outside is clamped). Rows of `inner` elements of `width` bytes move as bytes.
 */
kernel void move_gather(global const uchar *x, ulong xo, global const int *index, ulong io,
                        int wide, global uchar *y, ulong yo, uint n, uint count, ulong row_bytes,
                        ulong rows)
{
#ifdef TS_CPU
    TS_PIECE(rows, first, last);
    for (ulong r = first; r < last; ++r) {
#else
    const ulong units = row_bytes % 4 || (xo | yo) % 4 ? row_bytes : row_bytes / 4;
    TS_EACH(e, rows * units)
    {
        const ulong r = e / units;
#endif
        const uint at = r % count;
        long i = wide ? ((global const long *)index)[io + at] : (long)index[io + at];
        if (i < 0)
            i += n;
        i = clamp(i, 0l, (long)n - 1);
        global const uchar *from = x + xo + (r / count * n + i) * row_bytes;
        global uchar *to = y + yo + r * row_bytes;
#ifdef TS_CPU
        for (ulong b = 0; b < row_bytes; ++b)
            to[b] = from[b];
#else
        const ulong u = e % units;
        if (units == row_bytes)
            to[u] = from[u];
        else
            ((global uint *)to)[u] = ((global const uint *)from)[u];
#endif
    }
}

enum {
    PAD_CONSTANT,
    PAD_REFLECT,
    PAD_EDGE,
    PAD_WRAP
};

/* The source index of padded index i; -1 where the constant goes. */
static inline long pad_source(long i, long n, int mode)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == PAD_EDGE)
        return i < 0 ? 0 : n - 1;
    if (mode == PAD_WRAP) {
        i %= n;
        return i < 0 ? i + n : i;
    }
    if (mode == PAD_REFLECT) {
        if (n == 1)
            return 0;
        const long period = 2 * (n - 1);
        i %= period;
        if (i < 0)
            i += period;
        return i < n ? i : period - i;
    }
    return -1;
}

typedef struct pad_args {
    int rank;
    uint in[8], out[8];
    int front[8];
} pad_args;

/* f32: y = x with `front` elements before each axis, filled as the mode says. */
kernel void move_pad(global const float *x, ulong xo, global float *y, ulong yo, pad_args p,
                     int mode, float value, ulong n)
{
    TS_EACH(i, n)
    {
        ulong rest = i;
        long at = 0, step = 1;
        for (int d = p.rank - 1; d >= 0; --d) {
            const long s = pad_source((long)(rest % p.out[d]) - p.front[d], p.in[d], mode);
            rest /= p.out[d];
            if (s < 0)
                at = -1;
            if (at >= 0)
                at += s * step;
            step *= p.in[d];
        }
        y[yo + i] = at < 0 ? value : x[xo + at];
    }
}

/*
 * Add a weighted tile: y[p][y0+i][x0+j] += x[p][i][j]·wy[i]·wx[j]; x: [planes][h][w], y:
 * [planes][H][W]. gid 0 walks the tile's rows of all planes.
 */
kernel void move_blend(global const float *x, ulong xo, global const float *wy,
                       global const float *wx, global float *y, ulong yo, int h, int w, int big_h,
                       int big_w, int y0, int x0, ulong rows)
{
#ifdef TS_CPU
    TS_PIECE(rows, first, last);
    for (ulong r = first; r < last; ++r) {
        const int i = r % h;
        global const float *from = x + xo + r * w;
        global float *to = y + yo + (r / h * big_h + y0 + i) * big_w + x0;
        for (int j = 0; j < w; ++j)
            to[j] = fma(from[j], wy[i] * wx[j], to[j]);
    }
#else
    TS_EACH(e, rows * w)
    {
        const ulong r = e / w;
        const int i = r % h, j = e % w;
        global float *to = y + yo + (r / h * big_h + y0 + i) * big_w + x0 + j;
        *to = fma(x[xo + e], wy[i] * wx[j], *to);
    }
#endif
}
