/* The mask source that needs no model: what changed between the last two frames. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/gaze/gaze.h"

enum {
    MAX_PARTS = 64
};

typedef struct patch_diff {
    ts_device *device;
    int grid, width, height, parts;
    double threshold;
    ts_buffer *previous, *sums, *scores;
    bool has_previous, has_scores;
    float *host_scores;
    ts_gaze_cell *cells;
    int32_t *tokens;
    size_t tile_start[2];
    ts_gaze_scale scale;
} patch_diff;

static const double default_threshold = 0.15;

static void drop_buffers(patch_diff *p)
{
    ts_buffer_unref(p->previous);
    ts_buffer_unref(p->sums);
    ts_buffer_unref(p->scores);
    p->previous = p->sums = p->scores = NULL;
    p->width = p->height = 0;
    p->has_previous = p->has_scores = false;
}

static void destroy(void *self)
{
    patch_diff *p = self;
    drop_buffers(p);
    free(p->host_scores);
    free(p->cells);
    free(p->tokens);
    free(p);
}

static void reset(void *self)
{
    patch_diff *p = self;
    p->has_previous = p->has_scores = false;
}

static ts_status set_grid(patch_diff *p, int grid, ts_error *err)
{
    if (p->host_scores && grid == p->grid)
        return TS_OK;
    size_t n = (size_t)grid * (size_t)grid;
    float *scores = calloc(n, sizeof *scores);
    ts_gaze_cell *cells = calloc(n, sizeof *cells);
    int32_t *tokens = calloc(n, sizeof *tokens);
    if (!scores || !cells || !tokens) {
        free(scores);
        free(cells);
        free(tokens);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a grid of %d", grid);
    }
    free(p->host_scores);
    free(p->cells);
    free(p->tokens);
    p->host_scores = scores;
    p->cells = cells;
    p->tokens = tokens;
    p->grid = grid;
    drop_buffers(p);
    return TS_OK;
}

static ts_status set(void *self, const json_t *options, ts_error *err)
{
    patch_diff *p = self;
    double threshold = p->threshold;
    int64_t grid = p->grid;
    ts_status st =
        ts_json_get_double(options, "", "threshold", -INFINITY, INFINITY, &threshold, err);
    if (st == TS_OK)
        st = ts_json_get_int(options, "", "grid", 1, TS_GAZE_MAX_GRID, &grid, err);
    if (st == TS_OK)
        st = set_grid(p, (int)grid, err);
    if (st == TS_OK)
        p->threshold = isnan(threshold) ? default_threshold : threshold < 0 ? 0 : threshold;
    return st;
}

static ts_status resize(patch_diff *p, int width, int height, ts_error *err)
{
    if (p->previous && p->width == width && p->height == height)
        return TS_OK;
    drop_buffers(p);
    size_t cells = (size_t)p->grid * (size_t)p->grid;
    /* Enough parts to keep a GPU busy, and that a part's sum of 8-bit differences fits 32 bits. */
    size_t cell_px = ((size_t)width / (size_t)p->grid + 2) * ((size_t)height / (size_t)p->grid + 2);
    size_t parts = ts_device_caps(p->device)->kind == TS_DEVICE_CPU ? 1 : 16;
    while (parts < MAX_PARTS && cell_px / parts > UINT32_MAX / 255 / 2)
        parts *= 2;
    ts_status st =
        ts_buffer_create(p->device, 4 * (size_t)width * (size_t)height, &p->previous, err);
    if (st == TS_OK)
        st = ts_buffer_create(p->device, cells * parts * 3 * sizeof(uint32_t), &p->sums, err);
    if (st == TS_OK)
        st = ts_buffer_create(p->device, cells * sizeof(float), &p->scores, err);
    if (st != TS_OK) {
        drop_buffers(p);
        return st;
    }
    p->width = width;
    p->height = height;
    p->parts = (int)parts;
    return TS_OK;
}

static ts_status run_scores(patch_diff *p, ts_queue *q, const ts_gaze_image *f, ts_error *err)
{
    static const float inv_std[4] = {1 / 0.229f, 1 / 0.224f, 1 / 0.225f, 0};
    size_t cells = (size_t)p->grid * (size_t)p->grid;
    ts_kernel *diff, *score;
    ts_status st = ts_queue_kernel(q, "gaze", "", "gaze_diff", &diff, err);
    if (st == TS_OK)
        st = ts_queue_kernel(q, "gaze", "", "gaze_score", &score, err);
    if (st == TS_OK)
        st = ts_launch(q, diff, 2, (size_t[]){cells, (size_t)p->parts}, NULL,
                       TS_ARGS(TS_BUF(f->buffer), TS_ULONG(f->offset), TS_BUF(p->previous),
                               TS_ULONG(0), TS_INT(p->width), TS_INT(p->height), TS_INT(p->grid),
                               TS_INT(p->parts), TS_BUF(p->sums)),
                       err);
    if (st == TS_OK)
        st = ts_launch(q, score, 1, (size_t[]){cells}, NULL,
                       TS_ARGS(TS_BUF(p->sums), TS_INT(p->width), TS_INT(p->height),
                               TS_INT(p->grid), TS_INT(p->parts), TS_BYTES(inv_std, sizeof inv_std),
                               TS_BUF(p->scores)),
                       err);
    if (st == TS_OK)
        st = ts_buffer_read(q, p->scores, 0, p->host_scores, cells * sizeof(float), err);
    return st;
}

