/*
 * From samples to pixels in one pass: load, normalise, tone, resample (nearest or bilinear), colour,
 * and write in the output's form. Also single steps of it: t planes, colour tables, axis tables.
 *
 * Built with -DTS_IN=<dtype>. A work-item draws two rows of `chunk` columns of one tile (two, because
 * a chroma sample covers two rows). Reference: tests/ref/ref_viz.c.
 */
#include "viz_map.clh"

/* ---- output ---- */

/* Up to VIZ_VW pixels of a row at x. */
inline void put_rgb8(uv c, global uchar *dst, int n)
{
    uint a[VIZ_VW];
    STOREV(c, a);
    for (int l = 0; l < n; l++)
        vstore3((uchar3)((uchar)a[l], (uchar)(a[l] >> 8), (uchar)(a[l] >> 16)), l, dst);
}

inline void put_canvas(uv c, global uint *dst, int n)
{
#if VIZ_VW == 8
    if (n == 8) {
        vstore8(c, 0, dst);
        return;
    }
#endif
    uint a[VIZ_VW];
    STOREV(c, a);
    for (int l = 0; l < n; l++)
        dst[l] = a[l];
}

inline void put_bytes(uv c, global uchar *dst, int n)
{
#if VIZ_VW == 8
    if (n == 8) {
        vstore8(convert_uchar8(c & (uv)255), 0, dst);
        return;
    }
#endif
    uint a[VIZ_VW];
    STOREV(c, a);
    for (int l = 0; l < n; l++)
        dst[l] = (uchar)a[l];
}

/* Chroma of two rows of packed YUV: the mean of the 2x2 pixels that exist. */
inline void put_chroma(uv c0, uv c1, int n, global uchar *u, global uchar *v)
{
    uint a[VIZ_VW], b[VIZ_VW];
    STOREV(c0 >> (uv)8, a);
    STOREV(c1 >> (uv)8, b);
    for (int l = 0; l < n; l += 2) {
        int r = l + 1 < n ? l + 1 : l;
        uint sum = a[l] + a[r] + b[l] + b[r] + (2u | 2u << 12);
        u[l / 2] = (uchar)(sum >> 2 & 255);
        v[l / 2] = (uchar)(sum >> 14 & 255);
    }
}

#if VIZ_VW == 8
inline void put_chroma8(uv c0, uv c1, global uchar *u, global uchar *v)
{
    uint8 s = (c0 >> 8) + (c1 >> 8);
    uint4 sum = s.even + s.odd + (uint4)(2u | 2u << 12);
    vstore4(convert_uchar4(sum >> 2 & 255u), 0, u);
    vstore4(convert_uchar4(sum >> 14 & 255u), 0, v);
}
#endif

/*
 * The pass. dst: the form of d.out; I420 planes at u_at, v_at with strides y_stride, c_stride bytes.
 * lut: RGBA8 (or packed YUV where d.out is I420 and the colour is of the table) entries.
 * xi, yi: source index of each destination column and row, -1 for background; xf, yf: weight of the
 * right or lower neighbour. Global: (columns / chunk, rows / 2, tiles).
 */
