/* AutoGaze as a mask source: options by their API names, one stream per tile. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "cl/models/autogaze/weights_internal.h"

enum {
    LIMITS_MAX = 4096 /* per-frame lists */
};

/* Limits as asked for; the rules of defaults are applied when they change. */
typedef struct asked {
    bool has_tokens, has_ratio, has_requirement, no_requirement;
    int64_t tokens;
    double *ratios; /* one per frame, the last one goes on; n_ratios 1: all frames */
    size_t n_ratios;
    double requirement;
    ts_autogaze_mode mode;
    int64_t tile, stride;
} asked;

typedef struct autogaze_source {
    ts_autogaze *a;
    ts_ops *ops;
    ts_queue *queue; /* of ops */
    ts_autogaze_input *input;
    ts_autogaze_stream **stream; /* per tile */
    size_t n_streams;
    int width, height; /* of the frames so far */
    int64_t frame;
    asked ask;
    ts_autogaze_limits limits;
    /* The last step's fix. */
    ts_gaze_cell *cells;
    int32_t *tokens;
    size_t *tile_start;
    size_t n_cells, n_tokens, cap_cells, cap_tokens;
    ts_gaze_scale scales[TS_AUTOGAZE_MAX_SCALES];
    ts_buffer *embeddings; /* of all tiles, joined */
    size_t n_tiles;
} autogaze_source;

/* ---- options ---- */

static ts_status get_ratios(const json_t *options, asked *ask, ts_error *err)
{
    const json_t *v = json_object_get(options, "gazing_ratio");
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!v)
        return TS_OK;
    if (n < 1 || n > LIMITS_MAX)
        return ts_fail(err, TS_E_OPTION, "gazing_ratio: a list of 1 to %d numbers", LIMITS_MAX);
    double *ratios = calloc(n, sizeof *ratios);
    if (!ratios)
        return ts_fail(err, TS_E_NO_MEMORY, "gazing_ratio");
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_is_array(v) ? json_array_get(v, i) : v;
        ratios[i] = json_number_value(e);
        if (!json_is_number(e) || !(ratios[i] >= 0 && ratios[i] <= 1)) {
            free(ratios);
            return ts_fail(err, TS_E_OPTION, "gazing_ratio: want numbers from 0 to 1");
        }
    }
    free(ask->ratios);
    ask->ratios = ratios;
    ask->n_ratios = n;
    ask->has_ratio = true;
    return TS_OK;
}

/* The requirement as a loss, or in dB; null turns it off. */
static ts_status get_requirement(const json_t *options, asked *ask, ts_error *err)
{
    const json_t *loss = json_object_get(options, "task_loss_requirement");
    const json_t *db = json_object_get(options, "task_loss_requirement_db");
    if (json_is_null(loss)) {
        ask->no_requirement = true;
        ask->has_requirement = false;
        return TS_OK;
    }
    double v = 0;
    if (json_is_number(loss)) {
        v = json_number_value(loss);
    } else if (loss) {
        return ts_fail(err, TS_E_OPTION, "task_loss_requirement: expected a number or null");
    } else if (json_is_string(db) && !strcmp(json_string_value(db), "Infinity")) {
        v = 0;
    } else if (json_is_number(db)) {
        v = pow(10, -fmax(json_number_value(db), 0) / 20);
    } else if (db) {
        return ts_fail(err, TS_E_OPTION, "task_loss_requirement_db: expected a number");
    } else {
        return TS_OK;
    }
    ask->no_requirement = false;
    ask->has_requirement = true;
    ask->requirement = v < 0 ? 0 : v;
    return TS_OK;
}

static ts_status get_mode(const json_t *options, ts_autogaze_mode *out, ts_error *err)
{
    static const char *const words[] = {"resize",   "realtime",   "resize-224", "tiled", "anyres",
                                        "tile-224", "tiled-full", "full-res",   NULL};
    int i = *out == TS_AUTOGAZE_RESIZE ? 0 : *out == TS_AUTOGAZE_TILED ? 3 : 6;
    ts_status st = ts_json_get_enum(options, "", "mode", words, &i, err);
    *out = i < 3 ? TS_AUTOGAZE_RESIZE : i < 6 ? TS_AUTOGAZE_TILED : TS_AUTOGAZE_TILED_FULL;
    return st;
}

/*
 * Neither limit nor requirement given: both from the configuration. Only a limit: no requirement.
 * Only a requirement: no limit.
 */
