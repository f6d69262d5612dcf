#include "server/media/detector.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/media/pipeline_doc.h"
#include "server/media/script.h"

typedef enum kind {
    KIND_NONE,
    KIND_COLOR,
    KIND_SCRIPT,
    KIND_MODEL
} kind;

struct ts_detector {
    kind kind;
    ts_device *device;
    ts_script *script;
    ts_model_detector model;
    ts_color_params color;
    ts_blobs *blobs;
    ts_buffer *masks;
    uint32_t *host; /* masks of one frame */
    size_t host_bytes;
};

static ts_status open_script(ts_detector *d, const json_t *detector, const char *dir, ts_error *err)
{
    const char *path = json_string_value(json_object_get(detector, "script"));
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s%s", dir && *path != '/' ? dir : "",
             dir && *path != '/' ? "/" : "", path);
    return ts_script_load(full, &d->script, err);
}

ts_status ts_detector_open(const json_t *document, ts_device *device, const char *script_dir,
                           ts_open_model_fn open_model, void *open_arg, ts_detector **out,
                           ts_error *err)
{
    const json_t *detector = json_object_get(document, "detector");
    const char *word = json_string_value(json_object_get(detector, "kind"));
    ts_detector *d = calloc(1, sizeof *d);
    if (!d)
        return ts_fail(err, TS_E_NO_MEMORY, "detector");
    d->device = device;
    ts_status st = TS_OK;
    if (!strcmp(word, "color")) {
        d->kind = KIND_COLOR;
        d->color = ts_pipeline_doc_color(document);
        st = ts_blobs_create(&d->blobs, err);
    } else if (!strcmp(word, "script")) {
        d->kind = KIND_SCRIPT;
        st = open_script(d, detector, script_dir, err);
    } else if (!strcmp(word, "model")) {
        const char *name = json_string_value(json_object_get(detector, "model"));
        d->kind = KIND_MODEL;
        st = open_model ? open_model(open_arg, name, detector, &d->model, err)
                        : ts_fail(err, TS_E_NOT_FOUND, "no model '%s': none is loaded here", name);
    }
    if (st != TS_OK) {
        ts_detector_close(d);
        return st;
    }
    *out = d;
    return TS_OK;
}

void ts_detector_close(ts_detector *d)
{
    if (!d)
        return;
    if (d->model.release)
        d->model.release(d->model.model);
    ts_script_free(d->script);
    ts_blobs_destroy(d->blobs);
    ts_buffer_unref(d->masks);
    free(d->host);
    free(d);
}

static ts_status reserve_masks(ts_detector *d, size_t bytes, ts_error *err)
{
    if (d->host_bytes >= bytes)
        return TS_OK;
    ts_buffer_unref(d->masks);
    d->masks = NULL;
    free(d->host);
    d->host = malloc(bytes);
    d->host_bytes = d->host ? bytes : 0;
    if (!d->host)
        return ts_fail(err, TS_E_NO_MEMORY, "colour masks of %zu bytes", bytes);
    return ts_buffer_create(d->device, bytes, &d->masks, err);
}

/* Keep what lies in the region, in its coordinates. */
static void keep_region(const ts_crop *roi, ts_detection *list, size_t *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        ts_detection d = list[i];
        if (d.cx < roi->x1 || d.cx >= roi->x2 || d.cy < roi->y1 || d.cy >= roi->y2)
            continue;
        d.cx -= roi->x1;
        d.cy -= roi->y1;
        list[kept++] = d;
    }
    *n = kept;
}

/* One bit per pixel and colour crosses to the host, never the frame. */
static ts_status run_color(ts_detector *d, ts_queue *queue, const ts_detect_frame *f,
                           ts_detection *out, size_t *n, ts_error *err)
{
    int words = (f->width + 31) / 32;
    size_t bytes = (size_t)3 * f->height * words * sizeof(uint32_t);
    ts_status st = reserve_masks(d, bytes, err);
    if (st == TS_OK)
        st = ts_op_color_masks(queue, f->rgba, f->width, f->height, d->color.white, d->color.red,
                               d->color.blue, d->masks, err);
    if (st == TS_OK)
        st = ts_buffer_read(queue, d->masks, 0, d->host, bytes, err);
    if (st == TS_OK)
        st = ts_color_detect(d->blobs, &d->color, d->host, f->height, words, out, TS_DETECT_MAX, n,
                             err);
    if (st == TS_OK && f->roi)
        keep_region(f->roi, out, n);
    return st;
}

ts_status ts_detector_run(ts_detector *d, ts_queue *queue, const ts_detect_frame *frame,
                          double confidence, ts_detection *out, size_t *n, ts_error *err)
{
    *n = 0;
    switch (d->kind) {
    case KIND_COLOR:
        return run_color(d, queue, frame, out, n, err);
    case KIND_SCRIPT:
        *n = ts_script_get(d->script, (size_t)frame->index, frame->roi, out, TS_DETECT_MAX);
        return TS_OK;
    case KIND_MODEL:
        return d->model.detect(d->model.model, queue, frame, confidence, out, TS_DETECT_MAX, n,
                               err);
    default:
        return TS_OK;
    }
}
