#include "server/media/overlay.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

enum {
    TRAIL = 30,
    TRAILS = 64,
    CELL_W = 8,
    CELL_H = 16
};

typedef struct trail {
    int id, n, unseen;
    double at[TRAIL][2]; /* oldest first */
} trail;

struct ts_overlay {
    ts_draw *list;
    size_t n, room;
    bool failed;
    trail trails[TRAILS];
    int n_trails;
};

typedef struct color {
    int r, g, b;
} color;

static const color WHITE = {255, 255, 255}, GREEN = {60, 220, 90}, YELLOW = {250, 210, 50},
                   RED = {240, 70, 60}, GREY = {170, 170, 170};

ts_status ts_overlay_create(ts_overlay **out, ts_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "overlay");
}

void ts_overlay_destroy(ts_overlay *o)
{
    if (!o)
        return;
    free(o->list);
    free(o);
}

void ts_overlay_forget(ts_overlay *o)
{
    o->n_trails = 0;
}

static trail *trail_of(ts_overlay *o, int id)
{
    for (int i = 0; i < o->n_trails; i++)
        if (o->trails[i].id == id)
            return &o->trails[i];
    int at = o->n_trails;
    if (at == TRAILS) { /* the longest unseen makes room */
        at = 0;
        for (int i = 1; i < TRAILS; i++)
            if (o->trails[i].unseen > o->trails[at].unseen)
                at = i;
    } else {
        o->n_trails++;
    }
    o->trails[at] = (trail){.id = id};
    return &o->trails[at];
}

void ts_overlay_note(ts_overlay *o, const ts_pilot_result *r)
{
    for (int i = 0; i < o->n_trails; i++)
        o->trails[i].unseen++;
    for (size_t i = 0; i < r->n_tracks; i++) {
        const ts_track *t = &r->tracks[i];
        trail *line = trail_of(o, t->id);
        if (line->n == TRAIL) {
            memmove(line->at, line->at + 1, sizeof line->at - sizeof line->at[0]);
            line->n--;
        }
        line->at[line->n][0] = (t->x1 + t->x2) / 2;
        line->at[line->n++][1] = t->y2;
        line->unseen = 0;
    }
}

/* ---- primitives ---- */

static void add(ts_overlay *o, int kind, double x0, double y0, double x1, double y1, color c, int a,
                int p, int q)
{
    if (o->n == o->room) {
        size_t room = o->room ? o->room * 2 : 256;
        ts_draw *list = ts_realloc_array(o->list, room, sizeof *list);
        if (!list) {
            o->failed = true;
            return;
        }
        o->list = list;
        o->room = room;
    }
    const double far = 1e6;
    o->list[o->n++] = (ts_draw){.kind = kind,
                                .x0 = (int)lround(fmin(fmax(x0, -far), far)),
                                .y0 = (int)lround(fmin(fmax(y0, -far), far)),
                                .x1 = (int)lround(fmin(fmax(x1, -far), far)),
                                .y1 = (int)lround(fmin(fmax(y1, -far), far)),
                                .r = c.r,
                                .g = c.g,
                                .b = c.b,
                                .a = a,
                                .p = p,
                                .q = q};
}

static void text(ts_overlay *o, double x, double y, int scale, color c, const char *format, ...)
    TS_PRINTF(6, 7);

static void text(ts_overlay *o, double x, double y, int scale, color c, const char *format, ...)
{
    char line[128];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (const char *s = line; *s; s++, x += CELL_W * scale) {
        int code = (unsigned char)*s;
        if (code == ' ')
            continue;
        if (code < 32 || code > 126)
            code = '?';
        add(o, TS_DRAW_GLYPH, x, y, x + CELL_W * scale, y + CELL_H * scale, c, 255, code - 32,
            scale);
    }
}

static void disc(ts_overlay *o, double x, double y, int radius, color c, int a)
{
    add(o, TS_DRAW_DISC, x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1, c, a,
        radius, 0);
}

