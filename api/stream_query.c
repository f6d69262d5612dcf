#include "api/stream_query.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/viz/view.h"

ts_status ts_query_number(const ts_request *req, const char *key, double min, double max,
                          double *out, ts_error *err)
{
    const char *text = ts_request_query(req, key);
    char *end;
    if (!text)
        return TS_OK;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < min || value > max)
        return ts_fail(err, TS_E_OPTION, "%s: expected a number from %g to %g, got '%.40s'", key,
                       min, max, text);
    *out = value;
    return TS_OK;
}

ts_status ts_query_flag(const ts_request *req, const char *key, bool *out, ts_error *err)
{
    const char *text = ts_request_query(req, key);
    if (!text)
        return TS_OK;
    if (!strcmp(text, "1") || !strcmp(text, "true"))
        *out = true;
    else if (!strcmp(text, "0") || !strcmp(text, "false"))
        *out = false;
    else
        return ts_fail(err, TS_E_OPTION, "%s: expected 0 or 1, got '%.40s'", key, text);
    return TS_OK;
}

typedef struct view_reader {
    const char *const *others;
    json_t *view;
    ts_status st;
    ts_error *err;
} view_reader;

static void take_pair(void *arg, const char *key, const char *value)
{
    view_reader *r = arg;
    for (const char *const *k = r->others; *k; k++)
        if (!strcmp(*k, key))
            return;
    if (r->st == TS_OK && !r->view)
        r->view = json_object();
    if (r->st == TS_OK)
        r->st = ts_view_from_query(r->view, key, value, r->err);
}

ts_status ts_query_view(const ts_request *req, const char *const *others, json_t **out,
                        ts_error *err)
{
    view_reader r = {.others = others, .err = err};
    ts_request_each_query(req, take_pair, &r);
    json_t *folded = NULL;
    if (r.st == TS_OK && r.view)
        r.st = ts_view_fold(r.view, &folded, err);
    json_decref(r.view);
    *out = folded;
    return r.st;
}
