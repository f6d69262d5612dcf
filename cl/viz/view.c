#include "cl/viz/view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/viz/colormap.h"
#include "cl/viz/view_values.h"

/* One object being read: the first failure sticks in st, later reads do nothing. */
typedef struct reader {
    const json_t *object;
    char path[96];
    ts_status st;
    ts_error *err;
} reader;

/* The object under `key`, whose keys must all be in `keys`. False: absent, or failed. */
static bool enter(reader *outer, const char *key, const char *const *keys, reader *inner)
{
    if (outer->st != TS_OK)
        return false;
    const json_t *value = json_object_get(outer->object, key);
    if (!value || json_is_null(value))
        return false;
    *inner = (reader){.object = value, .err = outer->err};
    snprintf(inner->path, sizeof inner->path, "%.60s%s%.30s", outer->path, *outer->path ? "." : "",
             key);
    inner->st = outer->st = ts_json_only(value, inner->path, keys, outer->err);
    return inner->st == TS_OK;
}

static void leave(reader *outer, const reader *inner)
{
    if (outer->st == TS_OK)
        outer->st = inner->st;
}

static void bad(reader *r, const char *key, const char *want)
{
    if (r->st == TS_OK)
        r->st = ts_fail(r->err, TS_E_OPTION, "%s%s%s: expected %s", r->path, *r->path ? "." : "",
                        key, want);
}

static const json_t *value_of(const reader *r, const char *key)
{
    const json_t *value = r->st == TS_OK ? json_object_get(r->object, key) : NULL;
    return json_is_null(value) ? NULL : value;
}

static bool has(const reader *r, const char *key)
{
    return value_of(r, key) != NULL;
}

static void get_int(reader *r, const char *key, int min, int max, int *out)
{
    int64_t value = *out;
    if (r->st == TS_OK)
        r->st = ts_json_get_int(r->object, r->path, key, min, max, &value, r->err);
    *out = (int)value;
}

static void get_double(reader *r, const char *key, double min, double max, double *out)
{
    if (r->st == TS_OK)
        r->st = ts_json_get_double(r->object, r->path, key, min, max, out, r->err);
}

static void get_bool(reader *r, const char *key, bool *out)
{
    if (r->st == TS_OK)
        r->st = ts_json_get_bool(r->object, r->path, key, out, r->err);
}

/* Enums are read as int: every enum here starts at 0 in the order of its words. */
static int get_word(reader *r, const char *key, const char *const *words, int value)
{
    if (r->st == TS_OK)
        r->st = ts_json_get_enum(r->object, r->path, key, words, &value, r->err);
    return value;
}

static void get_text(reader *r, const char *key, char **out)
{
    const char *text = NULL;
    if (r->st == TS_OK)
        r->st = ts_json_get_string(r->object, r->path, key, &text, r->err);
    if (r->st != TS_OK || !text)
        return;
    if (strlen(text) > 1024) {
        bad(r, key, "at most 1024 bytes of text");
        return;
    }
    free(*out);
    *out = strdup(text);
    if (!*out)
        r->st = ts_fail(r->err, TS_E_NO_MEMORY, "view");
}

/* `n` numbers, whole ones within min … max; false: absent or failed. */
static bool get_numbers(reader *r, const char *key, size_t least, size_t most, double min,
                        double max, bool whole, double *out, size_t *n)
{
    const json_t *list = value_of(r, key);
    if (!list)
        return false;
    char want[96];
    snprintf(want, sizeof want, "a list of %zu to %zu %s from %g to %g", least, most,
             whole ? "whole numbers" : "numbers", min, max);
    *n = json_array_size(list);
    bool ok = json_is_array(list) && *n >= least && *n <= most;
    for (size_t i = 0; ok && i < *n; i++) {
        const json_t *item = json_array_get(list, i);
        out[i] = json_number_value(item);
        ok = json_is_number(item) && out[i] >= min && out[i] <= max &&
             (!whole || out[i] == floor(out[i]));
    }
    if (!ok)
        bad(r, key, want);
    return ok;
}

