/*
 * Video frames on the device: planes to RGBA, RGBA to planes, crop and resize, overlays, colour masks.
 * Frames are RGBA8 [h, w, 4], contiguous. Work-items take runs of a row: fat ones suit CPUs, and a
 * frame still gives a GPU tens of thousands.
 */

#define RUN 64 /* pixels of a row per work-item */

inline float plane_at(const global uchar *p, int stride, int step, int wide, int shift, int x,
                      int y)
{
    const global uchar *row = p + (size_t)y * stride;
    if (wide)
        return (float)(((const global ushort *)row)[x * step] >> shift);
    return (float)row[x * step];
}

/*
 * YUV planes -> RGBA8.
 *   src + off_y, off_u, off_v: planes of `wide` (16-bit) or 8-bit samples, strides in bytes;
 *   step: samples between two chroma values of a row (2 for NV12); ssx, ssy: chroma shifts (0 or 1);
 *   bits: depth; the offset and gain of luma and chroma; coefficients rv, gu, gv, bu.
 * Chroma is interpolated bilinearly; `left` says that it is sited on even luma columns (MPEG-2, H.264).
 * Global: ceil(w/64), h.
 */
__kernel void video_yuv_to_rgba(__global const uchar *restrict src, uint off_y, uint off_u,
                                uint off_v, int stride_y, int stride_c, int step, int wide,
                                int shift, int ssx, int ssy, int left, int w, int h, float y_off,
                                float y_gain, float c_off, float c_gain, float rv, float gu,
                                float gv, float bu, __global uchar *restrict rgba)
{
    int x0 = get_global_id(0) * RUN, y = get_global_id(1);
    if (x0 >= w || y >= h)
        return;
    int cw = ssx ? (w + 1) >> 1 : w, ch = ssy ? (h + 1) >> 1 : h;
    float cy = ssy ? 0.5f * (float)y - 0.25f : (float)y;
    int j0 = (int)floor(cy), x1 = min(x0 + RUN, w);
    float fy = cy - (float)j0;
    int ja = clamp(j0, 0, ch - 1), jb = clamp(j0 + 1, 0, ch - 1);
    const global uchar *u = src + off_u, *v = src + off_v;
    __global uchar *out = rgba + ((size_t)y * w + x0) * 4;
    for (int x = x0; x < x1; x++, out += 4) {
        float luma = plane_at(src + off_y, stride_y, 1, wide, shift, x, y);
        float cx = ssx ? 0.5f * (float)x - (left ? 0.0f : 0.25f) : (float)x;
        int i0 = (int)floor(cx);
        float fx = cx - (float)i0;
        int ia = clamp(i0, 0, cw - 1), ib = clamp(i0 + 1, 0, cw - 1);
        float cu = mix(mix(plane_at(u, stride_c, step, wide, shift, ia, ja),
                           plane_at(u, stride_c, step, wide, shift, ib, ja), fx),
                       mix(plane_at(u, stride_c, step, wide, shift, ia, jb),
                           plane_at(u, stride_c, step, wide, shift, ib, jb), fx),
                       fy);
        float cv = mix(mix(plane_at(v, stride_c, step, wide, shift, ia, ja),
                           plane_at(v, stride_c, step, wide, shift, ib, ja), fx),
                       mix(plane_at(v, stride_c, step, wide, shift, ia, jb),
                           plane_at(v, stride_c, step, wide, shift, ib, jb), fx),
                       fy);
        float l = (luma - y_off) * y_gain;
        cu = (cu - c_off) * c_gain;
        cv = (cv - c_off) * c_gain;
        float4 c = (float4)(l + rv * cv, l - gu * cu - gv * cv, l + bu * cu, 255.0f);
        vstore4(convert_uchar4_sat(floor(c + 0.5f)), 0, out);
    }
}

/*
 * The common case of the above, 16 pixels at a time: 8-bit planar 4:2:0, left-sited, w a multiple
 * of 16. Same results. Global: h rows.
 */
