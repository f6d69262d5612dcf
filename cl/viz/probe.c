/*
 * What lies under a pixel: the geometry of drawing undone on the host, then one sample read.
 *
 * The index is the nearest rule's, whatever filter drew the picture.
 */
#include <math.h>
#include <stdlib.h>

#include "cl/viz/colormap.h"
#include "cl/viz/viz_internal.h"

/* A place in a part: pixel centre in the part's picture of w x h pixels. */
typedef struct place {
    double x, y;
    int w, h;
} place;

int64_t axis_source(const ts_viz *viz, const viz_axis *a, double i)
{
    double pixel = floor(i) - a->off;
    if (pixel < 0 || pixel >= a->len)
        return -1;
    double origin = viz_unwide(viz, a->origin), extent = viz_unwide(viz, a->extent);
    if (a->whole) /* as the kernel: integers */
        return (int64_t)((2 * (uint64_t)pixel + 1) * (uint64_t)a->s / (2 * (uint64_t)a->len));
    double pos = origin + (pixel + 0.5) * extent / a->len;
    if (pos < 0 || pos >= a->s)
        return -1;
    return (int64_t)floor(pos);
}

static bool map_back(const ts_viz *viz, const view_size *size, const view_viewport *port, int w,
                     int h, const place *p, int64_t *x, int64_t *y)
{
    viz_axis ax, ay;
    axis_keys(viz, size, port, w, h, p->w, p->h, &ax, &ay);
    *x = axis_source(viz, &ax, p->x);
    *y = axis_source(viz, &ay, p->y);
    return *x >= 0 && *y >= 0;
}

/* The sample found: tile, row and column in the plan's source. */
typedef struct found {
    bool any;
    uint32_t tile, group;
    int64_t y, x;
} found;

static void find_in_montage(const ts_viz *viz, const view_part *part, const viz_plan *plan,
                            const native_picture *n, int64_t x, int64_t y, found *f)
{
    int edge = part->outer ? part->sep : 0;
    int64_t px = x - edge, py = y - edge, step_x = n->tile_w + part->sep,
            step_y = n->tile_h + part->sep;
    if (px < 0 || py < 0 || px % step_x >= n->tile_w || py % step_y >= n->tile_h ||
        px / step_x >= plan->cols)
        return;
    int64_t tile = py / step_y * plan->cols + px / step_x;
    if (tile >= plan->src.tiles)
        return;
    place in = {
        .x = (double)(px % step_x), .y = (double)(py % step_y), .w = n->tile_w, .h = n->tile_h};
    f->tile = (uint32_t)tile;
    f->any =
        map_back(viz, &part->tile, NULL, (int)plan->src.w, (int)plan->src.h, &in, &f->x, &f->y);
}

/* The plan is narrowed to the plane of ortho that (x, y) lies in. */
static void find_in_ortho(const view_part *part, viz_plan *plan, int64_t x, int64_t y, found *f)
{
    int64_t D = plan->dim[0], H = plan->dim[1], W = plan->dim[2];
    int row = 1, col = 2;
    if (x >= W + part->gap && y < H) {
        col = 0;
        x -= W + part->gap;
    } else if (y >= H + part->gap && x < W) {
        row = 0;
        y -= H + part->gap;
    } else if (x >= W || y >= H) {
        return;
    }
    int fixed = 3 - row - col;
    f->any = x < (col == 0 ? D : W) && y < (row == 0 ? D : H);
    f->x = x;
    f->y = y;
    plan->src.base += (uint64_t)plan->at[fixed] * plan->stride[fixed];
    plan->src.sy = plan->stride[row];
    plan->src.sx = plan->stride[col];
    plan->src.h = (uint32_t)plan->dim[row];
    plan->src.w = (uint32_t)plan->dim[col];
}

