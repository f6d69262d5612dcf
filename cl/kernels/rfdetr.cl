/*
 * RF-DETR's own steps: pictures to planes, box refinement, sine embedding of boxes, deformable sampling.
 * Reference: recorded runs, tests/unit/test_rfdetr.c.
 */
#include "ops.clh"

/* A region of rows of RGB or RGBA bytes (`pixel` 3 or 4) as [3,h,w] in 0…1. */
kernel void rfdetr_planes(global const uchar *x, ulong xo, global float *y, ulong yo, int left, int top,
                          int row, int pixel, int w, int h)
{
    x += xo;
    y += yo;
    const ulong area = (ulong)w * h;
    TS_EACH(e, area)
    {
        const ulong at = ((ulong)(top + e / w) * row + left + e % w) * pixel;
        for (int c = 0; c < 3; ++c)
            y[c * area + e] = x[at + c] / 255.0f;
    }
}

/* Boxes (cx,cy,w,h): centre = delta·size + centre, size = exp(delta)·size; `period` rows of delta. */
kernel void rfdetr_refine(global const float *ref, ulong ro, global const float *delta, ulong dof,
                          global float *y, ulong yo, ulong period, ulong n)
{
    TS_EACH(e, n)
    {
        const float4 r = vload4(e, ref + ro), d = vload4(e % period, delta + dof);
        vstore4((float4)(d.xy * r.zw + r.xy, exp(d.zw) * r.zw), e, y + yo);
    }
}

/* Rows of 4·half values of a box: cy, cx, w, h; sines at even places, cosines at odd ones. */
kernel void rfdetr_sine(global const float *ref, ulong ro, global float *y, ulong yo, int half_width,
                        ulong n)
{
    TS_EACH(e, n)
    {
        const ulong box = e / (4 * half_width);
        const int k = e % (4 * half_width), which = k / half_width, i = k % half_width;
        const int order = which == 0 ? 1 : which == 1 ? 0 : which;
        const float exponent = (float)(2 * (i / 2)) / (float)half_width;
        const float angle = ref[ro + box * 4 + order] * 6.283185307179586f / pow(10000.0f, exponent);
        y[yo + e] = i & 1 ? cos(angle) : sin(angle);
    }
}

/*
 * Deformable attention of one head of one query: softmax over the points, bilinear samples of the
 * head's channels with zeros outside. value: [B,h·w,heads·width]; y: [B·queries,heads·width].
 */
kernel void rfdetr_sample(global const float *value, ulong vo, global const float *ref, ulong ro,
                          global const float *offset, ulong oo, global const float *weight, ulong wo,
                          global float *y, ulong yo, int h, int w, int heads, int width, int points,
                          int queries, ulong n)
{
    TS_EACH(e, n)
    {
        const ulong q = e / heads;
        const int head = e % heads;
        const float4 box = vload4(q, ref + ro);
        global const float *a = weight + wo + e * points, *o = offset + oo + e * points * 2;
        global const float *v =
            value + vo + (q / queries) * ((ulong)h * w * heads * width) + head * width;
        global float *out = y + yo + e * width;
        float most = a[0], sum = 0.0f;
        for (int p = 1; p < points; ++p)
            most = fmax(most, a[p]);
        for (int p = 0; p < points; ++p)
            sum += exp(a[p] - most);
        for (int c = 0; c < width; ++c)
            out[c] = 0.0f;
        for (int p = 0; p < points; ++p) {
            const float share = exp(a[p] - most) / sum;
            const float lx = box.x + o[2 * p] / points * box.z * 0.5f;
            const float ly = box.y + o[2 * p + 1] / points * box.w * 0.5f;
            const float px = clamp(lx * w - 0.5f, -2.0f, w + 1.0f);
            const float py = clamp(ly * h - 0.5f, -2.0f, h + 1.0f);
            const float x0 = floor(px), y0 = floor(py), fx = px - x0, fy = py - y0;
            for (int k = 0; k < 4; ++k) {
                const int x = (int)x0 + (k & 1), row = (int)y0 + (k >> 1);
                if (x < 0 || x >= w || row < 0 || row >= h)
                    continue;
                const float s = share * (k & 1 ? fx : 1.0f - fx) * (k >> 1 ? fy : 1.0f - fy);
                global const float *from = v + ((ulong)row * w + x) * heads * width;
                for (int c = 0; c < width; ++c)
                    out[c] += s * from[c];
            }
        }
    }
}
