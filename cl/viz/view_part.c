/* One part of a view: kind and its options, and the objects that every kind has. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/viz/colormap.h"
#include "cl/viz/view_reader.h"

static const char *const kind_words[] = {"auto",   "heatmap", "strip",     "line",    "rgb",
                                         "grid",   "batch",   "slice",     "project", "ortho",
                                         "volume", "hist",    "waterfall", NULL};
static const char *const layout_words[] = {"auto", "HWC", "CHW", "NCHW", "NHWC", "OIHW", NULL};
static const char *const resample_words[] = {"nearest", "bilinear", "area",
                                             "lanczos", "bicubic",  NULL};
static const char *const fit_words[] = {"stretch", "contain", "cover", NULL};
static const char *const range_words[] = {"fixed",  "minmax", "percentile", "symmetric", "meanstd",
                                          "whiten", "log",    "symlog",     "histeq",    NULL};
static const char *const scope_words[] = {"tensor", "view", "tile", "channel", NULL};
static const char *const filter_words[] = {"box",     "gauss", "median",   "sharpen", "grad",
                                           "laplace", "abs",   "temporal", "delta",   NULL};
static const char *const project_words[] = {"mip", "minip", "mean", "sum", NULL};
static const char *const volume_words[] = {"mip", "minip", "mean", "alpha", "iso", NULL};
static const char *const camera_words[] = {"ortho", "perspective", NULL};
static const char *const interp_words[] = {"linear", "nearest", NULL};
static const char *const expand_words[] = {"smooth", "instant", NULL};

static void read_size(reader *outer, const char *key, view_size *size)
{
    static const char *const keys[] = {"width", "height",     "scale", "filter",
                                       "fit",   "background", NULL};
    reader r;
    if (!reader_enter(outer, key, keys, &r))
        return;
    reader_get_int(&r, "width", 1, VIEW_MAX_SIDE, &size->width);
    reader_get_int(&r, "height", 1, VIEW_MAX_SIDE, &size->height);
    reader_get_double(&r, "scale", 1.0 / 1024, 1024, &size->scale);
    if (size->scale != 0 && (size->width || size->height))
        reader_bad(&r, "scale", "either scale or width and height");
    size->filter = (view_resample)reader_get_word(&r, "filter", resample_words, (int)size->filter);
    size->has_fit = reader_has(&r, "fit");
    size->fit = (view_fit)reader_get_word(&r, "fit", fit_words, (int)size->fit);
    reader_get_color(&r, "background", &size->background);
    if ((double)size->width * size->height > VIEW_MAX_PIXELS)
        reader_bad(&r, "width", "at most 67108864 pixels");
    reader_leave(outer, &r);
}

static void read_ema(reader *outer, view_range *range)
{
    static const char *const keys[] = {"alpha", "tau_s", "expand", NULL};
    reader r;
    if (!reader_enter(outer, "ema", keys, &r))
        return;
    range->ema = true;
    reader_get_double(&r, "alpha", 0, 1, &range->ema_alpha);
    range->ema_has_tau = reader_has(&r, "tau_s");
    reader_get_double(&r, "tau_s", 1e-6, 1e6, &range->ema_tau_s);
    if (range->ema_has_tau && reader_has(&r, "alpha"))
        reader_bad(&r, "tau_s", "either alpha or tau_s");
    range->ema_instant = reader_get_word(&r, "expand", expand_words, 0) == 1;
    reader_leave(outer, &r);
}

static void read_range(reader *outer, view_range *range)
{
    static const char *const keys[] = {"mode", "lo",   "hi",        "p_lo",  "p_hi", "p",
                                       "k",    "bins", "linthresh", "scope", "ema",  NULL};
    reader r;
    if (!reader_enter(outer, "normalize", keys, &r))
        return;
    const double big = 1.7e308;
    range->has_mode = reader_has(&r, "mode");
    range->mode = (view_range_mode)reader_get_word(&r, "mode", range_words, RANGE_MINMAX);
    range->has_lo = reader_has(&r, "lo");
    range->has_hi = reader_has(&r, "hi");
    reader_get_double(&r, "lo", -big, big, &range->lo);
    reader_get_double(&r, "hi", -big, big, &range->hi);
    reader_get_double(&r, "p_lo", 0, 100, &range->p_lo);
    reader_get_double(&r, "p_hi", 0, 100, &range->p_hi);
    if (range->p_lo > range->p_hi)
        reader_bad(&r, "p_lo", "at most p_hi");
    range->has_p = reader_has(&r, "p");
    reader_get_double(&r, "p", 0, 100, &range->p);
    reader_get_double(&r, "k", 1e-6, 1e6, &range->k);
    range->has_linthresh = reader_has(&r, "linthresh");
    reader_get_double(&r, "linthresh", 1e-300, big, &range->linthresh);
    reader_get_int(&r, "bins", 2, 4096, &range->bins);
    range->has_scope = reader_has(&r, "scope");
    range->scope = (view_scope)reader_get_word(&r, "scope", scope_words, SCOPE_TENSOR);
    if (range->mode == RANGE_FIXED && !(range->has_lo && range->has_hi))
        reader_bad(&r, range->has_lo ? "hi" : "lo", "a number, mode fixed needs lo and hi");
    if (range->mode == RANGE_WHITEN && !range->has_scope)
        range->scope = SCOPE_CHANNEL;
    read_ema(&r, range);
    reader_leave(outer, &r);
}

static void read_tone(reader *outer, view_tone *tone)
{
    static const char *const keys[] = {"gain", "bias", "gamma", "invert", NULL};
    reader r;
    if (!reader_enter(outer, "tone", keys, &r))
        return;
    reader_get_double(&r, "gain", -1e6, 1e6, &tone->gain);
    reader_get_double(&r, "bias", -1e6, 1e6, &tone->bias);
    reader_get_double(&r, "gamma", 1e-3, 1e3, &tone->gamma);
    reader_get_bool(&r, "invert", &tone->invert);
    reader_leave(outer, &r);
}

/* One filter: an object, held under `key` of a wrapper so that reader_enter() names its path. */
static void read_one_filter(reader *outer, const char *key, view_filter *filter)
{
    static const char *const keys[] = {"op", "r", "sigma", "amount", "alpha", NULL};
    reader r;
    *filter = (view_filter){.r = 1, .sigma = 1, .amount = 1, .alpha = 0.1};
    if (!reader_enter(outer, key, keys, &r))
        return;
    if (!reader_has(&r, "op"))
        reader_bad(&r, "op", "the filter's name");
    filter->op = (view_filter_op)reader_get_word(&r, "op", filter_words, 0);
    reader_get_int(&r, "r", 0, 64, &filter->r);
    reader_get_double(&r, "sigma", 0.05, 32, &filter->sigma);
    reader_get_double(&r, "amount", -100, 100, &filter->amount);
    reader_get_double(&r, "alpha", 0, 1, &filter->alpha);
    if (filter->op == FILTER_MEDIAN && (filter->r < 1 || filter->r > 2))
        reader_bad(&r, "r", "1 or 2 for a median");
    reader_leave(outer, &r);
}

