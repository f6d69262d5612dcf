#include "server/gazeperf.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char *const path_names[] = {"keyframe", "sparse-rects", "dense-mask", "full-frame"};

void ts_gaze_perf_add(ts_gaze_perf *p, const ts_gaze_step *step, int width, int height,
                      int64_t picture_us, int64_t total_us, int64_t now_us)
{
    size_t i = (size_t)(p->frames % TS_GAZE_PERF_WINDOW);
    p->sample[i].total_ms = (float)total_us * 1e-3f;
    p->sample[i].source_ms = (float)step->source_us * 1e-3f;
    p->sample[i].compose_ms = (float)step->compose_us * 1e-3f;
    p->sample[i].picture_ms = (float)picture_us * 1e-3f;
    p->sample[i].interval_ms = p->last_us ? (float)(now_us - p->last_us) * 1e-3f : 0;
    for (int k = 0; k < 4; k++)
        p->paths[k] += !strcmp(step->result.path, path_names[k]);
    p->frames++;
    p->keyframes += step->result.keyframe;
    p->cells += (int64_t)step->fix.n_cells;
    p->tokens += (int64_t)step->fix.tile_start[step->fix.n_tiles];
    p->last = *step;
    p->last_us = now_us;
    p->width = width;
    p->height = height;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

typedef struct spread {
    double mean, p05, p50, p95, worst;
} spread;

static spread spread_of(float *values, size_t n)
{
    spread s = {0};
    if (!n)
        return s;
    qsort(values, n, sizeof *values, compare_floats);
    for (size_t i = 0; i < n; i++)
        s.mean += values[i] / (double)n;
    s.p05 = values[n / 20];
    s.p50 = values[n / 2];
    s.p95 = values[n * 19 / 20];
    s.worst = values[n - 1];
    return s;
}

static size_t window(const ts_gaze_perf *p)
{
    return (size_t)(p->frames < TS_GAZE_PERF_WINDOW ? p->frames : TS_GAZE_PERF_WINDOW);
}

/* `offset`: of the number in a sample. */
static json_t *times_json(const ts_gaze_perf *p, size_t offset)
{
    float values[TS_GAZE_PERF_WINDOW];
    size_t n = window(p);
    for (size_t i = 0; i < n; i++)
        memcpy(&values[i], (const char *)&p->sample[i] + offset, sizeof values[i]);
    spread s = spread_of(values, n);
    return json_pack("{s:f,s:f,s:f}", "avg", s.mean, "p50", s.p50, "p95", s.p95);
}

static json_t *fps_json(const ts_gaze_perf *p)
{
    float values[TS_GAZE_PERF_WINDOW];
    size_t n = 0;
    for (size_t i = 0; i < window(p); i++)
        if (p->sample[i].interval_ms > 0)
            values[n++] = p->sample[i].interval_ms;
    spread s = spread_of(values, n);
    /* The slowest intervals are the lowest rates. */
    return json_pack("{s:f,s:f,s:f}", "avg", s.mean > 0 ? 1000 / s.mean : 0, "p05",
                     s.p95 > 0 ? 1000 / s.p95 : 0, "worst", s.worst > 0 ? 1000 / s.worst : 0);
}

static json_t *ema_json(const ts_gaze_ema *ema)
{
    return ema->has && isfinite(ema->value) ? json_real(ema->value) : json_null();
}

json_t *ts_gaze_perf_json(const ts_gaze_perf *p, const char *source, const ts_caps *device)
{
    const ts_gaze_result *r = &p->last.result;
    json_t *paths = json_object();
    for (int k = 0; k < 4; k++)
        json_object_set_new(paths, path_names[k], json_integer(p->paths[k]));
    json_t *o =
        json_pack("{s:s,s:I,s:I,s:I,s:I,s:i,s:i,s:o,s:o}", "mask_source", source, "frames",
                  (json_int_t)p->frames, "keyframes", (json_int_t)p->keyframes, "generated_tokens",
                  (json_int_t)p->tokens, "active_tokens", (json_int_t)p->cells, "width", p->width,
                  "height", p->height, "paths", paths, "fps", fps_json(p));
    static const struct {
        const char *name;
        size_t offset;
    } times[] = {{"total_ms", offsetof(ts_gaze_perf, sample[0].total_ms)},
                 {"inference_ms", offsetof(ts_gaze_perf, sample[0].source_ms)},
                 {"accumulate_ms", offsetof(ts_gaze_perf, sample[0].compose_ms)},
                 {"visualise_ms", offsetof(ts_gaze_perf, sample[0].picture_ms)}};
    size_t base = offsetof(ts_gaze_perf, sample);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        json_object_set_new(o, times[i].name, times_json(p, times[i].offset - base));
    json_t *more =
        json_pack("{s:I,s:I,s:I,s:f,s:f,s:o,s:o,s:b,s:o,s:o,s:{s:s,s:s,s:s}}", "rectangles",
                  (json_int_t)r->n_rects, "row_spans", (json_int_t)r->row_spans, "mask_pixels",
                  (json_int_t)r->mask_pixels, "gaze_ratio", r->mask_ratio, "update_ratio",
                  r->update_ratio, "gaze_ratio_ema", ema_json(&p->last.gaze_ratio), "psnr_db",
                  r->has_psnr && !r->psnr_infinite ? json_real(r->psnr_db) : json_null(),
                  "psnr_infinite", r->psnr_infinite, "psnr_db_ema", ema_json(&p->last.psnr),
                  "update_ratio_ema", ema_json(&p->last.update_ratio), "device", "name",
                  device->name, "vendor", device->vendor, "driver", device->driver);
    json_object_update(o, more);
    json_decref(more);
    return o;
}