static int by_score(const void *a, const void *b)
{
    const ts_gaze_cell *x = a, *y = b;
    if (x->confidence != y->confidence)
        return x->confidence > y->confidence ? -1 : 1;
    int i = x->row * x->cols + x->col, k = y->row * y->cols + y->col;
    return i < k ? -1 : i > k;
}

/* Active cells by descending score; `confidence` holds the score until the order is made. */
static size_t choose(patch_diff *p)
{
    float tau = (float)p->threshold;
    size_t n = 0;
    for (int i = 0; i < p->grid * p->grid; i++) {
        float s = p->host_scores[i];
        if (!isfinite(s) || !(s > tau))
            continue;
        p->cells[n++] = (ts_gaze_cell){.cols = p->grid,
                                       .rows = p->grid,
                                       .col = i % p->grid,
                                       .row = i / p->grid,
                                       .grid = p->grid,
                                       .confidence = s};
    }
    qsort(p->cells, n, sizeof *p->cells, by_score);
    for (size_t i = 0; i < n; i++) {
        float c = tau > 0 ? p->cells[i].confidence / tau : p->cells[i].confidence;
        p->tokens[i] = p->cells[i].row * p->grid + p->cells[i].col;
        p->cells[i].confidence = fmaxf(fminf(c, 1), 1.1920929e-7f);
    }
    return n;
}

static ts_status step(void *self, ts_queue *q, const ts_gaze_image *frame, ts_gaze_fix *out,
                      ts_error *err)
{
    patch_diff *p = self;
    ts_status st = resize(p, frame->width, frame->height, err);
    size_t n = 0;
    if (st == TS_OK && p->has_previous) {
        st = run_scores(p, q, frame, err);
        n = st == TS_OK ? choose(p) : 0;
    } else if (st == TS_OK) {
        memset(p->host_scores, 0, (size_t)p->grid * (size_t)p->grid * sizeof(float));
        st = ts_buffer_fill_u32(q, p->scores, 0, 0,
                                (size_t)p->grid * (size_t)p->grid * sizeof(float), err);
    }
    if (st == TS_OK)
        st = ts_buffer_copy(q, frame->buffer, frame->offset, p->previous, 0,
                            4 * (size_t)p->width * (size_t)p->height, err);
    p->has_previous = p->has_scores = st == TS_OK;
    p->tile_start[1] = n;
    p->scale = (ts_gaze_scale){p->grid, p->grid};
    *out = (ts_gaze_fix){.cells = p->cells,
                         .n_cells = n,
                         .tokens = p->tokens,
                         .tile_start = p->tile_start,
                         .n_tiles = 1,
                         .scales = &p->scale,
                         .n_scales = 1,
                         .stop_probability = 1};
    return st;
}

static ts_status output(void *self, const char *name, ts_buffer **buffer, size_t *offset,
                        int64_t dims[8], int *rank, ts_error *err)
{
    patch_diff *p = self;
    (void)err;
    *buffer = NULL;
    if (strcmp(name, "scores") != 0 || !p->has_scores)
        return TS_OK;
    *buffer = p->scores;
    *offset = 0;
    dims[0] = dims[1] = p->grid;
    *rank = 2;
    return TS_OK;
}

ts_status ts_patch_diff_create(ts_device *device, ts_gaze_source *out, ts_error *err)
{
    patch_diff *p = calloc(1, sizeof *p);
    if (!p)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a patch-difference source");
    p->device = device;
    p->threshold = default_threshold;
    ts_status st = set_grid(p, TS_GAZE_DEFAULT_GRID, err);
    if (st != TS_OK) {
        destroy(p);
        return st;
    }
    *out = (ts_gaze_source){.name = "patch-diff",
                            .self = p,
                            .step = step,
                            .set = set,
                            .reset = reset,
                            .destroy = destroy,
                            .output = output};
    return TS_OK;
}

const float *ts_patch_diff_scores(const ts_gaze_source *source)
{
    const patch_diff *p = source->self;
    return p->has_scores ? p->host_scores : NULL;
}