static void get_color(reader *r, const char *key, view_color *out)
{
    double c[3];
    size_t n;
    if (!get_numbers(r, key, 3, 3, 0, 255, true, c, &n))
        return;
    for (int i = 0; i < 3; i++)
        out->c[i] = (uint8_t)c[i];
    out->set = true;
}

/* ---- the objects of a part ---- */

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
static const char *const compare_words[] = {"side", "diff",    "absdiff", "blend",
                                            "wipe", "checker", "flicker", NULL};

static void read_size(reader *outer, const char *key, view_size *size)
{
    static const char *const keys[] = {"width", "height",     "scale", "filter",
                                       "fit",   "background", NULL};
    reader r;
    if (!enter(outer, key, keys, &r))
        return;
    get_int(&r, "width", 1, VIEW_MAX_SIDE, &size->width);
    get_int(&r, "height", 1, VIEW_MAX_SIDE, &size->height);
    get_double(&r, "scale", 1.0 / 1024, 1024, &size->scale);
    if (size->scale != 0 && (size->width || size->height))
        bad(&r, "scale", "either scale or width and height");
    size->filter = (view_resample)get_word(&r, "filter", resample_words, (int)size->filter);
    size->has_fit = has(&r, "fit");
    size->fit = (view_fit)get_word(&r, "fit", fit_words, (int)size->fit);
    get_color(&r, "background", &size->background);
    if ((double)size->width * size->height > VIEW_MAX_PIXELS)
        bad(&r, "width", "at most 67108864 pixels");
    leave(outer, &r);
}

static void read_ema(reader *outer, view_range *range)
{
    static const char *const keys[] = {"alpha", "tau_s", "expand", NULL};
    reader r;
    if (!enter(outer, "ema", keys, &r))
        return;
    range->ema = true;
    get_double(&r, "alpha", 0, 1, &range->ema_alpha);
    range->ema_has_tau = has(&r, "tau_s");
    get_double(&r, "tau_s", 1e-6, 1e6, &range->ema_tau_s);
    if (range->ema_has_tau && has(&r, "alpha"))
        bad(&r, "tau_s", "either alpha or tau_s");
    range->ema_instant = get_word(&r, "expand", expand_words, 0) == 1;
    leave(outer, &r);
}

static void read_range(reader *outer, view_range *range)
{
    static const char *const keys[] = {"mode", "lo",   "hi",        "p_lo",  "p_hi", "p",
                                       "k",    "bins", "linthresh", "scope", "ema",  NULL};
    reader r;
    if (!enter(outer, "normalize", keys, &r))
        return;
    const double big = 1.7e308;
    range->has_mode = has(&r, "mode");
    range->mode = (view_range_mode)get_word(&r, "mode", range_words, RANGE_MINMAX);
    range->has_lo = has(&r, "lo");
    range->has_hi = has(&r, "hi");
    get_double(&r, "lo", -big, big, &range->lo);
    get_double(&r, "hi", -big, big, &range->hi);
    get_double(&r, "p_lo", 0, 100, &range->p_lo);
    get_double(&r, "p_hi", 0, 100, &range->p_hi);
    if (range->p_lo > range->p_hi)
        bad(&r, "p_lo", "at most p_hi");
    range->has_p = has(&r, "p");
    get_double(&r, "p", 0, 100, &range->p);
    get_double(&r, "k", 1e-6, 1e6, &range->k);
    range->has_linthresh = has(&r, "linthresh");
    get_double(&r, "linthresh", 1e-300, big, &range->linthresh);
    get_int(&r, "bins", 2, 4096, &range->bins);
    range->has_scope = has(&r, "scope");
    range->scope = (view_scope)get_word(&r, "scope", scope_words, SCOPE_TENSOR);
    if (range->mode == RANGE_FIXED && !(range->has_lo && range->has_hi))
        bad(&r, range->has_lo ? "hi" : "lo", "a number, mode fixed needs lo and hi");
    if (range->mode == RANGE_WHITEN && !range->has_scope)
        range->scope = SCOPE_CHANNEL;
    read_ema(&r, range);
    leave(outer, &r);
}