kernel void viz_draw_tiles(const global uchar *data, viz_draw d,
                           const global viz_range_record *ranges, const global float *cdf,
                           const global int *xi, const global float *xf, const global int *yi,
                           const global float *yf, const global uint *lut, const global float *rows,
                           global uchar *dst, ulong y_stride, ulong c_stride, ulong u_at,
                           ulong v_at)
{
    uint tile = get_global_id(2);
    int y0 = (int)get_global_id(1) * 2, x_begin = (int)get_global_id(0) * d.chunk;
    if (tile >= d.src.tiles || y0 >= d.dh || x_begin >= d.dw)
        return;
    int ox = d.ox + (int)(tile % (uint)d.cols) * d.step_x;
    int oy = d.oy + (int)(tile / (uint)d.cols) * d.step_y;
    int x_end = min(x_begin + d.chunk, d.dw);
    plane_ref planes[4];
    for (int p = 0; p < d.planes; p++)
        open_plane(&planes[p], &d, tile, p, ranges, cdf);
    row_ref rows_of[2];
    for (int r = 0; r < 2; r++)
        rows_of[r] = open_row(&d, y0 + r, yi, yf);
    bool lut_is_yuv = d.out == VIZ_OUT_I420 && d.planes == 1 && d.color == VIZ_COLOR_LUT;
#if VIZ_VW == 1
    uv wait[2] = {0, 0};
#endif
    for (int x = x_begin; x < x_end; x += VIZ_VW) {
        int n = min(x_end - x, VIZ_VW);
        iv cols;
        fv fx = (fv)0.0f;
#if VIZ_VW == 1
        cols = xi[x];
        if (d.filter)
            fx = xf[x];
#else
        if (d.direct && n == VIZ_VW) {
            cols = (iv)x + LANE_IDS;
        } else {
            int at[VIZ_VW];
            float f[VIZ_VW];
            for (int l = 0; l < VIZ_VW; l++) {
                at[l] = xi[min(x + l, x_end - 1)];
                f[l] = d.filter ? xf[min(x + l, x_end - 1)] : 0.0f;
            }
            cols = LOADV(at);
            fx = LOADV(f);
        }
#endif
        uv c[2];
        for (int r = 0; r < 2; r++) {
            if (!rows_of[r].drawn) {
                c[r] = c[0];
                continue;
            }
            fv t[4];
            t[0] = sample(data, &d, &planes[0], &rows_of[r], x, cols, fx);
            for (int p = 1; p < d.planes; p++)
                t[p] = sample(data, &d, &planes[p], &rows_of[r], x, cols, fx);
            if (d.out == VIZ_OUT_INDEXED)
                c[r] =
                    AS_UV(d.map == VIZ_MAP_MODULO ? modulo_index(t[0], &d) : lut_index(t[0], &d));
            else
                c[r] = colors(t, &d, lut, rows);
        }
        int px = ox + x, clipped = min(n, d.dst_w - px);
        if (px < 0 || clipped <= 0)
            continue;
        if (d.out == VIZ_OUT_I420 && !lut_is_yuv) {
            c[0] = yuv_of(c[0]);
            c[1] = yuv_of(c[1]);
        }
        for (int r = 0; r < 2; r++) {
            int py = oy + y0 + r;
            if (!rows_of[r].drawn || py < 0 || py >= d.dst_h)
                continue;
            if (d.out == VIZ_OUT_CANVAS)
                put_canvas(c[r], (global uint *)dst + (ulong)py * d.dst_w + px, clipped);
            else if (d.out == VIZ_OUT_RGB8)
                put_rgb8(c[r], dst + ((ulong)py * d.dst_w + px) * 3, clipped);
            else
                put_bytes(c[r], dst + (ulong)py * y_stride + px, clipped);
        }
        if (d.out == VIZ_OUT_I420) {
            ulong at = (ulong)((oy + y0) / 2) * c_stride + px / 2;
#if VIZ_VW == 8
            if (clipped == 8)
                put_chroma8(c[0], c[1], dst + u_at + at, dst + v_at + at);
            else
                put_chroma(c[0], c[1], clipped, dst + u_at + at, dst + v_at + at);
#else
            if ((x & 1) == 0) {
                wait[0] = c[0];
                wait[1] = c[1];
            }
            if ((x & 1) || x + 1 == x_end) {
                uint sum = (wait[0] >> 8) + (wait[1] >> 8) + (c[0] >> 8) + (c[1] >> 8);
                sum += 2u | 2u << 12;
                dst[u_at + at] = (uchar)(sum >> 2 & 255);
                dst[v_at + at] = (uchar)(sum >> 14 & 255);
            }
#endif
        }
    }
}

#ifdef TS_CPU
#    define STRIP 256

/*
 * Packed colours of n ≤ STRIP samples from `at` on, by the plain mapping, with their classes. Written
 * for the loop vectoriser (it makes gathers of the table): only selects, no branches.
 */
