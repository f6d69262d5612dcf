#include "server/media/pilot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

struct ts_pilot {
    json_t *document;
    ts_chain *chain;
    ts_mot *mot;
    bool ball_enabled, mot_enabled;
    int ball_class;
    char follow[32];
    double *scratch;
    size_t scratch_room;
};

static void read_switches(ts_pilot *p)
{
    json_t *tracking = json_object_get(p->document, "tracking");
    json_t *camera = json_object_get(p->document, "camera");
    p->ball_enabled = json_is_true(json_object_get(json_object_get(tracking, "ball"), "enable"));
    p->mot_enabled = json_is_true(json_object_get(json_object_get(tracking, "mot"), "enable"));
    p->ball_class = (int)json_integer_value(
        json_object_get(json_object_get(p->document, "detector"), "ball_class_id"));
    snprintf(p->follow, sizeof p->follow, "%s",
             json_string_value(json_object_get(camera, "follow")));
}

ts_status ts_pilot_create(json_t *document, int width, int height, double fps, ts_pilot **out,
                          ts_error *err)
{
    ts_pilot *p = calloc(1, sizeof *p);
    if (!p)
        return ts_fail(err, TS_E_NO_MEMORY, "tracking");
    p->document = json_incref(document);
    read_switches(p);
    ts_chain_params chain = ts_pipeline_doc_chain(document, width, height);
    ts_mot_params mot = ts_pipeline_doc_mot(document, fps);
    ts_status st = ts_chain_create(&chain, &p->chain, err);
    if (st == TS_OK)
        st = ts_mot_create(&mot, &p->mot, err);
    if (st != TS_OK) {
        ts_pilot_destroy(p);
        return st;
    }
    *out = p;
    return TS_OK;
}

void ts_pilot_destroy(ts_pilot *p)
{
    if (!p)
        return;
    ts_chain_destroy(p->chain);
    ts_mot_destroy(p->mot);
    json_decref(p->document);
    free(p->scratch);
    free(p);
}

void ts_pilot_set_document(ts_pilot *p, json_t *document)
{
    json_decref(p->document);
    p->document = json_incref(document);
    read_switches(p);
    ts_chain_params chain = ts_pipeline_doc_chain(document, 1, 1); /* the chain keeps its size */
    ts_chain_set_params(p->chain, &chain);
}

void ts_pilot_reset(ts_pilot *p, int width, int height)
{
    ts_chain_reset(p->chain, width, height);
    ts_mot_reset(p->mot);
}

bool ts_pilot_roi(const ts_pilot *p, ts_crop *roi)
{
    return ts_chain_roi(p->chain, roi);
}

const ts_ball_state *ts_pilot_ball(const ts_pilot *p)
{
    return ts_chain_ball(p->chain);
}

