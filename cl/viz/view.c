#include "cl/viz/view.h"

#include <stdlib.h>
#include <string.h>

#include "cl/viz/view_reader.h"

static const char *const compare_words[] = {"side", "diff",    "absdiff", "blend",
                                            "wipe", "checker", "flicker", NULL};

#define KIND_KEYS                                                                              \
    "kind", "layout", "channels", "alpha", "rgb", "first", "count", "cols", "tile", "sep",     \
        "sep_color", "background", "outer", "axis", "index", "at", "gap", "crosshair", "op",   \
        "mode", "camera", "step", "iso", "opacity", "color", "thickness", "fill", "zero_line", \
        "bins", "log", "rows", "stats"
#define PART_KEYS \
    KIND_KEYS, "normalize", "tone", "filter", "colormap", "resize", "viewport", "overlay", "tensor"

static void get_name(reader *r, const char *key, char **out)
{
    reader_get_text(r, key, out);
    if (r->st == TS_OK && *out && !ts_name_valid(*out))
        reader_bad(r, key, "a tensor's name");
}

static void read_panel(reader *list, size_t i, const json_t *object, view_part *panel)
{
    static const char *const keys[] = {PART_KEYS, "title", "rect", NULL};
    reader r = {.object = object, .err = list->err};
    snprintf(r.path, sizeof r.path, "panels[%zu]", i);
    r.st = ts_json_only(object, r.path, keys, list->err);
    view_read_part(&r, panel);
    get_name(&r, "tensor", &panel->tensor);
    reader_get_text(&r, "title", &panel->title);
    double rect[4];
    size_t n;
    if (reader_get_numbers(&r, "rect", 4, 4, -VIEW_MAX_SIDE, VIEW_MAX_SIDE, true, rect, &n)) {
        panel->has_rect = true;
        for (int k = 0; k < 4; k++)
            panel->rect[k] = (int)rect[k];
        if (rect[2] < 1 || rect[3] < 1)
            reader_bad(&r, "rect", "[x,y,w,h] with w and h at least 1");
    }
    reader_leave(list, &r);
}

static void read_panels(reader *r, ts_view *view)
{
    const json_t *list = reader_value_of(r, "panels");
    if (!list)
        return;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n < 1 || n > VIEW_MAX_PANELS) {
        reader_bad(r, "panels", "a list of 1 to 64 panels");
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
    if (!reader_enter(outer, "canvas", keys, &r))
        return;
    view->has_canvas = true;
    reader_get_int(&r, "width", 1, VIEW_MAX_SIDE, &view->canvas_width);
    reader_get_int(&r, "height", 1, VIEW_MAX_SIDE, &view->canvas_height);
    reader_get_int(&r, "gap", 0, 1024, &view->canvas_gap);
    reader_get_int(&r, "cols", 1, VIEW_MAX_PANELS, &view->canvas_cols);
    reader_get_color(&r, "background", &view->canvas_background);
    if ((double)view->canvas_width * view->canvas_height > VIEW_MAX_PIXELS)
        reader_bad(&r, "width", "at most 67108864 pixels");
    reader_leave(outer, &r);
}

static void read_compare(reader *outer, view_compare *compare)
{
    static const char *const keys[] = {"mode",  "a",    "b",     "gap", "position", "divider_color",
                                       "alpha", "size", "every", "seq", "fit_b",    NULL};
    reader r;
    *compare = (view_compare){.gap = 4, .size = 16, .every = 15, .position = 0.5, .alpha = 0.5};
    compare->divider.c[0] = compare->divider.c[1] = compare->divider.c[2] = 255;
    if (!reader_enter(outer, "compare", keys, &r))
        return;
    compare->set = true;
    compare->mode = (view_compare_mode)reader_get_word(&r, "mode", compare_words, COMPARE_SIDE);
    get_name(&r, "a", &compare->a);
    get_name(&r, "b", &compare->b);
    reader_get_int(&r, "gap", 0, 1024, &compare->gap);
    reader_get_double(&r, "position", 0, 1, &compare->position);
    reader_get_color(&r, "divider_color", &compare->divider);
    reader_get_double(&r, "alpha", 0, 1, &compare->alpha);
    reader_get_int(&r, "size", 1, VIEW_MAX_SIDE, &compare->size);
    reader_get_int(&r, "every", 1, 1 << 20, &compare->every);
    compare->has_seq = reader_has(&r, "seq");
    if (r.st == TS_OK)
        r.st = ts_json_get_int(r.object, r.path, "seq", 0, INT64_MAX, &compare->seq, r.err);
    reader_get_bool(&r, "fit_b", &compare->fit_b);
    reader_leave(outer, &r);
}

static ts_status read_view(ts_view *view, ts_error *err)
{
    static const char *const keys[] = {PART_KEYS, "canvas", "panels", "compare", "sequence", NULL};
    reader r = {.object = view->json, .err = err};
    r.st = ts_json_only(view->json, "", keys, err);
    view_read_part(&r, &view->part);
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
    reader_get_bool(&r, "sequence", &ignored);
    if (view->n_panels && view->compare.set)
        reader_bad(&r, "compare", "either panels or compare");
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

void ts_view_unref(ts_view *view)
{
    if (!view || __atomic_sub_fetch(&view->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    view_part_finish(&view->part);
    for (int i = 0; i < view->n_panels; i++)
        view_part_finish(&view->panels[i]);
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
