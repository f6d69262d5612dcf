#include "server/gaze.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/models/gaze/scale.h"

enum {
    MAX_SIDE = 8192
};

typedef enum shows {
    SHOW_OUTPUT,
    SHOW_PANEL,
    SHOW_SIDE_BY_SIDE
} shows;

/* The parsed form of the options that are the session's own. */
typedef struct plan {
    bool autogaze;
    ts_gaze_options compose;
    ts_gaze_panel_kind panel; /* of the panel itself and of side-by-side */
    shows show;
    int width, height; /* of processing; 0: the frame's, or in proportion to the other */
} plan;

struct ts_gaze_session {
    ts_device *device;
    json_t *options;
    plan plan;
    ts_gaze_source source;
    ts_gaze *gaze;
    ts_gaze_scaler *scaler;
    ts_buffer *picture;
    size_t picture_bytes;
    int64_t frame;
    int width, height;
    ts_gaze_ema gaze_ratio, update_ratio, psnr;
};

const char *const ts_gaze_keys[] = {"mask_source",
                                    "model",
                                    "model_dir",
                                    "mode",
                                    "visualization",
                                    "panel",
                                    "output",
                                    "geometry",
                                    "blend_alpha",
                                    "cell_scale",
                                    "keyframe_interval",
                                    "psnr",
                                    "quality",
                                    "inference_width",
                                    "inference_height",
                                    "threshold",
                                    "grid",
                                    "max_gaze_tokens_each_frame",
                                    "task_loss_requirement",
                                    "task_loss_requirement_db",
                                    "gazing_ratio",
                                    "coverage",
                                    "horizon",
                                    "horizon_policy",
                                    "decode_chunk",
                                    "tile_size",
                                    "tile_stride",
                                    "tile_batch",
                                    "thumbnail",
                                    "min_points",
                                    "precision",
                                    NULL};

static ts_gaze_open_fn open_autogaze;
static void *open_autogaze_arg;

void ts_gaze_set_autogaze(ts_gaze_open_fn open, void *arg)
{
    open_autogaze = open;
    open_autogaze_arg = arg;
}

/* ---- options ---- */

/* A panel's name, an output's, or side-by-side. */
static ts_status parse_visualization(const char *name, plan *p, ts_error *err)
{
    if (!strcmp(name, "side-by-side") || !strcmp(name, "side_by_side")) {
        p->show = SHOW_SIDE_BY_SIDE;
        return TS_OK;
    }
    if (ts_gaze_output_parse(name, &p->compose.output, NULL) == TS_OK) {
        p->show = SHOW_OUTPUT;
        return TS_OK;
    }
    if (ts_gaze_panel_parse(name, &p->panel, NULL) == TS_OK) {
        p->show = SHOW_PANEL;
        return TS_OK;
    }
    return ts_fail(err, TS_E_OPTION,
                   "visualization: no '%s'; interframe, full-blend, mask, overlay, image-overlay, "
                   "image-mask-only, scale-rows or side-by-side",
                   name);
}

static ts_status parse_names(const json_t *o, plan *p, ts_error *err)
{
    static const char *const sources[] = {"patch-diff", "autogaze", NULL};
    static const char *const modes[] = {"resize",   "realtime",   "resize-224", "tiled", "anyres",
                                        "tile-224", "tiled-full", "full-res",   NULL};
    const char *visualization = "interframe", *panel = NULL, *output = NULL, *geometry = NULL;
    int source = 0, mode = 0;
    ts_status st = ts_json_get_enum(o, "", "mask_source", sources, &source, err);
    if (st == TS_OK)
        st = ts_json_get_enum(o, "", "mode", modes, &mode, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "visualization", &visualization, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "panel", &panel, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "output", &output, err);
    if (st == TS_OK)
        st = ts_json_get_string(o, "", "geometry", &geometry, err);
    p->autogaze = source == 1;
    if (st == TS_OK)
        st = parse_visualization(visualization, p, err);
    if (st == TS_OK && output)
        st = ts_gaze_output_parse(output, &p->compose.output, err);
    if (st == TS_OK && panel)
        st = ts_gaze_panel_parse(panel, &p->panel, err);
    if (st == TS_OK && geometry)
        st = ts_gaze_geometry_parse(geometry, &p->compose.geometry, err);
    return st;
}

