/*
 * Gaze: patch differences, the map of drawn cells, interframe accumulation and the panels.
 *
 * Pictures are RGBA8, rows top to bottom, 4*w bytes a row, starting `…_off` bytes into their buffer.
 * Work is cut into blocks of bw x bh pixels, one work-item each, by the host: few wide ones on a CPU,
 * many small ones on a GPU. Results do not depend on the cut: sums are integers.
 */
#pragma OPENCL FP_CONTRACT OFF

/* First and end pixel of cell i of n over `size` pixels: floor and ceiling, so neighbours may share
 * one pixel. */
inline int cell_begin(int i, int n, int size)
{
    return (int)((long)i * size / n);
}

inline int cell_end(int i, int n, int size)
{
    return (int)(((long)(i + 1) * size + n - 1) / n);
}

/*
 * sums[cell][part][channel] = sum over the part's rows of |cur - prev|.
 * Global: g*g cells, `parts` bands of rows of each. A part's sum fits 32 bits (the host sees to it).
 */
kernel void gaze_diff(global const uchar *cur, ulong cur_off, global const uchar *prev,
                      ulong prev_off, int w, int h, int g, int parts, global uint *sums)
{
    int cell = get_global_id(0), part = get_global_id(1);
    if (cell >= g * g || part >= parts)
        return;
    int x0 = cell_begin(cell % g, g, w), x1 = cell_end(cell % g, g, w);
    int y0 = cell_begin(cell / g, g, h), y1 = cell_end(cell / g, g, h), n = y1 - y0;
    uint4 total = 0;
    for (int y = y0 + n * part / parts; y < y0 + n * (part + 1) / parts; y++) {
        global const uchar *a = cur + cur_off + (ulong)y * w * 4;
        global const uchar *b = prev + prev_off + (ulong)y * w * 4;
        int x = x0;
        while (x + 4 <= x1) {
            ushort16 acc = 0; /* 256 differences of at most 255 fit */
            int end = min(x1 - 3, x + 4 * 256);
            for (; x < end; x += 4)
                acc += convert_ushort16(
                    abs_diff(vload16(0, a + 4 * (ulong)x), vload16(0, b + 4 * (ulong)x)));
            uint16 t = convert_uint16(acc);
            total += t.s0123 + t.s4567 + t.s89ab + t.scdef;
        }
        for (; x < x1; x++)
            total += convert_uint4(abs_diff(vload4(x, a), vload4(x, b)));
    }
    vstore3(total.xyz, (size_t)cell * parts + part, sums);
}

/*
 * scores[cell] = mean over three channels and the cell's pixels of |cur - prev| in normalised
 * units: |du8| / 127.5 / std. Global: g*g.
 */
kernel void gaze_score(global const uint *sums, int w, int h, int g, int parts, float4 inv_std,
                       global float *scores)
{
    int cell = get_global_id(0);
    if (cell >= g * g)
        return;
    ulong3 total = 0;
    for (int p = 0; p < parts; p++)
        total += convert_ulong3(vload3((size_t)cell * parts + p, sums));
    float n = (float)(cell_end(cell % g, g, w) - cell_begin(cell % g, g, w)) *
              (float)(cell_end(cell / g, g, h) - cell_begin(cell / g, g, h));
    float3 mean = convert_float3(total) / n;
    scores[cell] = (mean.x * inv_std.x + mean.y * inv_std.y + mean.z * inv_std.z) / (3.0f * 127.5f);
}

/*
 * top[y][x] = 1 + index of the last rectangle that covers the pixel, 0 for none.
 * rects: (x0, y0, x1, y1), end exclusive, drawn in order. Global: blocks across, blocks down.
 */
kernel void gaze_top(global ushort *top, int w, int h, global const int4 *rects, int n, int bw,
                     int bh)
{
    int bx = get_global_id(0) * bw, by = get_global_id(1) * bh;
    if (bx >= w || by >= h)
        return;
    int ex = min(bx + bw, w), ey = min(by + bh, h);
    for (int y = by; y < ey; y++) {
        global ushort *row = top + (ulong)y * w;
        int x = bx;
        for (; x + 16 <= ex; x += 16)
            vstore16((ushort16)0, 0, row + x);
        for (; x < ex; x++)
            row[x] = 0;
    }
    for (int i = 0; i < n; i++) {
        int4 r = rects[i];
        int x0 = max(r.x, bx), x1 = min(r.z, ex), y1 = min(r.w, ey);
        if (x0 >= x1)
            continue;
        ushort v = (ushort)(i + 1);
        for (int y = max(r.y, by); y < y1; y++) {
            global ushort *row = top + (ulong)y * w;
            int x = x0;
            for (; x + 16 <= x1; x += 16)
                vstore16((ushort16)v, 0, row + x);
            for (; x < x1; x++)
                row[x] = v;
        }
    }
}

