#include "server/train/trainpic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/imagegs/rules.h"
#include "cl/ops/font8x16.h"
#include "cl/viz/colormap.h"

enum {
    CELL_W = 8,
    CELL_H = 16,
    MAX_LINES = 12,
    MAX_SIDE = 65536
};

const char *const ts_panel_words[] = {
    "gt", "render", "error", "abs_diff", "signed_diff", "initial", "positions", "footprint", NULL};
static const char *const titles[] = {"Ground Truth",      "Rendered", "Error",     "Difference",
                                     "Signed Difference", "Initial",  "Positions", "Footprint"};

/* ---- options ---- */

void ts_trainpic_defaults(ts_trainpic_options *o)
{
    *o = (ts_trainpic_options){.n_panels = 2,
                               .panel = {TS_PANEL_GT, TS_PANEL_RENDER},
                               .scale = 1,
                               .text = true,
                               .labels = true,
                               .show_step = true,
                               .show_psnr = true,
                               .show_ssim = true,
                               .position = 2,
                               .color = {255, 255, 255},
                               .outline = true};
}

static ts_status read_panels(const json_t *list, ts_trainpic_options *o, ts_error *err)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n < 1 || n > TS_TRAINPIC_MAX_PANELS)
        return ts_fail(err, TS_E_OPTION, "panels: expected a list of 1 to %d",
                       TS_TRAINPIC_MAX_PANELS);
    o->n_panels = (int)n;
    for (size_t i = 0; i < n; ++i) {
        const char *word = json_string_value(json_array_get(list, i));
        int kind = 0;
        while (ts_panel_words[kind] && (!word || strcmp(word, ts_panel_words[kind]) != 0))
            ++kind;
        if (!ts_panel_words[kind])
            return ts_fail(err, TS_E_OPTION,
                           "panels[%zu]: \"%.40s\" is none of gt, render, error, abs_diff, "
                           "signed_diff, initial, positions, footprint",
                           i, word ? word : "?");
        o->panel[i] = (ts_panel_kind)kind;
    }
    return TS_OK;
}

static ts_status read_bytes(const json_t *list, const char *name, uint8_t *out, size_t n,
                            ts_error *err)
{
    if (!list)
        return TS_OK;
    for (size_t i = 0; i < n; ++i) {
        const json_t *v = json_array_get(list, i);
        if (json_array_size(list) != n || !json_is_integer(v) || json_integer_value(v) < 0 ||
            json_integer_value(v) > 255)
            return ts_fail(err, TS_E_OPTION, "%s: expected %zu integers, 0 to 255", name, n);
        out[i] = (uint8_t)json_integer_value(v);
    }
    return TS_OK;
}

static ts_status read_layout(const json_t *object, ts_trainpic_options *o, ts_error *err)
{
    const json_t *panels = json_object_get(object, "panels"),
                 *grid = json_object_get(object, "grid");
    int64_t gap = 0, scale = 1;
    ts_status st = panels ? read_panels(panels, o, err) : TS_OK;
    if (st == TS_OK)
        st = ts_json_get_int(object, "", "gap", 0, 256, &gap, err);
    if (st == TS_OK)
        st = ts_json_get_int(object, "", "scale", 1, 8, &scale, err);
    if (st == TS_OK)
        st = read_bytes(json_object_get(object, "background"), "background", o->background, 3, err);
    if (st != TS_OK)
        return st;
    o->gap = (int)gap;
    o->scale = (int)scale;
    if (!grid)
        return TS_OK;
    json_int_t c = json_integer_value(json_array_get(grid, 0));
    json_int_t r = json_integer_value(json_array_get(grid, 1));
    if (json_array_size(grid) != 2 || c < 1 || r < 1 || c > 9 || r > 9 || c * r < o->n_panels)
        return ts_fail(err, TS_E_OPTION, "grid: expected [columns, rows] with room for %d panels",
                       o->n_panels);
    o->columns = (int)c;
    o->rows = (int)r;
    return TS_OK;
}

static ts_status read_metric_words(const json_t *list, ts_trainpic_options *o, ts_error *err)
{
    const struct {
        const char *word;
        bool *to;
    } all[] = {{"step", &o->show_step}, {"psnr", &o->show_psnr},       {"ssim", &o->show_ssim},
               {"loss", &o->show_loss}, {"gaussians", &o->show_count}, {"time", &o->show_time}};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; ++k)
        *all[k].to = false;
    for (size_t i = 0; i < json_array_size(list); ++i) {
        const char *word = json_string_value(json_array_get(list, i));
        bool known = false;
        for (size_t k = 0; word && k < sizeof all / sizeof all[0]; ++k)
            if (strcmp(all[k].word, word) == 0)
                known = *all[k].to = true;
        if (!known)
            return ts_fail(err, TS_E_OPTION,
                           "overlay.metrics: expected some of step, psnr, ssim, loss, gaussians, "
                           "time");
    }
    return TS_OK;
}