static void apply(autogaze_source *s, int64_t frame)
{
    const asked *k = &s->ask;
    const ts_autogaze_config *c = &s->a->c;
    ts_autogaze_limits d = ts_autogaze_limits_default(s->a);
    bool limit = k->has_tokens || k->has_ratio;
    int tokens = d.max_tokens;
    if (k->has_ratio) {
        size_t i = (size_t)frame < k->n_ratios ? (size_t)frame : k->n_ratios - 1;
        tokens = ts_autogaze_limit(c, k->ratios[i]);
    } else if (!limit && k->has_requirement) {
        tokens = c->n_ids;
    }
    if (k->has_tokens)
        tokens = (int)(k->tokens < c->n_ids ? k->tokens : c->n_ids);
    s->limits.has_requirement =
        k->has_requirement || (!limit && !k->no_requirement && d.has_requirement);
    s->limits.requirement = k->has_requirement ? k->requirement : d.requirement;
    if (s->limits.coverage > 0 && s->limits.coverage < 1) {
        int finest = 1, most;
        for (int i = 0; i < c->n_scales; i++)
            finest = c->grid[i] > finest ? c->grid[i] : finest;
        most = (int)ceil(s->limits.coverage * finest * finest);
        most = (most + c->multi_token - 1) / c->multi_token * c->multi_token;
        tokens = most < tokens ? most : tokens;
    }
    s->limits.max_tokens = tokens;
}

static ts_status set(void *self, const json_t *options, ts_error *err)
{
    static const char *const policies[] = {"slide", "reset", NULL};
    autogaze_source *s = self;
    asked k = s->ask;
    ts_autogaze_limits l = s->limits;
    int policy = l.reset_policy;
    int64_t horizon = l.horizon, chunk = l.decode_chunk, tokens = k.has_tokens ? k.tokens : 0;
    int64_t batch = 64;
    ts_status st = get_mode(options, &k.mode, err);
    if (st == TS_OK)
        st = ts_json_get_int(options, "", "max_gaze_tokens_each_frame", 0, 1 << 20, &tokens, err);
    if (st == TS_OK)
        st = get_requirement(options, &k, err);
    if (st == TS_OK)
        st = ts_json_get_int(options, "", "horizon", 1, 1 << 16, &horizon, err);
    if (st == TS_OK)
        st = ts_json_get_enum(options, "", "horizon_policy", policies, &policy, err);
    if (st == TS_OK)
        st = ts_json_get_int(options, "", "decode_chunk", 1, 1 << 16, &chunk, err);
    if (st == TS_OK)
        st = ts_json_get_double(options, "", "coverage", 0, 1, &l.coverage, err);
    if (st == TS_OK)
        st = ts_json_get_int(options, "", "tile_size", 0, 16384, &k.tile, err);
    if (st == TS_OK)
        st = ts_json_get_int(options, "", "tile_stride", 0, 16384, &k.stride, err);
    if (st == TS_OK) /* tiles run one after the other here: any batch gives the same */
        st = ts_json_get_int(options, "", "tile_batch", 1, 1 << 16, &batch, err);
    if (st == TS_OK && k.tile && k.stride > k.tile)
        st = ts_fail(err, TS_E_OPTION, "tile_stride %lld exceeds tile_size %lld",
                     (long long)k.stride, (long long)k.tile);
    if (st == TS_OK)
        st = get_ratios(options, &k, err); /* last: it takes over memory */
    if (st != TS_OK)
        return st;
    k.has_tokens = tokens > 0;
    k.tokens = tokens;
    l.horizon = (int)horizon;
    l.reset_policy = policy == 1;
    l.decode_chunk = (int)chunk;
    s->ask = k;
    s->limits = l;
    apply(s, s->frame);
    return TS_OK;
}

/* ---- steps ---- */

static void reset(void *self)
{
    autogaze_source *s = self;
    for (size_t i = 0; i < s->n_streams; i++)
        ts_autogaze_stream_reset(s->stream[i]);
    s->frame = 0;
    s->width = s->height = 0;
}

static void drop_device(autogaze_source *s)
{
    if (s->ops) {
        ts_status st = ts_queue_finish(s->queue, NULL);
        (void)st;
    }
    for (size_t i = 0; i < s->n_streams; i++)
        ts_autogaze_stream_destroy(s->stream[i]);
    free(s->stream);
    s->stream = NULL;
    s->n_streams = 0;
    ts_autogaze_input_destroy(s->input);
    s->input = NULL;
    ts_buffer_unref(s->embeddings);
    s->embeddings = NULL;
    ts_ops_destroy(s->ops);
    s->ops = NULL;
}