static ts_status find_sample(const ts_viz *viz, const part_call *call, viz_plan *plan,
                             const place *p, found *f, ts_error *err)
{
    const view_part *part = call->part;
    view_size size = part->resize;
    if (call->default_contain && !size.has_fit)
        size.fit = FIT_CONTAIN;
    if (plan->kind == KIND_HIST || plan->kind == KIND_VOLUME)
        return TS_OK;
    if (plan->kind == KIND_LINE) {
        f->any = true;
        f->x = (int64_t)(floor(p->x) + 0.5) * (int64_t)plan->src.w / p->w;
        return TS_OK;
    }
    if (!plan->montage && plan->kind != KIND_ORTHO) {
        f->any = map_back(viz, &size, &part->viewport, (int)plan->src.w, (int)plan->src.h, p, &f->x,
                          &f->y) &&
                 (uint64_t)f->y >= plan->src.first_valid;
        return TS_OK;
    }
    native_picture n;
    int64_t x, y;
    ts_status st = part_native(part, plan, &n, err);
    if (st != TS_OK || !map_back(viz, &size, &part->viewport, (int)n.w, (int)n.h, p, &x, &y))
        return st;
    if (plan->montage)
        find_in_montage(viz, part, plan, &n, x, y, f);
    else
        find_in_ortho(part, plan, x, y, f);
    return TS_OK;
}

static uint64_t element_of(const viz_source *s, const found *f, int plane)
{
    uint64_t k = s->k0 + f->tile, row = (uint64_t)f->y + s->row_rot;
    row = row >= s->h ? row - s->h : row;
    return s->base + k / s->kdiv * s->ks0 + k % s->kdiv * s->ks1 + s->ps[plane] + row * s->sy +
           (uint64_t)f->x * s->sx;
}

/* ---- values ---- */

static json_t *exact_integer(int64_t v)
{
    char text[32];
    if (v <= INT64_C(9007199254740992) && v >= -INT64_C(9007199254740992))
        return json_integer(v);
    snprintf(text, sizeof text, "%lld", (long long)v);
    return json_string(text);
}

/* One element as JSON and as a double; what is not finite is null. */
static json_t *decode(ts_dtype dtype, const void *raw, double *value)
{
    uint64_t bits = 0;
    memcpy(&bits, raw, ts_dtype_bytes(dtype));
    float single;
    char text[32];
    switch (dtype) {
    case TS_BOOL:
        *value = bits != 0;
        return json_integer(bits != 0);
    case TS_I8:
        *value = (int8_t)bits;
        return json_integer((int8_t)bits);
    case TS_I16:
        *value = (int16_t)bits;
        return json_integer((int16_t)bits);
    case TS_I32:
        *value = (int32_t)bits;
        return json_integer((int32_t)bits);
    case TS_I64:
        *value = (double)(int64_t)bits;
        return exact_integer((int64_t)bits);
    case TS_U64:
        *value = (double)bits;
        snprintf(text, sizeof text, "%llu", (unsigned long long)bits);
        return bits > UINT64_C(9007199254740992) ? json_string(text)
                                                 : json_integer((json_int_t)bits);
    case TS_U8:
    case TS_U16:
    case TS_U32:
        *value = (double)bits;
        return json_integer((json_int_t)bits);
    case TS_F16:
        *value = (double)ts_f16_to_f32((uint16_t)bits);
        break;
    case TS_BF16:
        *value = (double)ts_bf16_to_f32((uint16_t)bits);
        break;
    case TS_F64:
        memcpy(value, raw, sizeof *value);
        break;
    default:
        memcpy(&single, raw, sizeof single);
        *value = (double)single;
    }
    return isfinite(*value) ? json_real(*value) : json_null();
}

static ts_status read_element(ts_viz *viz, ts_buffer *data, ts_dtype dtype, uint64_t element,
                              json_t **json, double *value, ts_error *err)
{
    uint8_t raw[8];
    size_t bytes = ts_dtype_bytes(dtype);
    ts_status st = ts_buffer_read(viz->queue, data, element * bytes, raw, bytes, err);
    if (st == TS_OK)
        *json = decode(dtype, raw, value);
    return st;
}

static const char *class_of(double value, const view_part *part)
{
    if (isnan(value))
        return "nan";
    if (isinf(value))
        return value > 0 ? "posinf" : "neginf";
    return part->range.mode == RANGE_LOG && value <= 0 ? "under" : "finite";
}

/* ---- t and colour, as the kernels have them ---- */