static ts_status parse(const json_t *o, plan *p, ts_error *err)
{
    double alpha = 0.38;
    int64_t interval = 0, width = 0, height = 0;
    *p = (plan){.panel = TS_GAZE_PANEL_MASK_ONLY,
                .compose = {.geometry = TS_GAZE_DEDUPLICATED, .cell_scale = 1, .psnr = true}};
    ts_status st = ts_json_only(o, "", ts_gaze_keys, err);
    if (st == TS_OK)
        st = parse_names(o, p, err);
    if (st == TS_OK)
        st = ts_json_get_double(o, "", "blend_alpha", -INFINITY, INFINITY, &alpha, err);
    if (st == TS_OK)
        st = ts_json_get_double(o, "", "cell_scale", 0.25, 12, &p->compose.cell_scale, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "", "keyframe_interval", 0, INT32_MAX, &interval, err);
    if (st == TS_OK)
        st = ts_json_get_bool(o, "", "psnr", &p->compose.psnr, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "", "inference_width", 1, MAX_SIDE, &width, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "", "inference_height", 1, MAX_SIDE, &height, err);
    p->width = (int)width;
    p->height = (int)height;
    p->compose.alpha = isnan(alpha) ? 0.38f : (float)fmin(fmax(alpha, 0), 1);
    p->compose.keyframe_interval = (int)interval;
    return st;
}

/* The slider: right is better. threshold = 1 - q in steps of 0.01, for either source. */
static ts_status source_options(const json_t *options, bool autogaze, json_t **out, ts_error *err)
{
    double q = NAN;
    ts_status st = ts_json_get_double(options, "", "quality", 0, 1, &q, err);
    if (st != TS_OK)
        return st;
    *out = json_copy((json_t *)(uintptr_t)options);
    if (*out && isfinite(q))
        json_object_set_new(*out, autogaze ? "task_loss_requirement" : "threshold",
                            json_real(1 - round(q * 100) / 100));
    return *out ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "no memory for options");
}

static ts_status open_source(ts_gaze_session *s, ts_queue *queue, const plan *p,
                             const json_t *options, ts_gaze_source *out, ts_error *err)
{
    json_t *own = NULL;
    *out = (ts_gaze_source){0};
    ts_status st = source_options(options, p->autogaze, &own, err);
    if (st == TS_OK && !p->autogaze)
        st = ts_patch_diff_create(s->device, out, err);
    else if (st == TS_OK && open_autogaze)
        st = open_autogaze(open_autogaze_arg, s->device, queue, own, out, err);
    else if (st == TS_OK)
        st = ts_fail(err, TS_E_NOT_FOUND,
                     "no AutoGaze model is loaded; load one, or use "
                     "\"mask_source\":\"patch-diff\"");
    if (st == TS_OK && out->set)
        st = out->set(out->self, own, err);
    if (st != TS_OK)
        ts_gaze_source_finish(out);
    json_decref(own);
    return st;
}

static bool same_value(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x == y || (x && y && json_equal(x, y));
}

/* Whether the change means another source, so that nothing of the state fits any more. */
static bool needs_source(const json_t *before, const json_t *after)
{
    static const char *const keys[] = {"mask_source", "model",       "model_dir", "mode",
                                       "tile_size",   "tile_stride", "precision"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!same_value(before, after, keys[i]))
            return true;
    return false;
}

ts_status ts_gaze_session_set(ts_gaze_session *s, ts_queue *queue, const json_t *patch,
                              ts_error *err)
{
    plan p;
    json_t *own = NULL, *merged = ts_json_merge_patch(s->options, patch);
    ts_gaze_source fresh = {0};
    bool anew = !s->source.self || needs_source(s->options, merged);
    if (!merged)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for options");
    ts_status st = json_is_object(merged) ? parse(merged, &p, err)
                                          : ts_fail(err, TS_E_OPTION, "gaze: not an object");
    if (st == TS_OK && anew)
        st = open_source(s, queue, &p, merged, &fresh, err);
    if (st == TS_OK && !anew)
        st = source_options(merged, p.autogaze, &own, err);
    if (st == TS_OK && !anew && s->source.set)
        st = s->source.set(s->source.self, own, err);
    json_decref(own);
    if (st != TS_OK) {
        json_decref(merged);
        return st;
    }
    if (anew) {
        ts_gaze_source_finish(&s->source);
        s->source = fresh;
        ts_gaze_session_reset(s);
    } else if (p.compose.output != s->plan.compose.output) {
        ts_gaze_reset(s->gaze); /* the other output mode's pixels are no start */
    }
    json_decref(s->options);
    s->options = merged;
    s->plan = p;
    return TS_OK;
}

