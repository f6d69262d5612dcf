#include "server/media/script.h"

#include <math.h>
#include <stdlib.h>

#include "cl/base/fs.h"
#include "cl/base/json.h"

struct ts_script {
    size_t n_frames;
    size_t *first; /* n_frames + 1 indices into list */
    ts_detection *list;
};

enum {
    MAX_SCRIPT_BYTES = 256 << 20
};

static ts_status read_box(const json_t *row, size_t frame, size_t i, ts_detection *out,
                          ts_error *err)
{
    double v[6];
    for (size_t k = 0; k < 6; k++) {
        const json_t *value = json_array_get(row, k);
        if (!json_is_number(value))
            return ts_fail(err, TS_E_FILE,
                           "frames.%zu.%zu: expected [x1, y1, x2, y2, score, class]", frame, i);
        v[k] = json_number_value(value);
    }
    *out = (ts_detection){(v[0] + v[2]) / 2, (v[1] + v[3]) / 2, v[2] - v[0], v[3] - v[1], v[4],
                          (int)v[5]};
    return TS_OK;
}

static ts_status read_frames(const json_t *frames, ts_script *s, ts_error *err)
{
    size_t f, i, total = 0, n = 0;
    json_t *list, *row;
    json_array_foreach((json_t *)frames, f, list) total += json_array_size(list);
    s->n_frames = json_array_size(frames);
    s->first = calloc(s->n_frames + 1, sizeof *s->first);
    s->list = calloc(total + 1, sizeof *s->list);
    if (!s->first || !s->list)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu detections", total);
    json_array_foreach((json_t *)frames, f, list)
    {
        if (!json_is_array(list))
            return ts_fail(err, TS_E_FILE, "frames.%zu: expected a list of boxes", f);
        json_array_foreach(list, i, row)
        {
            ts_status st = read_box(row, f, i, &s->list[n++], err);
            if (st != TS_OK)
                return st;
        }
        s->first[f + 1] = n;
    }
    return TS_OK;
}

ts_status ts_script_load(const char *path, ts_script **out, ts_error *err)
{
    ts_buf text = {0};
    json_t *doc = NULL;
    ts_script *s = calloc(1, sizeof *s);
    ts_status st =
        s ? ts_fs_read(path, MAX_SCRIPT_BYTES, &text, err) : ts_fail(err, TS_E_NO_MEMORY, "script");
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &doc, err);
    if (st == TS_OK && !json_is_array(json_object_get(doc, "frames")))
        st = ts_fail(err, TS_E_FILE, "expected {\"frames\":[[[x1,y1,x2,y2,score,class],…],…]}");
    if (st == TS_OK)
        st = read_frames(json_object_get(doc, "frames"), s, err);
    ts_buf_finish(&text);
    json_decref(doc);
    if (st != TS_OK) {
        ts_error_prefix(err, "%s", path);
        ts_script_free(s);
        return st;
    }
    *out = s;
    return TS_OK;
}

void ts_script_free(ts_script *s)
{
    if (!s)
        return;
    free(s->first);
    free(s->list);
    free(s);
}

size_t ts_script_frames(const ts_script *s)
{
    return s->n_frames;
}

size_t ts_script_get(const ts_script *s, size_t frame, const ts_crop *roi, ts_detection *out,
                     size_t max)
{
    size_t n = 0;
    if (frame >= s->n_frames)
        return 0;
    for (size_t i = s->first[frame]; i < s->first[frame + 1] && n < max; i++) {
        ts_detection d = s->list[i];
        if (roi) {
            if (d.cx < roi->x1 || d.cx >= roi->x2 || d.cy < roi->y1 || d.cy >= roi->y2)
                continue;
            d.cx -= roi->x1;
            d.cy -= roi->y1;
        }
        out[n++] = d;
    }
    return n;
}
