#include "server/train/trainplot.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/ops/font8x16.h"

enum {
    WIDTH = 420,
    HEIGHT = 300,
    LEFT = 76,
    RIGHT = 14,
    TOP = 30,
    BOTTOM = 30
};

static const uint8_t colors[3][3] = {{0x1f, 0x77, 0xb4}, {0xd6, 0x27, 0x28}, {0x2c, 0xa0, 0x2c}};
static const uint8_t ink[3] = {0x30, 0x30, 0x30}, pale[3] = {0xdd, 0xdd, 0xdd};

typedef struct paper {
    uint8_t *rgb;
    size_t stride;
    int w, h;
} paper;

static void put(paper *p, int x, int y, const uint8_t rgb[3])
{
    if (x >= 0 && y >= 0 && x < p->w && y < p->h)
        memcpy(p->rgb + (size_t)y * p->stride + (size_t)x * 3, rgb, 3);
}

static void write_text(paper *p, int x, int y, const char *text, const uint8_t rgb[3])
{
    for (; *text; ++text, x += 8)
        for (int row = 0; row < 16; ++row)
            for (int col = 0; col < 8; ++col)
                if (*text >= 32 && *text <= 126 && TS_FONT8X16[*text - 32][row] >> (7 - col) & 1)
                    put(p, x + col, y + row, rgb);
}

static void line(paper *p, double x0, double y0, double x1, double y1, const uint8_t rgb[3])
{
    int n = (int)ceil(fmax(fabs(x1 - x0), fabs(y1 - y0))) + 1;
    for (int i = 0; i <= n; ++i) {
        double t = (double)i / n;
        int x = (int)(x0 + t * (x1 - x0) + 0.5), y = (int)(y0 + t * (y1 - y0) + 0.5);
        put(p, x, y, rgb);
        put(p, x, y + 1, rgb);
    }
}

typedef struct span {
    double lo, hi;
} span;

static span span_of(const double *v, size_t n, span s)
{
    for (size_t i = 0; v && i < n; ++i)
        if (isfinite(v[i])) {
            s.lo = fmin(s.lo, v[i]);
            s.hi = fmax(s.hi, v[i]);
        }
    return s;
}

static span widened(span s)
{
    if (!(s.lo <= s.hi))
        return (span){0, 1};
    double pad = s.hi > s.lo ? 0.04 * (s.hi - s.lo) : fmax(fabs(s.hi) * 0.1, 1e-9);
    return (span){s.lo - pad, s.hi + pad};
}

static void axes(paper *p, int ox, int oy, span x, span y)
{
    char text[24];
    for (int i = 0; i <= 4; ++i) {
        double t = i / 4.0;
        int at = oy + HEIGHT - BOTTOM - (int)(t * (HEIGHT - TOP - BOTTOM));
        for (int k = LEFT; k < WIDTH - RIGHT; ++k)
            put(p, ox + k, at, pale);
        snprintf(text, sizeof text, "%8.4g", y.lo + t * (y.hi - y.lo));
        write_text(p, ox + 4, at - 8, text, ink);
    }
    snprintf(text, sizeof text, "%.6g", x.lo);
    write_text(p, ox + LEFT, oy + HEIGHT - BOTTOM + 6, text, ink);
    snprintf(text, sizeof text, "%.6g", x.hi);
    write_text(p, ox + WIDTH - RIGHT - 8 * (int)strlen(text), oy + HEIGHT - BOTTOM + 6, text, ink);
}

static void draw(paper *p, const ts_plot *plot, int ox, int oy, const double *x, size_t n)
{
    span sx = span_of(x, n, (span){INFINITY, -INFINITY}), sy = {INFINITY, -INFINITY};
    for (int c = 0; c < plot->curves; ++c)
        sy = span_of(plot->y[c], n, sy);
    if (!(sx.hi > sx.lo))
        sx = widened(sx);
    sy = widened(sy);
    axes(p, ox, oy, sx, sy);
    write_text(p, ox + LEFT, oy + 8, plot->title, ink);
    double w = WIDTH - LEFT - RIGHT, h = HEIGHT - TOP - BOTTOM;
    for (int c = 0; c < plot->curves; ++c) {
        bool drawing = false;
        double px = 0, py = 0;
        for (size_t i = 0; i < n; ++i) {
            if (!isfinite(plot->y[c][i]))
                continue;
            double qx = ox + LEFT + (x[i] - sx.lo) / (sx.hi - sx.lo) * w;
            double qy = oy + HEIGHT - BOTTOM - (plot->y[c][i] - sy.lo) / (sy.hi - sy.lo) * h;
            line(p, drawing ? px : qx, drawing ? py : qy, qx, qy, colors[c]);
            px = qx;
            py = qy;
            drawing = true;
        }
        if (plot->curves > 1)
            write_text(p, ox + WIDTH - RIGHT - 60 * (plot->curves - c), oy + 8, plot->names[c],
                       colors[c]);
    }
}

ts_pixels *ts_trainplot(const ts_plot *plots, int n_plots, int columns, const double *x, size_t n)
{
    int rows = (n_plots + columns - 1) / columns;
    ts_pixels *out = ts_pixels_create(TS_PIXELS_RGB8, columns * WIDTH, rows * HEIGHT);
    if (!out)
        return NULL;
    paper p = {(uint8_t *)out->plane[0], out->stride[0], out->width, out->height};
    memset(p.rgb, 255, p.stride * (size_t)p.h);
    for (int i = 0; i < n_plots; ++i)
        draw(&p, &plots[i], i % columns * WIDTH, i / columns * HEIGHT, x, n);
    return out;
}