static void read_tone(reader *outer, view_tone *tone)
{
    static const char *const keys[] = {"gain", "bias", "gamma", "invert", NULL};
    reader r;
    if (!enter(outer, "tone", keys, &r))
        return;
    get_double(&r, "gain", -1e6, 1e6, &tone->gain);
    get_double(&r, "bias", -1e6, 1e6, &tone->bias);
    get_double(&r, "gamma", 1e-3, 1e3, &tone->gamma);
    get_bool(&r, "invert", &tone->invert);
    leave(outer, &r);
}

/* One filter: an object, held under `key` of a wrapper so that enter() names its path. */
static void read_one_filter(reader *outer, const char *key, view_filter *filter)
{
    static const char *const keys[] = {"op", "r", "sigma", "amount", "alpha", NULL};
    reader r;
    *filter = (view_filter){.r = 1, .sigma = 1, .amount = 1, .alpha = 0.1};
    if (!enter(outer, key, keys, &r))
        return;
    if (!has(&r, "op"))
        bad(&r, "op", "the filter's name");
    filter->op = (view_filter_op)get_word(&r, "op", filter_words, 0);
    get_int(&r, "r", 0, 64, &filter->r);
    get_double(&r, "sigma", 0.05, 32, &filter->sigma);
    get_double(&r, "amount", -100, 100, &filter->amount);
    get_double(&r, "alpha", 0, 1, &filter->alpha);
    if (filter->op == FILTER_MEDIAN && (filter->r < 1 || filter->r > 2))
        bad(&r, "r", "1 or 2 for a median");
    leave(outer, &r);
}

static void read_filters(reader *r, view_part *part)
{
    const json_t *value = value_of(r, "filter");
    if (!value)
        return;
    if (json_is_object(value)) {
        part->n_filters = 1;
        read_one_filter(r, "filter", &part->filters[0]);
        return;
    }
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n > VIEW_MAX_FILTERS) {
        bad(r, "filter", "a filter or a list of at most 8");
        return;
    }
    for (size_t i = 0; i < n && r->st == TS_OK; i++) {
        char key[24];
        snprintf(key, sizeof key, "filter[%zu]", i);
        const json_t *item = json_array_get(value, i);
        if (!json_is_object(item)) {
            bad(r, key, "an object");
            return;
        }
        json_t *wrapper = json_object();
        json_object_set(wrapper, key, (json_t *)item);
        reader one = {.object = wrapper, .st = r->st, .err = r->err};
        memcpy(one.path, r->path, sizeof one.path);
        read_one_filter(&one, key, &part->filters[i]);
        json_decref(wrapper);
        leave(r, &one);
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
        bad(r, key, want);
        return;
    }
    ts_colormap_unref(found);
    strcpy(map->name, name);
}

static void read_colormap_colors(reader *r, view_colormap *map)
{
    const json_t *low = value_of(r, "min_color"), *high = value_of(r, "max_color");
    const json_t *stops = value_of(r, "stops");
    char path[128];
    if (!low != !high)
        bad(r, low ? "max_color" : "min_color", "[r,g,b], both ends are needed");
    if ((low != NULL) + (stops != NULL) + (map->name[0] != 0) > 1)
        bad(r, "name", "only one of name, stops, and min_color with max_color");
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
    const json_t *value = value_of(outer, "colormap");
    map->set = value != NULL;
    if (json_is_string(value)) {
        read_colormap_name(outer, "colormap", map);
        return;
    }
    reader r;
    if (!enter(outer, "colormap", keys, &r))
        return;
    read_colormap_name(&r, "name", map);
    get_bool(&r, "reverse", &map->reverse);
    map->has_interp = has(&r, "lut_interp");
    map->nearest = get_word(&r, "lut_interp", interp_words, 0) == 1;
    read_colormap_colors(&r, map);
    get_color(&r, "nan", &map->nan);
    get_color(&r, "posinf", &map->posinf);
    get_color(&r, "neginf", &map->neginf);
    get_color(&r, "under", &map->under);
    get_color(&r, "over", &map->over);
    leave(outer, &r);
}