static double equalised(double t0, int bins, const float *cdf)
{
    double p = fmin(fmax(t0, 0), 1) * bins;
    int b = (int)fmin(p, bins - 1);
    return (double)cdf[b] + (p - b) * ((double)cdf[b + 1] - (double)cdf[b]);
}

static double symlog(double v, double lin)
{
    return copysign(log10(1 + fabs(v) / lin), v);
}

static double t_of_value(const ts_viz *viz, const view_part *part, const viz_range_record *r,
                         const float *cdf, double v)
{
    double lo = viz_unwide(viz, r->lo), hi = viz_unwide(viz, r->hi), t = 0.5;
    if (!r->flat) {
        t = (v - lo) / (hi - lo);
        if (part->range.mode == RANGE_LOG)
            t = (log(v) - log(lo)) / (log(hi) - log(lo));
        else if (part->range.mode == RANGE_SYMLOG) {
            double lin = (double)r->lin, a = symlog(lo, lin);
            t = (symlog(v, lin) - a) / (symlog(hi, lin) - a);
        } else if (part->range.mode == RANGE_HISTEQ && cdf)
            t = equalised(t, part->range.bins, cdf);
    }
    const view_tone *tone = &part->tone;
    t = t * tone->gain + tone->bias;
    if (t > 0)
        t = pow(t, tone->gamma);
    return tone->invert ? 1 - t : t;
}

static ts_status read_range(ts_viz *viz, const part_call *call, const viz_plan *plan,
                            uint32_t group, viz_range_record *r, float **cdf, ts_error *err)
{
    const range_state *range = call->state->active;
    group = group < range->groups ? group : 0;
    ts_status st =
        ts_buffer_read(viz->queue, range->records.buffer, group * sizeof *r, r, sizeof *r, err);
    *cdf = NULL;
    (void)plan;
    if (st != TS_OK || call->part->range.mode != RANGE_HISTEQ)
        return st;
    size_t bytes = (size_t)(call->part->range.bins + 1) * sizeof(float);
    *cdf = malloc(bytes);
    if (!*cdf)
        return ts_fail(err, TS_E_NO_MEMORY, "probe");
    return ts_buffer_read(viz->queue, range->cdf.buffer, group * bytes, *cdf, bytes, err);
}

static uint8_t byte_of(double c)
{
    return (uint8_t)(fmin(fmax(c, 0), 1) * 255 + 0.5);
}

static void eval_colormap(const view_part *part, double t, float c[3])
{
    const view_colormap *map = &part->colormap;
    t = fmin(fmax(t, 0), 1);
    if (map->two_colors || map->n_stops) {
        const float ends[2] = {0, 1};
        float two[2][3];
        memcpy(two[0], map->min_color, sizeof two[0]);
        memcpy(two[1], map->max_color, sizeof two[1]);
        if (map->two_colors)
            ts_colormap_eval_stops(2, ends, (const float(*)[3])two, map->reverse ? 1 - t : t, c);
        else
            ts_colormap_eval_stops(map->n_stops, map->stop_pos, (const float(*)[3])map->stop_color,
                                   map->reverse ? 1 - t : t, c);
        return;
    }
    const ts_colormap *named;
    bool reversed;
    if (!ts_colormap_find(map->name[0] ? map->name : "viridis", &named, &reversed)) {
        memset(c, 0, 3 * sizeof *c);
        return;
    }
    bool nearest = map->has_interp ? map->nearest : strcmp(named->group, "categorical") == 0;
    ts_colormap_eval(named, reversed ^ map->reverse, nearest, t, c);
    ts_colormap_unref(named);
}

static void color_of_class(const view_part *part, const char *class, double t, uint8_t out[3])
{
    const view_colormap *map = &part->colormap;
    const view_color *special = NULL;
    if (strcmp(class, "nan") == 0)
        special = &map->nan;
    else if (strcmp(class, "posinf") == 0)
        special = &map->posinf;
    else if (strcmp(class, "neginf") == 0)
        special = &map->neginf;
    else if ((strcmp(class, "under") == 0 || t < 0) && map->under.set)
        special = &map->under;
    else if (t > 1 && map->over.set)
        special = &map->over;
    if (special) {
        memcpy(out, special->c, 3);
        return;
    }
    float c[3];
    eval_colormap(part, strcmp(class, "under") == 0 ? 0 : t, c);
    for (int i = 0; i < 3; i++)
        out[i] = byte_of((double)c[i]);
}