/* A stable colour per id: the hue turns by the golden angle. */
static color color_of(int id)
{
    double h = fmod(id * 137.508, 360) / 60, s = 0.85, v = 255;
    double f = h - floor(h), p = v * (1 - s), q = v * (1 - s * f), t = v * (1 - s * (1 - f));
    double table[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
    const double *rgb = table[(int)h % 6];
    return (color){(int)rgb[0], (int)rgb[1], (int)rgb[2]};
}

/* ---- elements ---- */

typedef struct mapping {
    double x0, y0, sx, sy;
} mapping;

static mapping map_of(const ts_overlay_view *v)
{
    return (mapping){v->crop.x1, v->crop.y1, v->width / (v->crop.x2 - v->crop.x1),
                     v->height / (v->crop.y2 - v->crop.y1)};
}

static double map_x(const mapping *m, double x)
{
    return (x - m->x0) * m->sx;
}

static double map_y(const mapping *m, double y)
{
    return (y - m->y0) * m->sy;
}

static bool wants(const json_t *options, const char *key)
{
    return json_is_true(json_object_get(options, key));
}

static void draw_trails(ts_overlay *o, const mapping *m)
{
    for (int i = 0; i < o->n_trails; i++) {
        const trail *t = &o->trails[i];
        if (t->unseen > 0)
            continue;
        for (int k = 0; k < t->n; k++)
            disc(o, map_x(m, t->at[k][0]), map_y(m, t->at[k][1]), 2, color_of(t->id),
                 255 * (k + 1) / TRAIL);
    }
}

static void draw_tracks(ts_overlay *o, const json_t *options, const mapping *m,
                        const ts_pilot_result *r, int scale)
{
    for (size_t i = 0; i < r->n_tracks; i++) {
        const ts_track *t = &r->tracks[i];
        color c = color_of(t->id);
        double x0 = map_x(m, t->x1), y0 = map_y(m, t->y1);
        if (wants(options, "boxes"))
            add(o, TS_DRAW_RECT, x0, y0, map_x(m, t->x2), map_y(m, t->y2), c, 255, 2, 0);
        if (wants(options, "ids"))
            text(o, x0, y0 - CELL_H * scale, scale, c, "#%d %.2f", t->id, t->score);
    }
}

static void draw_ball(ts_overlay *o, const mapping *m, const ts_ball_result *ball)
{
    if (!ball->present)
        return;
    double x = map_x(m, ball->x), y = map_y(m, ball->y);
    color c = ball->flag ? GREEN : YELLOW;
    add(o, TS_DRAW_RING, x - 17, y - 17, x + 17, y + 17, c, 255, 15, 3);
    disc(o, x, y, 5, c, 255);
    if (ball->flag) {
        add(o, TS_DRAW_FILL, x - 20, y - 1, x + 20, y + 1, c, 255, 0, 0);
        add(o, TS_DRAW_FILL, x - 1, y - 20, x + 1, y + 20, c, 255, 0, 0);
    }
}

static void draw_zones(ts_overlay *o, const mapping *m, const json_t *zones,
                       const ts_overlay_view *v)
{
    size_t i;
    json_t *zone;
    json_array_foreach((json_t *)zones, i, zone)
    {
        double e[4];
        static const char *const keys[] = {"x1", "y1", "x2", "y2"};
        for (int k = 0; k < 4; k++)
            e[k] =
                json_number_value(json_object_get(zone, keys[k])) * (k % 2 ? v->src_h : v->src_w);
        add(o, TS_DRAW_FILL, map_x(m, e[0]), map_y(m, e[1]), map_x(m, e[2]), map_y(m, e[3]), RED,
            48, 0, 0);
        add(o, TS_DRAW_RECT, map_x(m, e[0]), map_y(m, e[1]), map_x(m, e[2]), map_y(m, e[3]), RED,
            160, 1, 0);
    }
}

static void draw_hud(ts_overlay *o, const ts_overlay_view *v, const ts_pilot_result *r,
                     const ts_hud *h, int scale)
{
    static const color *const status_colors[] = {&GREEN, &GREEN, &YELLOW, &RED};
    const ts_chain_result *c = &r->chain;
    double x = 10, y = 30, line = CELL_H * scale, width = 24 * CELL_W * scale;
    add(o, TS_DRAW_FILL, x - 6, y - 6, x + width, y + 9 * line + 6, (color){0, 0, 0}, 128, 0, 0);
    text(o, x, y, scale, WHITE, "FPS: %.1f [%s]", h->fps, h->gpu ? "GPU" : "CPU");
    text(o, x, y += line, scale, *status_colors[r->status], "Status: %s",
         ts_ball_status_name(r->status));
    text(o, x, y += line, scale, WHITE, "Decode: %.1fms", h->decode_ms);
    text(o, x, y += line, scale, WHITE, "Inference: %.1fms", h->inference_ms);
    text(o, x, y += line, scale, WHITE, "Tracking: %.1fms", h->tracking_ms);
    text(o, x, y += line, scale, WHITE, "Camera: %.1fms", h->camera_ms);
    text(o, x, y += line, scale, WHITE, "Encode: %.1fms", h->encode_ms);
    text(o, x, y += line, scale, WHITE, "Velocity: %.1fpx/s",
         hypot(c->velocity[0], c->velocity[1]));
    text(o, x, y += line, scale, WHITE, "Conf: %.2f", r->confidence);
    double right = v->width - 12 * CELL_W * scale;
    if (c->zoom > 1.05)
        text(o, right, 30, scale, WHITE, "ZOOM: %.1fx", c->zoom);
    else
        text(o, right, 30, scale, GREY, "ZOOM: OFF");
    text(o, right, 30 + line, scale, WHITE, "Lock: %d/8",
         c->frames_tracking < 8 ? c->frames_tracking : 8);
}

static void draw_no_signal(ts_overlay *o, const ts_overlay_view *v, int scale)
{
    double w = 9 * CELL_W * 3 * scale, h = CELL_H * 3 * scale;
    double x = (v->width - w) / 2, y = (v->height - h) / 2;
    add(o, TS_DRAW_FILL, x - 12, y - 6, x + w + 12, y + h + 6, (color){0, 0, 0}, 160, 0, 0);
    text(o, x, y, 3 * scale, RED, "NO SIGNAL");
}

/* The source's outline with the crop in it, a fifth of the width, lower right. */
static void draw_minimap(ts_overlay *o, const ts_overlay_view *v)
{
    double w = v->width / 5.0, k = w / v->src_w, h = v->src_h * k;
    double x = v->width - w - 10, y = v->height - h - 10;
    add(o, TS_DRAW_FILL, x, y, x + w, y + h, (color){0, 0, 0}, 110, 0, 0);
    add(o, TS_DRAW_RECT, x, y, x + w, y + h, GREY, 200, 1, 0);
    add(o, TS_DRAW_RECT, x + v->crop.x1 * k, y + v->crop.y1 * k, x + v->crop.x2 * k,
        y + v->crop.y2 * k, WHITE, 255, 2, 0);
}

ts_status ts_overlay_build(ts_overlay *o, const json_t *options, const json_t *zones,
                           const ts_overlay_view *v, const ts_pilot_result *r, const ts_hud *h,
                           const ts_draw **list, size_t *n, ts_error *err)
{
    mapping m = map_of(v);
    int scale = v->height > 1080 ? (int)lround(v->height / 720.0) : 1;
    const char *free_text = json_string_value(json_object_get(options, "text"));
    o->n = 0;
    o->failed = false;
    if (wants(options, "zones"))
        draw_zones(o, &m, zones, v);
    if (wants(options, "trail"))
        draw_trails(o, &m);
    draw_tracks(o, options, &m, r, scale);
    if (wants(options, "ball"))
        draw_ball(o, &m, &r->chain.track);
    if (v->show_crop) {
        const ts_crop *c = &r->chain.crop;
        add(o, TS_DRAW_RECT, map_x(&m, c->x1), map_y(&m, c->y1), map_x(&m, c->x2), map_y(&m, c->y2),
            WHITE, 220, 2, 0);
    } else if (wants(options, "crop_minimap")) {
        draw_minimap(o, v);
    }
    if (wants(options, "hud"))
        draw_hud(o, v, r, h, scale);
    if (free_text)
        text(o, 10, v->height - CELL_H * scale - 10, scale, WHITE, "%s", free_text);
    if (!h->signal)
        draw_no_signal(o, v, scale);
    if (o->failed)
        return ts_fail(err, TS_E_NO_MEMORY, "overlay of %zu primitives", o->n);
    *list = o->list;
    *n = o->n;
    return TS_OK;
}
