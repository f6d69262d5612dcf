/*
 * Patch-difference gaze on the device: one frame's work at 720p and 1080p, and the panels with every
 * cell of every scale drawn. The floor is memcpy of the bytes that a frame's work must move, in the
 * same run. One JSON line per case.
 *
 *     bench_gaze [--quick]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cl/base/clock.h"
#include "cl/models/gaze/gaze.h"

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

enum {
    FRAMES = 8
};

typedef struct setup {
    ts_device *device;
    ts_queue *queue;
    ts_gaze_source source;
    ts_gaze *gaze;
    ts_gaze_image frame[FRAMES];
    ts_buffer *wide; /* three pictures side by side */
    uint8_t *from, *to;
    int w, h, n;
    ts_gaze_cell cells[265];
    ts_gaze_options options;
} setup;

static ts_error err;

static void must(ts_status st)
{
    if (st == TS_OK)
        return;
    fprintf(stderr, "bench_gaze: %s\n", err.text);
    exit(1);
}

/* A still gradient with a block that moves. */
static void paint(uint8_t *p, int w, int h, int t)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, p += 4) {
            bool block = abs(x - (w / 4 + 20 * t)) < w / 10 && abs(y - h / 2) < h / 6;
            p[0] = (uint8_t)(block ? x * 7 : x * 255 / w);
            p[1] = (uint8_t)(block ? y * 5 : y * 255 / h);
            p[2] = (uint8_t)(block ? 200 : 90);
            p[3] = 255;
        }
}

static void open_size(setup *s, int w, int h)
{
    size_t bytes = 4 * (size_t)w * (size_t)h;
    s->w = w;
    s->h = h;
    s->from = malloc(bytes);
    s->to = malloc(bytes);
    s->options = (ts_gaze_options){.geometry = TS_GAZE_NATIVE, .alpha = 0.38f, .psnr = true};
    must(ts_patch_diff_create(s->device, &s->source, &err));
    must(ts_gaze_create(s->device, &s->gaze, &err));
    must(ts_buffer_create(s->device, 3 * bytes, &s->wide, &err));
    for (int t = 0; t < FRAMES; t++) {
        s->frame[t] = (ts_gaze_image){NULL, 0, w, h};
        paint(s->from, w, h, t);
        must(ts_buffer_create(s->device, bytes, &s->frame[t].buffer, &err));
        must(ts_buffer_write(s->queue, s->frame[t].buffer, 0, s->from, bytes, &err));
    }
    static const int grids[] = {2, 4, 7, 14};
    int n = 0;
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < grids[k] * grids[k]; i++)
            s->cells[n++] = (ts_gaze_cell){.cols = grids[k],
                                           .rows = grids[k],
                                           .col = i % grids[k],
                                           .row = i / grids[k],
                                           .grid = grids[k],
                                           .scale = k,
                                           .confidence = 1};
    s->n = 0;
}

static void close_size(setup *s)
{
    for (int t = 0; t < FRAMES; t++)
        ts_buffer_unref(s->frame[t].buffer);
    ts_buffer_unref(s->wide);
    ts_gaze_destroy(s->gaze);
    ts_gaze_source_finish(&s->source);
    free(s->from);
    free(s->to);
}

/* Differences, cells, accumulation and PSNR of one frame. */
static void one_frame(setup *s)
{
    ts_gaze_fix fix;
    ts_gaze_result r;
    const ts_gaze_image *f = &s->frame[s->n++ % FRAMES];
    must(s->source.step(s->source.self, s->queue, f, &fix, &err));
    must(ts_gaze_frame(s->gaze, s->queue, f, fix.cells, fix.n_cells, &s->options, &r, &err));
    must(ts_queue_finish(s->queue, &err));
}

/* Every cell of every scale: the accumulation and the mask panel. */
static void worst_panel(setup *s)
{
    ts_gaze_result r;
    const ts_gaze_image *f = &s->frame[s->n++ % FRAMES];
    must(ts_gaze_frame(s->gaze, s->queue, f, s->cells, 265, &s->options, &r, &err));
    must(ts_gaze_panel(s->gaze, s->queue, f, TS_GAZE_PANEL_MASK_ONLY, 0.38f, s->wide, s->w, 0,
                       &err));
    must(ts_queue_finish(s->queue, &err));
}

