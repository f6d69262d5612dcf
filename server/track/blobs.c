#include "server/track/blobs.h"

#include <math.h>
#include <stdlib.h>

#include "cl/base/size.h"

/* A horizontal run of set bits; `blob` links runs of one component (union-find by index). */
typedef struct run {
    int x1, x2;
    int parent;
    int y;
} run;

struct ts_blobs {
    run *runs;
    size_t n_runs, room;
    ts_blob *list;
    size_t list_room;
    int *blob_of;
    size_t blob_room;
};

ts_status ts_blobs_create(ts_blobs **out, ts_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "blob finder");
}

void ts_blobs_destroy(ts_blobs *b)
{
    if (!b)
        return;
    free(b->runs);
    free(b->list);
    free(b->blob_of);
    free(b);
}

static int root(ts_blobs *b, int i)
{
    while (b->runs[i].parent != i)
        i = b->runs[i].parent = b->runs[b->runs[i].parent].parent;
    return i;
}

/* The smaller index becomes the root, so that a component's root is its first run. */
static void join(ts_blobs *b, int i, int j)
{
    i = root(b, i);
    j = root(b, j);
    if (i < j)
        b->runs[j].parent = i;
    else
        b->runs[i].parent = j;
}

static bool add_run(ts_blobs *b, int x1, int x2, int y)
{
    if (b->n_runs == b->room) {
        size_t room = b->room ? b->room * 2 : 1024;
        run *runs = ts_realloc_array(b->runs, room, sizeof *runs);
        if (!runs)
            return false;
        b->runs = runs;
        b->room = room;
    }
    b->runs[b->n_runs] = (run){x1, x2, (int)b->n_runs, y};
    b->n_runs++;
    return true;
}

static bool scan_row(ts_blobs *b, const uint32_t *row, int words, int y)
{
    int start = -1;
    for (int w = 0; w < words; w++) {
        uint32_t bits = row[w];
        if (bits == 0 && start < 0)
            continue;
        if (bits == 0xffffffffu && start >= 0)
            continue;
        for (int i = 0; i < 32; i++) {
            bool set = bits >> i & 1;
            if (set && start < 0)
                start = w * 32 + i;
            if (!set && start >= 0) {
                if (!add_run(b, start, w * 32 + i, y))
                    return false;
                start = -1;
            }
        }
    }
    return start < 0 || add_run(b, start, words * 32, y);
}

/* Join runs of two neighbouring rows that touch, corners included. */
static void join_rows(ts_blobs *b, size_t above, size_t here)
{
    size_t i = above, j = here;
    while (i < here && j < b->n_runs) {
        const run *p = &b->runs[i], *q = &b->runs[j];
        if (p->x1 <= q->x2 && q->x1 <= p->x2)
            join(b, (int)i, (int)j);
        if (p->x2 < q->x2)
            i++;
        else
            j++;
    }
}

static ts_status collect(ts_blobs *b, size_t *n, ts_error *err)
{
    size_t count = 0;
    if (b->n_runs > b->blob_room) {
        int *blob_of = ts_realloc_array(b->blob_of, b->n_runs, sizeof *blob_of);
        ts_blob *list = ts_realloc_array(b->list, b->n_runs, sizeof *list);
        b->blob_of = blob_of ? blob_of : b->blob_of;
        b->list = list ? list : b->list;
        if (!blob_of || !list)
            return ts_fail(err, TS_E_NO_MEMORY, "%zu runs", b->n_runs);
        b->blob_room = b->n_runs;
    }
    for (size_t i = 0; i < b->n_runs; i++) {
        const run *r = &b->runs[i];
        int top = root(b, (int)i);
        if (top == (int)i) {
            b->blob_of[i] = (int)count;
            b->list[count++] = (ts_blob){r->x1, r->y, r->x2, r->y + 1, 0};
        }
        ts_blob *blob = &b->list[b->blob_of[top]];
        blob->x1 = r->x1 < blob->x1 ? r->x1 : blob->x1;
        blob->x2 = r->x2 > blob->x2 ? r->x2 : blob->x2;
        blob->y2 = r->y + 1;
        blob->area += r->x2 - r->x1;
    }
    *n = count;
    return TS_OK;
}

ts_status ts_blobs_find(ts_blobs *b, const uint32_t *mask, int h, int words, const ts_blob **list,
                        size_t *n, ts_error *err)
{
    size_t above = 0;
    b->n_runs = 0;
    for (int y = 0; y < h; y++) {
        size_t here = b->n_runs;
        if (!scan_row(b, mask + (size_t)y * words, words, y))
            return ts_fail(err, TS_E_NO_MEMORY, "%zu runs", b->n_runs);
        join_rows(b, above, here);
        above = here;
    }
    ts_status st = collect(b, n, err);
    *list = b->list;
    return st;
}

const ts_color_params TS_COLOR_DEFAULTS = {
    .white = 225,
    .red = 60,
    .blue = 50,
    .ball_area_min = 24,
    .ball_area_max = 900,
    .player_area_min = 180,
    .player_area_max = 20000,
    .player_height_min = 20,
    .ball_aspect_min = 0.5,
    .ball_aspect_max = 2,
    .ball_fill_min = 0.5,
};

/* Whether a blob is an object of the class, and how sure that is. */
static bool judge(const ts_color_params *p, const ts_blob *b, int class_id, double *score)
{
    double w = b->x2 - b->x1, h = b->y2 - b->y1, fill = b->area / (w * h);
    if (class_id == 0) {
        *score = fmin(1, fill / 0.785);
        return b->area >= p->ball_area_min && b->area <= p->ball_area_max &&
               w / h >= p->ball_aspect_min && w / h <= p->ball_aspect_max &&
               fill >= p->ball_fill_min;
    }
    *score = fmin(0.99, 0.5 + fill);
    return b->area >= p->player_area_min && b->area <= p->player_area_max &&
           h >= p->player_height_min;
}

ts_status ts_color_detect(ts_blobs *blobs, const ts_color_params *params, const uint32_t *masks,
                          int h, int words, ts_detection *out, size_t max, size_t *n, ts_error *err)
{
    *n = 0;
    for (int class_id = 0; class_id < 3; class_id++) {
        const ts_blob *list;
        size_t count;
        ts_status st = ts_blobs_find(blobs, masks + (size_t)class_id * h * words, h, words, &list,
                                     &count, err);
        if (st != TS_OK)
            return st;
        for (size_t i = 0; i < count && *n < max; i++) {
            double score;
            if (!judge(params, &list[i], class_id, &score))
                continue;
            const ts_blob *b = &list[i];
            out[(*n)++] = (ts_detection){(b->x1 + b->x2) / 2.0,
                                         (b->y1 + b->y2) / 2.0,
                                         b->x2 - b->x1,
                                         b->y2 - b->y1,
                                         score,
                                         class_id};
        }
    }
    return TS_OK;
}