static void read_filters(reader *r, view_part *part)
{
    const json_t *value = reader_value_of(r, "filter");
    if (!value)
        return;
    if (json_is_object(value)) {
        part->n_filters = 1;
        read_one_filter(r, "filter", &part->filters[0]);
        return;
    }
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n > VIEW_MAX_FILTERS) {
        reader_bad(r, "filter", "a filter or a list of at most 8");
        return;
    }
    for (size_t i = 0; i < n && r->st == TS_OK; i++) {
        char key[24];
        snprintf(key, sizeof key, "filter[%zu]", i);
        const json_t *item = json_array_get(value, i);
        if (!json_is_object(item)) {
            reader_bad(r, key, "an object");
            return;
        }
        json_t *wrapper = json_object();
        json_object_set(wrapper, key, (json_t *)item);
        reader one = {.object = wrapper, .st = r->st, .err = r->err};
        memcpy(one.path, r->path, sizeof one.path);
        read_one_filter(&one, key, &part->filters[i]);
        json_decref(wrapper);
        reader_leave(r, &one);
    }
    part->n_filters = (int)n;
}

static void read_colormap_name(reader *r, const char *key, view_colormap *map)
{
    const char *name = NULL;
    if (r->st == TS_OK)
        r->st = ts_json_get_string(r->object, r->path, key, &name, r->err);
    if (r->st != TS_OK || !name)
        return;
    const ts_colormap *found;
    bool reversed;
    if (strlen(name) > TS_NAME_MAX || !ts_colormap_find(name, &found, &reversed)) {
        char want[160];
        snprintf(want, sizeof want, "the name of a colormap, not '%.64s' (GET /v1/colormaps)",
                 name);
        reader_bad(r, key, want);
        return;
    }
    ts_colormap_unref(found);
    strcpy(map->name, name);
}

