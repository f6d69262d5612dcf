/*
 * From samples to pixels in one pass: load, normalise, tone, resample (nearest or bilinear), colour,
 * and write in the output's form. Also single steps of it: t planes, colour tables, axis tables.
 *
 * Built with -DTS_IN=<dtype>. A work-item draws two rows of `chunk` columns of one tile (two, because
 * a chroma sample covers two rows). Reference: tests/ref/ref_viz.c.
 */
#include "viz.clh"

/* ---- t ---- */

inline fv symlog_v(fv v, float lin)
{
    fv f = log10((fv)1.0f + fabs(v) / lin);
    return copysign(f, v);
}

inline fv histeq_v(fv t0, int bins, const global float *cdf)
{
    fv p = clamp(t0, (fv)0.0f, (fv)1.0f) * (float)bins;
    float a[VIZ_VW];
    STOREV(p, a);
    for (int l = 0; l < VIZ_VW; l++) {
        int b = min((int)a[l], bins - 1);
        float c0 = cdf[b];
        a[l] = c0 + (a[l] - (float)b) * (cdf[b + 1] - c0);
    }
    return LOADV(a);
}

inline fv tone_v(fv t, const viz_draw *d)
{
    t = t * d->gain + d->bias;
    if (d->gamma != 1.0f)
        t = select(t, pow(t, (fv)d->gamma), t > (fv)0.0f);
    return d->invert ? (fv)1.0f - t : t;
}

/* t of loaded samples `r`, with their classes. */
inline fv map_v(fv r, const viz_draw *d, const viz_range_record *rec, const global float *cdf)
{
    if (d->map == VIZ_MAP_IDENT || d->map == VIZ_MAP_MODULO)
        return r;
    fv t = r * rec->inv + rec->off;
    if (d->map == VIZ_MAP_HISTEQ) {
        if (!rec->flat)
            t = histeq_v(t, d->bins, cdf);
    } else if (d->map == VIZ_MAP_SYMLOG) {
        if (!rec->flat)
            t = (symlog_v(r, rec->lin) - rec->flo) * rec->finv;
    } else if (d->map == VIZ_MAP_LOG) {
        if (!rec->flat)
            t = (log(r) - rec->flo) * rec->finv;
    }
    if (d->has_tone)
        t = tone_v(t, d);
    t = clamp(t, (fv)-1e30f, (fv)1e30f);
    if (d->map == VIZ_MAP_LOG)
        t = select(t, (fv)T_UNDER, r <= (fv)0.0f);
    return select(r, t, FINITE(r));
}

/* What one plane of one tile is read with: where it starts, and its range. */
typedef struct plane_ref {
    ulong at;
    viz_range_record rec;
    const global float *cdf;
    wide lo;
    float lo_h, lo_l, pre;
} plane_ref;

inline ulong tile_base(const viz_source *s, uint j)
{
    uint k = s->k0 + j;
    return s->base + k / s->kdiv * s->ks0 + k % s->kdiv * s->ks1;
}

inline void open_plane(plane_ref *p, const viz_draw *d, uint tile, uint plane,
                       const global viz_range_record *ranges, const global float *cdf)
{
    uint g = 0;
    if (d->group_mode == VIZ_GROUP_TILE)
        g = tile;
    else if (d->group_mode == VIZ_GROUP_CHANNEL)
        g = d->planes > 1 ? plane : (d->src.k0 + tile) % (uint)d->group_div;
    p->at = tile_base(&d->src, tile) + d->src.ps[plane];
    p->lo = wide_of(0);
    p->lo_h = p->lo_l = 0.0f;
    p->pre = 1.0f;
    p->cdf = cdf + (ulong)g * (d->bins + 1);
    if (d->map == VIZ_MAP_IDENT || d->map == VIZ_MAP_MODULO)
        return;
    p->rec = ranges[g];
    if ((d->map == VIZ_MAP_LINEAR || d->map == VIZ_MAP_HISTEQ) && !p->rec.flat) {
        p->lo = wide_bits(p->rec.lo);
        p->lo_h = p->rec.lo_h;
        p->lo_l = p->rec.lo_l;
        p->pre = p->rec.pre;
    }
}

/* Destination row: its source rows and their weight; background where it has none. */
typedef struct row_ref {
    uint r0, r1; /* stored rows */
    float f;
    int outside, drawn;
} row_ref;

inline uint stored_row(const viz_source *s, uint y)
{
    y += s->row_rot;
    return y >= s->h ? y - s->h : y;
}

