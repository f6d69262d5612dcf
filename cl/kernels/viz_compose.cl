/*
 * Work on finished 8-bit colour: fills, text, scaling, comparison, and packing into output forms.
 *
 * A canvas is u32 pixels R|G<<8|B<<16|A<<24, `w` a row. On CPU devices an item takes `chunk` columns
 * of a row. Reference: tests/ref/ref_viz.c.
 */
#include "viz_types.clh"

/* Fill the part of (x, y, rw, rh) that is in the canvas. Global: (rw / chunk, rh). */
kernel void viz_fill(global uint *canvas, int w, int h, int x, int y, int rw, int rh, uint color,
                     int chunk)
{
    int row = y + (int)get_global_id(1), x0 = (int)get_global_id(0) * chunk;
    if ((int)get_global_id(1) >= rh || row < 0 || row >= h)
        return;
    int from = max(x + x0, 0), to = min(min(x + x0 + chunk, x + rw), w);
    global uint *p = canvas + (ulong)row * w;
    for (int i = from; i < to; i++)
        p[i] = color;
}

/*
 * Text of t.n cells of 7 x 13 at (t.x, t.y); font: 13 bytes a glyph, bit 7 the left pixel. Global:
 * (n, 13).
 */
kernel void viz_text_cells(global uint *canvas, viz_text t, const global uchar *font)
{
    int cell = (int)get_global_id(0), line = (int)get_global_id(1);
    if (cell >= t.n || line >= 13)
        return;
    int y = t.y + line;
    if (y < t.clip_y0 || y >= t.clip_y1)
        return;
    uchar bits = font[t.glyph[cell] * 13 + line];
    for (int i = 0; i < 7; i++) {
        int x = t.x + cell * 7 + i;
        if (x < t.clip_x0 || x >= t.clip_x1)
            continue;
        if (bits >> (7 - i) & 1)
            canvas[(ulong)y * t.stride + x] = t.fg;
        else if (t.has_bg)
            canvas[(ulong)y * t.stride + x] = t.bg;
    }
}

inline float4 unpack(uint c)
{
    return (float4)((float)(c & 255), (float)(c >> 8 & 255), (float)(c >> 16 & 255), 255.0f);
}

inline uint pack(float4 c)
{
    uint4 u = convert_uint4(clamp(c, 0.0f, 255.0f) + 0.5f);
    return u.x | u.y << 8 | u.z << 16 | 0xff000000u;
}

/*
 * A picture into the rectangle (ox, oy, n, m) of another: columns by xi and xf, rows by yi and yf as
 * viz_draw_axis makes them; -1 is `background`. Global: (n / chunk, m).
 */
kernel void viz_scale(const global uint *src, int sw, int sh, const global int *xi,
                      const global float *xf, const global int *yi, const global float *yf, int n,
                      int m, int filter, uint background, global uint *dst, int w, int h, int ox,
                      int oy, int chunk)
{
    int x0 = (int)get_global_id(0) * chunk, y = (int)get_global_id(1);
    if (y >= m || oy + y < 0 || oy + y >= h)
        return;
    global uint *o = dst + (ulong)(oy + y) * w;
    for (int x = x0; x < min(x0 + chunk, n); x++) {
        if (ox + x < 0 || ox + x >= w)
            continue;
        uint c = background;
        if (xi[x] >= 0 && yi[y] >= 0) {
            const global uint *top = src + (ulong)yi[y] * sw;
            c = top[xi[x]];
            if (filter) {
                const global uint *low = src + (ulong)min(yi[y] + 1, sh - 1) * sw;
                int right = min(xi[x] + 1, sw - 1);
                float4 a = mix(unpack(c), unpack(top[right]), xf[x]);
                float4 b = mix(unpack(low[xi[x]]), unpack(low[right]), xf[x]);
                c = pack(mix(a, b, yf[y]));
            }
        }
        o[ox + x] = c;
    }
}

/* The mean of the source pixels that each destination pixel covers. Global: (n / chunk, m). */
kernel void viz_shrink(const global uint *src, int sw, int sh, global uint *dst, int n, int m,
                       int chunk)
{
    int x0 = (int)get_global_id(0) * chunk, y = (int)get_global_id(1);
    if (y >= m)
        return;
    int r0 = (int)((long)y * sh / m), r1 = max((int)((long)(y + 1) * sh / m), r0 + 1);
    for (int x = x0; x < min(x0 + chunk, n); x++) {
        int c0 = (int)((long)x * sw / n), c1 = max((int)((long)(x + 1) * sw / n), c0 + 1);
        float4 sum = 0.0f;
        for (int r = r0; r < r1; r++)
            for (int c = c0; c < c1; c++)
                sum += unpack(src[(ulong)r * sw + c]);
        dst[(ulong)y * n + x] = pack(sum / (float)((r1 - r0) * (c1 - c0)));
    }
}