/* mask[y][x] = 255 where a cell covers the pixel, else 0. Global: blocks. */
kernel void gaze_mask(global const ushort *top, int w, int h, global uchar *mask, ulong mask_off,
                      int bw, int bh)
{
    int bx = get_global_id(0) * bw, by = get_global_id(1) * bh;
    if (bx >= w || by >= h)
        return;
    for (int y = by; y < min(by + bh, h); y++)
        for (int x = bx; x < min(bx + bw, w); x++)
            mask[mask_off + (ulong)y * w + x] = top[(ulong)y * w + x] ? 255 : 0;
}

inline uchar blend(uchar src, float over, float alpha)
{
    return convert_uchar_sat(round((float)src * (1.0f - alpha) + over * alpha));
}

/* Sixteen of the same at once: half away from zero for v >= 0, without a library call. */
inline uchar16 round_u8(float16 v)
{
    int16 i = convert_int16(v);
    i -= v - convert_float16(i) >= 0.5f; /* true is -1 */
    return convert_uchar16_sat(i);
}

/* Four pixels mixed with one colour that is already multiplied by alpha; alpha stays. */
inline uchar16 blend4(uchar16 src, float16 over, float keep)
{
    uchar16 v = round_u8(convert_float16(src) * keep + over);
    v.s37bf = src.s37bf;
    return v;
}

/*
 * out = masked ? (blend_white ? mix of cur and white : cur) : (blend_white ? cur : out), and where
 * want_error is set, error[block] = sum over R, G, B of (out - cur)^2.
 * Global: blocks across, blocks down; error is [down][across].
 */
kernel void gaze_update(global const uchar *cur, ulong cur_off, global uchar *out,
                        global const ushort *top, int w, int h, int blend_white, float alpha,
                        int want_error, global ulong *error, int bw, int bh)
{
    int bx = get_global_id(0) * bw, by = get_global_id(1) * bh;
    if (bx >= w || by >= h)
        return;
    int ex = min(bx + bw, w), ey = min(by + bh, h);
    ulong total = 0;
    for (int y = by; y < ey; y++) {
        global const uchar *c = cur + cur_off + (ulong)y * w * 4;
        global uchar *o = out + (ulong)y * w * 4;
        global const ushort *m = top + (ulong)y * w;
        uint row = 0; /* at most 3 * 65025 * 16384 < 2^32 */
        int x = bx;
        if (blend_white) {
            float16 white = 255.0f * alpha;
            uint16 acc = 0;
            for (; x + 4 <= ex; x += 4) {
                uchar16 a = vload16(0, c + 4 * (ulong)x);
                ushort4 k = vload4(0, m + x);
                char4 on = convert_char4(k != (ushort4)0);
                char16 pick = on.xxxxyyyyzzzzwwww;
                uchar16 b = select(a, blend4(a, white, 1.0f - alpha), pick);
                vstore16(b, 0, o + 4 * (ulong)x);
                uint16 d = convert_uint16(abs_diff(a, b));
                acc += d * d;
            }
            uint4 t = acc.s0123 + acc.s4567 + acc.s89ab + acc.scdef;
            row += t.x + t.y + t.z;
        } else {
            uint16 acc = 0;
            for (; x + 4 <= ex; x += 4) {
                uchar16 a = vload16(0, c + 4 * (ulong)x), b = vload16(0, o + 4 * (ulong)x);
                ushort4 k = vload4(0, m + x);
                char4 on = convert_char4(k != (ushort4)0); /* -1 where covered */
                char16 pick = on.xxxxyyyyzzzzwwww;
                b = select(b, a, pick);
                if (any(on))
                    vstore16(b, 0, o + 4 * (ulong)x);
                if (want_error) {
                    uint16 d = convert_uint16(abs_diff(a, b));
                    acc += d * d;
                }
            }
            uint4 t = acc.s0123 + acc.s4567 + acc.s89ab + acc.scdef;
            row += t.x + t.y + t.z;
        }
        for (; x < ex; x++) {
            uchar4 a = vload4(x, c), b = blend_white ? a : vload4(x, o);
            if (m[x] && blend_white)
                b.xyz = (uchar3)(blend(a.x, 255.0f, alpha), blend(a.y, 255.0f, alpha),
                                 blend(a.z, 255.0f, alpha));
            else if (m[x])
                b = a;
            vstore4(b, x, o);
            uint3 d = convert_uint3(abs_diff(a.xyz, b.xyz));
            row += d.x * d.x + d.y * d.y + d.z * d.z;
        }
        total += row;
    }
    if (want_error)
        error[get_global_id(1) * ((w + bw - 1) / bw) + get_global_id(0)] = total;
}