static void read_colormap_colors(reader *r, view_colormap *map)
{
    const json_t *low = reader_value_of(r, "min_color"), *high = reader_value_of(r, "max_color");
    const json_t *stops = reader_value_of(r, "stops");
    char path[128];
    if (!low != !high)
        reader_bad(r, low ? "max_color" : "min_color", "[r,g,b], both ends are needed");
    if ((low != NULL) + (stops != NULL) + (map->name[0] != 0) > 1)
        reader_bad(r, "name", "only one of name, stops, and min_color with max_color");
    if (r->st == TS_OK && low) {
        map->two_colors = true;
        snprintf(path, sizeof path, "%s.min_color", r->path);
        r->st = ts_colormap_read_color(low, path, map->min_color, r->err);
        snprintf(path, sizeof path, "%s.max_color", r->path);
        if (r->st == TS_OK)
            r->st = ts_colormap_read_color(high, path, map->max_color, r->err);
    }
    if (r->st == TS_OK && stops) {
        snprintf(path, sizeof path, "%s.stops", r->path);
        r->st = ts_colormap_read_stops(stops, path, &map->n_stops, map->stop_pos, map->stop_color,
                                       r->err);
    }
}

static void read_colormap(reader *outer, view_colormap *map)
{
    static const char *const keys[] = {"name",      "reverse", "lut_interp", "min_color",
                                       "max_color", "stops",   "nan",        "posinf",
                                       "neginf",    "under",   "over",       NULL};
    const json_t *value = reader_value_of(outer, "colormap");
    map->set = value != NULL;
    if (json_is_string(value)) {
        read_colormap_name(outer, "colormap", map);
        return;
    }
    reader r;
    if (!reader_enter(outer, "colormap", keys, &r))
        return;
    read_colormap_name(&r, "name", map);
    reader_get_bool(&r, "reverse", &map->reverse);
    map->has_interp = reader_has(&r, "lut_interp");
    map->nearest = reader_get_word(&r, "lut_interp", interp_words, 0) == 1;
    read_colormap_colors(&r, map);
    reader_get_color(&r, "nan", &map->nan);
    reader_get_color(&r, "posinf", &map->posinf);
    reader_get_color(&r, "neginf", &map->neginf);
    reader_get_color(&r, "under", &map->under);
    reader_get_color(&r, "over", &map->over);
    reader_leave(outer, &r);
}