static void read_viewport(reader *outer, view_viewport *port)
{
    static const char *const keys[] = {"x", "y", "w", "h", "cx", "cy", "zoom", NULL};
    reader r;
    if (!enter(outer, "viewport", keys, &r) || json_object_size(r.object) == 0)
        return;
    port->set = true;
    port->by_zoom = has(&r, "cx") || has(&r, "cy") || has(&r, "zoom");
    bool by_box = has(&r, "x") || has(&r, "y") || has(&r, "w") || has(&r, "h");
    if (port->by_zoom && by_box)
        bad(&r, "x", "either x, y, w, h or cx, cy, zoom");
    const char *const box[] = {"x", "y", "w", "h"}, *const center[] = {"cx", "cy"};
    for (int i = 0; by_box && i < 4; i++)
        if (!has(&r, box[i]))
            bad(&r, box[i], "a number, a viewport needs x, y, w and h");
    for (int i = 0; port->by_zoom && i < 2; i++)
        if (!has(&r, center[i]))
            bad(&r, center[i], "a number, a zoom needs its centre cx, cy");
    const double far = 1e7;
    get_double(&r, "x", -far, far, &port->x);
    get_double(&r, "y", -far, far, &port->y);
    get_double(&r, "w", 1e-3, far, &port->w);
    get_double(&r, "h", 1e-3, far, &port->h);
    get_double(&r, "cx", -far, far, &port->cx);
    get_double(&r, "cy", -far, far, &port->cy);
    port->zoom = 1;
    get_double(&r, "zoom", 1.0 / 64, 256, &port->zoom);
    leave(outer, &r);
}

static void read_texts(reader *r, view_overlay *overlay)
{
    const json_t *list = value_of(r, "text");
    if (!list)
        return;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > VIEW_MAX_TEXTS) {
        bad(r, "text", "a list of at most 64 texts");
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
        get_int(&one, "x", -VIEW_MAX_SIDE, VIEW_MAX_SIDE, &text->x);
        get_int(&one, "y", -VIEW_MAX_SIDE, VIEW_MAX_SIDE, &text->y);
        get_text(&one, "text", &text->text);
        if (one.st == TS_OK && !text->text)
            bad(&one, "text", "a string");
        text->color = (view_color){.c = {255, 255, 255}};
        get_color(&one, "color", &text->color);
        get_color(&one, "bg", &text->bg);
        leave(r, &one);
    }
}

/* `true` stands for an object without keys, false for none. */
static bool enter_or_true(reader *outer, const char *key, const char *const *keys, reader *inner)
{
    const json_t *value = value_of(outer, key);
    if (json_is_boolean(value)) {
        *inner = (reader){.object = NULL, .err = outer->err};
        return json_is_true(value);
    }
    return enter(outer, key, keys, inner);
}

static void read_overlay(reader *outer, view_overlay *overlay)
{
    static const char *const keys[] = {"title", "text", "colorbar", "histogram", NULL};
    static const char *const bar_keys[] = {"width", "pad", "ticks", "label_width", NULL};
    static const char *const hist_keys[] = {"bins", "log", "height", NULL};
    reader r, bar, hist;
    if (!enter(outer, "overlay", keys, &r))
        return;
    get_text(&r, "title", &overlay->title);
    read_texts(&r, overlay);
    if (enter_or_true(&r, "colorbar", bar_keys, &bar)) {
        overlay->colorbar = true;
        get_int(&bar, "width", 1, 512, &overlay->bar_width);
        get_int(&bar, "pad", 0, 512, &overlay->bar_pad);
        get_int(&bar, "ticks", 0, 64, &overlay->bar_ticks);
        get_int(&bar, "label_width", 0, 1024, &overlay->bar_label_width);
        leave(&r, &bar);
    }
    if (enter_or_true(&r, "histogram", hist_keys, &hist)) {
        overlay->histogram = true;
        get_int(&hist, "bins", 1, 4096, &overlay->hist_bins);
        get_int(&hist, "height", 1, 1024, &overlay->hist_height);
        get_bool(&hist, "log", &overlay->hist_log);
        leave(&r, &hist);
    }
    leave(outer, &r);
}

