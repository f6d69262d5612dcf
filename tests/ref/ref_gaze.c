#include "tests/ref/ref_gaze.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void ref_gaze_scores(const uint8_t *cur, const uint8_t *prev, int w, int h, int g, double *scores)
{
    static const double std[3] = {0.229, 0.224, 0.225};
    for (int cell = 0; cell < g * g; cell++) {
        int col = cell % g, row = cell / g;
        int x0 = (int)floor((double)col * w / g), x1 = (int)ceil((double)(col + 1) * w / g);
        int y0 = (int)floor((double)row * h / g), y1 = (int)ceil((double)(row + 1) * h / g);
        double sum = 0;
        for (int y = y0; y < y1; y++)
            for (int x = x0; x < x1; x++)
                for (int c = 0; c < 3; c++) {
                    size_t i = 4 * ((size_t)y * (size_t)w + (size_t)x) + (size_t)c;
                    sum += abs(cur[i] - prev[i]) / 127.5 / std[c];
                }
        scores[cell] = sum / (3.0 * (x1 - x0) * (y1 - y0));
    }
}

void ref_gaze_top(const ts_gaze_rect *rects, size_t n, int w, int h, uint16_t *top)
{
    memset(top, 0, 2 * (size_t)w * (size_t)h);
    for (size_t i = 0; i < n; i++)
        for (int y = rects[i].y0; y < rects[i].y1; y++)
            for (int x = rects[i].x0; x < rects[i].x1; x++)
                top[(size_t)y * (size_t)w + (size_t)x] = (uint16_t)(i + 1);
}

static uint8_t mix(uint8_t src, float over, float alpha)
{
    /* Two roundings, as the definition has: no fused multiply-add. */
    volatile float a = (float)src * (1.0f - alpha), b = over * alpha;
    float v = roundf(a + b);
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

void ref_gaze_update(const uint8_t *cur, uint8_t *out, const uint16_t *top, int w, int h,
                     bool blend_white, float alpha)
{
    for (size_t i = 0; i < (size_t)w * (size_t)h; i++) {
        if (top[i] || blend_white)
            memcpy(out + 4 * i, cur + 4 * i, 4);
        for (size_t c = 0; top[i] && blend_white && c < 3; c++)
            out[4 * i + c] = mix(cur[4 * i + c], 255, alpha);
    }
}

double ref_gaze_psnr(const uint8_t *a, const uint8_t *b, size_t n_px)
{
    double sum = 0;
    for (size_t i = 0; i < n_px; i++)
        for (size_t c = 0; c < 3; c++) {
            double d = (double)a[4 * i + c] - b[4 * i + c];
            sum += d * d;
        }
    return sum == 0 ? INFINITY : 10 * log10(255.0 * 255.0 / (sum / (3.0 * (double)n_px)));
}

void ref_gaze_panel(const uint8_t *cur, const uint16_t *top, const ts_gaze_shapes *shapes, int w,
                    int h, ts_gaze_panel_kind kind, float alpha, uint8_t *dst)
{
    bool overlay = kind == TS_GAZE_PANEL_OVERLAY || kind == TS_GAZE_PANEL_ROWS;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            size_t i = (size_t)y * (size_t)w + (size_t)x;
            const uint8_t *s = cur + 4 * i;
            uint8_t *d = dst + 4 * i;
            memset(d, 0, 4);
            if (kind == TS_GAZE_PANEL_MASK) {
                memset(d, top[i] ? 255 : 0, 3);
                d[3] = 255;
                continue;
            }
            if (!top[i]) {
                if (kind == TS_GAZE_PANEL_IMAGE)
                    memcpy(d, s, 4);
                d[3] = overlay ? 255 : d[3];
                continue;
            }
            ts_gaze_rect r = shapes->rects[top[i] - 1];
            bool border = x == r.x0 || x == r.x1 - 1 || y == r.y0 || y == r.y1 - 1;
            d[3] = overlay ? 255 : s[3];
            for (int c = 0; c < 3; c++) {
                float t = shapes->tints[top[i] - 1][c];
                t = border ? t : roundf(0.42f * t);
                d[c] = overlay ? (uint8_t)t : mix(s[c], t, alpha);
            }
        }
}
