#include "server/output.h"

#include <string.h>

enum {
    MAX_SIDE = 16383
};

static const char *const keys[] = {
    "quality",        "lossless", "max_fps", "scale", "preset",       "width",
    "height",         "format",   "sinks",   "sync",  "buffer_size",  "history",
    "max_frame_drop", "cl_yuv",   "device",  "delta", "key_interval", NULL};
static const char *const presets[] = {"training", "debug", "export", NULL};
static const char *const formats[] = {"rgba8", "rgba16", "rgba32f", NULL};

static void apply_preset(ts_output *o, int preset)
{
    static const struct {
        int side;
        double max_fps;
        ts_pixel_format format;
        int64_t buffer_size;
        double max_frame_drop;
    } table[] = {{256, 10, TS_PIXELS_RGBA8, 2, 0.2},
                 {512, 60, TS_PIXELS_RGBA8, 5, 0.0},
                 {1024, 30, TS_PIXELS_RGBA16, 10, 0.0}};
    o->preset = presets[preset];
    o->width = o->height = table[preset].side;
    o->max_fps = table[preset].max_fps;
    o->format = table[preset].format;
    o->buffer_size = table[preset].buffer_size;
    o->max_frame_drop = table[preset].max_frame_drop;
}

static ts_status parse_quality(const json_t *object, ts_output *o, ts_error *err)
{
    const json_t *value = json_object_get(object, "quality");
    if (json_is_string(value)) {
        if (strcmp(json_string_value(value), "auto"))
            return ts_fail(err, TS_E_OPTION,
                           "output.quality: expected 1 to 100 or \"auto\", got \"%.40s\"",
                           json_string_value(value));
        o->auto_quality = true;
        return TS_OK;
    }
    int64_t quality = o->quality;
    ts_status st = ts_json_get_int(object, "output", "quality", 1, 100, &quality, err);
    o->quality = (int)quality;
    return st;
}

static ts_status parse_history(const json_t *object, ts_history_options *h, ts_error *err)
{
    static const char *const history_keys[] = {"keep",  "max_items", "max_bytes",
                                               "every", "thin",      NULL};
    static const char *const keeps[] = {"frames", "tensors", NULL};
    static const char *const thins[] = {"none", "log", NULL};
    const json_t *value = json_object_get(object, "history");
    int keep = TS_KEEP_FRAMES, thin = 0;
    int64_t max_bytes = 0;
    *h = (ts_history_options){.max_items = 600, .every = 1};
    if (!value || json_is_null(value))
        return TS_OK;
    if (json_is_integer(value)) {
        ts_status st = ts_json_get_int(object, "output", "history", 0, 1000000, &h->max_items, err);
        h->on = h->max_items > 0;
        return st;
    }
    ts_status st =
        json_is_object(value)
            ? ts_json_only(value, "output.history", history_keys, err)
            : ts_fail(err, TS_E_OPTION, "output.history: expected a number or an object");
    if (st == TS_OK)
        st = ts_json_get_enum(value, "output.history", "keep", keeps, &keep, err);
    if (st == TS_OK)
        st = ts_json_get_int(value, "output.history", "max_items", 1, 1000000, &h->max_items, err);
    if (st == TS_OK)
        st = ts_json_get_int(value, "output.history", "max_bytes", 1, INT64_MAX, &max_bytes, err);
    if (st == TS_OK)
        st = ts_json_get_int(value, "output.history", "every", 1, 1000000, &h->every, err);
    if (st == TS_OK)
        st = ts_json_get_enum(value, "output.history", "thin", thins, &thin, err);
    h->on = true;
    h->keep = (ts_keep)keep;
    h->max_bytes = (uint64_t)max_bytes;
    h->thin_log = thin == 1;
    return st;
}

static ts_status parse_sync(const json_t *object, ts_output *o, ts_error *err)
{
    static const char *const sync_keys[] = {"group", "by", "shared_range", NULL};
    static const char *const bys[] = {"step", "time", "latest", NULL};
    const json_t *value = json_object_get(object, "sync");
    if (!value || json_is_null(value))
        return TS_OK;
    const char *group = NULL;
    ts_status st = json_is_object(value)
                       ? ts_json_only(value, "output.sync", sync_keys, err)
                       : ts_fail(err, TS_E_OPTION, "output.sync: expected an object");
    if (st == TS_OK)
        st = ts_json_get_string(value, "output.sync", "group", &group, err);
    if (st == TS_OK)
        st = ts_json_get_enum(value, "output.sync", "by", bys, &o->sync_by, err);
    if (st == TS_OK)
        st = ts_json_get_bool(value, "output.sync", "shared_range", &o->shared_range, err);
    if (st == TS_OK && !group)
        st = ts_fail(err, TS_E_OPTION, "output.sync.group: expected a name");
    if (st == TS_OK)
        st = ts_name_check("group", group, err);
    if (st == TS_OK)
        memcpy(o->sync_group, group, strlen(group) + 1);
    return st;
}

