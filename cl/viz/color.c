/* Colour tables on the device: float rows as given, and packed tables that kernels index. */
#include <math.h>
#include <stdlib.h>

#include "cl/viz/colormap.h"
#include "cl/viz/viz_internal.h"

enum {
    LUT_ENTRIES = 2048, /* of a table that is interpolated */
    LUT_MAX_ROWS = 4096
};
/* A packed table is within ½ of 255 of the exact colour up to this slope (per unit of t). */
static const float LUT_MAX_SLOPE = 8;

static bool is_integer(ts_dtype dtype)
{
    return !ts_dtype_is_float(dtype);
}

/* The rows or stops of a part's colormap, as they are uploaded. */
typedef struct color_source {
    float *data; /* heap */
    int kind, n;
    bool categorical;
    float slope;
} color_source;

static float channel_slope(const float *a, const float *b, float width)
{
    float most = 0;
    for (int c = 0; c < 3; c++)
        most = fmaxf(most, fabsf(b[c] - a[c]));
    return most == 0 ? 0 : width > 0 ? most / width : INFINITY;
}

static ts_status source_rows(int n, const float (*rows)[3], bool reverse, color_source *out,
                             ts_error *err)
{
    out->data = malloc((size_t)n * 3 * sizeof(float));
    if (!out->data)
        return ts_fail(err, TS_E_NO_MEMORY, "colormap");
    out->kind = VIZ_COLOR_TABLE;
    out->n = n;
    for (int i = 0; i < n; i++)
        memcpy(out->data + 3 * i, rows[reverse ? n - 1 - i : i], sizeof rows[0]);
    for (int i = 0; i + 1 < n; i++)
        out->slope = fmaxf(out->slope, channel_slope(out->data + 3 * i, out->data + 3 * i + 3,
                                                     1.0f / (float)(n - 1)));
    return TS_OK;
}

static ts_status source_stops(int n, const float *pos, const float (*color)[3], bool reverse,
                              color_source *out, ts_error *err)
{
    out->data = malloc((size_t)n * 4 * sizeof(float));
    if (!out->data)
        return ts_fail(err, TS_E_NO_MEMORY, "colormap");
    out->kind = VIZ_COLOR_STOPS;
    out->n = n;
    for (int i = 0; i < n; i++) {
        int from = reverse ? n - 1 - i : i;
        float *stop = out->data + 4 * i;
        stop[0] = reverse ? 1 - pos[from] : pos[from];
        memcpy(stop + 1, color[from], sizeof color[0]);
        if (i > 0)
            out->slope = fmaxf(out->slope, channel_slope(stop - 3, stop + 1, stop[0] - stop[-4]));
    }
    return TS_OK;
}

static ts_status source_of(const view_colormap *map, color_source *out, ts_error *err)
{
    *out = (color_source){0};
    if (map->two_colors) {
        const float pos[2] = {0, 1};
        float color[2][3];
        memcpy(color[0], map->min_color, sizeof color[0]);
        memcpy(color[1], map->max_color, sizeof color[1]);
        return source_stops(2, pos, (const float(*)[3])color, map->reverse, out, err);
    }
    if (map->n_stops)
        return source_stops(map->n_stops, map->stop_pos, (const float(*)[3])map->stop_color,
                            map->reverse, out, err);
    const ts_colormap *named;
    bool reversed;
    const char *name = map->name[0] ? map->name : "viridis";
    if (!ts_colormap_find(name, &named, &reversed))
        return ts_fail(err, TS_E_OPTION, "colormap: there is no '%s' any more", name);
    reversed ^= map->reverse;
    ts_status st = named->n_rows ? source_rows(named->n_rows, named->rows, reversed, out, err)
                                 : source_stops(named->n_stops, named->stop_pos, named->stop_color,
                                                reversed, out, err);
    out->categorical = strcmp(named->group, "categorical") == 0;
    ts_colormap_unref(named);
    return st;
}