static ts_status read_labels(const json_t *v, ts_trainpic_options *o, ts_error *err)
{
    if (json_is_boolean(v)) {
        o->labels = json_is_true(v);
        return TS_OK;
    }
    if (!json_is_array(v) || json_array_size(v) > TS_TRAINPIC_MAX_PANELS)
        return ts_fail(err, TS_E_OPTION, "overlay.labels: expected a list of texts");
    for (size_t i = 0; i < json_array_size(v); ++i) {
        const char *text = json_string_value(json_array_get(v, i));
        if (!text)
            return ts_fail(err, TS_E_OPTION, "overlay.labels: expected a list of texts");
        snprintf(o->label[i], sizeof o->label[i], "%s", text);
    }
    return TS_OK;
}

static ts_status read_overlay(const json_t *v, ts_trainpic_options *o, ts_error *err)
{
    static const char *const keys[] = {"enabled", "labels",       "metrics",    "position",
                                       "color",   "outline",      "background", "font_scale",
                                       "margin",  "progress_bar", "spacing",    NULL};
    static const char *const positions[] = {"tl", "tr", "bl", "br", NULL};
    static const char *const spacings[] = {"own", "reference", NULL};
    int64_t font = 0, margin = 0;
    int spacing = 0;
    ts_status st = ts_json_only(v, "overlay", keys, err);
    if (st == TS_OK)
        st = ts_json_get_bool(v, "overlay", "enabled", &o->text, err);
    if (st == TS_OK && json_object_get(v, "labels"))
        st = read_labels(json_object_get(v, "labels"), o, err);
    if (st == TS_OK && json_object_get(v, "metrics"))
        st = read_metric_words(json_object_get(v, "metrics"), o, err);
    if (st == TS_OK)
        st = ts_json_get_enum(v, "overlay", "position", positions, &o->position, err);
    if (st == TS_OK)
        st = ts_json_get_enum(v, "overlay", "spacing", spacings, &spacing, err);
    if (st == TS_OK)
        st = ts_json_get_bool(v, "overlay", "outline", &o->outline, err);
    if (st == TS_OK)
        st = ts_json_get_bool(v, "overlay", "progress_bar", &o->progress_bar, err);
    if (st == TS_OK)
        st = ts_json_get_int(v, "overlay", "font_scale", 1, 16, &font, err);
    if (st == TS_OK)
        st = ts_json_get_int(v, "overlay", "margin", 0, 1000, &margin, err);
    if (st == TS_OK)
        st = read_bytes(json_object_get(v, "color"), "overlay.color", o->color, 3, err);
    if (st == TS_OK)
        st = read_bytes(json_object_get(v, "background"), "overlay.background", o->box, 4, err);
    o->font_scale = (int)font;
    o->margin = (int)margin;
    o->reference_spacing = spacing == 1;
    return st;
}

ts_status ts_trainpic_options_read(const json_t *object, const json_t *overlay,
                                   ts_trainpic_options *o, ts_error *err)
{
    ts_status st = object ? read_layout(object, o, err) : TS_OK;
    if (st == TS_OK && overlay && !json_is_object(overlay))
        st = ts_fail(err, TS_E_OPTION, "overlay: expected an object");
    if (st == TS_OK && overlay)
        st = read_overlay(overlay, o, err);
    return st;
}

/* ---- drawing ---- */

typedef struct panel_rect {
    int x, y, w, h;
} panel_rect;

typedef struct canvas {
    const ts_trainpic_options *o;
    uint8_t *rgb;
    size_t stride;
    panel_rect clip;
    int s; /* font scale */
} canvas;

static void dot(canvas *c, int x, int y, const uint8_t rgb[3])
{
    if (x < c->clip.x || y < c->clip.y || x >= c->clip.x + c->clip.w || y >= c->clip.y + c->clip.h)
        return;
    memcpy(c->rgb + (size_t)y * c->stride + (size_t)x * 3, rgb, 3);
}

static void square(canvas *c, int x, int y, int grow, const uint8_t rgb[3])
{
    for (int j = -grow; j < c->s + grow; ++j)
        for (int i = -grow; i < c->s + grow; ++i)
            dot(c, x + i, y + j, rgb);
}

