#include "cl/models/gaze/cells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    ts_gaze_geometry geometry;
} names[] = {
    {"native", TS_GAZE_NATIVE},
    {"raw", TS_GAZE_NATIVE},
    {"deduplicated", TS_GAZE_DEDUPLICATED},
    {"dedup", TS_GAZE_DEDUPLICATED},
    {"union-dedup", TS_GAZE_DEDUPLICATED},
    {"effective", TS_GAZE_EFFECTIVE},
    {"projected", TS_GAZE_EFFECTIVE},
    {"finest", TS_GAZE_EFFECTIVE},
};

ts_status ts_gaze_geometry_parse(const char *name, ts_gaze_geometry *out, ts_error *err)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name)) {
            *out = names[i].geometry;
            return TS_OK;
        }
    return ts_fail(err, TS_E_OPTION, "geometry: no '%s'; native, deduplicated or effective", name);
}

void ts_gaze_shapes_finish(ts_gaze_shapes *shapes)
{
    free(shapes->rects);
    free(shapes->tints);
    free(shapes->cells);
    *shapes = (ts_gaze_shapes){0};
}

static ts_status reserve(ts_gaze_shapes *s, size_t n, ts_error *err)
{
    s->n = 0;
    if (n > TS_GAZE_MAX_CELLS)
        return ts_fail(err, TS_E_TOO_LARGE, "%zu cells, the limit is %d", n, TS_GAZE_MAX_CELLS);
    if (n <= s->cap)
        return TS_OK;
    ts_gaze_shapes grown = {.rects = calloc(n, sizeof *s->rects),
                            .tints = calloc(n, sizeof *s->tints),
                            .cells = calloc(n, sizeof *s->cells),
                            .cap = n};
    if (!grown.rects || !grown.tints || !grown.cells) {
        ts_gaze_shapes_finish(&grown);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %zu cells", n);
    }
    ts_gaze_shapes_finish(s);
    *s = grown;
    return TS_OK;
}

static void tint_of(int grid, uint8_t out[4])
{
    static const uint8_t palette[4][4] = {
        {255, 180, 0, 255}, {60, 220, 120, 255}, {0, 185, 255, 255}, {230, 110, 255, 255}};
    memcpy(out, palette[grid <= 2 ? 0 : grid <= 4 ? 1 : grid <= 7 ? 2 : 3], 4);
}

static ts_gaze_rect rect_of(const ts_gaze_cell *c, int w, int h)
{
    return (ts_gaze_rect){
        .x0 = (int32_t)((int64_t)c->col * w / c->cols),
        .y0 = (int32_t)((int64_t)c->row * h / c->rows),
        .x1 = (int32_t)(((int64_t)(c->col + 1) * w + c->cols - 1) / c->cols),
        .y1 = (int32_t)(((int64_t)(c->row + 1) * h + c->rows - 1) / c->rows),
    };
}

