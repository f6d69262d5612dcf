#include "cl/models/imagegs/loss.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FAT_ROWS = 16, /* rows per work-item on a CPU */
    GROUP_X = 32,
    GROUP_Y = 8
};

/* Kernel argument; mirrors gl_geo of cl/kernels/gsloss.cl. */
typedef struct geo {
    int32_t width, height, channels, stride;
    uint32_t origin, plane;
    int32_t rows, bands;
} geo;

struct ts_gs_loss {
    ts_queue *queue;
    ts_gs_planes planes;
    geo geo;
    bool fat, use_ssim, same_target;
    float gamma;
    ts_gs_loss_weights weights;
    size_t bytes;
    ts_kernel *rows, *target_maps, *ssim, *ssim_maps, *rows3, *gradient, *gradient_ssim, *show,
        *means, *rgba;
    ts_buffer *target, *mean, *variance;              /* of the loss */
    ts_buffer *shown_target, *shown_mean, *shown_var; /* of the evaluation */
    ts_buffer *h[3], *m[3], *grad, *shown, *parts, *pixels;
};

static ts_status load_kernels(ts_gs_loss *l, ts_error *err)
{
    const struct {
        const char *name;
        ts_kernel **to;
    } all[] = {
        {"gsloss_rows", &l->rows},
        {"gsloss_target", &l->target_maps},
        {"gsloss_ssim", &l->ssim},
        {"gsloss_ssim_maps", &l->ssim_maps},
        {"gsloss_rows3", &l->rows3},
        {"gsloss_gradient", &l->gradient},
        {"gsloss_gradient_ssim", &l->gradient_ssim},
        {"gsloss_shown", &l->show},
        {"gsloss_means", &l->means},
        {"gsloss_rgba", &l->rgba},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
        ts_status st = ts_queue_kernel(l->queue, "gsloss", l->fat ? "-DTS_FAT" : "", all[i].name,
                                       all[i].to, err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

#define GEO TS_BYTES(&l->geo, sizeof l->geo)

static ts_status over_picture(ts_gs_loss *l, ts_kernel *kernel, const ts_arg *args, size_t n_args,
                              ts_error *err)
{
    size_t channels = (size_t)l->geo.channels;
    if (l->fat) {
        size_t global[2] = {(size_t)l->geo.bands, channels}, local[2] = {1, 1};
        return ts_launch(l->queue, kernel, 2, global, local, args, n_args, err);
    }
    size_t global[3] = {(size_t)l->geo.width, (size_t)l->geo.height, channels};
    size_t local[3] = {GROUP_X, GROUP_Y, 1};
    return ts_launch(l->queue, kernel, 3, global, local, args, n_args, err);
}

static ts_status filter_rows(ts_gs_loss *l, ts_buffer *x, ts_buffer *y, ts_error *err)
{
    return over_picture(
        l, l->rows,
        TS_ARGS(GEO, TS_BUF(x), TS_BUF(y), TS_BUF(l->h[0]), TS_BUF(l->h[1]), TS_BUF(l->h[2])), err);
}

static ts_status means(ts_gs_loss *l, int slots, ts_buffer *status, int at, bool guard,
                       ts_error *err)
{
    const geo *g = &l->geo;
    size_t n = (size_t)g->channels * (size_t)g->bands, local = 64;
    double pixels = (double)g->width * g->height * g->channels;
    return ts_launch(l->queue, l->means, 1, &local, &local,
                     TS_ARGS(TS_BUF(l->parts), TS_UINT(n), TS_INT(slots), TS_FLOAT(1 / pixels),
                             TS_BUF(status), TS_INT(at), TS_INT(guard)),
                     err);
}

static ts_status target_maps(ts_gs_loss *l, ts_buffer *target, ts_buffer *mean, ts_buffer *variance,
                             ts_error *err)
{
    ts_status st = filter_rows(l, target, target, err);
    if (st == TS_OK)
        st = over_picture(
            l, l->target_maps,
            TS_ARGS(GEO, TS_BUF(l->h[0]), TS_BUF(l->h[1]), TS_BUF(mean), TS_BUF(variance)), err);
    return st;
}

static ts_status make_planes(ts_gs_loss *l, ts_buffer **to, ts_error *err)
{
    l->bytes += l->planes.bytes;
    return ts_gs_planes_create(l->queue, &l->planes, to, err);
}

static ts_status make_buffers(ts_gs_loss *l, ts_error *err)
{
    ts_buffer **all[] = {&l->target, &l->mean, &l->variance, &l->h[0],
                         &l->h[1],   &l->h[2], &l->grad,     &l->shown};
    ts_buffer **maps[] = {&l->m[0], &l->m[1], &l->m[2]};
    ts_buffer **second[] = {&l->shown_target, &l->shown_mean, &l->shown_var};
    ts_status st = TS_OK;
    for (size_t i = 0; st == TS_OK && i < sizeof all / sizeof all[0]; ++i)
        st = make_planes(l, all[i], err);
    for (size_t i = 0; st == TS_OK && l->use_ssim && i < 3; ++i)
        st = make_planes(l, maps[i], err);
    for (size_t i = 0; st == TS_OK && i < 3; ++i) {
        if (l->same_target)
            *second[i] = ts_buffer_ref(*all[i]);
        else
            st = make_planes(l, second[i], err);
    }
    size_t parts = 3 * (size_t)l->geo.channels * (size_t)l->geo.bands * sizeof(float);
    l->bytes += parts;
    if (st == TS_OK)
        st = ts_buffer_create(ts_queue_device(l->queue), parts, &l->parts, err);
    return st;
}

static void set_geometry(ts_gs_loss *l)
{
    const ts_gs_planes *p = &l->planes;
    int rows = l->fat ? FAT_ROWS : 1;
    int bands = l->fat
                    ? (p->height + rows - 1) / rows
                    : ((p->width + GROUP_X - 1) / GROUP_X) * ((p->height + GROUP_Y - 1) / GROUP_Y);
    l->geo = (geo){p->width,           p->height, p->channels, p->stride, (uint32_t)p->origin,
                   (uint32_t)p->plane, rows,      bands};
}

ts_status ts_gs_loss_create(ts_queue *queue, const ts_gs_planes *planes, const float *target,
                            const float *shown, float gamma, const ts_gs_loss_weights *weights,
                            bool group_form, ts_gs_loss **out, ts_error *err)
{
    ts_gs_loss *l = calloc(1, sizeof *l);
    if (!l)
        return ts_fail(err, TS_E_NO_MEMORY, "loss");
    l->queue = queue;
    l->planes = *planes;
    l->fat = ts_device_caps(ts_queue_device(queue))->kind == TS_DEVICE_CPU && !group_form;
    l->weights = *weights;
    l->use_ssim = weights->ssim > 1e-7f;
    l->gamma = gamma;
    l->same_target = shown == NULL;
    set_geometry(l);
    ts_status st = load_kernels(l, err);
    if (st == TS_OK)
        st = make_buffers(l, err);
    if (st == TS_OK)
        st = ts_gs_planes_write(queue, planes, l->target, target, err);
    if (st == TS_OK)
        st = target_maps(l, l->target, l->mean, l->variance, err);
    if (st == TS_OK && shown)
        st = ts_gs_planes_write(queue, planes, l->shown_target, shown, err);
    if (st == TS_OK && shown)
        st = target_maps(l, l->shown_target, l->shown_mean, l->shown_var, err);
    if (st != TS_OK) {
        ts_gs_loss_destroy(l);
        return st;
    }
    *out = l;
    return TS_OK;
}

void ts_gs_loss_destroy(ts_gs_loss *l)
{
    if (!l)
        return;
    ts_buffer *all[] = {l->target,    l->mean, l->variance, l->shown_target, l->shown_mean,
                        l->shown_var, l->h[0], l->h[1],     l->h[2],         l->m[0],
                        l->m[1],      l->m[2], l->grad,     l->shown,        l->parts, l->pixels};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i)
        ts_buffer_unref(all[i]);
    free(l);
}

size_t ts_gs_loss_bytes(const ts_gs_loss *l)
{
    return l->bytes;
}

ts_buffer *ts_gs_loss_grad(ts_gs_loss *l)
{
    return l->grad;
}

ts_buffer *ts_gs_loss_shown(ts_gs_loss *l)
{
    return l->shown;
}

/* Sum of SSIM into parts 2 (with maps for the gradient) or 1. */
static ts_status ssim(ts_gs_loss *l, ts_buffer *x, ts_buffer *y, ts_buffer *mean,
                      ts_buffer *variance, bool maps, int slot, ts_error *err)
{
    ts_status st = filter_rows(l, x, y, err);
    if (st == TS_OK)
        st = over_picture(l, maps ? l->ssim_maps : l->ssim,
                          TS_ARGS(GEO, TS_BUF(l->h[0]), TS_BUF(l->h[1]), TS_BUF(l->h[2]),
                                  TS_BUF(mean), TS_BUF(variance), TS_BUF(l->m[0]), TS_BUF(l->m[1]),
                                  TS_BUF(l->m[2]), TS_BUF(l->parts), TS_INT(slot)),
                          err);
    return st;
}

ts_status ts_gs_loss_gradient(ts_gs_loss *l, ts_buffer *image, ts_buffer *status, ts_error *err)
{
    const ts_gs_planes *p = &l->planes;
    float inv = (float)(1.0 / ((double)p->width * p->height * p->channels));
    ts_status st = TS_OK;
    if (l->use_ssim) {
        st = ssim(l, image, l->target, l->mean, l->variance, true, 2, err);
        if (st == TS_OK)
            st = over_picture(l, l->rows3,
                              TS_ARGS(GEO, TS_BUF(l->m[0]), TS_BUF(l->m[1]), TS_BUF(l->m[2]),
                                      TS_BUF(l->h[0]), TS_BUF(l->h[1]), TS_BUF(l->h[2])),
                              err);
    }
    float l1 = l->weights.l1 > 1e-7f ? l->weights.l1 : 0;
    float l2 = l->weights.l2 > 1e-7f ? l->weights.l2 : 0;
    if (st == TS_OK)
        st = over_picture(l, l->use_ssim ? l->gradient_ssim : l->gradient,
                          TS_ARGS(GEO, TS_BUF(image), TS_BUF(l->target), TS_BUF(l->h[0]),
                                  TS_BUF(l->h[1]), TS_BUF(l->h[2]), TS_FLOAT(l1 * inv),
                                  TS_FLOAT(l2 * inv), TS_FLOAT(l->weights.ssim * inv),
                                  TS_BUF(l->grad), TS_BUF(l->parts)),
                          err);
    if (st == TS_OK)
        st = means(l, l->use_ssim ? 3 : 2, status, TS_GS_LOSS_L1, true, err);
    return st;
}

ts_status ts_gs_loss_evaluate(ts_gs_loss *l, ts_buffer *image, ts_buffer *status, ts_error *err)
{
    ts_status st = over_picture(l, l->show,
                                TS_ARGS(GEO, TS_BUF(image), TS_BUF(l->shown_target),
                                        TS_FLOAT(1 / l->gamma), TS_BUF(l->shown), TS_BUF(l->parts)),
                                err);
    if (st == TS_OK)
        st = ssim(l, l->shown, l->shown_target, l->shown_mean, l->shown_var, false, 1, err);
    if (st == TS_OK)
        st = means(l, 2, status, TS_GS_EVAL_MSE, false, err);
    return st;
}

ts_status ts_gs_loss_rgba(ts_gs_loss *l, int first, int count, uint8_t *out, ts_error *err)
{
    size_t w = (size_t)l->geo.width, h = (size_t)l->geo.height, bytes = w * h * 4;
    size_t global[2] = {l->fat ? 1 : w, l->fat ? (size_t)l->geo.bands : h};
    size_t local[2] = {l->fat ? 1 : GROUP_X, l->fat ? 1 : GROUP_Y};
    ts_status st =
        l->pixels ? TS_OK : ts_buffer_create(ts_queue_device(l->queue), bytes, &l->pixels, err);
    if (st == TS_OK)
        st = ts_launch(
            l->queue, l->rgba, 2, global, local,
            TS_ARGS(GEO, TS_BUF(l->shown), TS_INT(first), TS_INT(count), TS_BUF(l->pixels)), err);
    if (st == TS_OK)
        st = ts_buffer_read(l->queue, l->pixels, 0, out, bytes, err);
    return st;
}

double ts_gs_psnr(double mse)
{
    return mse <= 1e-7 ? INFINITY : -10 * log10(mse);
}