ts_status ts_gaze_session_create(ts_device *device, ts_queue *queue, const json_t *options,
                                 ts_gaze_session **out, ts_error *err)
{
    ts_gaze_session *s = calloc(1, sizeof *s);
    json_t *none = json_object();
    if (!s || !none) {
        free(s);
        json_decref(none);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a gaze session");
    }
    s->device = device;
    s->options = none;
    ts_status st = ts_gaze_create(device, &s->gaze, err);
    if (st == TS_OK)
        st = ts_gaze_scaler_create(device, &s->scaler, err);
    if (st == TS_OK)
        st = ts_gaze_session_set(s, queue, options ? options : none, err);
    if (st != TS_OK) {
        ts_gaze_session_destroy(s);
        return st;
    }
    *out = s;
    return TS_OK;
}

void ts_gaze_session_destroy(ts_gaze_session *session)
{
    if (!session)
        return;
    ts_gaze_source_finish(&session->source);
    ts_gaze_destroy(session->gaze);
    ts_gaze_scaler_destroy(session->scaler);
    ts_buffer_unref(session->picture);
    json_decref(session->options);
    free(session);
}

const json_t *ts_gaze_session_options(const ts_gaze_session *session)
{
    return session->options;
}

void ts_gaze_session_reset(ts_gaze_session *s)
{
    if (s->source.reset)
        s->source.reset(s->source.self);
    ts_gaze_reset(s->gaze);
    s->frame = 0;
    s->gaze_ratio = s->update_ratio = s->psnr = (ts_gaze_ema){0};
}

ts_gaze *ts_gaze_session_core(ts_gaze_session *session)
{
    return session->gaze;
}

ts_gaze_source *ts_gaze_session_source(ts_gaze_session *session)
{
    return &session->source;
}

/* ---- frames ---- */

static void average(ts_gaze_session *s, const ts_gaze_result *r)
{
    if (!r->keyframe) {
        ts_gaze_ema_ratio(&s->gaze_ratio, r->mask_ratio);
        ts_gaze_ema_ratio(&s->update_ratio, r->update_ratio);
    }
    if (r->has_psnr)
        ts_gaze_ema_psnr(&s->psnr, r->psnr_db);
}

/* The frame at processing size; one side given keeps the proportions. */
static ts_status to_processing_size(ts_gaze_session *s, ts_queue *queue, ts_gaze_image *frame,
                                    ts_error *err)
{
    int w = s->plan.width, h = s->plan.height;
    if (!w && !h)
        return TS_OK;
    if (!h)
        h = (int)lround((double)frame->height * w / frame->width);
    if (!w)
        w = (int)lround((double)frame->width * h / frame->height);
    w = w < 1 ? 1 : w > MAX_SIDE ? MAX_SIDE : w;
    h = h < 1 ? 1 : h > MAX_SIDE ? MAX_SIDE : h;
    return ts_gaze_scaler_run(s->scaler, queue, frame, w, h, frame, err);
}

ts_status ts_gaze_session_step(ts_gaze_session *s, ts_queue *queue, ts_gaze_image *frame,
                               ts_gaze_step *out, ts_error *err)
{
    *out = (ts_gaze_step){0};
    ts_status st = to_processing_size(s, queue, frame, err);
    if (st != TS_OK)
        return st;
    if (s->frame && (frame->width != s->width || frame->height != s->height))
        ts_gaze_session_reset(s);
    s->width = frame->width;
    s->height = frame->height;
    int64_t start = ts_now_us();
    st = s->source.step(s->source.self, queue, frame, &out->fix, err);
    int64_t middle = ts_now_us();
    if (st == TS_OK)
        st = ts_gaze_frame(s->gaze, queue, frame, out->fix.cells, out->fix.n_cells,
                           &s->plan.compose, &out->result, err);
    if (st != TS_OK)
        return st;
    average(s, &out->result);
    out->source_us = middle - start;
    out->compose_us = ts_now_us() - middle;
    out->gaze_ratio = s->gaze_ratio;
    out->update_ratio = s->update_ratio;
    out->psnr = s->psnr;
    out->frame = s->frame++;
    return TS_OK;
}

static ts_status want_picture(ts_gaze_session *s, size_t bytes, ts_error *err)
{
    if (s->picture && s->picture_bytes == bytes)
        return TS_OK;
    ts_buffer_unref(s->picture);
    s->picture = NULL;
    s->picture_bytes = bytes;
    return ts_buffer_create(s->device, bytes, &s->picture, err);
}

ts_status ts_gaze_session_panel(ts_gaze_session *s, ts_queue *queue, const ts_gaze_image *frame,
                                ts_buffer *dst, ts_error *err)
{
    return ts_gaze_panel(s->gaze, queue, frame, s->plan.panel, s->plan.compose.alpha, dst,
                         frame->width, 0, err);
}