inline void plain_strip(const global uchar *restrict data, ulong at, int n, const plane_ref *p,
                        float scale, float bias, int count, const global uint *restrict lut,
                        uint *c)
{
    float lo_h = p->lo_h, lo_l = p->lo_l, pre = p->pre, inv = p->rec.inv, off = p->rec.off;
    wide lo = p->lo;
    for (int x = 0; x < n; x++) {
        float r = load_one(data, at + x, lo, lo_h, lo_l, pre), t = r * inv + off;
        float k = t > 0.0f ? t : 0.0f; /* NaN gives 0, too */
        k = k < 1.0f ? k : 1.0f;
        int i = min((int)(k * scale + bias), count - 1);
        i = t < 0.0f ? count + VIZ_LUT_UNDER : i;
        i = t > 1.0f ? count + VIZ_LUT_OVER : i;
        i = r == INFINITY ? count + VIZ_LUT_POSINF : i;
        i = r == -INFINITY ? count + VIZ_LUT_NEGINF : i;
        i = r != r ? count + VIZ_LUT_NAN : i;
        c[x] = lut[i];
    }
}

/*
 * The commonest picture on CPU devices: one contiguous plane at its own size, linear mapping without
 * tone, packed table, straight to I420, RGB8 or a canvas. The same pixels as viz_draw_tiles. Global:
 * (columns / chunk, rows / 2); chunk is a multiple of STRIP.
 */
kernel void viz_draw_direct(const global uchar *restrict data, viz_draw d,
                            const global viz_range_record *restrict ranges,
                            const global uint *restrict lut, global uchar *restrict dst,
                            ulong y_stride, ulong c_stride, ulong u_at, ulong v_at)
{
    int y0 = (int)get_global_id(1) * 2, x_begin = (int)get_global_id(0) * d.chunk;
    if (y0 >= d.dh || x_begin >= d.dw)
        return;
    int x_end = min(x_begin + d.chunk, d.dw), rows = min(d.dh - y0, 2);
    plane_ref p;
    open_plane(&p, &d, 0, 0, ranges, (const global float *)ranges);
    uint c[2][STRIP];
    for (int x = x_begin; x < x_end; x += STRIP) {
        int n = min(x_end - x, STRIP);
        for (int r = 0; r < rows; r++) {
            ulong at = p.at + stored_row(&d.src, y0 + r) * d.src.sy + x;
            plain_strip(data, at, n, &p, d.lut_scale, d.lut_bias, d.lut_n, lut, c[r]);
        }
        for (int r = 0; r < rows; r++) {
            ulong row = (ulong)(d.oy + y0 + r);
            if (d.out == VIZ_OUT_I420) {
                global uchar *o = dst + row * y_stride + x;
                for (int i = 0; i < n; i++)
                    o[i] = (uchar)c[r][i];
            } else if (d.out == VIZ_OUT_RGB8) {
                global uchar *o = dst + (row * d.dst_w + x) * 3;
                for (int i = 0; i < n; i++) {
                    o[3 * i] = (uchar)c[r][i];
                    o[3 * i + 1] = (uchar)(c[r][i] >> 8);
                    o[3 * i + 2] = (uchar)(c[r][i] >> 16);
                }
            } else {
                global uint *o = (global uint *)dst + row * d.dst_w + d.ox + x;
                for (int i = 0; i < n; i++)
                    o[i] = c[r][i];
            }
        }
        if (d.out != VIZ_OUT_I420)
            continue;
        int low = rows - 1, half_n = n / 2;
        ulong at = (ulong)(y0 / 2) * c_stride + x / 2;
        global uchar *u = dst + u_at + at, *v = dst + v_at + at;
        for (int i = 0; i < half_n; i++) {
            uint sum = (c[0][2 * i] >> 8) + (c[0][2 * i + 1] >> 8) + (c[low][2 * i] >> 8) +
                       (c[low][2 * i + 1] >> 8) + (2u | 2u << 12);
            u[i] = (uchar)(sum >> 2);
            v[i] = (uchar)(sum >> 14);
        }
        if (n & 1) {
            uint sum = 2 * ((c[0][n - 1] >> 8) + (c[low][n - 1] >> 8)) + (2u | 2u << 12);
            u[half_n] = (uchar)(sum >> 2);
            v[half_n] = (uchar)(sum >> 14);
        }
    }
}
#endif

/*
 * The same with deep pixels: dst is 4 x u16 or 4 x f32 a pixel, alpha 1. Global: (columns, rows,
 * tiles); one pixel an item.
 */
