/* Recordings of streams. */
#include <unistd.h>

#include "api/routes.h"
#include "cl/base/name.h"
#include "server/media/recorder.h"

static ts_status want_recordings(const ts_app *app, ts_error *err)
{
    return app->recordings
               ? TS_OK
               : ts_fail(err, TS_E_NOT_READY, "this server has no device to record from");
}

ts_status api_recording_start(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *stream = ts_request_param(req, "s");
    json_t *options = NULL, *shown = NULL;
    ts_status st = ts_name_check("stream", stream, err);
    if (st == TS_OK)
        st = want_recordings(app, err);
    if (st == TS_OK && ts_request_body(req)->len == 0)
        options = json_object(); /* all defaults */
    else if (st == TS_OK)
        st = ts_request_json(req, &options, err);
    if (st == TS_OK)
        st = ts_recordings_start(app->recordings, stream, options, &shown, err);
    json_decref(options);
    if (st != TS_OK)
        return st;
    char location[TS_NAME_MAX + 32];
    snprintf(location, sizeof location, "/v1/recordings/%s",
             json_string_value(json_object_get(shown, "id")));
    ts_response_header(res, "Location", location);
    ts_response_json(res, 201, shown);
    return TS_OK;
}

ts_status api_recordings_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"prefix", NULL};
    ts_status st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    json_t *list = app->recordings
                       ? ts_recordings_list(app->recordings, ts_request_query(req, "prefix"))
                       : json_array();
    ts_response_json(res, 200, json_pack("{s:o}", "recordings", list));
    return TS_OK;
}

static ts_status checked_id(ts_app *app, const ts_request *req, const char **id, ts_error *err)
{
    *id = ts_request_param(req, "id");
    ts_status st = ts_name_check("recording", *id, err);
    return st == TS_OK ? want_recordings(app, err) : st;
}

ts_status api_recording_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *id;
    json_t *shown = NULL;
    ts_status st = checked_id(app, req, &id, err);
    if (st == TS_OK)
        st = ts_recordings_get(app->recordings, id, &shown, err);
    if (st == TS_OK)
        ts_response_json(res, 200, shown);
    return st;
}

ts_status api_recording_stop(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *id;
    json_t *shown = NULL;
    ts_status st = checked_id(app, req, &id, err);
    if (st == TS_OK)
        st = ts_recordings_stop(app->recordings, id, &shown, err);
    if (st == TS_OK)
        ts_response_json(res, 200, shown);
    return st;
}

ts_status api_recording_file(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *id, *mime;
    ts_buf path = {0};
    bool temporary = false;
    ts_status st = checked_id(app, req, &id, err);
    if (st == TS_OK)
        st = ts_recordings_file(app->recordings, id, &path, &mime, &temporary, err);
    if (st == TS_OK)
        st = ts_response_file(res, mime, ts_buf_cstr(&path), err);
    if (temporary && path.len)
        (void)unlink(ts_buf_cstr(&path)); /* the answer has it open */
    ts_buf_finish(&path);
    return st;
}

ts_status api_recording_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *id;
    ts_status st = checked_id(app, req, &id, err);
    if (st == TS_OK)
        st = ts_recordings_remove(app->recordings, id, err);
    if (st == TS_OK)
        ts_response_status(res, 204);
    return st;
}