/* One pass of a text: its outline (grown pixels) or its face. */
static void text_pass(canvas *c, int x, int y, const char *text, int grow, const uint8_t rgb[3])
{
    for (; *text; ++text, x += CELL_W * c->s) {
        int glyph = *text >= 32 && *text <= 126 ? *text - 32 : '?' - 32;
        for (int row = 0; row < CELL_H; ++row)
            for (int col = 0; col < CELL_W; ++col)
                if (TS_FONT8X16[glyph][row] >> (7 - col) & 1)
                    square(c, x + col * c->s, y + row * c->s, grow, rgb);
    }
}

static void draw_text(canvas *c, int x, int y, const char *text)
{
    static const uint8_t black[3] = {0, 0, 0};
    if (c->o->outline)
        text_pass(c, x, y, text, c->s, black);
    text_pass(c, x, y, text, 0, c->o->color);
}

static void fill(canvas *c, panel_rect r, const uint8_t rgb[3], int alpha)
{
    for (int y = r.y; y < r.y + r.h; ++y)
        for (int x = r.x; x < r.x + r.w; ++x) {
            if (x < c->clip.x || y < c->clip.y || x >= c->clip.x + c->clip.w ||
                y >= c->clip.y + c->clip.h)
                continue;
            uint8_t *p = c->rgb + (size_t)y * c->stride + (size_t)x * 3;
            for (int k = 0; k < 3; ++k)
                p[k] = (uint8_t)((p[k] * (255 - alpha) + rgb[k] * alpha + 127) / 255);
        }
}

static int text_lines(const ts_trainpic_options *o, const ts_trainpic_text *t,
                      char lines[MAX_LINES][48])
{
    char standard[3][48];
    int n = 0;
    ts_gs_rules_text(t->step, t->psnr, t->ssim, standard);
    if (o->show_step)
        snprintf(lines[n++], 48, "%s", standard[0]);
    if (o->show_psnr && !isnan(t->psnr))
        snprintf(lines[n++], 48, "%s", standard[1]);
    if (o->show_ssim && !isnan(t->ssim))
        snprintf(lines[n++], 48, "%s", standard[2]);
    if (o->show_loss && !isnan(t->loss))
        snprintf(lines[n++], 48, "Loss: %.5f", t->loss);
    if (o->show_count)
        snprintf(lines[n++], 48, "Gaussians: %lld", (long long)t->count);
    if (o->show_time)
        snprintf(lines[n++], 48, "Time: %.1f s", t->seconds);
    for (int i = 0; i < 4 && t->extra[i] && n < MAX_LINES; ++i)
        snprintf(lines[n++], 48, "%s", t->extra[i]);
    return n;
}

static void draw_metrics(canvas *c, panel_rect p, const ts_trainpic_text *t)
{
    char lines[MAX_LINES][48];
    int n = text_lines(c->o, t, lines), widest = 0, s = c->s;
    int margin = c->o->margin ? c->o->margin : 10 * s;
    int pitch = (c->o->reference_spacing ? 25 : 18) * s;
    for (int i = 0; i < n; ++i)
        widest = (int)strlen(lines[i]) > widest ? (int)strlen(lines[i]) : widest;
    int height = (n - 1) * pitch + CELL_H * s, width = widest * CELL_W * s;
    while (n > 0 && height + margin > p.h) { /* the last lines go first where it is too low */
        --n;
        height -= pitch;
    }
    bool right = c->o->position & 1, bottom = c->o->position & 2;
    int x = p.x + (right ? p.w - margin - width : margin);
    int y = p.y + (bottom ? p.h - margin - height : margin);
    if (n > 0 && c->o->box[3])
        fill(c, (panel_rect){x - 4 * s, y - 2 * s, width + 8 * s, height + 4 * s}, c->o->box,
             c->o->box[3]);
    for (int i = 0; i < n; ++i)
        draw_text(c, x, y + i * pitch, lines[i]);
}

static void draw_panel_text(canvas *c, int index, panel_rect p, const ts_trainpic_text *t,
                            bool metrics)
{
    const ts_trainpic_options *o = c->o;
    int least = p.w < p.h ? p.w : p.h;
    c->clip = p;
    c->s = o->font_scale ? o->font_scale : least / 256 > 1 ? least / 256 : 1;
    bool small = p.h < CELL_H * c->s * 5 || p.w < CELL_W * c->s * 16;
    if (small)
        c->s = 1;
    small = p.h < CELL_H * 5 || p.w < CELL_W * 16;
    if (o->labels && !small)
        draw_text(c, p.x + 10 * c->s, p.y + 10 * c->s,
                  o->label[index][0] ? o->label[index] : titles[o->panel[index]]);
    if (metrics)
        draw_metrics(c, p, t);
    if (metrics && o->progress_bar && t->max_steps > 0)
        fill(c,
             (panel_rect){p.x, p.y + p.h - 4 * c->s,
                          (int)((double)p.w * (double)t->step / (double)t->max_steps), 4 * c->s},
             o->color, 255);
}