static void read_viewport(reader *outer, view_viewport *port)
{
    static const char *const keys[] = {"x", "y", "w", "h", "cx", "cy", "zoom", NULL};
    reader r;
    if (!reader_enter(outer, "viewport", keys, &r) || json_object_size(r.object) == 0)
        return;
    port->set = true;
    port->by_zoom = reader_has(&r, "cx") || reader_has(&r, "cy") || reader_has(&r, "zoom");
    bool by_box =
        reader_has(&r, "x") || reader_has(&r, "y") || reader_has(&r, "w") || reader_has(&r, "h");
    if (port->by_zoom && by_box)
        reader_bad(&r, "x", "either x, y, w, h or cx, cy, zoom");
    const char *const box[] = {"x", "y", "w", "h"}, *const center[] = {"cx", "cy"};
    for (int i = 0; by_box && i < 4; i++)
        if (!reader_has(&r, box[i]))
            reader_bad(&r, box[i], "a number, a viewport needs x, y, w and h");
    for (int i = 0; port->by_zoom && i < 2; i++)
        if (!reader_has(&r, center[i]))
            reader_bad(&r, center[i], "a number, a zoom needs its centre cx, cy");
    const double far = 1e7;
    reader_get_double(&r, "x", -far, far, &port->x);
    reader_get_double(&r, "y", -far, far, &port->y);
    reader_get_double(&r, "w", 1e-3, far, &port->w);
    reader_get_double(&r, "h", 1e-3, far, &port->h);
    reader_get_double(&r, "cx", -far, far, &port->cx);
    reader_get_double(&r, "cy", -far, far, &port->cy);
    port->zoom = 1;
    reader_get_double(&r, "zoom", 1.0 / 64, 256, &port->zoom);
    reader_leave(outer, &r);
}

static void read_texts(reader *r, view_overlay *overlay)
{
    const json_t *list = reader_value_of(r, "text");
    if (!list)
        return;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > VIEW_MAX_TEXTS) {
        reader_bad(r, "text", "a list of at most 64 texts");
        return;
    }
    overlay->texts = calloc(n ? n : 1, sizeof *overlay->texts);
    if (!overlay->texts) {
        r->st = ts_fail(r->err, TS_E_NO_MEMORY, "view");
        return;
    }
    overlay->n_texts = (int)n;
    for (size_t i = 0; i < n && r->st == TS_OK; i++) {
        static const char *const keys[] = {"x", "y", "text", "color", "bg", NULL};
        view_text *text = &overlay->texts[i];
        reader one = {.object = json_array_get(list, i), .err = r->err};
        snprintf(one.path, sizeof one.path, "%.60s.text[%zu]", r->path, i);
        one.st = ts_json_only(one.object, one.path, keys, r->err);
        reader_get_int(&one, "x", -VIEW_MAX_SIDE, VIEW_MAX_SIDE, &text->x);
        reader_get_int(&one, "y", -VIEW_MAX_SIDE, VIEW_MAX_SIDE, &text->y);
        reader_get_text(&one, "text", &text->text);
        if (one.st == TS_OK && !text->text)
            reader_bad(&one, "text", "a string");
        text->color = (view_color){.c = {255, 255, 255}};
        reader_get_color(&one, "color", &text->color);
        reader_get_color(&one, "bg", &text->bg);
        reader_leave(r, &one);
    }
}

/* `true` stands for an object without keys, false for none. */
static bool enter_or_true(reader *outer, const char *key, const char *const *keys, reader *inner)
{
    const json_t *value = reader_value_of(outer, key);
    if (json_is_boolean(value)) {
        *inner = (reader){.object = NULL, .err = outer->err};
        return json_is_true(value);
    }
    return reader_enter(outer, key, keys, inner);
}