kernel void viz_draw_deep(const global uchar *data, viz_draw d,
                          const global viz_range_record *ranges, const global float *cdf,
                          const global int *xi, const global float *xf, const global int *yi,
                          const global float *yf, const global float *rows, global uchar *dst)
{
    uint tile = get_global_id(2);
    int y = (int)get_global_id(1), x_begin = (int)get_global_id(0) * d.chunk;
    if (tile >= d.src.tiles || y >= d.dh || x_begin >= d.dw)
        return;
    int oy = d.oy + (int)(tile / (uint)d.cols) * d.step_y + y;
    plane_ref planes[4];
    for (int p = 0; p < d.planes; p++)
        open_plane(&planes[p], &d, tile, p, ranges, cdf);
    row_ref row = open_row(&d, y, yi, yf);
    for (int x = x_begin; x < min(x_begin + d.chunk, d.dw); x++) {
        int px = d.ox + (int)(tile % (uint)d.cols) * d.step_x + x;
        float t[4] = {0, 0, 0, 1};
        for (int p = 0; p < d.planes; p++) {
            fv all = sample(data, &d, &planes[p], &row, d.direct ? (int)d.src.w : x, (iv)xi[x],
                            (fv)(d.filter ? xf[x] : 0.0f));
            float lanes[VIZ_VW];
            STOREV(all, lanes);
            t[p] = lanes[0];
        }
        if (px < 0 || px >= d.dst_w || oy < 0 || oy >= d.dst_h)
            continue;
        float3 c =
            d.planes > 1 ? rgb_color(t[0], t[1], t[2], t[3], &d) : exact_color(t[0], &d, rows);
        ulong at = ((ulong)oy * d.dst_w + px);
        if (d.out == VIZ_OUT_RGBA32F)
            vstore4((float4)(c, 1.0f), at, (global float *)dst);
        else
            vstore4(convert_ushort4((float4)(clamp(c, 0.0f, 1.0f), 1.0f) * 65535.0f + 0.5f), at,
                    (global ushort *)dst);
    }
}

/*
 * out[((j·planes + p)·rows + y − y0)·w + x] = t of rows y0 … y0 + rows − 1 of the source, classes
 * encoded, for the separable filters. Global: (w / chunk, rows, tiles · planes).
 */
kernel void viz_draw_plane(const global uchar *data, viz_draw d,
                           const global viz_range_record *ranges, const global float *cdf, uint y0,
                           uint rows, global float *out)
{
    uint z = get_global_id(2), tile = z / (uint)d.planes, plane = z % (uint)d.planes;
    uint y = y0 + get_global_id(1);
    int x0 = (int)get_global_id(0) * d.chunk, w = (int)d.src.w;
    if (tile >= d.src.tiles || y >= d.src.h || y >= y0 + rows || x0 >= w)
        return;
    plane_ref p;
    open_plane(&p, &d, tile, plane, ranges, cdf);
    global float *o = out + ((ulong)z * rows + y - y0) * d.src.w;
    uint row = stored_row(&d.src, y);
    bool valid = y >= d.src.first_valid;
    for (int x = x0; x < min(x0 + d.chunk, w); x += VIZ_VW) {
        int n = min(w - x, VIZ_VW);
        iv at = min((iv)x + LANE_IDS, (iv)(w - 1));
        fv t = map_v(load_row(data, &d, &p, row, x, at), &d, &p.rec, p.cdf);
        t = valid ? t : (fv)T_BG;
        float a[VIZ_VW];
        STOREV(t, a);
        for (int l = 0; l < n; l++)
            o[x + l] = a[l];
    }
}

/* ---- tables ---- */

/*
 * Packed tables of n colours and their special entries: rgba[i], yuv[i] = the colour at i/(n − 1),
 * or row i where `nearest`. kind and count describe `rows` as in color_of(). Global: n + 8.
 */