static double clamp01(double v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

static ts_gaze_rect scaled_rect(const ts_gaze_cell *c, int w, int h, double scale)
{
    double x = (c->col + 0.5) / c->cols, y = (c->row + 0.5) / c->rows;
    double dx = 0.5 * scale / c->cols, dy = 0.5 * scale / c->rows;
    return (ts_gaze_rect){
        .x0 = (int32_t)floor(clamp01(x - dx) * w),
        .y0 = (int32_t)floor(clamp01(y - dy) * h),
        .x1 = (int32_t)ceil(clamp01(x + dx) * w),
        .y1 = (int32_t)ceil(clamp01(y + dy) * h),
    };
}

/* Where two rectangles may differ: every edge once, in order. */
typedef struct edges {
    int32_t *at;
    size_t n;
} edges;

static int compare_i32(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static void edges_sort(edges *e)
{
    qsort(e->at, e->n, sizeof *e->at, compare_i32);
    size_t n = 0;
    for (size_t i = 0; i < e->n; i++)
        if (!n || e->at[i] != e->at[n - 1])
            e->at[n++] = e->at[i];
    e->n = n;
}

static size_t edge_index(const edges *e, int32_t v)
{
    size_t lo = 0, hi = e->n;
    while (lo + 1 < hi) {
        size_t mid = (lo + hi) / 2;
        if (e->at[mid] <= v)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* A picture with one pixel per field between neighbouring edges: exact at any frame size. */
typedef struct coverage {
    edges x, y;
    uint8_t *on; /* (y.n - 1) x (x.n - 1) */
} coverage;

static void coverage_finish(coverage *c)
{
    free(c->x.at);
    free(c->y.at);
    free(c->on);
}

static ts_status coverage_init(coverage *c, const ts_gaze_rect *rects, size_t n, ts_error *err)
{
    *c = (coverage){.x.at = calloc(2 * n + 1, sizeof(int32_t)),
                    .y.at = calloc(2 * n + 1, sizeof(int32_t))};
    if (c->x.at && c->y.at) {
        for (size_t i = 0; i < n; i++) {
            c->x.at[c->x.n++] = rects[i].x0;
            c->x.at[c->x.n++] = rects[i].x1;
            c->y.at[c->y.n++] = rects[i].y0;
            c->y.at[c->y.n++] = rects[i].y1;
        }
        edges_sort(&c->x);
        edges_sort(&c->y);
        c->on = calloc(c->x.n * c->y.n + 1, 1);
    }
    if (!c->on) {
        coverage_finish(c);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory to lay out %zu cells", n);
    }
    return TS_OK;
}

/* Mark a rectangle; returns whether any of it was new. */
static bool coverage_add(coverage *c, const ts_gaze_rect *r)
{
    size_t x0 = edge_index(&c->x, r->x0), x1 = edge_index(&c->x, r->x1);
    size_t y1 = edge_index(&c->y, r->y1);
    bool fresh = false;
    for (size_t y = edge_index(&c->y, r->y0); y < y1; y++)
        for (size_t x = x0; x < x1; x++) {
            uint8_t *on = &c->on[y * c->x.n + x];
            fresh |= !*on;
            *on = 1;
        }
    return fresh;
}

ts_status ts_gaze_measure(const ts_gaze_rect *rects, size_t n, ts_gaze_cover *out, ts_error *err)
{
    coverage c;
    *out = (ts_gaze_cover){0};
    if (!n)
        return TS_OK;
    ts_status st = coverage_init(&c, rects, n, err);
    if (st != TS_OK)
        return st;
    for (size_t i = 0; i < n; i++)
        (void)coverage_add(&c, &rects[i]);
    for (size_t y = 0; y + 1 < c.y.n; y++) {
        uint64_t height = (uint64_t)(c.y.at[y + 1] - c.y.at[y]);
        for (size_t x = 0; x + 1 < c.x.n; x++) {
            bool on = c.on[y * c.x.n + x];
            out->pixels += on ? height * (uint64_t)(c.x.at[x + 1] - c.x.at[x]) : 0;
            out->spans += on && !(x && c.on[y * c.x.n + x - 1]) ? height : 0;
        }
    }
    coverage_finish(&c);
    return TS_OK;
}

/* Indices of the cells from coarse to fine; emission order within a grid. */
static void sort_cells(const ts_gaze_cell *cells, size_t n, size_t *order)
{
    size_t k = 0;
    int grid = 0;
    while (k < n) {
        int next = 0;
        for (size_t i = 0; i < n; i++)
            if (cells[i].grid > grid && (!next || cells[i].grid < next))
                next = cells[i].grid;
        grid = next;
        for (size_t i = 0; i < n; i++)
            if (cells[i].grid == grid)
                order[k++] = i;
    }
}

/* The cell of the finest grid at a cell's centre. */
static ts_gaze_cell projected(const ts_gaze_cell *c, int cols, int rows)
{
    ts_gaze_cell p = *c;
    p.cols = cols;
    p.rows = rows;
    p.col = (int)((int64_t)(2 * c->col + 1) * cols / (2 * c->cols));
    p.row = (int)((int64_t)(2 * c->row + 1) * rows / (2 * c->rows));
    return p;
}

static ts_status deduplicate(ts_gaze_shapes *s, ts_error *err)
{
    coverage c;
    if (!s->n)
        return TS_OK;
    ts_status st = coverage_init(&c, s->rects, s->n, err);
    if (st != TS_OK)
        return st;
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!coverage_add(&c, &s->rects[i]))
            continue;
        s->rects[kept] = s->rects[i];
        memcpy(s->tints[kept], s->tints[i], 4);
        s->cells[kept++] = s->cells[i];
    }
    s->n = kept;
    coverage_finish(&c);
    return TS_OK;
}

ts_status ts_gaze_layout(const ts_gaze_cell *cells, size_t n, int w, int h,
                         ts_gaze_geometry geometry, double cell_scale, ts_gaze_shapes *out,
                         ts_error *err)
{
    enum {
        FINEST = 14
    };
    ts_status st = reserve(out, n, err);
    if (st != TS_OK)
        return st;
    int cols = FINEST, rows = FINEST;
    for (size_t i = 0; i < n; i++) {
        cols = cells[i].cols > cols ? cells[i].cols : cols;
        rows = cells[i].rows > rows ? cells[i].rows : rows;
    }
    sort_cells(cells, n, out->cells);
    for (size_t k = 0; k < n; k++) {
        ts_gaze_cell c = cells[out->cells[k]];
        if (geometry == TS_GAZE_EFFECTIVE)
            c = projected(&c, cols, rows);
        out->rects[k] = cell_scale == 1 ? rect_of(&c, w, h) : scaled_rect(&c, w, h, cell_scale);
        tint_of(c.grid, out->tints[k]);
    }
    out->n = n;
    return geometry == TS_GAZE_DEDUPLICATED ? deduplicate(out, err) : TS_OK;
}

ts_status ts_gaze_layout_rows(const ts_gaze_cell *cells, size_t n, int w, int h,
                              ts_gaze_shapes *out, ts_error *err)
{
    ts_status st = reserve(out, n, err);
    if (st != TS_OK)
        return st;
    sort_cells(cells, n, out->cells);
    int present = 0, row = -1, grid = 0;
    for (size_t k = 0; k < n; k++) {
        if (cells[out->cells[k]].grid != grid)
            present++;
        grid = cells[out->cells[k]].grid;
    }
    grid = 0;
    for (size_t k = 0; k < n; k++) {
        const ts_gaze_cell *c = &cells[out->cells[k]];
        row += c->grid != grid;
        grid = c->grid;
        int y0 = (int)((int64_t)row * h / present);
        int row_h = (int)(((int64_t)(row + 1) * h + present - 1) / present) - y0;
        int vw = (int)lround((double)row_h * w / h);
        vw = vw < 1 ? 1 : vw > w ? w : vw;
        ts_gaze_rect r = rect_of(c, vw, row_h);
        int x0 = (w - vw) / 2;
        out->rects[k] = (ts_gaze_rect){r.x0 + x0, r.y0 + y0, r.x1 + x0, r.y1 + y0};
        tint_of(c->grid, out->tints[k]);
    }
    out->n = n;
    return TS_OK;
}