static ts_status check_sinks(const json_t *object, ts_error *err)
{
    const json_t *sinks = json_object_get(object, "sinks"), *sink;
    size_t i;
    if (!sinks || json_is_null(sinks))
        return TS_OK;
    if (!json_is_array(sinks))
        return ts_fail(err, TS_E_OPTION, "output.sinks: expected a list");
    json_array_foreach(sinks, i, sink)
    {
        const char *word = json_is_string(sink) ? json_string_value(sink)
                                                : json_string_value(json_object_get(sink, "kind"));
        if (!word || (strcmp(word, "live") && strcmp(word, "file") && strcmp(word, "push")))
            return ts_fail(err, TS_E_OPTION,
                           "output.sinks[%zu]: expected \"live\" or an object with kind file or "
                           "push",
                           i);
        if (!strcmp(word, "push"))
            return ts_fail(err, TS_E_NO_ENCODER, "output.sinks[%zu]: push is not built in", i);
    }
    return TS_OK;
}

static ts_status parse_size(const json_t *object, ts_output *o, ts_error *err)
{
    int64_t width = o->width, height = o->height;
    ts_status st = ts_json_get_int(object, "output", "width", 1, MAX_SIDE, &width, err);
    if (st == TS_OK)
        st = ts_json_get_int(object, "output", "height", 1, MAX_SIDE, &height, err);
    o->width = (int)width;
    o->height = (int)height;
    return st;
}

ts_status ts_output_parse(const json_t *object, ts_output *o, ts_error *err)
{
    memset(o, 0, sizeof *o);
    o->quality = 80;
    o->max_fps = 60;
    o->scale = 1;
    o->format = TS_PIXELS_RGBA8;
    o->buffer_size = 3;
    o->max_frame_drop = 1;
    o->key_interval_s = 2;
    o->cl_yuv = true;
    o->history = (ts_history_options){.max_items = 600, .every = 1};
    if (!object || json_is_null(object))
        return TS_OK;
    if (!json_is_object(object))
        return ts_fail(err, TS_E_OPTION, "output: expected an object");
    int preset = -1, format = -1;
    ts_status st = ts_json_only(object, "output", keys, err);
    if (st == TS_OK)
        st = ts_json_get_enum(object, "output", "preset", presets, &preset, err);
    if (st == TS_OK && preset >= 0)
        apply_preset(o, preset);
    if (st == TS_OK)
        st = parse_quality(object, o, err);
    if (st == TS_OK)
        st = ts_json_get_bool(object, "output", "lossless", &o->lossless, err);
    if (st == TS_OK)
        st = ts_json_get_double(object, "output", "max_fps", 1, 240, &o->max_fps, err);
    if (st == TS_OK)
        st = ts_json_get_double(object, "output", "scale", 1.0 / 64, 1, &o->scale, err);
    if (st == TS_OK)
        st = parse_size(object, o, err);
    if (st == TS_OK)
        st = ts_json_get_enum(object, "output", "format", formats, &format, err);
    if (st == TS_OK && format >= 0)
        o->format = format == 0   ? TS_PIXELS_RGBA8
                    : format == 1 ? TS_PIXELS_RGBA16
                                  : TS_PIXELS_RGBA32F;
    if (st == TS_OK)
        st = ts_json_get_int(object, "output", "buffer_size", 1, 1000, &o->buffer_size, err);
    if (st == TS_OK)
        st = ts_json_get_double(object, "output", "max_frame_drop", 0, 1, &o->max_frame_drop, err);
    if (st == TS_OK)
        st = ts_json_get_bool(object, "output", "cl_yuv", &o->cl_yuv, err);
    if (st == TS_OK)
        st = ts_json_get_double(object, "output", "key_interval", 0.05, 3600, &o->key_interval_s,
                                err);
    if (st == TS_OK)
        st = parse_history(object, &o->history, err);
    if (st == TS_OK)
        st = parse_sync(object, o, err);
    return st == TS_OK ? check_sinks(object, err) : st;
}