ts_status ts_gaze_session_side_by_side(ts_gaze_session *s, ts_queue *queue,
                                       const ts_gaze_image *frame, ts_buffer *dst, ts_error *err)
{
    int w = frame->width;
    ts_gaze_image current = ts_gaze_current(s->gaze);
    ts_status st = ts_gaze_place(s->gaze, queue, frame, dst, 3 * w, 0, err);
    if (st == TS_OK)
        st = ts_gaze_panel(s->gaze, queue, frame, s->plan.panel, s->plan.compose.alpha, dst, 3 * w,
                           w, err);
    if (st == TS_OK)
        st = ts_gaze_place(s->gaze, queue, &current, dst, 3 * w, 2 * w, err);
    return st;
}

ts_status ts_gaze_session_picture(ts_gaze_session *s, ts_queue *queue, const ts_gaze_image *frame,
                                  ts_gaze_image *out, ts_error *err)
{
    if (s->plan.show == SHOW_OUTPUT) {
        *out = ts_gaze_current(s->gaze);
        return TS_OK;
    }
    int wide = s->plan.show == SHOW_SIDE_BY_SIDE ? 3 : 1;
    size_t bytes = 4 * (size_t)wide * (size_t)frame->width * (size_t)frame->height;
    ts_status st = want_picture(s, bytes, err);
    if (st == TS_OK && wide == 1)
        st = ts_gaze_session_panel(s, queue, frame, s->picture, err);
    else if (st == TS_OK)
        st = ts_gaze_session_side_by_side(s, queue, frame, s->picture, err);
    *out = (ts_gaze_image){s->picture, 0, wide * frame->width, frame->height};
    return st;
}

/* ---- answers ---- */

static json_t *psnr_json(bool has, bool infinite, double db)
{
    return has && !infinite ? json_real(db) : json_null();
}

static json_t *tokens_json(const ts_gaze_fix *fix)
{
    json_t *all = json_array();
    for (size_t t = 0; t < fix->n_tiles; t++) {
        json_t *list = fix->n_tiles > 1 ? json_array() : all;
        for (size_t i = fix->tile_start[t]; i < fix->tile_start[t + 1]; i++)
            json_array_append_new(list, json_integer(fix->tokens[i]));
        if (fix->n_tiles > 1)
            json_array_append_new(all, list);
    }
    return all;
}

json_t *ts_gaze_step_json(const ts_gaze_session *session, const ts_gaze_step *step)
{
    (void)session;
    const ts_gaze_result *r = &step->result;
    json_t *cells = json_array();
    for (size_t i = 0; i < step->fix.n_cells; i++) {
        const ts_gaze_cell *c = &step->fix.cells[i];
        json_array_append_new(cells, json_pack("[i,i,i]", c->scale, c->row, c->col));
    }
    json_t *o = json_pack("{s:I,s:f,s:f,s:o,s:o,s:o}", "frame", (json_int_t)step->frame,
                          "gaze_ratio", r->mask_ratio, "update_ratio", r->update_ratio, "psnr_db",
                          psnr_json(r->has_psnr, r->psnr_infinite, r->psnr_db), "tokens",
                          tokens_json(&step->fix), "cells", cells);
    if (r->has_psnr)
        json_object_set_new(o, "psnr_infinite", json_boolean(r->psnr_infinite));
    return o;
}

static json_t *points_json(const ts_gaze_fix *fix)
{
    json_t *points = json_array();
    for (size_t i = 0; i < fix->n_cells; i++) {
        const ts_gaze_cell *c = &fix->cells[i];
        double w = 1.0 / c->cols, h = 1.0 / c->rows;
        json_array_append_new(
            points, json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:i}", "x", (c->col + 0.5) * w, "y",
                              (c->row + 0.5) * h, "scale", fmax(w, h), "confidence",
                              (double)c->confidence, "width", w, "height", h, "grid", c->grid));
    }
    return points;
}

