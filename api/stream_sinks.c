#include "api/stream_sinks.h"

#include <stdio.h>
#include <string.h>

#include "cl/base/name.h"
#include "server/media/recorder.h"

static const char *const formats[] = {"mp4", "webm", "webp", "png", "npy"};

static const json_t *sinks_of(const json_t *output)
{
    const json_t *given = json_object_get(output, "sinks");
    return json_is_array(given) ? given : NULL;
}

static bool is_file(const json_t *sink)
{
    const char *kind = json_string_value(json_object_get(sink, "kind"));
    return json_is_string(sink) ? !strcmp(json_string_value(sink), "file")
                                : kind && !strcmp(kind, "file");
}

/* "film.webm" is the recording `film` in the format webm. */
static ts_status recording_of(const json_t *sink, json_t **options, char id[TS_NAME_MAX + 1],
                              ts_error *err)
{
    const char *name = json_string_value(json_object_get(sink, "name"));
    const char *dot = name ? strrchr(name, '.') : NULL;
    const char *format = "mp4";
    for (size_t i = 0; dot && i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(dot + 1, formats[i]))
            format = formats[i];
    if (!name)
        name = "tensor_video";
    size_t len = dot && !strcmp(dot + 1, format) ? (size_t)(dot - name) : strlen(name);
    if (len > TS_NAME_MAX)
        return ts_fail(err, TS_E_NAME, "output.sinks: a name of %zu octets", len);
    memcpy(id, name, len);
    id[len] = 0;
    ts_status st = ts_name_check("recording", id, err);
    if (st != TS_OK)
        return st;
    *options = json_is_object(sink) ? json_copy((json_t *)sink) : json_object();
    json_object_del(*options, "kind");
    json_object_set_new(*options, "name", json_string(id));
    if (!json_object_get(*options, "format"))
        json_object_set_new(*options, "format", json_string(format));
    return TS_OK;
}

static bool contains(const json_t *list, const json_t *sink)
{
    size_t i;
    json_t *other;
    json_array_foreach((json_t *)list, i, other)
    {
        if (json_equal(other, sink))
            return true;
    }
    return false;
}

static ts_status check_one(ts_app *app, const json_t *sink, ts_error *err)
{
    char id[TS_NAME_MAX + 1];
    json_t *options = NULL, *shown = NULL;
    ts_status st = recording_of(sink, &options, id, err);
    if (st == TS_OK && !app->recordings)
        st = ts_fail(err, TS_E_NOT_READY, "this server makes no recordings");
    if (st == TS_OK && !json_is_true(json_object_get(options, "overwrite")) &&
        ts_recordings_get(app->recordings, id, &shown, NULL) == TS_OK)
        st = ts_fail(err, TS_E_EXISTS, "output.sinks: there is a recording '%s' already", id);
    json_decref(shown);
    json_decref(options);
    return st;
}

ts_status ts_stream_sinks_check(ts_app *app, const json_t *before, const json_t *after,
                                ts_error *err)
{
    const json_t *old = sinks_of(before), *now = sinks_of(after);
    json_t *sink;
    ts_status st = TS_OK;
    size_t i;
    json_array_foreach((json_t *)now, i, sink)
    {
        if (st == TS_OK && is_file(sink) && !contains(old, sink))
            st = check_one(app, sink, err);
    }
    return st;
}

static ts_status start_one(ts_app *app, const char *stream, const json_t *sink, ts_error *err)
{
    char id[TS_NAME_MAX + 1];
    json_t *options = NULL, *shown = NULL;
    ts_status st = recording_of(sink, &options, id, err);
    if (st == TS_OK)
        st = ts_recordings_start(app->recordings, stream, options, &shown, err);
    json_decref(shown);
    json_decref(options);
    return st;
}

/* A recording that has ended by itself stays as it is. */
static void stop_one(ts_app *app, const json_t *sink)
{
    char id[TS_NAME_MAX + 1];
    json_t *options = NULL, *shown = NULL;
    if (app->recordings && recording_of(sink, &options, id, NULL) == TS_OK &&
        ts_recordings_stop(app->recordings, id, &shown, NULL) == TS_OK)
        json_decref(shown);
    json_decref(options);
}

ts_status ts_stream_sinks_apply(ts_app *app, const char *stream, const json_t *before,
                                const json_t *after, ts_error *err)
{
    const json_t *old = sinks_of(before), *now = sinks_of(after);
    json_t *sink;
    ts_status st = TS_OK;
    size_t i;
    json_array_foreach((json_t *)old, i, sink)
    {
        if (is_file(sink) && !contains(now, sink))
            stop_one(app, sink);
    }
    json_array_foreach((json_t *)now, i, sink)
    {
        if (st == TS_OK && is_file(sink) && !contains(old, sink))
            st = start_one(app, stream, sink, err);
    }
    return st;
}
