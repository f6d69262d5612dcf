#include "cl/models/imagegs/splat.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "cl/ops/scan.h"
#include "cl/ops/sort.h"

enum {
    GROUP = 256,
    BORDER = 16, /* rows and columns of zeros: SSIM's window needs 5, vectors of 16 spill past W */
    SIMPLE = 64, /* local size of the kernels without work-groups on a GPU */
    QUANT_BLOCKS = 64,
    UPDATE_EACH = 8 /* Gaussians per work-group of the update, see gsplat.cl */
};

/* Kernel arguments; mirrors gs_geo and gs_adam of cl/kernels/gsplat.cl. */
typedef struct geo {
    int32_t width, height, tiles_x, tiles_y, stride;
    uint32_t origin, plane, n, capacity;
    float offset, ratio, sigma_max;
} geo;

typedef struct adam_args {
    float lr[4];
    float beta1, beta2, eps, bias1, bias2;
} adam_args;

typedef struct kernels {
    ts_kernel *project, *minmax, *quant_steps, *emit, *ranges, *forward, *backward, *update;
} kernels;

struct ts_gs_splat {
    ts_gs_splat_options options;
    ts_queue *queue;
    ts_gs_planes planes;
    geo geo;
    bool fat;
    size_t tiles, row_floats, cpu_items, bytes;
    unsigned key_bits;
    kernels k;
    ts_sort *sort;
    ts_buffer *rec, *rect, *offsets, *scratch, *quant, *ends;
    ts_buffer *keys, *list, *part, *start;
    ts_buffer *image, *threshold, *last, *inv, *status;
};

void ts_gs_planes_init(ts_gs_planes *planes, int width, int height, int channels)
{
    size_t stride = ts_round_up((size_t)width, 16) + 2 * BORDER;
    planes->width = width;
    planes->height = height;
    planes->channels = channels;
    planes->stride = (int)stride;
    planes->origin = BORDER * stride + BORDER;
    planes->plane = ((size_t)height + 2 * BORDER) * stride;
    planes->bytes = planes->plane * (size_t)channels * sizeof(float);
}

ts_status ts_gs_planes_create(ts_queue *queue, const ts_gs_planes *planes, ts_buffer **out,
                              ts_error *err)
{
    ts_status st = ts_buffer_create(ts_queue_device(queue), planes->bytes, out, err);
    if (st == TS_OK)
        st = ts_buffer_fill_u32(queue, *out, 0, 0, planes->bytes, err);
    return st;
}

static ts_status copy_planes(ts_queue *queue, const ts_gs_planes *p, ts_buffer *buffer,
                             ts_map_mode mode, float *chw, ts_error *err)
{
    void *mapped;
    ts_status st = ts_buffer_map(queue, buffer, 0, p->bytes, mode, &mapped, err);
    if (st != TS_OK)
        return st;
    size_t row = (size_t)p->width * sizeof(float);
    for (int c = 0; c < p->channels; ++c)
        for (int y = 0; y < p->height; ++y) {
            float *there =
                (float *)mapped + p->origin + (size_t)c * p->plane + (size_t)y * (size_t)p->stride;
            float *here = chw + ((size_t)c * (size_t)p->height + (size_t)y) * (size_t)p->width;
            if (mode == TS_MAP_READ)
                memcpy(here, there, row);
            else
                memcpy(there, here, row);
        }
    ts_buffer_unmap(queue, buffer, mapped);
    return TS_OK;
}

ts_status ts_gs_planes_write(ts_queue *queue, const ts_gs_planes *planes, ts_buffer *buffer,
                             const float *chw, ts_error *err)
{
    return copy_planes(queue, planes, buffer, TS_MAP_READ | TS_MAP_WRITE, (float *)chw, err);
}

ts_status ts_gs_planes_read(ts_queue *queue, const ts_gs_planes *planes, ts_buffer *buffer,
                            float *chw, ts_error *err)
{
    return copy_planes(queue, planes, buffer, TS_MAP_READ, chw, err);
}

/* ---- creation ---- */