static void read_camera(reader *outer, view_camera *camera)
{
    static const char *const keys[] = {"azimuth",  "elevation", "scale", "type",
                                       "distance", "dist",      "fov",   NULL};
    reader r;
    if (!enter(outer, "camera", keys, &r))
        return;
    get_double(&r, "azimuth", -36000, 36000, &camera->azimuth);
    get_double(&r, "elevation", -89, 89, &camera->elevation);
    get_double(&r, "scale", 1e-3, 1e3, &camera->scale);
    get_double(&r, "distance", 1e-3, 1e3, &camera->distance);
    get_double(&r, "dist", 1e-3, 1e3, &camera->distance);
    get_double(&r, "fov", 1, 170, &camera->fov);
    camera->perspective = get_word(&r, "type", camera_words, 0) == 1;
    leave(outer, &r);
}

static void read_opacity(reader *r, view_part *part)
{
    const json_t *list = value_of(r, "opacity");
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
        bad(r, "opacity", "1 to 64 pairs [t,opacity], t ascending, opacity 0 to 1");
}

static void read_kind(reader *r, view_part *part)
{
    double list[VIEW_MAX_AT];
    size_t n;
    part->kind = (view_kind)get_word(r, "kind", kind_words, KIND_AUTO);
    part->layout = (view_layout)get_word(r, "layout", layout_words, LAYOUT_AUTO);
    if (get_numbers(r, "channels", 1, 3, 0, 1 << 30, true, list, &n)) {
        part->has_channels = true;
        for (size_t i = 0; i < 3; i++)
            part->channels[i] = (int)list[n == 3 ? i : 0];
        if (n == 2)
            bad(r, "channels", "one index, or three");
    }
    get_bool(r, "alpha", &part->alpha);
    part->has_rgb = has(r, "rgb");
    get_bool(r, "rgb", &part->rgb);
    get_int(r, "first", 0, 1 << 30, &part->first);
    get_int(r, "count", 1, 1 << 30, &part->count);
    get_int(r, "cols", 1, VIEW_MAX_SIDE, &part->cols);
    read_size(r, "tile", &part->tile);
    get_int(r, "sep", 0, 256, &part->sep);
    get_color(r, "sep_color", &part->sep_color);
    get_color(r, "background", &part->background);
    get_bool(r, "outer", &part->outer);
    part->has_axis = has(r, "axis");
    get_int(r, "axis", -8, 7, &part->axis);
    if (r->st == TS_OK)
        r->st = ts_json_get_int(r->object, r->path, "index", -(INT64_C(1) << 31), INT64_C(1) << 31,
                                &part->index, r->err);
    if (get_numbers(r, "at", 1, VIEW_MAX_AT, -2147483648.0, 2147483647, true, list, &n)) {
        part->n_at = (int)n;
        for (size_t i = 0; i < n; i++)
            part->at[i] = (int64_t)list[i];
    }
    get_int(r, "gap", 0, 512, &part->gap);
    get_color(r, "crosshair", &part->crosshair);
    part->op = (view_project_op)get_word(r, "op", project_words, PROJECT_MIP);
    part->volume = (view_volume_mode)get_word(r, "mode", volume_words, VOLUME_MIP);
    read_camera(r, &part->camera);
    get_double(r, "step", 0.05, 16, &part->step);
    get_double(r, "iso", -1e6, 1e6, &part->iso);
    read_opacity(r, part);
    get_color(r, "color", &part->color);
    get_int(r, "thickness", 1, 64, &part->thickness);
    get_bool(r, "fill", &part->fill);
    get_bool(r, "zero_line", &part->zero_line);
    get_int(r, "bins", 1, 4096, &part->bins);
    get_bool(r, "log", &part->log);
    get_int(r, "rows", 1, VIEW_MAX_SIDE, &part->rows);
    get_bool(r, "stats", &part->stats);
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

static void read_part(reader *r, view_part *part)
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

static void part_finish(view_part *part)
{
    free(part->tensor);
    free(part->title);
    free(part->overlay.title);
    for (int i = 0; i < part->overlay.n_texts; i++)
        free(part->overlay.texts[i].text);
    free(part->overlay.texts);
}

/* ---- the whole view ---- */

#define KIND_KEYS                                                                              \
    "kind", "layout", "channels", "alpha", "rgb", "first", "count", "cols", "tile", "sep",     \
        "sep_color", "background", "outer", "axis", "index", "at", "gap", "crosshair", "op",   \
        "mode", "camera", "step", "iso", "opacity", "color", "thickness", "fill", "zero_line", \
        "bins", "log", "rows", "stats"
#define PART_KEYS \
    KIND_KEYS, "normalize", "tone", "filter", "colormap", "resize", "viewport", "overlay", "tensor"

static void get_name(reader *r, const char *key, char **out)
{
    get_text(r, key, out);
    if (r->st == TS_OK && *out && !ts_name_valid(*out))
        bad(r, key, "a tensor's name");
}

static void read_panel(reader *list, size_t i, const json_t *object, view_part *panel)
{
    static const char *const keys[] = {PART_KEYS, "title", "rect", NULL};
    reader r = {.object = object, .err = list->err};
    snprintf(r.path, sizeof r.path, "panels[%zu]", i);
    r.st = ts_json_only(object, r.path, keys, list->err);
    read_part(&r, panel);
    get_name(&r, "tensor", &panel->tensor);
    get_text(&r, "title", &panel->title);
    double rect[4];
    size_t n;
    if (get_numbers(&r, "rect", 4, 4, -VIEW_MAX_SIDE, VIEW_MAX_SIDE, true, rect, &n)) {
        panel->has_rect = true;
        for (int k = 0; k < 4; k++)
            panel->rect[k] = (int)rect[k];
        if (rect[2] < 1 || rect[3] < 1)
            bad(&r, "rect", "[x,y,w,h] with w and h at least 1");
    }
    leave(list, &r);
}

static void read_panels(reader *r, ts_view *view)
{
    const json_t *list = value_of(r, "panels");
    if (!list)
        return;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n < 1 || n > VIEW_MAX_PANELS) {
        bad(r, "panels", "a list of 1 to 64 panels");
        return;
    }
    view->panels = calloc(n, sizeof *view->panels);
    if (!view->panels) {
        r->st = ts_fail(r->err, TS_E_NO_MEMORY, "view");
        return;
    }
    view->n_panels = (int)n;
    for (size_t i = 0; i < n && r->st == TS_OK; i++)
        read_panel(r, i, json_array_get(list, i), &view->panels[i]);
}