__kernel void video_i420_to_rgba(__global const uchar *restrict src, uint off_u, uint off_v,
                                 int stride_y, int stride_c, int w, int h, float y_off,
                                 float y_gain, float c_off, float c_gain, float rv, float gu,
                                 float gv, float bu, __global uchar *restrict rgba)
{
    int y = get_global_id(0);
    if (y >= h)
        return;
    int cw = w >> 1, ch = (h + 1) >> 1;
    int j0 = (y & 1) ? y >> 1 : (y >> 1) - 1;
    float fy = (y & 1) ? 0.25f : 0.75f;
    int ja = clamp(j0, 0, ch - 1), jb = clamp(j0 + 1, 0, ch - 1);
    const global uchar *luma = src + (size_t)y * stride_y;
    const global uchar *ua = src + off_u + (size_t)ja * stride_c,
                       *ub = src + off_u + (size_t)jb * stride_c,
                       *va = src + off_v + (size_t)ja * stride_c,
                       *vb = src + off_v + (size_t)jb * stride_c;
    __global uchar *out = rgba + (size_t)y * w * 4;
    for (int x = 0; x < w; x += 16, out += 64) {
        int c = x >> 1, next = min(c + 8, cw - 1);
        float16 l = (convert_float16(vload16(0, luma + x)) - y_off) * y_gain;
        float8 ue = mix(convert_float8(vload8(0, ua + c)), convert_float8(vload8(0, ub + c)), fy);
        float8 ve = mix(convert_float8(vload8(0, va + c)), convert_float8(vload8(0, vb + c)), fy);
        float un = mix((float)ua[next], (float)ub[next], fy);
        float vn = mix((float)va[next], (float)vb[next], fy);
        float8 uo = 0.5f * (ue + (float8)(ue.s1234, ue.s567, un));
        float8 vo = 0.5f * (ve + (float8)(ve.s1234, ve.s567, vn));
        float16 u, v;
        u.even = ue;
        u.odd = uo;
        v.even = ve;
        v.odd = vo;
        u = (u - c_off) * c_gain;
        v = (v - c_off) * c_gain;
        uchar16 r = convert_uchar16_sat(floor(l + rv * v + 0.5f));
        uchar16 g = convert_uchar16_sat(floor(l - gu * u - gv * v + 0.5f));
        uchar16 b = convert_uchar16_sat(floor(l + bu * u + 0.5f));
        uchar16 a = (uchar16)(255);
        /* Interleave: bytes r g b a of 16 pixels. */
        uchar16 rg0, rg1, ba0, ba1, o;
        rg0.even = r.lo;
        rg0.odd = g.lo;
        rg1.even = r.hi;
        rg1.odd = g.hi;
        ba0.even = b.lo;
        ba0.odd = a.lo;
        ba1.even = b.hi;
        ba1.odd = a.hi;
        ushort8 p0 = as_ushort8(rg0), q0 = as_ushort8(ba0), p1 = as_ushort8(rg1),
                q1 = as_ushort8(ba1);
        ushort16 w0, w1;
        w0.even = p0;
        w0.odd = q0;
        w1.even = p1;
        w1.odd = q1;
        o = as_uchar16(w0.lo);
        vstore16(o, 0, out);
        o = as_uchar16(w0.hi);
        vstore16(o, 1, out);
        o = as_uchar16(w1.lo);
        vstore16(o, 2, out);
        o = as_uchar16(w1.hi);
        vstore16(o, 3, out);
    }
}

/*
 * RGBA8 -> planar 4:2:0 limited range: y = 16 + 219 (kr R + kg G + kb B), chroma the mean of 2x2.
 * dst: Y [h, w], then U and V [h/2, w/2] at off_u, off_v; w and h even. Global: h/2 row pairs.
 */