int ts_pilot_tracks_created(const ts_pilot *p)
{
    return ts_mot_created(p->mot);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Median centre of the tracks that are not the ball. */
static bool players_center(ts_pilot *p, const ts_pilot_result *r, double out[2])
{
    size_t n = 0;
    if (p->scratch_room < 2 * r->n_tracks) {
        double *scratch = ts_realloc_array(p->scratch, 2 * r->n_tracks, sizeof *scratch);
        if (!scratch)
            return false;
        p->scratch = scratch;
        p->scratch_room = 2 * r->n_tracks;
    }
    double *xs = p->scratch, *ys = p->scratch + r->n_tracks;
    for (size_t i = 0; i < r->n_tracks; i++) {
        const ts_track *t = &r->tracks[i];
        if (t->class_id == p->ball_class)
            continue;
        xs[n] = (t->x1 + t->x2) / 2;
        ys[n++] = (t->y1 + t->y2) / 2;
    }
    if (n == 0)
        return false;
    out[0] = median(xs, n);
    out[1] = median(ys, n);
    return true;
}

/* What the camera follows instead of the ball; false: the ball. */
static bool choose_target(ts_pilot *p, const ts_pilot_result *r, double out[2])
{
    if (!strcmp(p->follow, "players"))
        return players_center(p, r, out);
    if (!strcmp(p->follow, "ball+players")) {
        const ts_ball_state *ball = ts_chain_ball(p->chain);
        if (!players_center(p, r, out))
            return false;
        for (int i = 0; i < 2 && ball->tracking; i++)
            out[i] = 0.7 * ball->s[i] + 0.3 * out[i];
        return true;
    }
    if (strncmp(p->follow, "track:", 6) != 0)
        return false;
    int id = atoi(p->follow + 6);
    for (size_t i = 0; i < r->n_tracks; i++)
        if (r->tracks[i].id == id) {
            out[0] = (r->tracks[i].x1 + r->tracks[i].x2) / 2;
            out[1] = (r->tracks[i].y1 + r->tracks[i].y2) / 2;
            return true;
        }
    return false;
}

/* In a region of interest the object tracker needs frame coordinates. */
static ts_status update_tracks(ts_pilot *p, const ts_detection *detections, size_t n,
                               ts_pilot_result *out, ts_error *err)
{
    ts_crop roi;
    if (!ts_chain_roi(p->chain, &roi))
        return ts_mot_update(p->mot, detections, n, &out->tracks, &out->n_tracks, err);
    ts_detection *moved = calloc(n + 1, sizeof *moved);
    if (!moved)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu detections", n);
    for (size_t i = 0; i < n; i++) {
        moved[i] = detections[i];
        moved[i].cx += roi.x1;
        moved[i].cy += roi.y1;
    }
    ts_status st = ts_mot_update(p->mot, moved, n, &out->tracks, &out->n_tracks, err);
    free(moved);
    return st;
}

ts_status ts_pilot_update(ts_pilot *p, const ts_detection *detections, size_t n, bool detector_ran,
                          double t_s, double dt_s, ts_pilot_result *out, ts_error *err)
{
    memset(out, 0, sizeof *out);
    if (p->mot_enabled && detector_ran) {
        ts_status st = update_tracks(p, detections, n, out, err);
        if (st != TS_OK)
            return st;
    }
    double target[2];
    bool other = choose_target(p, out, target);
    out->chain = ts_chain_update(p->chain, detections, p->ball_enabled ? n : 0, detector_ran,
                                 other ? target : NULL, t_s, dt_s);
    const ts_ball_state *ball = ts_chain_ball(p->chain);
    out->status = out->chain.track.present ? ball->status : TS_BALL_LOST;
    out->confidence = out->chain.track_in.score * out->chain.tracked_input;
    return TS_OK;
}

const char *ts_ball_status_name(ts_ball_status status)
{
    static const char *const names[] = {"DETECTED", "COASTING", "PREDICTED", "LOST"};
    return names[status];
}

void ts_pilot_row(const ts_pilot_result *r, int64_t frame, double pts_s, ts_buf *out)
{
    const ts_chain_result *c = &r->chain;
    ts_buf_printf(out, "{\"frame\":%lld,\"pts\":%.6f,", (long long)frame, pts_s);
    if (c->track.present)
        ts_buf_printf(out, "\"x\":%.6f,\"y\":%.6f,", c->track.x, c->track.y);
    else
        ts_buf_str(out, "\"x\":null,\"y\":null,");
    ts_buf_printf(out,
                  "\"flag\":%s,\"status\":\"%s\",\"confidence\":%.6f,\"velocity\":[%.6f,%.6f],"
                  "\"velocity_magnitude\":%.6f,\"crop\":[%.6f,%.6f,%.6f,%.6f],\"zoom\":%.6f,"
                  "\"tracks\":[",
                  c->track.present && c->track.flag ? "true" : "false",
                  ts_ball_status_name(r->status), r->confidence, c->velocity[0], c->velocity[1],
                  hypot(c->velocity[0], c->velocity[1]), c->crop.x1, c->crop.y1, c->crop.x2,
                  c->crop.y2, c->zoom);
    for (size_t i = 0; i < r->n_tracks; i++) {
        const ts_track *t = &r->tracks[i];
        ts_buf_printf(out,
                      "%s{\"id\":%d,\"class\":%d,\"box\":[%.6f,%.6f,%.6f,%.6f],\"score\":%.6f}",
                      i ? "," : "", t->id, t->class_id, t->x1, t->y1, t->x2, t->y2, t->score);
    }
    ts_buf_str(out, "]}");
}