/* ---- the answer ---- */

static json_t *index_of(const part_call *call, const viz_plan *plan, const found *f,
                        const viz_plan *raw, uint64_t element)
{
    if (plan->kind == KIND_PROJECT)
        return json_pack("[I,I]", (json_int_t)f->y, (json_int_t)f->x);
    if (plan->kind == KIND_WATERFALL)
        return json_pack("[I]", (json_int_t)f->x);
    if (plan->planes > 1 && !plan->montage)
        return json_pack("[I,I]", (json_int_t)f->y, (json_int_t)f->x);
    const ts_shape *shape = ts_tensor_shape(call->entry->tensor);
    uint64_t rest = element - raw->whole.base, index[TS_MAX_RANK] = {0};
    for (int i = shape->rank - 1; i >= 0; i--) {
        index[i] = rest % (uint64_t)shape->dim[i];
        rest /= (uint64_t)shape->dim[i];
    }
    json_t *list = json_array();
    for (int i = 0; i < shape->rank; i++)
        json_array_append_new(list, json_integer((json_int_t)index[i]));
    return list;
}

static uint32_t group_of(const part_call *call, const viz_plan *plan, const found *f, int plane)
{
    view_scope scope = range_scope(call->part, plan);
    if (scope == SCOPE_TILE)
        return f->tile;
    if (scope == SCOPE_CHANNEL)
        return plan->planes > 1 ? (uint32_t)plane : (plan->src.k0 + f->tile) % plan->channels;
    return 0;
}

/* Value, class and t of one plane's sample; json values are the tensor's own, t what is drawn. */
typedef struct reading {
    json_t *value;
    const char *class;
    double t;
} reading;

static ts_status read_plane(ts_viz *viz, const part_call *call, const viz_plan *plan,
                            const viz_plan *raw, const found *f, int plane, reading *r,
                            ts_error *err)
{
    double value, shown;
    bool own = plan->kind != KIND_PROJECT && plan->kind != KIND_WATERFALL;
    const viz_plan *source = own ? raw : plan;
    ts_status st = read_element(viz, source->data, source->dtype,
                                element_of(&source->src, f, plane), &r->value, &value, err);
    shown = value;
    if (st == TS_OK && own && plan->data != raw->data) {
        json_t *filtered = NULL;
        st = read_element(viz, plan->data, plan->dtype, element_of(&plan->src, f, plane), &filtered,
                          &shown, err);
        json_decref(filtered);
    }
    if (st != TS_OK)
        return st;
    viz_range_record record;
    float *cdf;
    st = read_range(viz, call, plan, group_of(call, plan, f, plane), &record, &cdf, err);
    r->class = class_of(shown, call->part);
    r->t = st == TS_OK ? t_of_value(viz, call->part, &record, cdf, shown) : NAN;
    free(cdf);
    return st;
}

static json_t *number_or_null(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

/* Categorical tables of integers: the row is the value modulo their number. */
static bool category_color(const part_call *call, const json_t *value, uint8_t rgb[3])
{
    const ts_colormap *map;
    bool reversed;
    const view_colormap *v = &call->part->colormap;
    if (!call->state->color.categorical || !ts_colormap_find(v->name, &map, &reversed))
        return false;
    int n = map->n_rows;
    bool text = json_is_string(value), negative = text && *json_string_value(value) == '-';
    int row = negative ? (int)(strtoll(json_string_value(value), NULL, 10) % n)
              : text   ? (int)(strtoull(json_string_value(value), NULL, 10) % (unsigned)n)
                       : (int)(json_integer_value(value) % n);
    row = row < 0 ? row + n : row;
    row = reversed ^ v->reverse ? n - 1 - row : row;
    for (int c = 0; c < 3; c++)
        rgb[c] = byte_of((double)map->rows[row][c]);
    ts_colormap_unref(map);
    return true;
}

static void colors_of(const part_call *call, const viz_plan *plan, const reading *r, uint8_t rgb[3])
{
    if (plan->planes == 1 && category_color(call, r[0].value, rgb))
        return;
    if (plan->planes == 1) {
        color_of_class(call->part, r[0].class, r[0].t, rgb);
        return;
    }
    static const char *const worst[] = {"nan", "posinf", "neginf"};
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 3; i++)
            if (strcmp(r[i].class, worst[k]) == 0) {
                color_of_class(call->part, worst[k], 0, rgb);
                return;
            }
    for (int i = 0; i < 3; i++)
        rgb[i] = byte_of(strcmp(r[i].class, "under") == 0 ? 0 : r[i].t);
}