static void worst_side_by_side(setup *s)
{
    ts_gaze_result r;
    const ts_gaze_image *f = &s->frame[s->n++ % FRAMES];
    must(ts_gaze_frame(s->gaze, s->queue, f, s->cells, 265, &s->options, &r, &err));
    ts_gaze_image out = ts_gaze_current(s->gaze);
    must(ts_gaze_place(s->gaze, s->queue, f, s->wide, 3 * s->w, 0, &err));
    must(ts_gaze_panel(s->gaze, s->queue, f, TS_GAZE_PANEL_MASK_ONLY, 0.38f, s->wide, 3 * s->w,
                       s->w, &err));
    must(ts_gaze_place(s->gaze, s->queue, &out, s->wide, 3 * s->w, 2 * s->w, &err));
    must(ts_queue_finish(s->queue, &err));
}

/* What a frame's work moves at least: both frames read, the last one kept, the output rewritten. */
static void floor_copies(setup *s)
{
    size_t bytes = 4 * (size_t)s->w * (size_t)s->h;
    for (int i = 0; i < 3; i++) {
        memcpy(s->to, s->from, bytes);
        s->from[0] = s->to[bytes / 2]; /* keeps the compiler from dropping a copy */
    }
}

typedef struct timing {
    double wall_ms, cpu_ms;
} timing;

static timing measure(setup *s, void (*work)(setup *s), int reps)
{
    timing best = {INFINITY, INFINITY};
    work(s); /* builds kernels */
    for (int round = 0; round < 5; round++) {
        double cpu = cpu_s();
        int64_t wall = ts_now_us();
        for (int i = 0; i < reps; i++)
            work(s);
        best.wall_ms = fmin(best.wall_ms, (double)(ts_now_us() - wall) * 1e-3 / reps);
        best.cpu_ms = fmin(best.cpu_ms, (cpu_s() - cpu) * 1e3 / reps);
    }
    return best;
}

static void print(const setup *s, const char *name, timing t, timing floor, double published_ms)
{
    printf("{\"bench\":\"gaze\",\"case\":\"%s\",\"width\":%d,\"height\":%d,\"wall_ms\":%.3f,"
           "\"cpu_ms\":%.3f,\"floor_ms\":%.3f,\"ratio\":%.3f",
           name, s->w, s->h, t.wall_ms, t.cpu_ms, floor.cpu_ms, t.cpu_ms / floor.cpu_ms);
    if (published_ms > 0)
        printf(",\"published_peer_ms\":%.2f", published_ms);
    printf(",\"device\":\"%s\"}\n", ts_device_caps(s->device)->name);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int reps = argc > 1 && !strcmp(argv[1], "--quick") ? 5 : 40;
    static const struct {
        int w, h;
        double panel_ms, wide_ms; /* of the Rust port on an unnamed CPU; no target */
    } sizes[] = {{1280, 720, 5.23, 0}, {1920, 1080, 11.60, 17.52}};
    setup s = {0};
    size_t index;
    ts_device_options options = {0};
    must(ts_device_select(getenv("TS_TEST_DEVICE"), &index, &err));
    must(ts_device_open(index, &options, &s.device, &err));
    must(ts_queue_create(s.device, "bench", &s.queue, &err));
    for (size_t i = 0; i < 2; i++) {
        open_size(&s, sizes[i].w, sizes[i].h);
        timing floor = measure(&s, floor_copies, reps);
        print(&s, "patch-diff+accumulate+psnr", measure(&s, one_frame, reps), floor, 0);
        print(&s, "all-cells-panel", measure(&s, worst_panel, reps), floor, sizes[i].panel_ms);
        print(&s, "all-cells-side-by-side", measure(&s, worst_side_by_side, reps), floor,
              sizes[i].wide_ms);
        close_size(&s);
    }
    ts_queue_destroy(s.queue);
    ts_device_close(s.device);
    return 0;
}