void ts_gaze_step_details(const ts_gaze_session *session, const ts_gaze_step *step,
                          const ts_gaze_image *frame, json_t *object)
{
    const ts_gaze_result *r = &step->result;
    json_t *more = json_pack(
        "{s:i,s:i,s:i,s:I,s:I,s:f,s:b,s:s,s:i,s:I,s:s,s:I,s:I,s:f,s:i,s:f,s:f,s:o}", "width",
        frame->width, "height", frame->height, "side_by_side_width", 3 * frame->width,
        "mask_pixel_count", (json_int_t)r->mask_pixels, "updated_pixel_count",
        (json_int_t)r->updated_pixels, "mask_ratio", r->mask_ratio, "keyframe", r->keyframe, "mode",
        session->plan.compose.output == TS_GAZE_INTERFRAME ? "interframe" : "full-blend",
        "keyframe_interval", session->plan.compose.keyframe_interval, "tile_count",
        (json_int_t)step->fix.n_tiles, "path", r->path, "rectangles", (json_int_t)r->n_rects,
        "row_spans", (json_int_t)r->row_spans, "stop_probability", step->fix.stop_probability,
        "forward_passes", step->fix.forward_passes, "source_ms", (double)step->source_us * 1e-3,
        "compose_ms", (double)step->compose_us * 1e-3, "points", points_json(&step->fix));
    json_object_set_new(more, "visualization_mode",
                        json_string(ts_gaze_panel_name(session->plan.panel)));
    json_object_set_new(more, "mask_source", json_string(session->source.name));
    json_object_update(object, more);
    json_decref(more);
}

static void set_average(json_t *o, const char *key, const ts_gaze_ema *ema)
{
    json_object_set_new(o, key,
                        ema->has && isfinite(ema->value) ? json_real(ema->value) : json_null());
}

json_t *ts_gaze_step_metrics(const ts_gaze_step *step)
{
    const ts_gaze_result *r = &step->result;
    json_t *o = json_pack(
        "{s:f,s:f,s:o,s:b,s:f}", "gaze_ratio", r->mask_ratio, "update_ratio", r->update_ratio,
        "psnr_db", psnr_json(r->has_psnr, r->psnr_infinite, r->psnr_db), "keyframe", r->keyframe,
        "gaze_ms", (double)(step->source_us + step->compose_us) * 1e-3);
    if (r->has_psnr)
        json_object_set_new(o, "psnr_infinite", json_boolean(r->psnr_infinite));
    set_average(o, "gaze_ratio_ema", &step->gaze_ratio);
    set_average(o, "update_ratio_ema", &step->update_ratio);
    set_average(o, "psnr_db_ema", &step->psnr);
    return o;
}

void ts_gaze_totals_add(ts_gaze_totals *t, const ts_gaze_step *step)
{
    const ts_gaze_result *r = &step->result;
    bool first = !t->frames++;
    t->keyframes += r->keyframe;
    t->cells += (int64_t)step->fix.n_cells;
    t->tokens += (int64_t)step->fix.tile_start[step->fix.n_tiles];
    t->gaze_sum += r->keyframe ? 0 : r->mask_ratio;
    t->update_sum += r->update_ratio;
    t->update_min = first ? r->update_ratio : fmin(t->update_min, r->update_ratio);
    t->update_max = first ? r->update_ratio : fmax(t->update_max, r->update_ratio);
    if (r->has_psnr && !r->psnr_infinite) {
        t->psnr_min = t->psnr_frames ? fmin(t->psnr_min, r->psnr_db) : r->psnr_db;
        t->psnr_max = t->psnr_frames ? fmax(t->psnr_max, r->psnr_db) : r->psnr_db;
        t->psnr_sum += r->psnr_db;
        t->psnr_frames++;
    }
    t->last = *step;
}

json_t *ts_gaze_totals_json(const ts_gaze_totals *t)
{
    double others = (double)(t->frames - t->keyframes), frames = t->frames ? (double)t->frames : 1;
    bool psnr = t->psnr_frames > 0;
    json_t *o =
        json_pack("{s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:o,s:o,s:o}", "frames", (json_int_t)t->frames,
                  "keyframes", (json_int_t)t->keyframes, "tokens", (json_int_t)t->tokens,
                  "fixations", (json_int_t)t->cells, "gaze_ratio",
                  others > 0 ? t->gaze_sum / others : 0, "update_ratio", t->update_sum / frames,
                  "update_ratio_min", t->update_min, "update_ratio_max", t->update_max, "psnr_db",
                  psnr ? json_real(t->psnr_sum / (double)t->psnr_frames) : json_null(),
                  "psnr_db_min", psnr ? json_real(t->psnr_min) : json_null(), "psnr_db_max",
                  psnr ? json_real(t->psnr_max) : json_null());
    set_average(o, "gaze_ratio_ema", &t->last.gaze_ratio);
    set_average(o, "update_ratio_ema", &t->last.update_ratio);
    set_average(o, "psnr_db_ema", &t->last.psnr);
    return o;
}
