/*
 * The `output` object of a stream: how its pictures leave. Parsed once into a plain struct; the JSON
 * that a client wrote is kept beside it and shown as it was.
 */
#ifndef TS_SERVER_OUTPUT_H
#define TS_SERVER_OUTPUT_H

#include "cl/base/json.h"
#include "cl/base/name.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_keep {
    TS_KEEP_FRAMES, /* encoded pictures */
    TS_KEEP_TENSORS /* the tensors, rendered again on demand */
} ts_keep;

typedef struct ts_history_options {
    bool on;
    ts_keep keep;
    int64_t max_items, every;
    uint64_t max_bytes; /* 0: 256 MiB */
    bool thin_log;
} ts_history_options;

typedef struct ts_output {
    int quality; /* 1 … 100 */
    bool auto_quality, lossless;
    double max_fps, scale;
    const char *preset;     /* NULL, or static */
    int width, height;      /* 0: the view's */
    ts_pixel_format format; /* RGBA8, RGBA16 or RGBA32F: what files get */
    int64_t buffer_size;
    double max_frame_drop;
    bool cl_yuv;
    double key_interval_s;
    ts_history_options history;
    char sync_group[TS_NAME_MAX + 1]; /* "": none */
    int sync_by;                      /* 0 step, 1 time, 2 latest */
    bool shared_range;
} ts_output;

/** `object` NULL or {} gives the defaults. Errors: TS_E_OPTION naming the key. */
TS_CHECKED ts_status ts_output_parse(const json_t *object, ts_output *out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