inline row_ref open_row(const viz_draw *d, int y, const global int *yi, const global float *yf)
{
    row_ref r;
    r.drawn = y < d->dh;
    int i = r.drawn ? yi[y] : -1;
    r.f = r.drawn && d->filter ? yf[y] : 0.0f;
    r.outside = i < 0 || (uint)i < d->src.first_valid;
    i = max(i, 0);
    r.r0 = stored_row(&d->src, (uint)i);
    r.r1 = stored_row(&d->src, min((uint)i + (r.f > 0.0f), d->src.h - 1));
    return r;
}

inline fv load_row(const global uchar *data, const viz_draw *d, const plane_ref *p, uint row, int x,
                   iv xi)
{
    ulong at = p->at + row * d->src.sy;
#if VIZ_VW == 1
    return load_one(data, at + (ulong)xi * d->src.sx, p->lo, p->lo_h, p->lo_l, p->pre);
#else
    if (d->direct && x + VIZ_VW <= (int)d->src.w)
        return load_next(data, at + (ulong)x, p->lo, p->lo_h, p->lo_l, p->pre);
    return load_at(data, at, xi, d->src.sx, p->lo, p->lo_h, p->lo_l, p->pre);
#endif
}

/*
 * A tap that matters and is of another class than finite makes the result the nearest sample.
 * t00 t01 / t10 t11 are the taps, fx and fy the weights of the right and the lower ones.
 */
inline fv mix_taps(fv t00, fv t01, fv t10, fv t11, fv fx, float fy)
{
    fv big = (fv)1e30f, zero = (fv)0.0f, eps = (fv)1e-6f;
    fv fyv = (fv)fy;
    iv right = fx > eps, left = ((fv)1.0f - fx) > eps;
    iv low = fyv > eps, high = ((fv)1.0f - fyv) > eps;
    /* Weighted by 0 where the tap does not count: infinity times 0 would be NaN. */
    fv a = select(zero, t00, left & high), b = select(zero, t01, right & high);
    fv c = select(zero, t10, left & low), e = select(zero, t11, right & low);
    iv fine = (fabs(a) <= big) & (fabs(b) <= big) & (fabs(c) <= big) & (fabs(e) <= big);
    fv top = a + (b - a) * fx, bottom = c + (e - c) * fx;
    fv mixed = top + (bottom - top) * fy;
    /* Where only one of a pair counts, the other's 0 must not pull the mean. */
    fv upper = select(t01, t00, fx < (fv)0.5f), lower = select(t11, t10, fx < (fv)0.5f);
    fv nearest = fy < 0.5f ? upper : lower;
    return select(nearest, mixed, fine);
}

inline fv sample(const global uchar *data, const viz_draw *d, const plane_ref *p,
                 const row_ref *row, int x, iv xi, fv xf)
{
    iv outside = xi < (iv)0;
    iv x0 = max(xi, (iv)0);
    fv t = map_v(load_row(data, d, p, row->r0, x, x0), d, &p->rec, p->cdf);
    if (d->filter) {
        iv x1 = min(x0 + TO_IV(select((fv)0.0f, (fv)1.0f, xf > (fv)0.0f)), (iv)((int)d->src.w - 1));
        ulong at0 = p->at + row->r0 * d->src.sy, at1 = p->at + row->r1 * d->src.sy;
        fv t01 = map_v(load_at(data, at0, x1, d->src.sx, p->lo, p->lo_h, p->lo_l, p->pre), d,
                       &p->rec, p->cdf);
        fv t10 = t, t11 = t01;
        if (row->f > 0.0f) {
            t10 = map_v(load_at(data, at1, x0, d->src.sx, p->lo, p->lo_h, p->lo_l, p->pre), d,
                        &p->rec, p->cdf);
            t11 = map_v(load_at(data, at1, x1, d->src.sx, p->lo, p->lo_h, p->lo_l, p->pre), d,
                        &p->rec, p->cdf);
        }
        t = mix_taps(t, t01, t10, t11, xf, row->f);
    }
    return row->outside ? (fv)T_BG : select(t, (fv)T_BG, outside);
}

/* ---- colour ---- */