static ts_status check_options(const ts_gs_splat_options *o, ts_error *err)
{
    if (o->width < 1 || o->height < 1 || o->width > TS_GS_MAX_SIDE || o->height > TS_GS_MAX_SIDE)
        return ts_fail(err, TS_E_SHAPE, "a picture of %d x %d, sides are 1 to %d", o->width,
                       o->height, TS_GS_MAX_SIDE);
    if (o->channels < 1 || o->channels > TS_GS_MAX_CHANNELS)
        return ts_fail(err, TS_E_SHAPE, "%d channels, at most %d", o->channels, TS_GS_MAX_CHANNELS);
    if (o->topk < 1 || o->topk > TS_GS_MAX_TOPK)
        return ts_fail(err, TS_E_OPTION, "topk %d, want 1 to %d", o->topk, TS_GS_MAX_TOPK);
    if (o->gaussians < 1 || o->gaussians > (size_t)1 << 30)
        return ts_fail(err, TS_E_OPTION, "%zu Gaussians, want 1 to 2^30", o->gaussians);
    return TS_OK;
}

static ts_status load_kernels(ts_gs_splat *s, ts_error *err)
{
    const ts_gs_splat_options *o = &s->options;
    char options[256];
    snprintf(options, sizeof options, "%s-DC=%d -DTOPK=%d -DGS_EPS=%.9ef%s%s%s%s -DGS_QUANT=%d",
             s->fat ? "-DTS_FAT " : "", o->channels, o->topk, (double)o->eps,
             o->sum ? " -DGS_SUM" : "", o->inverse_scale ? " -DGS_INVERSE" : "",
             o->all_tiles ? " -DGS_ALL" : "", o->legacy ? " -DGS_LEGACY" : "", (int)o->quant);
    const struct {
        const char *name;
        ts_kernel **to;
    } all[] = {
        {"gsplat_project", &s->k.project},   {"gsplat_minmax", &s->k.minmax},
        {"gsplat_emit", &s->k.emit},         {"gsplat_quant_steps", &s->k.quant_steps},
        {"gsplat_ranges", &s->k.ranges},     {"gsplat_forward", &s->k.forward},
        {"gsplat_backward", &s->k.backward}, {"gsplat_update", &s->k.update},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
        ts_status st = ts_queue_kernel(s->queue, "gsplat", options, all[i].name, all[i].to, err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

static ts_status make(ts_gs_splat *s, size_t bytes, ts_buffer **out, ts_error *err)
{
    s->bytes += bytes;
    return ts_buffer_create(ts_queue_device(s->queue), bytes, out, err);
}

typedef struct lists {
    ts_buffer *keys, *list, *part;
    ts_sort *sort;
} lists;

static void lists_finish(lists *l)
{
    ts_buffer_unref(l->keys);
    ts_buffer_unref(l->list);
    ts_buffer_unref(l->part);
    ts_sort_destroy(l->sort);
}

/* Buffers whose size is the number of tile entries; the old ones stay until the new ones exist. */
static ts_status make_lists(ts_gs_splat *s, size_t entries, ts_error *err)
{
    ts_device *device = ts_queue_device(s->queue);
    lists l = {0};
    size_t part;
    if (entries > UINT32_MAX / 2 || !ts_mul_size(entries, s->row_floats * sizeof(float), &part))
        return ts_fail(err, TS_E_DEVICE_MEMORY, "%zu tile entries, at most 2^31", entries);
    ts_status st = ts_buffer_create(device, entries * sizeof(uint32_t), &l.keys, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, entries * sizeof(uint32_t), &l.list, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, part, &l.part, err);
    if (st == TS_OK)
        st = ts_sort_create(device, entries, &l.sort, err);
    if (st != TS_OK) {
        lists_finish(&l);
        return st;
    }
    lists old = {s->keys, s->list, s->part, s->sort};
    lists_finish(&old);
    s->keys = l.keys;
    s->list = l.list;
    s->part = l.part;
    s->sort = l.sort;
    s->bytes += (entries - s->geo.capacity) * (16 + s->row_floats * sizeof(float));
    s->geo.capacity = (uint32_t)entries;
    return TS_OK;
}

static ts_status make_buffers(ts_gs_splat *s, ts_error *err)
{
    const ts_gs_splat_options *o = &s->options;
    size_t n = o->gaussians, state = s->tiles * TS_GS_TILE * TS_GS_TILE * 4;
    const struct {
        size_t bytes;
        ts_buffer **to;
    } all[] = {
        {n * s->row_floats * sizeof(float), &s->rec},
        {n * 4 * sizeof(uint16_t), &s->rect},
        {(n + 1) * sizeof(uint32_t), &s->offsets},
        {TS_SCAN_SCRATCH_BYTES, &s->scratch},
        {12 * sizeof(float), &s->quant},
        {QUANT_BLOCKS * 8 * sizeof(float), &s->ends},
        {(s->tiles + 1) * sizeof(uint32_t), &s->start},
        {state, &s->threshold},
        {state, &s->last},
        {state, &s->inv},
        {TS_GS_STATUS_WORDS * sizeof(uint32_t), &s->status},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
        ts_status st = make(s, all[i].bytes, all[i].to, err);
        if (st != TS_OK)
            return st;
    }
    s->bytes += s->planes.bytes;
    ts_status st = ts_gs_planes_create(s->queue, &s->planes, &s->image, err);
    if (st == TS_OK)
        st = make_lists(s, o->entries ? o->entries : 16 * n, err);
    if (st == TS_OK)
        st = ts_gs_splat_clear_status(s, err);
    return st;
}

static void set_geometry(ts_gs_splat *s)
{
    const ts_gs_splat_options *o = &s->options;
    ts_gs_planes_init(&s->planes, o->width, o->height, o->channels);
    s->geo = (geo){
        .width = o->width,
        .height = o->height,
        .tiles_x = (o->width + TS_GS_TILE - 1) / TS_GS_TILE,
        .tiles_y = (o->height + TS_GS_TILE - 1) / TS_GS_TILE,
        .stride = s->planes.stride,
        .origin = (uint32_t)s->planes.origin,
        .plane = (uint32_t)s->planes.plane,
        .offset = o->offset,
        .ratio = o->ratio,
        .sigma_max = o->sigma_max,
    };
    s->tiles = (size_t)s->geo.tiles_x * (size_t)s->geo.tiles_y;
    s->row_floats = 5 + (size_t)o->channels;
    while (s->key_bits < 31 && (s->tiles - 1) >> s->key_bits)
        s->key_bits++;
    if (s->key_bits == 0)
        s->key_bits = 1;
}

ts_status ts_gs_splat_create(ts_queue *queue, const ts_gs_splat_options *options, ts_gs_splat **out,
                             ts_error *err)
{
    ts_status st = check_options(options, err);
    if (st != TS_OK)
        return st;
    ts_gs_splat *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "splat");
    const ts_caps *caps = ts_device_caps(ts_queue_device(queue));
    s->options = *options;
    s->queue = queue;
    s->fat = caps->kind == TS_DEVICE_CPU && !options->group_form;
    s->cpu_items = (size_t)caps->compute_units * 8;
    if (s->options.ratio <= 0)
        s->options.ratio = 1;
    if (s->options.eps <= 0)
        s->options.eps = options->all_tiles ? 1e-7f : 1e-4f;
    set_geometry(s);
    st = load_kernels(s, err);
    if (st == TS_OK)
        st = make_buffers(s, err);
    if (st != TS_OK) {
        ts_gs_splat_destroy(s);
        return st;
    }
    *out = s;
    return TS_OK;
}

void ts_gs_splat_destroy(ts_gs_splat *s)
{
    if (!s)
        return;
    lists l = {s->keys, s->list, s->part, s->sort};
    lists_finish(&l);
    ts_buffer *all[] = {s->rec,   s->rect,  s->offsets,   s->scratch, s->quant, s->ends,
                        s->start, s->image, s->threshold, s->last,    s->inv,   s->status};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i)
        ts_buffer_unref(all[i]);
    free(s);
}

const ts_gs_planes *ts_gs_splat_planes(const ts_gs_splat *splat)
{
    return &splat->planes;
}

ts_buffer *ts_gs_splat_image(ts_gs_splat *splat)
{
    return splat->image;
}

ts_buffer *ts_gs_splat_status(ts_gs_splat *splat)
{
    return splat->status;
}

size_t ts_gs_splat_bytes(const ts_gs_splat *splat)
{
    return splat->bytes;
}

/* ---- the steps ---- */

#define GEO TS_BYTES(&s->geo, sizeof s->geo)

/* Launch a kernel that strides over `n` things by its global size. */
static ts_status each(ts_gs_splat *s, ts_kernel *kernel, size_t n, const ts_arg *args,
                      size_t n_args, ts_error *err)
{
    size_t local = s->fat ? 1 : SIMPLE, global = n ? n : 1;
    if (s->fat && global > s->cpu_items)
        global = s->cpu_items;
    return ts_launch(s->queue, kernel, 1, &global, &local, args, n_args, err);
}

/* Launch a kernel with one work-group per thing (or work-items striding over them on a CPU). */
static ts_status groups(ts_gs_splat *s, ts_kernel *kernel, size_t n, const ts_arg *args,
                        size_t n_args, ts_error *err)
{
    if (s->fat)
        return each(s, kernel, n, args, n_args, err);
    size_t local = GROUP, global = n * GROUP;
    return ts_launch(s->queue, kernel, 1, &global, &local, args, n_args, err);
}

static ts_status quant_steps(ts_gs_splat *s, ts_buffer *par, ts_error *err)
{
    float codes[4];
    for (int i = 0; i < 4; ++i)
        codes[i] = (float)(((uint64_t)1 << s->options.bits[i]) - 1);
    size_t blocks = s->fat ? s->cpu_items : QUANT_BLOCKS, one = 1;
    if (blocks > QUANT_BLOCKS)
        blocks = QUANT_BLOCKS;
    ts_status st = ts_launch(s->queue, s->k.minmax, 1, &blocks, &one,
                             TS_ARGS(GEO, TS_BUF(par), TS_BUF(s->ends)), err);
    if (st == TS_OK)
        st = ts_launch(s->queue, s->k.quant_steps, 1, &one, &one,
                       TS_ARGS(TS_BUF(s->ends), TS_UINT(blocks), TS_BYTES(codes, sizeof codes),
                               TS_BUF(s->quant)),
                       err);
    return st;
}

ts_status ts_gs_splat_forward(ts_gs_splat *s, ts_buffer *par, size_t n, ts_error *err)
{
    if (n > s->options.gaussians)
        return ts_fail(err, TS_E_INTERNAL, "%zu Gaussians where at most %zu were said", n,
                       s->options.gaussians);
    s->geo.n = (uint32_t)n;
    ts_status st = s->options.quant ? quant_steps(s, par, err) : TS_OK;
    if (st == TS_OK)
        st = each(s, s->k.project, n,
                  TS_ARGS(GEO, TS_BUF(par), TS_BUF(s->quant), TS_BUF(s->rec), TS_BUF(s->rect),
                          TS_BUF(s->offsets), TS_BUF(s->status)),
                  err);
    if (st == TS_OK)
        st = ts_scan_u32(s->queue, s->offsets, s->offsets, n, s->scratch, err);
    if (st == TS_OK)
        st = each(
            s, s->k.emit, n,
            TS_ARGS(GEO, TS_BUF(s->rect), TS_BUF(s->offsets), TS_BUF(s->keys), TS_BUF(s->list)),
            err);
    if (st == TS_OK)
        st = ts_sort_pairs(s->sort, s->queue, s->keys, s->list, s->offsets, n, s->key_bits, err);
    if (st == TS_OK)
        st = each(
            s, s->k.ranges, s->tiles + 1,
            TS_ARGS(GEO, TS_BUF(s->keys), TS_BUF(s->offsets), TS_BUF(s->start), TS_BUF(s->status)),
            err);
    if (st == TS_OK)
        st =
            groups(s, s->k.forward, s->tiles,
                   TS_ARGS(GEO, TS_BUF(s->rec), TS_BUF(s->start), TS_BUF(s->list), TS_BUF(s->image),
                           TS_BUF(s->threshold), TS_BUF(s->last), TS_BUF(s->inv)),
                   err);
    return st;
}

ts_status ts_gs_splat_backward(ts_gs_splat *s, ts_buffer *grad, ts_error *err)
{
    return groups(s, s->k.backward, s->tiles,
                  TS_ARGS(GEO, TS_BUF(s->rec), TS_BUF(s->rect), TS_BUF(s->offsets),
                          TS_BUF(s->start), TS_BUF(s->list), TS_BUF(s->image), TS_BUF(grad),
                          TS_BUF(s->threshold), TS_BUF(s->last), TS_BUF(s->inv), TS_BUF(s->part)),
                  err);
}

static ts_status update(ts_gs_splat *s, ts_buffer *par, ts_buffer *m, ts_buffer *v, ts_buffer *out,
                        const adam_args *a, ts_error *err)
{
    size_t n = s->geo.n;
    return groups(s, s->k.update, s->fat ? n : (n + UPDATE_EACH - 1) / UPDATE_EACH,
                  TS_ARGS(GEO, TS_BYTES(a, sizeof *a), TS_BUF(par), TS_BUF(s->quant),
                          TS_BUF(s->rec), TS_BUF(s->offsets), TS_BUF(s->part), TS_BUF(m), TS_BUF(v),
                          TS_BUF(out), TS_BUF(s->status)),
                  err);
}

ts_status ts_gs_splat_step(ts_gs_splat *s, ts_buffer *par, ts_buffer *m, ts_buffer *v,
                           const ts_gs_adam *adam, ts_error *err)
{
    adam_args a = {.beta1 = adam->beta1, .beta2 = adam->beta2, .eps = adam->eps};
    memcpy(a.lr, adam->lr, sizeof a.lr);
    a.bias1 = (float)(1 - pow(adam->beta1, (double)adam->t));
    a.bias2 = (float)(1 - pow(adam->beta2, (double)adam->t));
    return update(s, par, m, v, NULL, &a, err);
}

ts_status ts_gs_splat_gradients(ts_gs_splat *s, ts_buffer *par, ts_buffer *out, ts_error *err)
{
    adam_args none = {.bias1 = 1, .bias2 = 1};
    return update(s, par, NULL, NULL, out, &none, err);
}

/* ---- status and growth ---- */

ts_status ts_gs_splat_read_status(ts_gs_splat *s, uint32_t out[TS_GS_STATUS_WORDS], ts_error *err)
{
    return ts_buffer_read(s->queue, s->status, 0, out, TS_GS_STATUS_WORDS * sizeof(uint32_t), err);
}

ts_status ts_gs_splat_clear_status(ts_gs_splat *s, ts_error *err)
{
    return ts_buffer_fill_u32(s->queue, s->status, 0, 0, TS_GS_STATUS_WORDS * sizeof(uint32_t),
                              err);
}

ts_status ts_gs_splat_grow(ts_gs_splat *s, size_t need, ts_error *err)
{
    if (need >= UINT32_MAX)
        return ts_fail(err, TS_E_DEVICE_MEMORY, "the Gaussians cover more than 2^32 tiles in all");
    size_t entries = s->geo.capacity;
    while (entries < need)
        entries *= 2;
    ts_status st = ts_queue_finish(s->queue, err);
    if (st == TS_OK)
        st = make_lists(s, entries, err);
    if (st == TS_OK)
        st = ts_buffer_fill_u32(s->queue, s->status, 0, 0, 2 * sizeof(uint32_t), err);
    return st;
}

ts_status ts_gs_splat_render(ts_gs_splat *s, ts_buffer *par, size_t n, ts_error *err)
{
    for (;;) {
        uint32_t status[TS_GS_STATUS_WORDS];
        ts_status st = ts_gs_splat_forward(s, par, n, err);
        if (st == TS_OK)
            st = ts_gs_splat_read_status(s, status, err);
        if (st != TS_OK || !status[TS_GS_OVERFLOW])
            return st;
        st = ts_gs_splat_grow(s, status[TS_GS_NEED], err);
        if (st != TS_OK)
            return st;
    }
}

ts_status ts_gs_splat_lists(ts_gs_splat *s, uint32_t **start, uint32_t **list, size_t *tiles,
                            ts_error *err)
{
    size_t n = s->tiles + 1;
    *list = NULL;
    *start = calloc(n, sizeof **start);
    if (!*start)
        return ts_fail(err, TS_E_NO_MEMORY, "tile lists");
    ts_status st = ts_buffer_read(s->queue, s->start, 0, *start, n * sizeof **start, err);
    size_t total = st == TS_OK ? (*start)[s->tiles] : 0;
    *list = calloc((total ? total : 1), sizeof **list);
    if (st == TS_OK && !*list)
        st = ts_fail(err, TS_E_NO_MEMORY, "tile lists");
    if (st == TS_OK && total)
        st = ts_buffer_read(s->queue, s->list, 0, *list, total * sizeof **list, err);
    if (st != TS_OK) {
        free(*start);
        free(*list);
        return st;
    }
    *tiles = s->tiles;
    return TS_OK;
}