/* Copy the rectangles' pixels: what gaze_update does where few are covered. Global: n, rows/4. */
kernel void gaze_copy_rects(global const uchar *cur, ulong cur_off, global uchar *out, int w, int h,
                            global const int4 *rects, int n)
{
    int i = get_global_id(0);
    if (i >= n)
        return;
    int4 r = rects[i];
    for (int y = r.y + (int)get_global_id(1); y < min(r.w, h); y += (int)get_global_size(1)) {
        ulong at = ((ulong)y * w + r.x) * 4;
        for (int x = 0; x < r.z - r.x; x++)
            vstore4(vload4(x, cur + cur_off + at), x, out + at);
    }
}

/* sums[i] = sum of error[i], error[i + n_sums], …  Global: n_sums. */
kernel void gaze_sum(global const ulong *error, int n, global ulong *sums, int n_sums)
{
    int i = get_global_id(0);
    if (i >= n_sums)
        return;
    ulong t = 0;
    for (int k = i; k < n; k += n_sums)
        t += error[k];
    sums[i] = t;
}

#define PANEL_OVERLAY   0
#define PANEL_IMAGE     1
#define PANEL_MASK_ONLY 2
#define PANEL_MASK      3
#define PANEL_COPY      4

/* Columns [x, end) of a row with one value each of four, i.e. one colour. */
inline void fill_run(global uchar *o, int x, int end, uchar4 v)
{
    for (; x + 4 <= end; x += 4)
        vstore16(v.xyzwxyzwxyzwxyzw, 0, o + 4 * (ulong)x);
    for (; x < end; x++)
        vstore4(v, x, o);
}

inline void copy_run(global const uchar *c, global uchar *o, int x, int end)
{
    for (; x + 4 <= end; x += 4)
        vstore16(vload16(0, c + 4 * (ulong)x), 0, o + 4 * (ulong)x);
    for (; x < end; x++)
        vstore4(vload4(x, c), x, o);
}

/* Source pixels mixed with one colour. */
inline void blend_run(global const uchar *c, global uchar *o, int x, int end, float4 colour,
                      float alpha)
{
    float16 over = colour.xyzwxyzwxyzwxyzw * alpha;
    for (; x + 4 <= end; x += 4)
        vstore16(blend4(vload16(0, c + 4 * (ulong)x), over, 1.0f - alpha), 0, o + 4 * (ulong)x);
    for (; x < end; x++) {
        uchar4 s = vload4(x, c);
        vstore4((uchar4)(blend(s.x, colour.x, alpha), blend(s.y, colour.y, alpha),
                         blend(s.z, colour.z, alpha), s.w),
                x, o);
    }
}

/* Where the run of equal values that starts at x ends. */
inline int run_end(global const ushort *top, int x, int end)
{
    ushort k = top[x];
    for (x++; x + 16 <= end && !any(vload16(0, top + x) != (ushort16)k); x += 16)
        ;
    while (x < end && top[x] == k)
        x++;
    return x;
}

inline void draw_run(global const uchar *c, global uchar *o, int x, int end, float4 colour,
                     int mode, float alpha)
{
    if (mode == PANEL_OVERLAY)
        fill_run(o, x, end, convert_uchar4(colour));
    else
        blend_run(c, o, x, end, colour, alpha);
}

/*
 * A panel into columns [dst_x, dst_x + w) of a picture with dst_w pixels a row.
 * PANEL_OVERLAY: the drawn cells (0.42 of the colour, a border in full) on opaque black;
 * PANEL_IMAGE: those mixed over the picture inside the union, the picture outside;
 * PANEL_MASK_ONLY: the same inside, transparent black outside; PANEL_MASK: white or black, opaque;
 * PANEL_COPY: the picture. tints: one colour per rectangle. Global: blocks across, blocks down.
 * Each row is drawn by runs of pixels that belong to one cell.
 */