__kernel void video_rgba_to_i420(__global const uchar *restrict rgba, int w, int h, float kr,
                                 float kb, uint off_u, uint off_v, __global uchar *restrict dst)
{
    int row = get_global_id(0);
    if (2 * row >= h)
        return;
    float kg = 1.0f - kr - kb, s = 219.0f / 255.0f;
    float cu = 112.0f / 255.0f / (1.0f - kb), cv = 112.0f / 255.0f / (1.0f - kr);
    const global uchar *a = rgba + (size_t)2 * row * w * 4, *b = a + (size_t)w * 4;
    __global uchar *ya = dst + (size_t)2 * row * w, *yb = ya + w;
    __global uchar *u = dst + off_u + (size_t)row * (w >> 1),
                   *v = dst + off_v + (size_t)row * (w >> 1);
    for (int x = 0; x < w; x += 2) {
        float4 p0 = convert_float4(vload4(x, a)), p1 = convert_float4(vload4(x + 1, a));
        float4 p2 = convert_float4(vload4(x, b)), p3 = convert_float4(vload4(x + 1, b));
        float l0 = kr * p0.x + kg * p0.y + kb * p0.z, l1 = kr * p1.x + kg * p1.y + kb * p1.z;
        float l2 = kr * p2.x + kg * p2.y + kb * p2.z, l3 = kr * p3.x + kg * p3.y + kb * p3.z;
        ya[x] = (uchar)(16.5f + s * l0);
        ya[x + 1] = (uchar)(16.5f + s * l1);
        yb[x] = (uchar)(16.5f + s * l2);
        yb[x + 1] = (uchar)(16.5f + s * l3);
        float4 m = 0.25f * (p0 + p1 + p2 + p3);
        float l = 0.25f * (l0 + l1 + l2 + l3);
        u[x >> 1] = convert_uchar_sat(floor(128.5f + cu * (m.z - l)));
        v[x >> 1] = convert_uchar_sat(floor(128.5f + cv * (m.x - l)));
    }
}

/*
 * Separable resampling, first the rows: out[y, i] = sum_k weight[i, k] src[y0 + y, index[i] + k].
 * index: [dw] first tap (its clamping is in the weights), weight: [dw, taps]; indices stay inside
 * the row. mid: [rows, dw] float4. Global: rows.
 */
__kernel void video_resample_rows(__global const uchar *restrict src, int w, int y0, int rows,
                                  int dw, int taps, __global const int *restrict index,
                                  __global const float *restrict weight,
                                  __global float4 *restrict mid)
{
    int y = get_global_id(0);
    if (y >= rows)
        return;
    const global uchar *row = src + (size_t)(y0 + y) * w * 4;
    __global float4 *out = mid + (size_t)y * dw;
    for (int i = 0; i < dw; i++) {
        float4 sum = (float4)(0.0f);
        int first = index[i];
        for (int k = 0; k < taps; k++)
            sum += weight[i * taps + k] * convert_float4(vload4(first + k, row));
        out[i] = sum;
    }
}

/* Then the columns: rounds to RGBA8 with alpha 255. index is relative to mid's row 0. Global: dh. */
__kernel void video_resample_columns(__global const float4 *restrict mid, int dw, int dh, int taps,
                                     __global const int *restrict index,
                                     __global const float *restrict weight,
                                     __global uchar *restrict dst)
{
    int y = get_global_id(0);
    if (y >= dh)
        return;
    const global float4 *rows = mid + (size_t)index[y] * dw;
    for (int x = 0; x < dw; x++) {
        float4 sum = (float4)(0.0f);
        for (int k = 0; k < taps; k++)
            sum += weight[y * taps + k] * rows[(size_t)k * dw + x];
        sum.w = 255.0f;
        vstore4(convert_uchar4_sat(floor(sum + 0.5f)), (size_t)y * dw + x, dst);
    }
}