static void destroy(void *self)
{
    autogaze_source *s = self;
    if (!s)
        return;
    drop_device(s);
    free(s->cells);
    free(s->tokens);
    free(s->tile_start);
    free(s->ask.ratios);
    ts_autogaze_unref(s->a);
    free(s);
}

/* The queue's operators; another queue than before starts anew. */
static ts_status use_queue(autogaze_source *s, ts_queue *queue, ts_error *err)
{
    if (s->ops && s->queue == queue)
        return TS_OK;
    drop_device(s);
    s->queue = queue;
    ts_status st = ts_ops_create(queue, &s->ops, err);
    return st == TS_OK ? ts_autogaze_input_create(s->a, &s->input, err) : st;
}

static ts_status use_tiles(autogaze_source *s, size_t n, ts_error *err)
{
    ts_status st = TS_OK;
    if (n > s->n_streams) {
        ts_autogaze_stream **grown = ts_realloc_array(s->stream, n, sizeof *grown);
        if (!grown)
            return ts_fail(err, TS_E_NO_MEMORY, "%zu tiles", n);
        s->stream = grown;
        for (; s->n_streams < n && st == TS_OK; s->n_streams += st == TS_OK)
            st = ts_autogaze_stream_create(s->a, s->ops, &s->stream[s->n_streams], err);
    }
    size_t *starts = ts_realloc_array(s->tile_start, n + 1, sizeof *starts);
    if (!starts)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu tiles", n);
    s->tile_start = starts;
    return st;
}

static ts_status add_token(autogaze_source *s, int32_t token, ts_error *err)
{
    if (s->n_tokens == s->cap_tokens) {
        int32_t *grown = ts_realloc_array(s->tokens, s->cap_tokens + 1024, sizeof *grown);
        if (!grown)
            return ts_fail(err, TS_E_NO_MEMORY, "tokens");
        s->tokens = grown;
        s->cap_tokens += 1024;
    }
    s->tokens[s->n_tokens++] = token;
    return TS_OK;
}

static ts_status add_cell(autogaze_source *s, const ts_gaze_cell *cell, ts_error *err)
{
    if (s->n_cells == s->cap_cells) {
        ts_gaze_cell *grown = ts_realloc_array(s->cells, s->cap_cells + 1024, sizeof *grown);
        if (!grown)
            return ts_fail(err, TS_E_NO_MEMORY, "cells");
        s->cells = grown;
        s->cap_cells += 1024;
    }
    s->cells[s->n_cells++] = *cell;
    return TS_OK;
}

/* How many cells a scale has over the whole frame, all tiles joined. */
static ts_gaze_scale scale_of(const autogaze_source *s, int scale, int rows, int cols)
{
    int g = s->a->c.grid[scale], tile = (int)(s->ask.tile ? s->ask.tile : s->a->c.input_px);
    if (s->ask.mode == TS_AUTOGAZE_TILED_FULL) {
        int w = (int)((int64_t)s->width * g / tile), h = (int)((int64_t)s->height * g / tile);
        return (ts_gaze_scale){w < 1 ? 1 : w, h < 1 ? 1 : h};
    }
    return (ts_gaze_scale){cols * g, rows * g};
}

/*
 * A tile's cell in the grid of the frame. Tiles that overlap map the centre of the cell; what lies in
 * the padding is dropped.
 */
static bool place_cell(const autogaze_source *s, int id, int tile_row, int tile_col,
                       ts_gaze_cell *out)
{
    int scale, row, col;
    ts_autogaze_cell(&s->a->c, id, &scale, &row, &col);
    int g = s->a->c.grid[scale];
    ts_gaze_scale whole = s->scales[scale];
    int64_t tile = s->ask.tile ? s->ask.tile : s->a->c.input_px;
    int64_t stride = s->ask.stride ? s->ask.stride : tile;
    int64_t y = (int64_t)tile_row * g + row, x = (int64_t)tile_col * g + col;
    if (s->ask.mode == TS_AUTOGAZE_TILED_FULL && stride != tile) {
        int64_t cy = (2 * (tile_row * stride * g + row * tile) + tile) / (2 * g);
        int64_t cx = (2 * (tile_col * stride * g + col * tile) + tile) / (2 * g);
        if (cy >= s->height || cx >= s->width)
            return false;
        y = cy * whole.rows / s->height;
        x = cx * whole.cols / s->width;
    }
    *out = (ts_gaze_cell){.cols = whole.cols,
                          .rows = whole.rows,
                          .col = (int)x,
                          .row = (int)y,
                          .grid = g,
                          .scale = scale,
                          .confidence = 1};
    return x < whole.cols && y < whole.rows;
}