kernel void gaze_panel(global const uchar *cur, ulong cur_off, global const ushort *top,
                       global const int4 *rects, global const uchar4 *tints, int w, int h, int mode,
                       float alpha, global uchar *dst, int dst_w, int dst_x, int bw, int bh)
{
    int bx = get_global_id(0) * bw, by = get_global_id(1) * bh;
    if (bx >= w || by >= h)
        return;
    int ex = min(bx + bw, w);
    for (int y = by; y < min(by + bh, h); y++) {
        global const uchar *c = cur + cur_off + (ulong)y * w * 4;
        global const ushort *row = top + (ulong)y * w;
        global uchar *o = dst + ((ulong)y * dst_w + dst_x) * 4;
        if (mode == PANEL_COPY) {
            copy_run(c, o, bx, ex);
            continue;
        }
        for (int x = bx, end; x < ex; x = end) {
            int k = row[x];
            end = run_end(row, x, ex);
            if (mode == PANEL_MASK)
                fill_run(o, x, end, (uchar4)((uchar3)(k ? 255 : 0), 255));
            else if (!k && mode == PANEL_IMAGE)
                copy_run(c, o, x, end);
            else if (!k)
                fill_run(o, x, end, (uchar4)(0, 0, 0, mode == PANEL_OVERLAY ? 255 : 0));
            else {
                int4 r = rects[k - 1];
                float4 full = convert_float4(tints[k - 1]), inner = full;
                inner.xyz = round(0.42f * full.xyz);
                if (y == r.y || y == r.w - 1) {
                    draw_run(c, o, x, end, full, mode, alpha);
                    continue;
                }
                int x0 = x, x1 = end; /* without the border's columns */
                if (x0 == r.x)
                    draw_run(c, o, x0, x0 + 1, full, mode, alpha), x0++;
                if (x1 == r.z && x1 > x0)
                    draw_run(c, o, x1 - 1, x1, full, mode, alpha), x1--;
                draw_run(c, o, x0, x1, inner, mode, alpha);
            }
        }
    }
}

/* dst[i] = RGBA of src[i] with 1, 3 or 4 channels; alpha 255 where there is none. Global: n / 64. */
kernel void gaze_expand(global const uchar *src, ulong src_off, int channels, global uchar *dst,
                        uint n)
{
    uint first = (uint)get_global_id(0) * 64;
    src += src_off;
    for (uint i = first; i < min(first + 64, n); i++) {
        uchar4 v = 255;
        if (channels == 1)
            v.xyz = src[i];
        else if (channels == 3)
            v.xyz = vload3(i, src);
        else
            v = vload4(i, src);
        vstore4(v, i, dst);
    }
}

/*
 * The two passes of the 8-bit resize: integer taps of 22 fraction bits, clamped. taps[o] = (first
 * source, count), weights `stride` apart. gaze_scale_rows: [h, w] to [h, ow], one row per item;
 * gaze_scale_columns: [h, w] to [oh, w], blocks of bw columns of one output row per item.
 */
kernel void gaze_scale_rows(global const uchar *src, ulong src_off, int w, int h,
                            global const int2 *taps, global const int *weights, int stride,
                            global uchar *dst, int ow)
{
    int y = get_global_id(0);
    if (y >= h)
        return;
    src += src_off + (ulong)y * w * 4;
    dst += (ulong)y * ow * 4;
    for (int o = 0; o < ow; o++) {
        int2 t = taps[o];
        global const int *k = weights + (long)o * stride;
        int4 acc = 1 << 21;
        for (int i = 0; i < t.y; i++)
            acc += convert_int4(vload4(t.x + i, src)) * k[i];
        vstore4(convert_uchar4_sat(acc >> 22), o, dst);
    }
}

kernel void gaze_scale_columns(global const uchar *src, ulong src_off, int w,
                               global const int2 *taps, global const int *weights, int stride,
                               global uchar *dst, int oh, int bw)
{
    int bx = get_global_id(0) * bw, o = get_global_id(1);
    if (bx >= w || o >= oh)
        return;
    int2 t = taps[o];
    src += src_off + (ulong)t.x * w * 4;
    dst += (ulong)o * w * 4;
    global const int *k = weights + (long)o * stride;
    for (int x = bx; x < min(bx + bw, w); x++) {
        int4 acc = 1 << 21;
        for (int i = 0; i < t.y; i++)
            acc += convert_int4(vload4(x + (long)i * w, src)) * k[i];
        vstore4(convert_uchar4_sat(acc >> 22), x, dst);
    }
}