static void read_overlay(reader *outer, view_overlay *overlay)
{
    static const char *const keys[] = {"title", "text", "colorbar", "histogram", NULL};
    static const char *const bar_keys[] = {"width", "pad", "ticks", "label_width", NULL};
    static const char *const hist_keys[] = {"bins", "log", "height", NULL};
    reader r, bar, hist;
    if (!reader_enter(outer, "overlay", keys, &r))
        return;
    reader_get_text(&r, "title", &overlay->title);
    read_texts(&r, overlay);
    if (enter_or_true(&r, "colorbar", bar_keys, &bar)) {
        overlay->colorbar = true;
        reader_get_int(&bar, "width", 1, 512, &overlay->bar_width);
        reader_get_int(&bar, "pad", 0, 512, &overlay->bar_pad);
        reader_get_int(&bar, "ticks", 0, 64, &overlay->bar_ticks);
        reader_get_int(&bar, "label_width", 0, 1024, &overlay->bar_label_width);
        reader_leave(&r, &bar);
    }
    if (enter_or_true(&r, "histogram", hist_keys, &hist)) {
        overlay->histogram = true;
        reader_get_int(&hist, "bins", 1, 4096, &overlay->hist_bins);
        reader_get_int(&hist, "height", 1, 1024, &overlay->hist_height);
        reader_get_bool(&hist, "log", &overlay->hist_log);
        reader_leave(&r, &hist);
    }
    reader_leave(outer, &r);
}

static void read_camera(reader *outer, view_camera *camera)
{
    static const char *const keys[] = {"azimuth",  "elevation", "scale", "type",
                                       "distance", "dist",      "fov",   NULL};
    reader r;
    if (!reader_enter(outer, "camera", keys, &r))
        return;
    reader_get_double(&r, "azimuth", -36000, 36000, &camera->azimuth);
    reader_get_double(&r, "elevation", -89, 89, &camera->elevation);
    reader_get_double(&r, "scale", 1e-3, 1e3, &camera->scale);
    reader_get_double(&r, "distance", 1e-3, 1e3, &camera->distance);
    reader_get_double(&r, "dist", 1e-3, 1e3, &camera->distance);
    reader_get_double(&r, "fov", 1, 170, &camera->fov);
    camera->perspective = reader_get_word(&r, "type", camera_words, 0) == 1;
    reader_leave(outer, &r);
}

static void read_opacity(reader *r, view_part *part)
{
    const json_t *list = reader_value_of(r, "opacity");
    if (!list)
        return;
    size_t n = json_array_size(list);
    bool ok = json_is_array(list) && n >= 1 && n <= VIEW_MAX_STOPS;
    for (size_t i = 0; ok && i < n; i++) {
        const json_t *pair = json_array_get(list, i);
        double t = json_number_value(json_array_get(pair, 0));
        double a = json_number_value(json_array_get(pair, 1));
        ok = json_array_size(pair) == 2 && json_is_number(json_array_get(pair, 0)) &&
             json_is_number(json_array_get(pair, 1)) && fabs(t) <= 1e6 && a >= 0 && a <= 1;
        part->opacity[i][0] = (float)t;
        part->opacity[i][1] = (float)a;
        ok = ok && (i == 0 || part->opacity[i][0] >= part->opacity[i - 1][0]);
    }
    part->n_opacity = (int)n;
    if (!ok)
        reader_bad(r, "opacity", "1 to 64 pairs [t,opacity], t ascending, opacity 0 to 1");
}