/* Index of t in a packed table of n colours, its special entries behind. */
inline iv lut_index(fv t, const viz_draw *d)
{
    int n = d->lut_n;
    iv i = min(TO_IV(clamp(t, (fv)0.0f, (fv)1.0f) * d->lut_scale + d->lut_bias), (iv)(n - 1));
    iv plain = (t >= (fv)0.0f) & (t <= (fv)1.0f);
#if VIZ_VW == 1
    if (plain)
        return i;
#else
    if (all(plain))
        return i;
#endif
    i = select(i, (iv)(n + VIZ_LUT_UNDER), t < (fv)0.0f);
    i = select(i, (iv)(n + VIZ_LUT_OVER), t > (fv)1.0f);
    i = select(i, (iv)(n + VIZ_LUT_BG), t == (fv)T_BG);
    i = select(i, (iv)(n + VIZ_LUT_POSINF), t == (fv)INFINITY);
    i = select(i, (iv)(n + VIZ_LUT_NEGINF), t == (fv)-INFINITY);
    return select(i, (iv)(n + VIZ_LUT_NAN), isnan(t));
}

/* Of integers: t is the index itself. */
inline iv modulo_index(fv t, const viz_draw *d)
{
    return select(TO_IV(min(fabs(t), (fv)4096.0f)), (iv)(d->lut_n + VIZ_LUT_BG), t == (fv)T_BG);
}

inline uv fetch(const global uint *lut, iv index)
{
    int ix[VIZ_VW];
    uint c[VIZ_VW];
    STOREV(index, ix);
    for (int l = 0; l < VIZ_VW; l++)
        c[l] = lut[ix[l]];
    return LOADV(c);
}

inline uint pack_rgb(float3 c)
{
    c = clamp(c, 0.0f, 1.0f) * 255.0f + 0.5f;
    return (uint)c.x | (uint)c.y << 8 | (uint)c.z << 16 | 0xff000000u;
}

/* The colour of finite t, unrounded. rows: n x (r, g, b) of a table; n x (pos, r, g, b) of stops. */
inline float3 color_of(float t, int kind, int n, const global float *rows)
{
    t = clamp(t, 0.0f, 1.0f);
    if (kind == VIZ_COLOR_ROW)
        return vload3(min((int)(t * (float)n), n - 1), rows);
    if (kind == VIZ_COLOR_STOPS) {
        int s = 0;
        while (s < n && rows[4 * s] <= t)
            s++;
        const global float *a = rows + 4 * max(s - 1, 0), *b = rows + 4 * min(s, n - 1);
        float f = s == 0 || s == n ? 0.0f : (t - a[0]) / (b[0] - a[0]);
        float3 ca = vload3(0, a + 1), cb = vload3(0, b + 1);
        return ca + (cb - ca) * f;
    }
    float p = t * (float)(n - 1);
    int i = min((int)p, n - 2);
    float3 a = vload3(i, rows), b = vload3(i + 1, rows);
    return a + (b - a) * (p - (float)i);
}

/* Index into special_color, or -1: the class of t decides the colour. -2, -3: under and over. */
inline int special_of(float t)
{
    if (isnan(t))
        return VIZ_LUT_NAN;
    if (t == INFINITY)
        return VIZ_LUT_POSINF;
    if (t == -INFINITY)
        return VIZ_LUT_NEGINF;
    if (t == T_BG)
        return VIZ_LUT_BG;
    return t < 0.0f ? VIZ_LUT_UNDER : t > 1.0f ? VIZ_LUT_OVER : -1;
}

/* Bit 24 of a special colour says that it is set (under and over may not be). */
inline bool special_color(const viz_draw *d, float t, uint *color)
{
    int s = special_of(t);
    if (s < 0 || !(d->special_color[s] >> 24))
        return false;
    *color = d->special_color[s];
    return true;
}

inline float3 unpack_rgb(uint c)
{
    return (float3)((float)(c & 255), (float)(c >> 8 & 255), (float)(c >> 16 & 255)) / 255.0f;
}

inline float3 exact_color(float t, const viz_draw *d, const global float *rows)
{
    uint special;
    if (special_color(d, t, &special))
        return unpack_rgb(special);
    return color_of(t, d->color, d->modulo, rows);
}

inline uv exact_colors(fv t, const viz_draw *d, const global float *rows)
{
    float a[VIZ_VW];
    uint c[VIZ_VW];
    STOREV(t, a);
    for (int l = 0; l < VIZ_VW; l++)
        c[l] = pack_rgb(exact_color(a[l], d, rows));
    return LOADV(c);
}