static void read_canvas(reader *outer, ts_view *view)
{
    static const char *const keys[] = {"width", "height", "gap", "cols", "background", NULL};
    reader r;
    if (!enter(outer, "canvas", keys, &r))
        return;
    view->has_canvas = true;
    get_int(&r, "width", 1, VIEW_MAX_SIDE, &view->canvas_width);
    get_int(&r, "height", 1, VIEW_MAX_SIDE, &view->canvas_height);
    get_int(&r, "gap", 0, 1024, &view->canvas_gap);
    get_int(&r, "cols", 1, VIEW_MAX_PANELS, &view->canvas_cols);
    get_color(&r, "background", &view->canvas_background);
    if ((double)view->canvas_width * view->canvas_height > VIEW_MAX_PIXELS)
        bad(&r, "width", "at most 67108864 pixels");
    leave(outer, &r);
}

static void read_compare(reader *outer, view_compare *compare)
{
    static const char *const keys[] = {"mode",  "a",    "b",     "gap", "position", "divider_color",
                                       "alpha", "size", "every", "seq", "fit_b",    NULL};
    reader r;
    *compare = (view_compare){.gap = 4, .size = 16, .every = 15, .position = 0.5, .alpha = 0.5};
    compare->divider.c[0] = compare->divider.c[1] = compare->divider.c[2] = 255;
    if (!enter(outer, "compare", keys, &r))
        return;
    compare->set = true;
    compare->mode = (view_compare_mode)get_word(&r, "mode", compare_words, COMPARE_SIDE);
    get_name(&r, "a", &compare->a);
    get_name(&r, "b", &compare->b);
    get_int(&r, "gap", 0, 1024, &compare->gap);
    get_double(&r, "position", 0, 1, &compare->position);
    get_color(&r, "divider_color", &compare->divider);
    get_double(&r, "alpha", 0, 1, &compare->alpha);
    get_int(&r, "size", 1, VIEW_MAX_SIDE, &compare->size);
    get_int(&r, "every", 1, 1 << 20, &compare->every);
    compare->has_seq = has(&r, "seq");
    if (r.st == TS_OK)
        r.st = ts_json_get_int(r.object, r.path, "seq", 0, INT64_MAX, &compare->seq, r.err);
    get_bool(&r, "fit_b", &compare->fit_b);
    leave(outer, &r);
}