static ts_status probe_part(ts_viz *viz, const part_call *call, int panel, const place *p,
                            json_t **out, ts_error *err)
{
    viz_plan plan, raw;
    found f = {0};
    ts_status st = part_prepare(viz, call, &plan, err);
    if (st == TS_OK)
        st = plan_make(call->part, call->entry, &raw, err);
    if (st == TS_OK)
        st = find_sample(viz, call, &plan, p, &f, err);
    if (st != TS_OK || !f.any) {
        if (st == TS_OK)
            *out = json_null();
        return st;
    }
    /* What ortho narrowed holds for the tensor itself, too; only the start differs. */
    uint64_t moved = plan.data != raw.data ? raw.whole.base : 0;
    if (plan.kind != KIND_PROJECT && plan.kind != KIND_WATERFALL) {
        raw.src = plan.src;
        raw.src.base += moved;
    }
    int n = plan.planes > 1 ? 3 : 1;
    reading r[3] = {0};
    for (int i = 0; st == TS_OK && i < n; i++)
        st = read_plane(viz, call, &plan, &raw, &f, i, &r[i], err);
    if (st != TS_OK) {
        for (int i = 0; i < n; i++)
            json_decref(r[i].value);
        return st;
    }
    uint8_t rgb[3];
    colors_of(call, &plan, r, rgb);
    json_t *object = json_object();
    json_object_set_new(object, "panel", json_integer(panel));
    json_object_set_new(object, "tensor", json_string(call->entry->name));
    json_object_set_new(object, "index",
                        index_of(call, &plan, &f, &raw, element_of(&raw.src, &f, 0)));
    if (n == 1) {
        json_object_set_new(object, "value", r[0].value);
        json_object_set_new(object, "class", json_string(r[0].class));
        json_object_set_new(object, "t", number_or_null(r[0].t));
    } else {
        json_object_set_new(object, "value",
                            json_pack("[o,o,o]", r[0].value, r[1].value, r[2].value));
        json_object_set_new(object, "class",
                            json_pack("[s,s,s]", r[0].class, r[1].class, r[2].class));
        json_object_set_new(object, "t",
                            json_pack("[o,o,o]", number_or_null(r[0].t), number_or_null(r[1].t),
                                      number_or_null(r[2].t)));
    }
    json_object_set_new(object, "rgb", json_pack("[i,i,i]", rgb[0], rgb[1], rgb[2]));
    *out = object;
    return TS_OK;
}

/* Inside a rectangle that a part fills: take off the overlay. */
static ts_status probe_rect(ts_viz *viz, const part_call *call, int panel, double x, double y,
                            int w, int h, json_t **out, ts_error *err)
{
    int top, right, bottom;
    part_overlay_size(&call->part->overlay, &top, &right, &bottom);
    place p = {.x = x, .y = y - top, .w = w - right, .h = h - top - bottom};
    if (p.w < 1 || p.h < 1 || p.x < 0 || p.y < 0 || p.x >= p.w || p.y >= p.h) {
        *out = json_null();
        return TS_OK;
    }
    return probe_part(viz, call, panel, &p, out, err);
}