kernel void viz_draw_lut(const global float *rows, int kind, int count, int n, int nearest,
                         viz_draw d, global uint *rgba, global uint *yuv)
{
    int i = (int)get_global_id(0);
    if (i >= n + VIZ_LUT_EXTRA)
        return;
    int special = i - n;
    float t = i < n ? (float)i / (float)max(n - 1, 1) : special == VIZ_LUT_OVER ? 1.0f : 0.0f;
    uint c;
    if (special >= 0 && special < 6 && d.special_color[special] >> 24)
        c = d.special_color[special];
    else if (nearest)
        c = pack_rgb(vload3(i < n ? i : special == VIZ_LUT_OVER ? n - 1 : 0, rows));
    else
        c = pack_rgb(color_of(t, kind, count, rows));
    rgba[i] = c;
    uv y = yuv_of((uv)c);
    uint lanes[VIZ_VW];
    STOREV(y, lanes);
    yuv[i] = lanes[0];
}

/*
 * index[i], frac[i] of destination i: nearest sample and weight of its right neighbour (bilinear).
 * Kinds 2 to 4 get the nearest sample here, their weights in viz_draw_weights. Global: n.
 */
kernel void viz_draw_axis(viz_axis a, global int *index, global float *frac)
{
    int i = (int)get_global_id(0);
    if (i >= a.n)
        return;
    int x = i - a.off;
    if (x < 0 || x >= a.len) {
        index[i] = -1;
        frac[i] = 0.0f;
        return;
    }
    real pos = wide_real(wide_bits(a.origin)) +
               ((real)x + (real)0.5f) * wide_real(wide_bits(a.extent)) / (real)a.len;
    int outside = !a.whole && (pos < 0 || pos >= (real)a.s);
    if (a.kind == 1) {
        real p = clamp(pos - (real)0.5f, (real)0, (real)(a.s - 1));
        int at = min((int)p, a.s - 1);
        index[i] = outside ? -1 : at;
        frac[i] = (float)(p - (real)at);
        return;
    }
    int at = a.whole ? (int)(((2UL * (ulong)x + 1) * (ulong)a.s) / (2UL * (ulong)a.len))
                     : (int)floor(pos);
    index[i] = outside ? -1 : clamp(at, 0, a.s - 1);
    frac[i] = 0.0f;
}