static ts_status read_view(ts_view *view, ts_error *err)
{
    static const char *const keys[] = {PART_KEYS, "canvas", "panels", "compare", "sequence", NULL};
    reader r = {.object = view->json, .err = err};
    r.st = ts_json_only(view->json, "", keys, err);
    read_part(&r, &view->part);
    get_name(&r, "tensor", &view->part.tensor);
    view->canvas_width = 1024;
    view->canvas_height = 768;
    view->canvas_gap = 4;
    memset(view->canvas_background.c, 24, 3);
    read_canvas(&r, view);
    read_panels(&r, view);
    read_compare(&r, &view->compare);
    /* A fixture's word for "frames are pushed one by one": nothing to do here. */
    bool ignored = false;
    get_bool(&r, "sequence", &ignored);
    if (view->n_panels && view->compare.set)
        bad(&r, "compare", "either panels or compare");
    return r.st;
}

ts_status ts_view_parse(const json_t *object, ts_view **out, ts_error *err)
{
    ts_view *view = calloc(1, sizeof *view);
    if (!view)
        return ts_fail(err, TS_E_NO_MEMORY, "view");
    view->refs = 1;
    ts_status st = ts_view_fold(object, &view->json, err);
    if (st == TS_OK)
        st = read_view(view, err);
    if (st != TS_OK) {
        ts_view_unref(view);
        return st;
    }
    *out = view;
    return TS_OK;
}

ts_view *ts_view_ref(ts_view *view)
{
    __atomic_add_fetch(&view->refs, 1, __ATOMIC_RELAXED);
    return view;
}

void ts_view_unref(ts_view *view)
{
    if (!view || __atomic_sub_fetch(&view->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    part_finish(&view->part);
    for (int i = 0; i < view->n_panels; i++)
        part_finish(&view->panels[i]);
    free(view->panels);
    free(view->compare.a);
    free(view->compare.b);
    json_decref(view->json);
    free(view);
}

const json_t *ts_view_json(const ts_view *view)
{
    return view->json;
}

void ts_view_each_tensor(const ts_view *view, void (*visit)(void *arg, const char *name), void *arg)
{
    if (view->part.tensor)
        visit(arg, view->part.tensor);
    for (int i = 0; i < view->n_panels; i++)
        if (view->panels[i].tensor)
            visit(arg, view->panels[i].tensor);
    if (view->compare.a)
        visit(arg, view->compare.a);
    if (view->compare.b)
        visit(arg, view->compare.b);
}

static bool changing_text(const char *text)
{
    return text && (strstr(text, "{seq}") || strstr(text, "{fps}"));
}

static bool part_is_stateless(const view_part *part)
{
    if (part->range.ema || part->kind == KIND_WATERFALL || changing_text(part->title) ||
        changing_text(part->overlay.title))
        return false;
    for (int i = 0; i < part->n_filters; i++)
        if (part->filters[i].op == FILTER_TEMPORAL || part->filters[i].op == FILTER_DELTA)
            return false;
    for (int i = 0; i < part->overlay.n_texts; i++)
        if (changing_text(part->overlay.texts[i].text))
            return false;
    return true;
}

bool ts_view_is_stateless(const ts_view *view)
{
    if (view->compare.set && view->compare.mode == COMPARE_FLICKER && !view->compare.has_seq)
        return false;
    bool stateless = part_is_stateless(&view->part);
    for (int i = 0; i < view->n_panels; i++)
        stateless = stateless && part_is_stateless(&view->panels[i]);
    return stateless;
}
