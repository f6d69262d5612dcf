#include "server/gazereadout.h"

#include <math.h>
#include <stdlib.h>

struct ts_gaze_readout {
    ts_readout_options options;
    int image[2], video[2]; /* rows, columns */
    int64_t tubelet;        /* 0: images only */
    ts_readout_ids *frames;
    size_t n_frames, added;
};

static ts_status read_grid(const json_t *object, const char *key, int out[2], ts_error *err)
{
    const json_t *grid = json_object_get(object, key);
    if (!grid)
        return TS_OK;
    bool ok = json_is_array(grid) && json_array_size(grid) == 2;
    for (size_t i = 0; i < 2 && ok; i++) {
        json_int_t v = json_integer_value(json_array_get(grid, i));
        ok = json_is_integer(json_array_get(grid, i)) && v >= 1 && v <= TS_READOUT_MAX_SIDE;
        out[i] = (int)v;
    }
    return ok ? TS_OK
              : ts_fail(err, TS_E_OPTION, "readout.%s: expected [rows,columns] of 1 to %d", key,
                        TS_READOUT_MAX_SIDE);
}

static ts_status read_options(const json_t *o, ts_gaze_readout *r, ts_error *err)
{
    static const char *const keys[] = {
        "image_grid",     "tubelet",  "video_grid", "confidence_threshold", "max_fixations",
        "fixation_scale", "dilation", "max_tokens", "min_tokens",           NULL};
    int64_t fixations = 0, dilation = 0, most = 0, least = 0;
    r->options.fixation_scale = 1;
    r->image[0] = r->image[1] = 16;
    if (!json_is_object(o))
        return ts_fail(err, TS_E_OPTION, "readout: expected an object");
    ts_status st = ts_json_only(o, "readout", keys, err);
    if (st == TS_OK)
        st = read_grid(o, "image_grid", r->image, err);
    r->video[0] = r->image[0];
    r->video[1] = r->image[1];
    if (st == TS_OK)
        st = read_grid(o, "video_grid", r->video, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "readout", "tubelet", 1, INT32_MAX, &r->tubelet, err);
    if (st == TS_OK)
        st = ts_json_get_double(o, "readout", "confidence_threshold", 0, 1,
                                &r->options.confidence_threshold, err);
    if (st == TS_OK)
        st = ts_json_get_double(o, "readout", "fixation_scale", 0.01, 100,
                                &r->options.fixation_scale, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "readout", "max_fixations", 1, INT32_MAX, &fixations, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "readout", "dilation", 0, TS_READOUT_MAX_SIDE, &dilation, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "readout", "max_tokens", 1, INT32_MAX, &most, err);
    if (st == TS_OK)
        st = ts_json_get_int(o, "readout", "min_tokens", 0, INT32_MAX, &least, err);
    r->options.max_fixations = (size_t)fixations;
    r->options.dilation = (int)dilation;
    r->options.max_tokens = (size_t)most;
    r->options.min_tokens = (size_t)least;
    if (st == TS_OK && r->tubelet && r->n_frames % (size_t)r->tubelet)
        st = ts_fail(err, TS_E_OPTION, "readout.tubelet: %lld does not divide %zu frames",
                     (long long)r->tubelet, r->n_frames);
    return st;
}

ts_status ts_gaze_readout_create(const json_t *object, size_t frames, ts_gaze_readout **out,
                                 ts_error *err)
{
    *out = NULL;
    if (!object)
        return TS_OK;
    ts_gaze_readout *r = calloc(1, sizeof *r);
    ts_readout_ids *ids = calloc(frames ? frames : 1, sizeof *ids);
    if (!r || !ids) {
        free(r);
        free(ids);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a readout");
    }
    r->frames = ids;
    r->n_frames = frames;
    ts_status st = read_options(object, r, err);
    if (st != TS_OK)
        ts_gaze_readout_destroy(r);
    else
        *out = r;
    return st;
}

void ts_gaze_readout_destroy(ts_gaze_readout *readout)
{
    if (!readout)
        return;
    for (size_t i = 0; i < readout->n_frames; i++)
        ts_readout_ids_finish(&readout->frames[i]);
    free(readout->frames);
    free(readout);
}

ts_status ts_gaze_readout_add(ts_gaze_readout *r, const ts_gaze_cell *cells, size_t n,
                              ts_error *err)
{
    return ts_readout_image(cells, n, r->image[0], r->image[1], &r->options, &r->frames[r->added++],
                            err);
}

static json_t *ids_json(const ts_readout_ids *ids)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ids->n; i++)
        json_array_append_new(list, json_integer(ids->id[i]));
    return list;
}

ts_status ts_gaze_readout_json(ts_gaze_readout *r, json_t **out, ts_error *err)
{
    json_t *frames = json_array();
    for (size_t t = 0; t < r->n_frames; t++)
        json_array_append_new(frames, ids_json(&r->frames[t]));
    *out =
        json_pack("{s:[i,i],s:o}", "image_grid", r->image[0], r->image[1], "frame_tokens", frames);
    if (!r->tubelet)
        return TS_OK;
    ts_readout_ids ids = {0};
    int h = r->video[0], w = r->video[1];
    ts_status st = ts_readout_video(r->frames, r->n_frames, r->image[0], r->image[1],
                                    (int)r->tubelet, h, w, &r->options, &ids, err);
    if (st == TS_OK) {
        json_t *coordinates = json_array(); /* batch, bin, row, column */
        for (size_t i = 0; i < ids.n; i++)
            json_array_append_new(coordinates, json_pack("[i,i,i,i]", 0, ids.id[i] / (h * w),
                                                         ids.id[i] / w % h, ids.id[i] % w));
        json_object_set_new(*out, "video_grid",
                            json_pack("[I,i,i]", (json_int_t)r->n_frames / r->tubelet, h, w));
        json_object_set_new(*out, "video_tokens", ids_json(&ids));
        json_object_set_new(*out, "coordinates", coordinates);
    } else {
        json_decref(*out);
        *out = NULL;
    }
    ts_readout_ids_finish(&ids);
    return st;
}