/* ---- composing ---- */

static void grid_of(const ts_trainpic_options *o, int *columns, int *rows)
{
    *columns = o->columns ? o->columns : o->n_panels;
    *rows = o->rows ? o->rows : 1;
}

void ts_trainpic_size(const ts_trainpic_options *o, int w, int h, int *out_w, int *out_h)
{
    int columns, rows;
    grid_of(o, &columns, &rows);
    *out_w = columns * w * o->scale + (columns - 1) * o->gap;
    *out_h = rows * h * o->scale + (rows - 1) * o->gap;
}

static void copy_panel(uint8_t *to, size_t stride, const uint8_t *rgba, int w, int h, int scale)
{
    for (int y = 0; y < h * scale; ++y) {
        const uint8_t *from = rgba + (size_t)(y / scale) * (size_t)w * 4;
        uint8_t *row = to + (size_t)y * stride;
        for (int x = 0; x < w * scale; ++x)
            memcpy(row + (size_t)x * 3, from + (size_t)(x / scale) * 4, 3);
    }
}

/* The metric block stands on the first render panel, or on the last panel. */
static int metrics_panel(const ts_trainpic_options *o)
{
    for (int i = 0; i < o->n_panels; ++i)
        if (o->panel[i] == TS_PANEL_RENDER)
            return i;
    return o->n_panels - 1;
}

ts_status ts_trainpic_compose(const ts_trainpic_options *o, int w, int h,
                              const uint8_t *const *panels, const ts_trainpic_text *text,
                              ts_pixels **out, ts_error *err)
{
    int width, height, columns, rows;
    ts_trainpic_size(o, w, h, &width, &height);
    grid_of(o, &columns, &rows);
    ts_pixels *p = width <= MAX_SIDE && height <= MAX_SIDE
                       ? ts_pixels_create(TS_PIXELS_RGB8, width, height)
                       : NULL;
    if (!p)
        return ts_fail(err, TS_E_NO_MEMORY, "a picture of %d x %d", width, height);
    canvas c = {.o = o, .rgb = (uint8_t *)p->plane[0], .stride = p->stride[0]};
    for (size_t i = 0; i < (size_t)height * (size_t)width; ++i)
        memcpy(c.rgb + i / (size_t)width * c.stride + i % (size_t)width * 3, o->background, 3);
    for (int i = 0; i < o->n_panels; ++i) {
        panel_rect r = {i % columns * (w * o->scale + o->gap),
                        i / columns * (h * o->scale + o->gap), w * o->scale, h * o->scale};
        if (panels[i])
            copy_panel(c.rgb + (size_t)r.y * c.stride + (size_t)r.x * 3, c.stride, panels[i], w, h,
                       o->scale);
        if (o->text && text)
            draw_panel_text(&c, i, r, text, i == metrics_panel(o));
    }
    *out = p;
    return TS_OK;
}

void ts_trainpic_difference(const uint8_t *a, const uint8_t *b, size_t n, bool with_sign,
                            uint8_t *out)
{
    for (size_t i = 0; i < n * 4; ++i) {
        int d = a[i] - b[i];
        out[i] = i % 4 == 3 ? 255 : (uint8_t)(with_sign ? 128 + (d - (d > 0)) / 2 : abs(d));
    }
}

static void through(const char *name, const float *map, size_t n, uint8_t *out)
{
    const ts_colormap *colors = NULL;
    bool reversed = false;
    float table[256][3] = {{0}};
    if (ts_colormap_find(name, &colors, &reversed))
        for (int i = 0; i < 256; ++i)
            ts_colormap_eval(colors, reversed, false, i / 255.0, table[i]);
    ts_colormap_unref(colors);
    for (size_t i = 0; i < n; ++i) {
        int v = (int)(fminf(fmaxf(map[i], 0), 1) * 255 + 0.5f);
        for (int k = 0; k < 3; ++k)
            out[4 * i + (size_t)k] = (uint8_t)(table[v][k] * 255 + 0.5f);
        out[4 * i + 3] = 255;
    }
}

void ts_trainpic_magma(const float *map, size_t n, uint8_t *out)
{
    through("magma", map, n, out);
}

void ts_trainpic_hot(const float *map, size_t n, uint8_t *out)
{
    through("hot", map, n, out);
}
