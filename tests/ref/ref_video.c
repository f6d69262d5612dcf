#include "tests/ref/ref_video.h"

#include <math.h>
#include <stddef.h>

static uint8_t round_u8(double v)
{
    v = floor(v + 0.5);
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static double sample(const uint8_t *p, int w, int h, int x, int y)
{
    x = x < 0 ? 0 : x > w - 1 ? w - 1 : x;
    y = y < 0 ? 0 : y > h - 1 ? h - 1 : y;
    return p[(size_t)y * w + x];
}

static double bilinear(const uint8_t *p, int w, int h, double x, double y)
{
    int i = (int)floor(x), j = (int)floor(y);
    double fx = x - i, fy = y - j;
    return (1 - fy) * ((1 - fx) * sample(p, w, h, i, j) + fx * sample(p, w, h, i + 1, j)) +
           fy * ((1 - fx) * sample(p, w, h, i, j + 1) + fx * sample(p, w, h, i + 1, j + 1));
}

void ref_video_yuv_to_rgba(const uint8_t *y, const uint8_t *u, const uint8_t *v, int w, int h,
                           int shift, double kr, double kb, bool full, uint8_t *rgba)
{
    int cw = (w + shift) >> shift, ch = (h + shift) >> shift;
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++) {
            double cx = shift ? i / 2.0 : i, cy = shift ? j / 2.0 - 0.25 : j;
            double l = y[(size_t)j * w + i], cb = bilinear(u, cw, ch, cx, cy) - 128,
                   cr = bilinear(v, cw, ch, cx, cy) - 128;
            l = full ? l / 255 : (l - 16) / 219;
            cb /= full ? 255 : 224;
            cr /= full ? 255 : 224;
            double r = l + 2 * (1 - kr) * cr, b = l + 2 * (1 - kb) * cb;
            double g = (l - kr * r - kb * b) / (1 - kr - kb);
            uint8_t *out = rgba + ((size_t)j * w + i) * 4;
            out[0] = round_u8(255 * r);
            out[1] = round_u8(255 * g);
            out[2] = round_u8(255 * b);
            out[3] = 255;
        }
}

void ref_video_rgba_to_i420(const uint8_t *rgba, int w, int h, double kr, double kb, uint8_t *i420)
{
    size_t luma = (size_t)w * h;
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++) {
            const uint8_t *p = rgba + ((size_t)j * w + i) * 4;
            double l = kr * p[0] + (1 - kr - kb) * p[1] + kb * p[2];
            i420[(size_t)j * w + i] = round_u8(16 + 219 * l / 255);
        }
    for (int j = 0; j < h / 2; j++)
        for (int i = 0; i < w / 2; i++) {
            double c[3] = {0};
            for (int k = 0; k < 4; k++)
                for (int n = 0; n < 3; n++)
                    c[n] += rgba[((size_t)(2 * j + k / 2) * w + 2 * i + k % 2) * 4 + n] / 4.0;
            double l = kr * c[0] + (1 - kr - kb) * c[1] + kb * c[2];
            size_t at = (size_t)j * (w / 2) + i;
            i420[luma + at] = round_u8(128 + 224 * (c[2] - l) / (2 * (1 - kb)) / 255);
            i420[luma + luma / 4 + at] = round_u8(128 + 224 * (c[0] - l) / (2 * (1 - kr)) / 255);
        }
}