static ts_status keep_embeddings(autogaze_source *s, size_t tile, size_t tiles, ts_error *err)
{
    ts_arr e = ts_autogaze_embeddings(s->stream[tile]);
    size_t bytes = ts_arr_bytes(&e);
    if (!s->embeddings || ts_buffer_bytes(s->embeddings) < bytes * tiles) {
        ts_status st = ts_queue_finish(s->queue, err);
        ts_buffer_unref(s->embeddings);
        s->embeddings = NULL;
        if (st == TS_OK)
            st = ts_buffer_create(s->a->device, bytes * tiles, &s->embeddings, err);
        if (st != TS_OK)
            return st;
    }
    return ts_buffer_copy(s->queue, e.buffer, e.offset, s->embeddings, tile * bytes, bytes, err);
}

static ts_status step_tile(autogaze_source *s, const ts_arr *tiles, size_t i, int cols,
                           ts_gaze_fix *out, ts_error *err)
{
    ts_autogaze_frame f;
    ts_arr input = ts_arr_rows(tiles, (int64_t)i, 1);
    ts_status st = ts_autogaze_step(s->stream[i], s->ops, &input, &s->limits, &f, err);
    if (st != TS_OK)
        return st;
    s->tile_start[i] = s->n_tokens;
    for (int t = 0; t < f.n_tokens && st == TS_OK; t++) {
        ts_gaze_cell cell;
        st = add_token(s, f.tokens[t], err);
        if (st == TS_OK && f.valid[t] &&
            place_cell(s, f.tokens[t], (int)i / cols, (int)i % cols, &cell))
            st = add_cell(s, &cell, err);
    }
    if (f.stopped)
        out->stop_probability = 1;
    out->forward_passes += f.forward_passes;
    return st == TS_OK ? keep_embeddings(s, i, out->n_tiles, err) : st;
}

static ts_status step(void *self, ts_queue *queue, const ts_gaze_image *frame, ts_gaze_fix *out,
                      ts_error *err)
{
    autogaze_source *s = self;
    const ts_autogaze_config *c = &s->a->c;
    ts_arr tiles;
    int rows = 1, cols = 1;
    ts_status st = use_queue(s, queue, err);
    if (st != TS_OK)
        return st;
    if (s->width && (s->width != frame->width || s->height != frame->height))
        reset(s);
    s->width = frame->width;
    s->height = frame->height;
    st = ts_autogaze_prepare(s->input, s->ops, frame, s->ask.mode, (int)s->ask.tile,
                             (int)s->ask.stride, &tiles, &rows, &cols, err);
    size_t n = (size_t)rows * (size_t)cols;
    if (st == TS_OK)
        st = use_tiles(s, n, err);
    if (st != TS_OK)
        return st;
    for (int i = 0; i < c->n_scales; i++)
        s->scales[i] = scale_of(s, i, rows, cols);
    apply(s, s->frame);
    s->n_cells = s->n_tokens = 0;
    s->n_tiles = n;
    *out = (ts_gaze_fix){.n_tiles = n, .scales = s->scales, .n_scales = (size_t)c->n_scales};
    for (size_t i = 0; i < n && st == TS_OK; i++)
        st = step_tile(s, &tiles, i, cols, out, err);
    if (st != TS_OK) {
        reset(s); /* tiles must not get out of step */
        return st;
    }
    s->tile_start[n] = s->n_tokens;
    s->frame++;
    out->cells = s->cells;
    out->n_cells = s->n_cells;
    out->tokens = s->tokens;
    out->tile_start = s->tile_start;
    return TS_OK;
}

static ts_status output(void *self, const char *name, ts_buffer **buffer, size_t *offset,
                        int64_t dims[8], int *rank, ts_error *err)
{
    autogaze_source *s = self;
    (void)err;
    *buffer = NULL;
    if (strcmp(name, "vision_embeddings") || !s->embeddings || !s->frame)
        return TS_OK;
    *buffer = s->embeddings;
    *offset = 0;
    *rank = 4;
    dims[0] = dims[1] = 1;
    dims[2] = (int64_t)s->n_tiles * s->a->c.n_vision;
    dims[3] = s->a->c.width;
    return TS_OK;
}

ts_status ts_autogaze_source_create(ts_autogaze *a, ts_gaze_source *out, ts_error *err)
{
    autogaze_source *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "mask source");
    s->a = ts_autogaze_ref(a);
    s->limits = ts_autogaze_limits_default(a);
    *out = (ts_gaze_source){.name = "autogaze",
                            .self = s,
                            .step = step,
                            .set = set,
                            .reset = reset,
                            .destroy = destroy,
                            .output = output};
    return TS_OK;
}
