/* The panels of a fit's picture beyond ground truth and render. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/imagegs/flip.h"
#include "server/train/fitrun_internal.h"

typedef struct painter {
    uint8_t *rgba;
    int w, h;
} painter;

static void blend(painter *p, int x, int y, const uint8_t rgb[3], float alpha)
{
    if (x < 0 || y < 0 || x >= p->w || y >= p->h)
        return;
    uint8_t *to = p->rgba + ((size_t)y * (size_t)p->w + (size_t)x) * 4;
    for (int k = 0; k < 3; ++k)
        to[k] = (uint8_t)((1 - alpha) * to[k] + alpha * rgb[k] + 0.5f);
}

static void disc(painter *p, float cx, float cy, float radius, const uint8_t rgb[3], float alpha)
{
    if (!(fabsf(cx) < 1e6f && fabsf(cy) < 1e6f))
        return;
    for (int y = (int)floorf(cy - radius); y <= (int)ceilf(cy + radius); ++y)
        for (int x = (int)floorf(cx - radius); x <= (int)ceilf(cx + radius); ++x) {
            float dx = (float)x + 0.5f - cx, dy = (float)y + 0.5f - cy;
            if (dx * dx + dy * dy <= radius * radius)
                blend(p, x, y, rgb, alpha);
        }
}

static void positions(painter *p, const ts_gs_model *m)
{
    static const uint8_t color[3] = {0xc0, 0xb1, 0xfc};
    size_t row = 5 + (size_t)m->channels, stride = m->n / 1000 > 1 ? m->n / 1000 : 1;
    float radius = fmaxf(1, 0.004f * (float)(p->w < p->h ? p->w : p->h));
    for (size_t i = 0; i < m->n; i += stride)
        disc(p, m->par[i * row] * (float)p->w, m->par[i * row + 1] * (float)p->h, radius, color,
             0.9f);
}

/* An ellipse of 5 sigma full width, turned by the rotation. */
static void ellipse(painter *p, const ts_gs_model *m, const float *r)
{
    float sx = fabsf(m->inverse_scale ? 1 / fmaxf(fabsf(r[2]), 1e-9f) : r[2]) * 2.5f;
    float sy = fabsf(m->inverse_scale ? 1 / fmaxf(fabsf(r[3]), 1e-9f) : r[3]) * 2.5f;
    float cx = r[0] * (float)p->w, cy = r[1] * (float)p->h, c = cosf(r[4]), s = sinf(r[4]);
    float reach = fminf(fmaxf(sx, sy), (float)(p->w + p->h));
    uint8_t rgb[3];
    if (!(fabsf(cx) < 1e6f && fabsf(cy) < 1e6f && sx > 0 && sy > 0))
        return;
    for (int k = 0; k < 3; ++k) {
        float v = fminf(fmaxf(r[5 + (m->channels >= 3 ? k : 0)], 0), 1);
        rgb[k] = (uint8_t)(powf(v, (float)(1 / m->gamma)) * 255 + 0.5f);
    }
    int y0 = (int)fmaxf(floorf(cy - reach), 0), y1 = (int)fminf(ceilf(cy + reach), (float)p->h - 1);
    int x0 = (int)fmaxf(floorf(cx - reach), 0), x1 = (int)fminf(ceilf(cx + reach), (float)p->w - 1);
    for (int y = y0; y <= y1; ++y)
        for (int x = x0; x <= x1; ++x) {
            float dx = (float)x + 0.5f - cx, dy = (float)y + 0.5f - cy;
            float u = (c * dx - s * dy) / sx, v = (s * dx + c * dy) / sy;
            if (u * u + v * v <= 1)
                blend(p, x, y, rgb, 0.8f);
        }
}

static ts_status draw_gaussians(ts_fitrun *run, bool footprint, uint8_t *rgba, ts_error *err)
{
    ts_gs_model m;
    painter p = {rgba, run->w, run->h};
    ts_status st = ts_gs_fit_model(run->fit, false, &m, err);
    if (st != TS_OK)
        return st;
    size_t pixels = (size_t)run->w * (size_t)run->h;
    if (footprint) {
        memset(rgba, 0, pixels * 4);
        for (size_t i = 0; i < m.n; ++i)
            ellipse(&p, &m, m.par + i * (5 + (size_t)m.channels));
    } else {
        memcpy(rgba, run->render, pixels * 4);
        positions(&p, &m);
    }
    for (size_t i = 0; i < pixels; ++i)
        rgba[4 * i + 3] = 255;
    ts_gs_model_finish(&m);
    return TS_OK;
}

static ts_status flip_panel(ts_fitrun *run, uint8_t *rgba, ts_error *err)
{
    size_t n = (size_t)run->w * (size_t)run->h;
    float *memory = calloc(7 * n, sizeof *memory);
    double mean;
    if (!memory)
        return ts_fail(err, TS_E_NO_MEMORY, "the error panel");
    for (size_t i = 0; i < n; ++i)
        for (size_t k = 0; k < 3; ++k) {
            memory[k * n + i] = (float)run->gt[4 * i + k] / 255;
            memory[(3 + k) * n + i] = (float)run->render[4 * i + k] / 255;
        }
    ts_status st = ts_gs_flip(memory, memory + 3 * n, run->h, run->w, memory + 6 * n, &mean, err);
    if (st == TS_OK)
        ts_trainpic_magma(memory + 6 * n, n, rgba);
    free(memory);
    return st;
}

static ts_status fill(ts_fitrun *run, ts_panel_kind kind, uint8_t *rgba, ts_error *err)
{
    size_t n = (size_t)run->w * (size_t)run->h;
    switch (kind) {
    case TS_PANEL_ERROR:
        return flip_panel(run, rgba, err);
    case TS_PANEL_ABS_DIFF:
    case TS_PANEL_SIGNED_DIFF:
        ts_trainpic_difference(run->render, run->gt, n, kind == TS_PANEL_SIGNED_DIFF, rgba);
        return TS_OK;
    default:
        return draw_gaussians(run, kind == TS_PANEL_FOOTPRINT, rgba, err);
    }
}

ts_status fitrun_panels(ts_fitrun *run, const ts_trainpic_options *look, const uint8_t **panels,
                        ts_error *err)
{
    size_t bytes = (size_t)run->w * (size_t)run->h * 4;
    ts_status st = TS_OK;
    if (run->refine)
        fitrun_rgba(run, ts_gs_refine_picture(run->refine), run->w, run->h, run->render);
    else
        st = ts_gs_fit_rgba(run->fit, run->render, err);
    for (int i = 0; st == TS_OK && i < look->n_panels; ++i) {
        ts_panel_kind kind = look->panel[i];
        if (kind == TS_PANEL_GT || kind == TS_PANEL_RENDER || kind == TS_PANEL_INITIAL) {
            panels[i] = kind == TS_PANEL_GT       ? run->gt
                        : kind == TS_PANEL_RENDER ? run->render
                                                  : run->initial;
            continue;
        }
        if (!run->extra)
            run->extra = calloc(TS_TRAINPIC_MAX_PANELS * bytes, 1);
        if (!run->extra)
            return ts_fail(err, TS_E_NO_MEMORY, "panels");
        panels[i] = run->extra + (size_t)i * bytes;
        st = fill(run, kind, run->extra + (size_t)i * bytes, err);
    }
    return st;
}