/*
 * Overlay primitives, drawn in order. Each is 12 ints:
 *   kind, x0, y0, x1, y1 (bounds, right and bottom exclusive), r g b a (0..255), p, q, spare
 *   0 filled rectangle; 1 rectangle outline of thickness p; 2 disc of radius p about ((x0+x1)/2, …);
 *   3 ring of outer radius p and thickness q; 4 glyph p at integer scale q from a font of 8x16 cells.
 * font: [95, 16] rows of 8 bits, bit 7 left. Global: ceil(w/64), h.
 */
__kernel void video_draw(__global uchar *restrict rgba, int w, int h,
                         __global const int *restrict primitives, int n,
                         __global const uchar *restrict font)
{
    int run0 = get_global_id(0) * RUN, y = get_global_id(1);
    if (run0 >= w || y >= h)
        return;
    int run1 = min(run0 + RUN, w);
    for (int i = 0; i < n; i++) {
        __global const int *d = primitives + 12 * i;
        int x0 = d[1], y0 = d[2], x1 = d[3], y1 = d[4];
        if (y < y0 || y >= y1 || x1 <= run0 || x0 >= run1)
            continue;
        int kind = d[0], p = d[9], q = d[10];
        float alpha = (float)d[8] / 255.0f;
        float4 color = (float4)((float)d[5], (float)d[6], (float)d[7], 255.0f);
        for (int x = max(x0, run0); x < min(x1, run1); x++) {
            float cover = 1.0f;
            if (kind == 1) {
                cover = (x < x0 + p || x >= x1 - p || y < y0 + p || y >= y1 - p) ? 1.0f : 0.0f;
            } else if (kind == 2 || kind == 3) {
                float dx = (float)x + 0.5f - 0.5f * (float)(x0 + x1);
                float dy = (float)y + 0.5f - 0.5f * (float)(y0 + y1);
                float r = sqrt(dx * dx + dy * dy);
                cover = clamp((float)p + 0.5f - r, 0.0f, 1.0f);
                if (kind == 3)
                    cover *= clamp(r - (float)(p - q) + 0.5f, 0.0f, 1.0f);
            } else if (kind == 4) {
                int gx = (x - x0) / q, gy = (y - y0) / q;
                cover = (gx < 8 && gy < 16 && (font[p * 16 + gy] >> (7 - gx)) & 1) ? 1.0f : 0.0f;
            }
            if (cover <= 0.0f)
                continue;
            size_t at = (size_t)y * w + x;
            float4 old = convert_float4(vload4(at, rgba));
            float4 new = mix(old, color, cover * alpha);
            new.w = 255.0f;
            vstore4(convert_uchar4_sat(floor(new + 0.5f)), at, rgba);
        }
    }
}

/*
 * Colour masks, one bit a pixel: plane 0 where min(r,g,b) >= white, plane 1 where
 * r - max(g,b) >= red, plane 2 where b - max(r,g) >= blue.
 * masks: [3, h, words] uint, words = ceil(w/32), bit i of a word is pixel 32*word + i.
 * Global: h rows.
 */
__kernel void video_color_masks(__global const uchar *restrict rgba, int w, int h, int words,
                                int white, int red, int blue, __global uint *restrict masks)
{
    int y = get_global_id(0);
    if (y >= h)
        return;
    const global uchar *row = rgba + (size_t)y * w * 4;
    size_t plane = (size_t)h * words;
    for (int word = 0; word < words; word++) {
        uint m0 = 0, m1 = 0, m2 = 0;
        int last = min(32, w - word * 32);
        for (int i = 0; i < last; i++) {
            int4 c = convert_int4(vload4(word * 32 + i, row));
            m0 |= (uint)(min(c.x, min(c.y, c.z)) >= white) << i;
            m1 |= (uint)(c.x - max(c.y, c.z) >= red) << i;
            m2 |= (uint)(c.z - max(c.x, c.y) >= blue) << i;
        }
        size_t at = (size_t)y * words + word;
        masks[at] = m0;
        masks[plane + at] = m1;
        masks[2 * plane + at] = m2;
    }
}