/* diff shows red for positive, absdiff is sequential: compare sets the name of its default. */
static void set_specials(color_table *table, const view_colormap *map, const view_color *background)
{
    const view_color *colors[6] = {[VIZ_LUT_UNDER] = &map->under,   [VIZ_LUT_OVER] = &map->over,
                                   [VIZ_LUT_NAN] = &map->nan,       [VIZ_LUT_POSINF] = &map->posinf,
                                   [VIZ_LUT_NEGINF] = &map->neginf, [VIZ_LUT_BG] = background};
    for (int i = 0; i < 6; i++) {
        bool unset = (i == VIZ_LUT_UNDER || i == VIZ_LUT_OVER) && !colors[i]->set;
        table->special[i] = unset ? 0 : rgba_of(colors[i]);
    }
}

static void choose_form(color_table *table, const color_source *source, const view_colormap *map,
                        ts_dtype dtype)
{
    bool nearest = map->has_interp ? map->nearest : source->categorical;
    table->n_rows = source->n;
    table->kind = source->kind;
    table->nearest = nearest && source->kind == VIZ_COLOR_TABLE;
    table->categorical = source->categorical && is_integer(dtype);
    if (table->nearest)
        table->kind = VIZ_COLOR_ROW;
    table->lut_exact = table->nearest || source->slope <= LUT_MAX_SLOPE;
    table->lut_n = table->nearest ? source->n : LUT_ENTRIES;
    table->lut_scale = table->nearest ? (float)table->lut_n : (float)(table->lut_n - 1);
    table->lut_bias = table->nearest ? 0.0f : 0.5f;
}

ts_status color_update(ts_viz *viz, color_table *table, const view_part *part, ts_dtype dtype,
                       const view_color *background, ts_error *err)
{
    color_source source;
    ts_status st = source_of(&part->colormap, &source, err);
    if (st != TS_OK)
        return st;
    size_t floats = (size_t)source.n * (source.kind == VIZ_COLOR_STOPS ? 4 : 3);
    color_table fresh = *table;
    set_specials(&fresh, &part->colormap, background);
    choose_form(&fresh, &source, &part->colormap, dtype);
    uint64_t key = viz_hash(0, source.data, floats * sizeof(float));
    key = viz_hash(key, fresh.special, sizeof fresh.special);
    int form[] = {fresh.kind, fresh.lut_n, fresh.categorical, source.n};
    key = viz_hash(key, form, sizeof form);
    if (table->valid && table->key == key) {
        free(source.data);
        return TS_OK;
    }
    *table = fresh;
    table->valid = false;
    size_t entries = (size_t)(table->lut_n + VIZ_LUT_EXTRA) * sizeof(uint32_t);
    st = slot_need(viz, &table->rows, floats * sizeof(float), err);
    if (st == TS_OK)
        st = slot_need(viz, &table->rgba, entries, err);
    if (st == TS_OK)
        st = slot_need(viz, &table->yuv, entries, err);
    if (st == TS_OK)
        st = ts_buffer_write(viz->queue, table->rows.buffer, 0, source.data, floats * sizeof(float),
                             err);
    free(source.data);
    viz_draw d = {0};
    memcpy(d.special_color, table->special, sizeof d.special_color);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_draw", TS_F32, "viz_draw_lut",
                        SIZES((size_t)table->lut_n + VIZ_LUT_EXTRA, 1, 1), NULL,
                        TS_ARGS(TS_BUF(table->rows.buffer), TS_INT(table->kind),
                                TS_INT(table->n_rows), TS_INT(table->lut_n), TS_INT(table->nearest),
                                TS_BYTES(&d, sizeof d), TS_BUF(table->rgba.buffer),
                                TS_BUF(table->yuv.buffer)),
                        err);
    table->key = key;
    table->valid = st == TS_OK;
    return st;
}

void color_finish(color_table *table)
{
    slot_finish(&table->rows);
    slot_finish(&table->rgba);
    slot_finish(&table->yuv);
    table->valid = false;
}