/* Of colour pictures: NaN before +Inf before −Inf before the background, in any channel. */
inline float3 rgb_color(float r, float g, float b, float a, const viz_draw *d)
{
    if (isnan(r) || isnan(g) || isnan(b))
        return unpack_rgb(d->special_color[VIZ_LUT_NAN]);
    if (r == INFINITY || g == INFINITY || b == INFINITY)
        return unpack_rgb(d->special_color[VIZ_LUT_POSINF]);
    if (r == -INFINITY || g == -INFINITY || b == -INFINITY)
        return unpack_rgb(d->special_color[VIZ_LUT_NEGINF]);
    float3 back = unpack_rgb(d->background);
    if (r == T_BG || g == T_BG || b == T_BG)
        return back;
    float3 c = clamp((float3)(r, g, b), 0.0f, 1.0f);
    float alpha = d->planes == 4 && a == a ? clamp(a, 0.0f, 1.0f) : 1.0f;
    return back + (c - back) * alpha;
}

inline uv rgb_colors(const fv *t, const viz_draw *d)
{
    float r[VIZ_VW], g[VIZ_VW], b[VIZ_VW], a[VIZ_VW];
    uint c[VIZ_VW];
    STOREV(t[0], r);
    STOREV(t[1], g);
    STOREV(t[2], b);
    STOREV(t[3], a);
    for (int l = 0; l < VIZ_VW; l++)
        c[l] = pack_rgb(rgb_color(r[l], g[l], b[l], a[l], d));
    return LOADV(c);
}

/* BT.601 limited range, 16-bit fixed point, packed Y | U<<8 | V<<24 (room for sums of four). */
inline uv yuv_of(uv c)
{
    iv r = TO_IV(c & (uv)255), g = TO_IV(c >> (uv)8 & (uv)255), b = TO_IV(c >> (uv)16 & (uv)255);
    iv y = (16839 * r + 33059 * g + 6420 * b + (iv)(32768 + (16 << 16))) >> (iv)16;
    iv u = (-9719 * r - 19081 * g + 28800 * b + (iv)(32768 + (128 << 16))) >> (iv)16;
    iv v = (28800 * r - 24116 * g - 4684 * b + (iv)(32768 + (128 << 16))) >> (iv)16;
    return AS_UV(y) | AS_UV(u) << (uv)8 | AS_UV(v) << (uv)20;
}

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
 * A chroma sample needs two columns, so where vectors are single samples the item takes pairs: the
 * first pixel's sums wait for the second.
 */
typedef struct target {
    global uchar *data;
    ulong y_stride, c_stride, u_at, v_at;
} target;

inline uv colors(const fv *t, const viz_draw *d, const global uint *lut, const global float *rows)
{
    if (d->planes > 1)
        return rgb_colors(t, d);
    if (d->map == VIZ_MAP_MODULO)
        return fetch(lut, modulo_index(t[0], d));
    if (d->color == VIZ_COLOR_LUT)
        return fetch(lut, lut_index(t[0], d));
    return exact_colors(t[0], d, rows);
}

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
 * out[((j·planes + p)·h + y)·w + x] = t of the source, classes encoded, for the separable filters.
 * Global: (w / chunk, h, tiles · planes).
 */
kernel void viz_draw_plane(const global uchar *data, viz_draw d,
                           const global viz_range_record *ranges, const global float *cdf,
                           global float *out)
{
    uint z = get_global_id(2), tile = z / (uint)d.planes, plane = z % (uint)d.planes;
    uint y = get_global_id(1);
    int x0 = (int)get_global_id(0) * d.chunk, w = (int)d.src.w;
    if (tile >= d.src.tiles || y >= d.src.h || x0 >= w)
        return;
    plane_ref p;
    open_plane(&p, &d, tile, plane, ranges, cdf);
    global float *o = out + ((ulong)z * d.src.h + y) * d.src.w;
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
 * Rows of t planes to width n: mid[(z·h + y)·n + i]; NaN where a tap that matters has a class, T_BG
 * outside. Global: (n / chunk, h, planes).
 */
kernel void viz_draw_shrink_x(const global float *t, int w, int h, int n, int taps, int chunk,
                              const global int *first, const global int *count,
                              const global float *weight, global float *mid)
{
    int x0 = (int)get_global_id(0) * chunk, y = (int)get_global_id(1);
    ulong z = get_global_id(2);
    if (x0 >= n || y >= h)
        return;
    const global float *row = t + (z * h + y) * w;
    global float *o = mid + (z * h + y) * n;
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
    }
}

/*
 * Columns of mid to height m: out[(z·m + i)·n + x]. Where a tap was not fine, the nearest sample of t
 * by (xi, yi). Global: (n / chunk, m, planes).
 */
kernel void viz_draw_shrink_y(const global float *mid, const global float *t, int w, int h, int n,
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
            sum = t[(z * h + yi[i]) * w + xi[x]];
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