/*
 * Two pictures of one size into one: mode 0 blend ⌊a(1 − alpha) + b·alpha + ½⌋, 1 wipe (a left of
 * column `at`, a divider on it), 2 checker (cells of `at`, even ones a). Global: (w / chunk, h).
 */
kernel void viz_combine(const global uint *a, const global uint *b, global uint *dst, int w, int h,
                        int mode, int at, float alpha, uint divider, int chunk)
{
    int x0 = (int)get_global_id(0) * chunk, y = (int)get_global_id(1);
    if (y >= h)
        return;
    for (int x = x0; x < min(x0 + chunk, w); x++) {
        ulong i = (ulong)y * w + x;
        uint c;
        if (mode == 0)
            c = pack(unpack(a[i]) * (1.0f - alpha) + unpack(b[i]) * alpha);
        else if (mode == 1)
            c = x == at ? divider : x < at ? a[i] : b[i];
        else
            c = (x / at + y / at) & 1 ? b[i] : a[i];
        dst[i] = c;
    }
}

/* A canvas as tightly packed R, G, B bytes. Global: (w / chunk, h). */
kernel void viz_pack_rgb8(const global uint *canvas, int w, int h, global uchar *dst, int chunk)
{
    int x0 = (int)get_global_id(0) * chunk, y = (int)get_global_id(1);
    if (y >= h)
        return;
    for (int x = x0; x < min(x0 + chunk, w); x++) {
        uint c = canvas[(ulong)y * w + x];
        vstore3((uchar3)((uchar)c, (uchar)(c >> 8), (uchar)(c >> 16)), (ulong)y * w + x, dst);
    }
}

/* As RGBA with 16-bit or float components. Global: (w / chunk, h). */
kernel void viz_pack_deep(const global uint *canvas, int w, int h, int floats, global uchar *dst,
                          int chunk)
{
    int x0 = (int)get_global_id(0) * chunk, y = (int)get_global_id(1);
    if (y >= h)
        return;
    for (int x = x0; x < min(x0 + chunk, w); x++) {
        ulong i = (ulong)y * w + x;
        float4 c = unpack(canvas[i]);
        if (floats)
            vstore4(c / 255.0f, i, (global float *)dst);
        else
            vstore4(convert_ushort4(c) * (ushort)257, i, (global ushort *)dst);
    }
}

inline int3 rgb_of(uint c)
{
    return (int3)((int)(c & 255), (int)(c >> 8 & 255), (int)(c >> 16 & 255));
}

inline uint luma(uint c)
{
    int3 p = rgb_of(c);
    return (uint)((16839 * p.x + 33059 * p.y + 6420 * p.z + 32768 + (16 << 16)) >> 16);
}

/* U | V<<12 */
inline uint chroma(uint c)
{
    int3 p = rgb_of(c);
    uint u = (uint)((-9719 * p.x - 19081 * p.y + 28800 * p.z + 32768 + (128 << 16)) >> 16);
    uint v = (uint)((28800 * p.x - 24116 * p.y - 4684 * p.z + 32768 + (128 << 16)) >> 16);
    return u | v << 12;
}

/*
 * As planes Y, U, V of BT.601 limited range; chroma is the mean over 2 x 2 pixels, those beyond the
 * edge repeated. Global: (w / chunk, h / 2), chunk even.
 */
kernel void viz_pack_i420(const global uint *canvas, int w, int h, global uchar *dst,
                          ulong y_stride, ulong c_stride, ulong u_at, ulong v_at, int chunk)
{
    int x0 = (int)get_global_id(0) * chunk, y = (int)get_global_id(1) * 2;
    if (y >= h)
        return;
    const global uint *r0 = canvas + (ulong)y * w, *r1 = canvas + (ulong)min(y + 1, h - 1) * w;
    global uchar *y0 = dst + (ulong)y * y_stride, *y1 = dst + (ulong)min(y + 1, h - 1) * y_stride;
    ulong c_at = (ulong)(y / 2) * c_stride;
    for (int x = x0; x < min(x0 + chunk, w); x += 2) {
        int x1 = min(x + 1, w - 1);
        uint a = r0[x], b = r0[x1], c = r1[x], e = r1[x1];
        y0[x] = (uchar)luma(a);
        y0[x1] = (uchar)luma(b);
        y1[x] = (uchar)luma(c);
        y1[x1] = (uchar)luma(e);
        uint sum = chroma(a) + chroma(b) + chroma(c) + chroma(e) + (2u | 2u << 12);
        dst[u_at + c_at + x / 2] = (uchar)(sum >> 2 & 255);
        dst[v_at + c_at + x / 2] = (uchar)(sum >> 14 & 255);
    }
}