/* A panel that shows a message instead of its tensor has nothing under its pixels. */
static ts_status probe_panel(ts_viz *viz, const ts_viz_input *input, int i, double x, double y,
                             int w, int h, json_t **out, ts_error *err)
{
    const view_part *panel = &input->view->panels[i];
    ts_entry owned = {0};
    const ts_entry *entry = NULL;
    ts_error fault = {0};
    ts_status st = scene_entry(input, panel->tensor, &owned, &entry, &fault);
    bool missing = st != TS_OK;
    part_call call = {
        .part = panel, .entry = entry, .input = input, .default_contain = true, .peek = true};
    if (st == TS_OK) {
        call.state = viz_part(viz, i, &fault);
        st = call.state ? probe_rect(viz, &call, i, x, y, w, h, out, &fault) : TS_E_NO_MEMORY;
    }
    if (missing || st == TS_E_EMPTY || st == TS_E_SHAPE || st == TS_E_INDEX) {
        *out = json_null();
        st = TS_OK;
    } else if (st != TS_OK) {
        ts_fail(err, st, "panels[%d]: %s", i, fault.text);
    }
    ts_error_clear(&fault);
    ts_entry_finish(&owned);
    return st;
}

static ts_status probe_panels(ts_viz *viz, const ts_viz_input *input, double x, double y,
                              json_t **out, ts_error *err)
{
    const ts_view *view = input->view;
    for (int i = view->n_panels - 1; i >= 0; i--) { /* later panels lie on top */
        int rect[4];
        scene_panel_rect(view, i, rect);
        int title = view->panels[i].title ? 16 : 0;
        double px = x - rect[0], py = y - rect[1] - title;
        if (px < 0 || py < 0 || px >= rect[2] || py >= rect[3] - title)
            continue;
        return probe_panel(viz, input, i, px, py, rect[2], rect[3] - title, out, err);
    }
    *out = json_null();
    return TS_OK;
}

/* Which of the two tensors a pixel of a comparison shows. */
static bool shows_b(const ts_viz_input *input, int w, double *x, double y, int *part_w)
{
    const view_compare *c = &input->view->compare;
    uint64_t seq = c->has_seq ? (uint64_t)c->seq : input->seq;
    *part_w = w;
    switch (c->mode) {
    case COMPARE_SIDE:
        *part_w = (w - c->gap) / 2;
        if (*x < *part_w + c->gap)
            return false;
        *x -= *part_w + c->gap;
        return true;
    case COMPARE_WIPE:
        return *x >= floor(c->position * w + 0.5);
    case COMPARE_CHECKER:
        return (((int)*x / c->size) + ((int)y / c->size)) & 1;
    case COMPARE_FLICKER:
        return seq / (uint64_t)c->every % 2 == 1;
    default:
        return false;
    }
}

static ts_status probe_single(ts_viz *viz, const ts_viz_input *input, double x, double y, int w,
                              int h, json_t **out, ts_error *err)
{
    const ts_view *view = input->view;
    const char *name = input->entry ? NULL : view->part.tensor;
    int index = 0, part_w = w;
    if (view->compare.set) {
        bool b = shows_b(input, w, &x, y, &part_w);
        name = b ? view->compare.b : view->compare.a;
        index = VIEW_MAX_PANELS + 1; /* a state of its own: averages are not moved on by a look */
    }
    ts_entry owned = {0};
    part_call call = {.part = &view->part, .input = input, .peek = true};
    ts_status st = scene_entry(input, name, &owned, &call.entry, err);
    if (st == TS_OK) {
        call.state = viz_part(viz, index, err);
        st = call.state ? probe_rect(viz, &call, 0, x, y, part_w, h, out, err) : TS_E_NO_MEMORY;
    }
    ts_entry_finish(&owned);
    return st;
}

ts_status ts_viz_probe(ts_viz *viz, ts_queue *queue, const ts_viz_input *input, double x, double y,
                       json_t **out, ts_error *err)
{
    int w = 0, h = 0;
    double scale = input->scale > 0 ? fmin(input->scale, 1) : 1;
    *out = NULL;
    viz->queue = queue;
    ts_status st = scene_size(viz, input, &w, &h, err);
    if (st == TS_OK) {
        x /= scale;
        y /= scale;
        if (!(x >= 0 && y >= 0 && x < w && y < h))
            *out = json_null();
        else if (input->view->n_panels)
            st = probe_panels(viz, input, x, y, out, err);
        else
            st = probe_single(viz, input, x, y, w, h, out, err);
    }
    viz->queue = NULL;
    return st;
}