inline real kernel_weight(int kind, real x)
{
    x = fabs(x);
    if (kind == 3) {
        if (x >= 3)
            return 0;
        if (x < (real)1e-9f)
            return 1;
#ifdef VIZ_FP64
        return sinpi(x) / (M_PI * x) * (sinpi(x / 3) / (M_PI * x / 3));
#else
        return sinpi(x) / (M_PI_F * x) * (sinpi(x / 3) / (M_PI_F * x / 3));
#endif
    }
    const real a = (real)-0.5f;
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/*
 * first[i], count[i] and weight[i·taps + j] of destination i; count 0 is background. Global: n.
 */
kernel void viz_draw_weights(viz_axis a, int taps, global int *first, global int *count,
                             global float *weight)
{
    int i = (int)get_global_id(0);
    if (i >= a.n)
        return;
    int x = i - a.off;
    real scale = wide_real(wide_bits(a.extent)) / (real)a.len;
    real begin = wide_real(wide_bits(a.origin)) + (real)x * scale, center = begin + scale / 2;
    first[i] = count[i] = 0;
    if (x < 0 || x >= a.len || (!a.whole && (center < 0 || center >= (real)a.s)))
        return;
    global float *w = weight + (ulong)i * taps;
    real lo, hi, stretch = fmax(scale, (real)1);
    if (a.kind == 2) {
        lo = fmax(begin, (real)0);
        hi = fmin(begin + scale, (real)a.s);
    } else {
        real support = (a.kind == 3 ? 3 : 2) * stretch;
        lo = fmax(floor(center - support + (real)0.5f), (real)0);
        hi = fmin(floor(center + support + (real)0.5f), (real)a.s);
    }
    int from = clamp((int)floor(lo), 0, a.s - 1), to = clamp((int)ceil(hi), from + 1, a.s);
    to = min(to, from + taps);
    real sum = 0;
    for (int j = from; j < to; j++)
        sum += a.kind == 2 ? fmax(fmin(hi, (real)(j + 1)) - fmax(lo, (real)j), (real)0)
                           : kernel_weight(a.kind, ((real)j - center + (real)0.5f) / stretch);
    for (int j = from; j < to; j++) {
        real k = a.kind == 2 ? fmax(fmin(hi, (real)(j + 1)) - fmax(lo, (real)j), (real)0)
                             : kernel_weight(a.kind, ((real)j - center + (real)0.5f) / stretch);
        w[j - from] = (float)(sum != 0 ? k / sum : 0);
    }
    first[i] = from;
    count[i] = to - from;
}

/*
 * Rows y0 … of t planes (h of them in all, `rows` in t) to width n: mid[(z·h + y)·n + i]; NaN where a
 * tap that matters has a class, T_BG outside. near has the t of the nearest sample there. Global:
 * (n / chunk, rows, planes).
 */
kernel void viz_draw_shrink_x(const global float *t, int w, int h, int y0, int rows, int n,
                              int taps, int chunk, const global int *first, const global int *count,
                              const global float *weight, const global int *xi, global float *mid,
                              global float *near)
{
    int x0 = (int)get_global_id(0) * chunk, line = (int)get_global_id(1), y = y0 + line;
    ulong z = get_global_id(2);
    if (x0 >= n || line >= rows || y >= h)
        return;
    const global float *row = t + (z * rows + line) * w;
    global float *o = mid + (z * h + y) * n, *s = near + (z * h + y) * n;
    for (int i = x0; i < min(x0 + chunk, n); i++) {
        const global float *k = weight + (ulong)i * taps;
        float sum = 0.0f;
        int poison = 0, f = first[i], c = count[i];
        for (int j = 0; j < c; j++) {
            float v = row[f + j];
            int fine = fabs(v) <= 1e30f;
            poison |= !fine && fabs(k[j]) > 1e-6f;
            sum += fine ? v * k[j] : 0.0f;
        }
        o[i] = c == 0 ? T_BG : poison ? NAN : sum;
        s[i] = row[max(xi[i], 0)];
    }
}

/*
 * Columns of mid to height m: out[(z·m + i)·n + x]. Where a tap was not fine, the nearest sample of
 * near by yi. Global: (n / chunk, m, planes).
 */
kernel void viz_draw_shrink_y(const global float *mid, const global float *near, int h, int n,
                              int m, int taps, int chunk, const global int *first,
                              const global int *count, const global float *weight,
                              const global int *xi, const global int *yi, global float *out)
{
    int x0 = (int)get_global_id(0) * chunk, i = (int)get_global_id(1);
    ulong z = get_global_id(2);
    if (x0 >= n || i >= m)
        return;
    const global float *k = weight + (ulong)i * taps;
    int f = first[i], c = count[i];
    for (int x = x0; x < min(x0 + chunk, n); x++) {
        const global float *column = mid + (z * h + f) * n + x;
        float sum = 0.0f;
        int poison = 0;
        for (int j = 0; j < c; j++) {
            float v = column[(ulong)j * n];
            int fine = fabs(v) <= 1e30f;
            poison |= !fine && fabs(k[j]) > 1e-6f;
            sum += fine ? v * k[j] : 0.0f;
        }
        if (c == 0 || xi[x] < 0 || yi[i] < 0)
            sum = T_BG;
        else if (poison)
            sum = near[(z * h + yi[i]) * n + x];
        out[(z * m + i) * n + x] = sum;
    }
}

/* The colour bar: rows of `d` at (ox, oy), size dw x dh, t = 1 − y/(dh − 1). Global: dh. */
kernel void viz_draw_bar(viz_draw d, const global uint *lut, const global float *rows,
                         global uint *canvas)
{
    int y = (int)get_global_id(0);
    if (y >= d.dh)
        return;
    float t = d.dh > 1 ? 1.0f - (float)y / (float)(d.dh - 1) : 1.0f;
    fv tv = (fv)t;
    uv c = colors(&tv, &d, lut, rows);
    uint lanes[VIZ_VW];
    STOREV(c, lanes);
    int py = d.oy + y;
    for (int x = 0; x < d.dw; x++)
        if (py >= 0 && py < d.dst_h && d.ox + x >= 0 && d.ox + x < d.dst_w)
            canvas[(ulong)py * d.dst_w + d.ox + x] = lanes[0];
}