static void read_kind(reader *r, view_part *part)
{
    double list[VIEW_MAX_AT];
    size_t n;
    part->kind = (view_kind)reader_get_word(r, "kind", kind_words, KIND_AUTO);
    part->layout = (view_layout)reader_get_word(r, "layout", layout_words, LAYOUT_AUTO);
    if (reader_get_numbers(r, "channels", 1, 3, 0, 1 << 30, true, list, &n)) {
        part->has_channels = true;
        for (size_t i = 0; i < 3; i++)
            part->channels[i] = (int)list[n == 3 ? i : 0];
        if (n == 2)
            reader_bad(r, "channels", "one index, or three");
    }
    reader_get_bool(r, "alpha", &part->alpha);
    part->has_rgb = reader_has(r, "rgb");
    reader_get_bool(r, "rgb", &part->rgb);
    reader_get_int(r, "first", 0, 1 << 30, &part->first);
    reader_get_int(r, "count", 1, 1 << 30, &part->count);
    reader_get_int(r, "cols", 1, VIEW_MAX_SIDE, &part->cols);
    read_size(r, "tile", &part->tile);
    reader_get_int(r, "sep", 0, 256, &part->sep);
    reader_get_color(r, "sep_color", &part->sep_color);
    reader_get_color(r, "background", &part->background);
    reader_get_bool(r, "outer", &part->outer);
    part->has_axis = reader_has(r, "axis");
    reader_get_int(r, "axis", -8, 7, &part->axis);
    if (r->st == TS_OK)
        r->st = ts_json_get_int(r->object, r->path, "index", -(INT64_C(1) << 31), INT64_C(1) << 31,
                                &part->index, r->err);
    if (reader_get_numbers(r, "at", 1, VIEW_MAX_AT, -2147483648.0, 2147483647, true, list, &n)) {
        part->n_at = (int)n;
        for (size_t i = 0; i < n; i++)
            part->at[i] = (int64_t)list[i];
    }
    reader_get_int(r, "gap", 0, 512, &part->gap);
    reader_get_color(r, "crosshair", &part->crosshair);
    part->op = (view_project_op)reader_get_word(r, "op", project_words, PROJECT_MIP);
    part->volume = (view_volume_mode)reader_get_word(r, "mode", volume_words, VOLUME_MIP);
    read_camera(r, &part->camera);
    reader_get_double(r, "step", 0.05, 16, &part->step);
    reader_get_double(r, "iso", -1e6, 1e6, &part->iso);
    read_opacity(r, part);
    reader_get_color(r, "color", &part->color);
    reader_get_int(r, "thickness", 1, 64, &part->thickness);
    reader_get_bool(r, "fill", &part->fill);
    reader_get_bool(r, "zero_line", &part->zero_line);
    reader_get_int(r, "bins", 1, 4096, &part->bins);
    reader_get_bool(r, "log", &part->log);
    reader_get_int(r, "rows", 1, VIEW_MAX_SIDE, &part->rows);
    reader_get_bool(r, "stats", &part->stats);
}

static void part_defaults(view_part *part)
{
    *part = (view_part){
        .sep = 1,
        .sep_color = {.c = {40, 40, 40}},
        .gap = 2,
        .step = 0.5,
        .iso = 0.5,
        .color = {.c = {220, 200, 160}},
        .thickness = 1,
        .bins = 64,
        .rows = 256,
        .n_opacity = 2,
        .opacity = {{0, 0}, {1, 0.5f}},
        .camera = {.scale = 1, .distance = 4, .fov = 40},
        .range =
            {.mode = RANGE_MINMAX, .p_lo = 1, .p_hi = 99, .k = 3, .bins = 256, .ema_alpha = 0.1},
        .tone = {.gain = 1, .gamma = 1},
        .colormap = {.nan = {.c = {255, 0, 255}},
                     .posinf = {.c = {255, 128, 0}},
                     .neginf = {.c = {0, 128, 255}}},
        .overlay = {.bar_width = 14,
                    .bar_pad = 4,
                    .bar_ticks = 5,
                    .bar_label_width = 56,
                    .hist_bins = 64,
                    .hist_height = 48},
    };
}

void view_read_part(reader *r, view_part *part)
{
    part_defaults(part);
    read_kind(r, part);
    read_range(r, &part->range);
    read_tone(r, &part->tone);
    read_filters(r, part);
    read_colormap(r, &part->colormap);
    read_size(r, "resize", &part->resize);
    read_viewport(r, &part->viewport);
    read_overlay(r, &part->overlay);
}

void view_part_finish(view_part *part)
{
    free(part->tensor);
    free(part->title);
    free(part->overlay.title);
    for (int i = 0; i < part->overlay.n_texts; i++)
        free(part->overlay.texts[i].text);
    free(part->overlay.texts);
}
