#include "cl/models/imagegs/fit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/models/imagegs/init.h"
#include "cl/models/imagegs/loss.h"

struct ts_gs_fit {
    ts_queue *queue;
    ts_gs_config c;
    ts_gs_hooks hooks;
    int w, h, ch, first_channels; /* first_channels: of the stack's first image, 1 or 3 */
    size_t pixels, row, capacity, n;
    char input_channels[64], bit_depths[64];
    float *shown_target; /* [C,H,W], display space */
    float *add_target;   /* the same blurred for adding, or NULL */
    float *map;          /* probability map of the start, or NULL */
    ts_gs_splat *splat;
    ts_gs_loss *loss;
    ts_buffer *par, *m, *v;
    int64_t step, max_steps, adam_t, add_events, first_count;
    double lr_scale;
    ts_gs_decay decay;
    bool stop, stopped_early, evaluated_now;
    uint32_t status[TS_GS_STATUS_WORDS];
    ts_gs_eval last;
    double render_s, total_s, fresh_render_s, step_ms;
    int64_t steps_since_eval;
};

#define STARS "***********************************************"

static void say(ts_gs_fit *f, const char *fmt, ...) TS_PRINTF(2, 3);
static void say(ts_gs_fit *f, const char *fmt, ...)
{
    char line[512];
    va_list args;
    if (!f->hooks.log)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    f->hooks.log(f->hooks.arg, line);
}

static void tell(ts_gs_fit *f, const char *event, int64_t a, int64_t b)
{
    if (f->hooks.event)
        f->hooks.event(f->hooks.arg, event, f->step, a, b);
}

static void bits_of(const ts_gs_config *c, unsigned bits[4])
{
    const int64_t set[4] = {c->pos_bits, c->scale_bits, c->rot_bits, c->feat_bits};
    for (int i = 0; i < 4; ++i)
        bits[i] = c->quantize ? (unsigned)set[i] : 32;
}

/* ---- creation ---- */

static size_t final_count(const ts_gs_fit *f)
{
    return (size_t)f->c.num_gaussians;
}

static ts_gs_splat_options splat_options(const ts_gs_config *c, int w, int h, int ch)
{
    ts_gs_splat_options o = {
        .width = w,
        .height = h,
        .channels = ch,
        .topk = (int)c->topk,
        .sum = c->disable_topk_norm && !c->disable_tiles,
        .all_tiles = c->disable_tiles,
        .inverse_scale = !c->disable_inverse_scale,
        .legacy = c->gradient == TS_GS_GRADIENT_LEGACY,
        .quant = !c->quantize                              ? TS_GS_QUANT_OFF
                 : c->quant_space == TS_GS_SPACE_LOG_SIGMA ? TS_GS_QUANT_LOG_SIGMA
                                                           : TS_GS_QUANT_SIGMA,
        .sigma_max = (float)c->sigma_max,
        .offset = (float)c->pixel_center,
        .gaussians = (size_t)c->num_gaussians,
        .entries = (size_t)c->list_capacity,
    };
    bits_of(c, o.bits);
    return o;
}

/* In the space of the loss. */
static float to_loss_space(const ts_gs_fit *f, float v)
{
    return f->c.gamma == 1 ? v : powf(v, (float)f->c.gamma);
}

static ts_status take_target(ts_gs_fit *f, const ts_gs_target *t, ts_error *err)
{
    size_t total = f->pixels * (size_t)f->ch;
    f->shown_target = calloc(total, sizeof(float));
    if (!f->shown_target)
        return ts_fail(err, TS_E_NO_MEMORY, "the target");
    for (size_t i = 0; i < total; ++i) {
        f->shown_target[i] = t->chw[i];
        if (!isfinite(t->chw[i]))
            return ts_fail(err, TS_E_SHAPE, "the image has values that are not finite");
        if (t->chw[i] < 0 && f->c.gamma != 1)
            return ts_fail(err, TS_E_SHAPE,
                           "the image has negative values; gamma needs 0 and more");
    }
    return TS_OK;
}

static ts_status make_device_side(ts_gs_fit *f, ts_error *err)
{
    const ts_gs_config *c = &f->c;
    size_t total = f->pixels * (size_t)f->ch, bytes = f->capacity * f->row * sizeof(float);
    ts_device *device = ts_queue_device(f->queue);
    ts_gs_loss_weights weights = {(float)c->l1_loss_ratio, (float)c->l2_loss_ratio,
                                  (float)c->ssim_loss_ratio};
    ts_gs_splat_options o = splat_options(c, f->w, f->h, f->ch);
    o.gaussians = f->capacity;
    ts_status st = ts_gs_splat_create(f->queue, &o, &f->splat, err);
    if (st != TS_OK)
        return st;
    float *target = f->shown_target;
    if (c->gamma != 1) {
        target = calloc(total, sizeof(float));
        if (!target)
            return ts_fail(err, TS_E_NO_MEMORY, "the target");
        for (size_t i = 0; i < total; ++i)
            target[i] = to_loss_space(f, f->shown_target[i]);
    }
    st = ts_gs_loss_create(f->queue, ts_gs_splat_planes(f->splat), target,
                           c->gamma != 1 ? f->shown_target : NULL, (float)c->gamma, &weights, false,
                           &f->loss, err);
    if (target != f->shown_target)
        free(target);
    ts_buffer **all[] = {&f->par, &f->m, &f->v};
    for (size_t i = 0; st == TS_OK && i < 3; ++i) {
        st = ts_buffer_create(device, bytes, all[i], err);
        if (st == TS_OK)
            st = ts_buffer_fill_u32(f->queue, *all[i], 0, 0, bytes, err);
    }
    return st;
}

/* ---- first parameters ---- */

static float stored_scale(const ts_gs_fit *f)
{
    return (float)(f->c.disable_inverse_scale ? f->c.init_scale : 1 / f->c.init_scale);
}

static void place(const ts_gs_fit *f, float *row, uint32_t pixel)
{
    size_t x = pixel % (size_t)f->w, y = pixel / (size_t)f->w;
    row[0] = ((float)x + 0.5f) / (float)f->w;
    row[1] = ((float)y + 0.5f) / (float)f->h;
    row[2] = row[3] = stored_scale(f);
    row[4] = 0;
    for (int c = 0; c < f->ch; ++c)
        row[5 + c] = to_loss_space(f, f->shown_target[(size_t)c * f->pixels + pixel]);
}

static ts_status probability(ts_gs_fit *f, const ts_gs_target *t, ts_error *err)
{
    if (f->c.init_mode == TS_GS_INIT_RANDOM)
        return TS_OK;
    f->map = calloc(f->pixels, sizeof(float));
    if (!f->map)
        return ts_fail(err, TS_E_NO_MEMORY, "the probability map");
    if (f->c.init_mode == TS_GS_INIT_SALIENCY) {
        if (!t->saliency)
            return ts_fail(err, TS_E_SHAPE, "saliency map required");
        return ts_gs_saliency_map(t->saliency, t->saliency_h, t->saliency_w, f->h, f->w,
                                  f->c.smap_filter_size, f->map, err);
    }
    return ts_gs_gradient_map(f->shown_target, f->ch, f->h, f->w, f->map, err);
}

/* Pixels of n new Gaussians into `pixel`: the random share first. */
static ts_status first_pixels(ts_gs_fit *f, size_t n, uint32_t *pixel, ts_error *err)
{
    size_t random = f->c.init_mode == TS_GS_INIT_RANDOM
                        ? n
                        : (size_t)nearbyint(f->c.init_random_ratio * (double)n);
    float *p = NULL;
    ts_status st = TS_OK;
    if (random < n) {
        p = calloc(f->pixels, sizeof *p);
        if (!p)
            return ts_fail(err, TS_E_NO_MEMORY, "sampling");
        for (size_t i = 0; i < f->pixels; ++i)
            p[i] = f->c.init_mode == TS_GS_INIT_GRADIENT ? f->map[i] * f->map[i] : f->map[i];
    }
    uint64_t seed = (uint64_t)f->c.seed;
    if (random)
        st = ts_gs_sample(NULL, f->pixels, random, seed, TS_GS_DRAW_RANDOM, 0, pixel, err);
    if (st == TS_OK && random < n)
        st = ts_gs_sample(p, f->pixels, n - random, seed, TS_GS_DRAW_IMPORTANT, 0, pixel + random,
                          err);
    free(p);
    return st;
}

static ts_status fresh_rows(ts_gs_fit *f, float *rows, size_t from, size_t n, ts_error *err)
{
    if (from >= n)
        return TS_OK;
    uint32_t *pixel = calloc((n - from), sizeof *pixel);
    if (!pixel)
        return ts_fail(err, TS_E_NO_MEMORY, "sampling");
    ts_status st = first_pixels(f, n - from, pixel, err);
    for (size_t i = from; st == TS_OK && i < n; ++i) {
        place(f, rows + i * f->row, pixel[i - from]);
        for (int c = 0; f->c.disable_color_init && c < f->ch; ++c)
            rows[i * f->row + 5 + (size_t)c] = (float)ts_gs_uniform(
                (uint64_t)f->c.seed, TS_GS_DRAW_COLOR, (uint32_t)c, (uint32_t)i);
    }
    free(pixel);
    return st;
}

/* Rows of another model, its scales in our kind. */
static ts_status rows_of_model(ts_gs_fit *f, const ts_gs_model *init, float *rows, size_t *taken,
                               ts_error *err)
{
    if (init->channels != f->ch)
        return ts_fail(err, TS_E_SHAPE, "the model has %d channels, the image %d", init->channels,
                       f->ch);
    if (init->n != f->n && !f->c.init_partial)
        return ts_fail(err, TS_E_EXISTS,
                       "the model has %zu Gaussians, the fit starts with %zu; init_partial allows "
                       "that",
                       init->n, f->n);
    *taken = init->n < f->n ? init->n : f->n;
    memcpy(rows, init->par, *taken * f->row * sizeof *rows);
    if (init->inverse_scale == f->c.disable_inverse_scale)
        for (size_t i = 0; i < *taken; ++i)
            for (size_t k = 2; k < 4; ++k) {
                float s = rows[i * f->row + k];
                rows[i * f->row + k] = 1 / (fabsf(s) < 1e-9f ? copysignf(1e-9f, s) : s);
            }
    say(f, "Loaded %zu of %zu Gaussians from the model", *taken, init->n);
    return TS_OK;
}

static ts_status first_parameters(ts_gs_fit *f, const ts_gs_target *t, ts_error *err)
{
    float *rows = calloc(f->n, f->row * sizeof *rows);
    size_t taken = 0;
    if (!rows)
        return ts_fail(err, TS_E_NO_MEMORY, "the first parameters");
    ts_status st = probability(f, t, err);
    if (st == TS_OK && t->init)
        st = rows_of_model(f, t->init, rows, &taken, err);
    if (st == TS_OK)
        st = fresh_rows(f, rows, taken, f->n, err);
    if (st == TS_OK)
        st = ts_buffer_write(f->queue, f->par, 0, rows, f->n * f->row * sizeof *rows, err);
    free(rows);
    return st;
}

/* Go on exactly where a checkpoint was made. */
static ts_status resume(ts_gs_fit *f, const ts_gs_model *m, ts_error *err)
{
    if (m->channels != f->ch || m->width != f->w || m->height != f->h)
        return ts_fail(err, TS_E_SHAPE, "the checkpoint is of %d x %d x %d, the image %d x %d x %d",
                       m->width, m->height, m->channels, f->w, f->h, f->ch);
    if (!m->m || !m->v || m->n > f->capacity)
        return ts_fail(err, TS_E_SHAPE,
                       "a checkpoint with Adam's moments and at most %zu Gaussians "
                       "is needed, this has %zu",
                       f->capacity, m->n);
    f->n = m->n;
    f->step = m->step;
    f->adam_t = m->adam_t;
    f->add_events = m->add_events;
    f->lr_scale = m->lr_scale;
    f->decay = m->decay;
    size_t bytes = f->n * f->row * sizeof(float);
    ts_status st = ts_buffer_write(f->queue, f->par, 0, m->par, bytes, err);
    if (st == TS_OK)
        st = ts_buffer_write(f->queue, f->m, 0, m->m, bytes, err);
    if (st == TS_OK)
        st = ts_buffer_write(f->queue, f->v, 0, m->v, bytes, err);
    return st;
}

static void announce(ts_gs_fit *f, const char *path)
{
    unsigned bits[4], raw[4] = {32, 32, 32, 32};
    bits_of(&f->c, bits);
    double depth_bits = 0;
    const char *ch = f->input_channels, *depth = f->bit_depths;
    while (ch && *ch) {
        depth_bits += strtod(ch, NULL) * (depth && *depth ? strtod(depth, NULL) : 8);
        ch = strchr(ch, ',') ? strchr(ch, ',') + 1 : NULL;
        depth = depth && strchr(depth, ',') ? strchr(depth, ',') + 1 : depth;
    }
    if (depth_bits <= 0)
        depth_bits = 8.0 * f->ch;
    double image_bytes = depth_bits * (double)f->pixels / 8;
    ts_gs_size s = ts_gs_rules_size(f->c.num_gaussians, f->ch, f->w, f->h, bits);
    (void)raw;
    say(f, STARS);
    say(f, "Start optimizing %lld Gaussians for '%s'", (long long)f->c.num_gaussians,
        path ? path : "image");
    say(f, STARS);
    say(f, "Uncompressed: %.2f KB | %.3f bpp | %.3f bppc", image_bytes / 1000, depth_bits,
        depth_bits / f->ch);
    say(f, "Compressed: %.2f KB | %.3f bpp | %.3f bppc", s.bytes / 1000, s.bpp, s.bppc);
    say(f, "Compression rate: %.2fx | %.2f%%", image_bytes / s.bytes, 100 * s.bytes / image_bytes);
    if (f->max_steps != f->c.max_steps)
        say(f, "Max steps (%lld) is too small for progressive optimization. Resetting to %lld",
            (long long)f->c.max_steps, (long long)f->max_steps);
}

static ts_status start(ts_gs_fit *f, const ts_gs_target *t, ts_error *err)
{
    ts_status st = take_target(f, t, err);
    if (st == TS_OK)
        st = make_device_side(f, err);
    if (st != TS_OK)
        return st;
    announce(f, t->path);
    if (t->resume)
        return resume(f, t->init, err);
    return first_parameters(f, t, err);
}

ts_status ts_gs_fit_create(ts_queue *queue, const ts_gs_config *config, const ts_gs_target *target,
                           const ts_gs_hooks *hooks, ts_gs_fit **out, ts_error *err)
{
    ts_gs_fit *f = calloc(1, sizeof *f);
    if (!f)
        return ts_fail(err, TS_E_NO_MEMORY, "a fit");
    f->queue = queue;
    ts_gs_config_copy(&f->c, config);
    if (hooks)
        f->hooks = *hooks;
    f->w = target->width;
    f->h = target->height;
    f->ch = target->channels;
    f->first_channels = target->input_channels[0] == '1' || target->channels < 3 ? 1 : 3;
    snprintf(f->input_channels, sizeof f->input_channels, "%s", target->input_channels);
    snprintf(f->bit_depths, sizeof f->bit_depths, "%s", target->bit_depths);
    f->pixels = (size_t)f->w * (size_t)f->h;
    f->row = 5 + (size_t)f->ch;
    f->capacity = (size_t)config->num_gaussians;
    f->first_count = config->disable_prog_optim
                         ? config->num_gaussians
                         : ts_gs_rules_first(config->num_gaussians, config->initial_ratio);
    f->n = (size_t)f->first_count;
    f->max_steps = ts_gs_config_steps(config);
    f->lr_scale = 1;
    f->last = (ts_gs_eval){
        .total = NAN, .l1 = NAN, .l2 = NAN, .ssim_loss = NAN, .psnr = NAN, .ssim = NAN};
    ts_status st = start(f, target, err);
    if (st != TS_OK) {
        ts_gs_fit_destroy(f);
        return st;
    }
    *out = f;
    return TS_OK;
}

void ts_gs_fit_destroy(ts_gs_fit *f)
{
    if (!f)
        return;
    if (ts_queue_finish(f->queue, NULL) != TS_OK) {
        /* the device is lost; its buffers go the same way */
    }
    ts_gs_splat_destroy(f->splat);
    ts_gs_loss_destroy(f->loss);
    ts_buffer_unref(f->par);
    ts_buffer_unref(f->m);
    ts_buffer_unref(f->v);
    free(f->shown_target);
    free(f->add_target);
    free(f->map);
    ts_gs_config_finish(&f->c);
    free(f);
}

uint64_t ts_gs_fit_estimate(const ts_gs_config *c, int width, int height, int channels)
{
    ts_gs_planes p;
    ts_gs_planes_init(&p, width, height, channels);
    uint64_t n = (uint64_t)c->num_gaussians, row = 4 * (5 + (uint64_t)channels);
    uint64_t entries = c->disable_tiles ? n * (p.plane / 256 + 1) : 16 * n;
    return 4 * n * row + entries * (16 + row) + 13 * p.bytes + 12 * (uint64_t)p.plane + (1 << 20);
}

/* ---- evaluation ---- */

static float word(const ts_gs_fit *f, int index)
{
    float v;
    memcpy(&v, &f->status[index], sizeof v);
    return v;
}

ts_status ts_gs_fit_evaluate(ts_gs_fit *f, ts_gs_eval *out, ts_error *err)
{
    const ts_gs_config *c = &f->c;
    uint32_t status[TS_GS_STATUS_WORDS];
    int64_t begin = ts_now_us();
    ts_status st = ts_gs_splat_render(f->splat, f->par, f->n, err);
    f->fresh_render_s = (double)(ts_now_us() - begin) * 1e-6;
    if (st == TS_OK)
        st = ts_gs_loss_evaluate(f->loss, ts_gs_splat_image(f->splat), ts_gs_splat_status(f->splat),
                                 err);
    if (st == TS_OK)
        st = ts_gs_splat_read_status(f->splat, status, err);
    if (st != TS_OK)
        return st;
    float eval[2];
    memcpy(eval, status + TS_GS_EVAL_MSE, sizeof eval);
    *out = (ts_gs_eval){
        .step = f->step,
        .psnr = ts_gs_psnr((double)eval[0]),
        .ssim = (double)eval[1],
        .count = (int64_t)f->n,
        .lr_scale = f->lr_scale,
        .step_ms = f->step_ms,
        .l1 = NAN,
        .l2 = NAN,
        .ssim_loss = NAN,
        .total = NAN,
    };
    if (f->step > 0 && f->adam_t + f->add_events > 0) {
        double l1 = c->l1_loss_ratio * (double)word(f, TS_GS_LOSS_L1);
        double l2 = c->l2_loss_ratio * (double)word(f, TS_GS_LOSS_L2);
        double ls = c->ssim_loss_ratio * (1 - (double)word(f, TS_GS_LOSS_SSIM));
        out->l1 = c->l1_loss_ratio > 1e-7 ? l1 : NAN;
        out->l2 = c->l2_loss_ratio > 1e-7 ? l2 : NAN;
        out->ssim_loss = c->ssim_loss_ratio > 1e-7 ? ls : NAN;
        out->total = (c->l1_loss_ratio > 1e-7 ? l1 : 0) + (c->l2_loss_ratio > 1e-7 ? l2 : 0) +
                     (c->ssim_loss_ratio > 1e-7 ? ls : 0);
    }
    out->render_s = f->render_s;
    out->total_s = f->total_s;
    return TS_OK;
}

static void log_evaluation(ts_gs_fit *f, const ts_gs_eval *e)
{
    char loss[128] = "";
    if (!isnan(e->l1))
        snprintf(loss + strlen(loss), sizeof loss - strlen(loss), ", L1: %.4f", e->l1);
    if (!isnan(e->l2))
        snprintf(loss + strlen(loss), sizeof loss - strlen(loss), ", L2: %.4f", e->l2);
    if (!isnan(e->ssim_loss))
        snprintf(loss + strlen(loss), sizeof loss - strlen(loss), ", SSIM: %.4f", e->ssim_loss);
    say(f, "Step: %lld | Total: %.2f s | Render: %.2f s | Loss: %.4f%s | PSNR: %.2f | SSIM: %.4f",
        (long long)e->step, e->total_s, e->render_s, isnan(e->total) ? 0 : e->total, loss, e->psnr,
        e->ssim);
}

/* Evaluate at a step where it is due, tell, and let the schedule decide. */
static ts_status evaluation(ts_gs_fit *f, bool schedule, ts_error *err)
{
    ts_status st = ts_gs_fit_evaluate(f, &f->last, err);
    if (st != TS_OK)
        return st;
    /* a step's render is not timed by itself (that would be a wait): this one stands for them */
    f->render_s = fmin(f->render_s + f->fresh_render_s * (double)f->steps_since_eval, f->total_s);
    f->last.render_s = f->render_s;
    f->steps_since_eval = 0;
    f->evaluated_now = true;
    if (f->step > 0)
        log_evaluation(f, &f->last);
    if (f->hooks.evaluated)
        st = f->hooks.evaluated(f->hooks.arg, &f->last, err);
    const ts_gs_config *c = &f->c;
    if (st != TS_OK || !schedule || c->disable_lr_schedule || f->n < final_count(f))
        return st;
    ts_gs_decay_event e =
        ts_gs_rules_decay(&f->decay, f->last.psnr, f->last.ssim, c->eval_steps,
                          c->check_decay_steps, c->max_decay_times, c->decay_threshold);
    if (e == TS_GS_DECAY_NOW) {
        f->lr_scale /= c->decay_ratio;
        say(f, "Learning rate decayed by %.1f", c->decay_ratio);
        tell(f, "decay", f->decay.decays, 0);
    } else if (e == TS_GS_DECAY_STOP) {
        f->stop = f->stopped_early = true;
    }
    return TS_OK;
}

/* ---- adding and pruning ---- */

static ts_status make_add_target(ts_gs_fit *f, ts_error *err)
{
    if (f->add_target)
        return TS_OK;
    size_t bytes = f->pixels * (size_t)f->ch * sizeof(float);
    f->add_target = malloc(bytes);
    if (!f->add_target)
        return ts_fail(err, TS_E_NO_MEMORY, "adding");
    memcpy(f->add_target, f->shown_target, bytes);
    return ts_gs_add_blur(f->add_target, f->ch, f->h, f->w, err);
}

/* p = (mean |difference|)^2 inside rect; `shown` becomes the signed difference. */
static bool error_map(ts_gs_fit *f, float *shown, const int rect[4], float *p)
{
    bool any = false;
    for (size_t i = 0; i < f->pixels; ++i) {
        int x = (int)(i % (size_t)f->w), y = (int)(i / (size_t)f->w);
        double e = 0;
        for (int c = 0; c < f->ch; ++c) {
            size_t at = (size_t)c * f->pixels + i;
            shown[at] = f->add_target[at] - shown[at];
            e += fabs((double)shown[at]);
        }
        e /= f->ch;
        bool inside = !rect || (x >= rect[0] && x < rect[2] && y >= rect[1] && y < rect[3]);
        p[i] = inside ? (float)(e * e) : 0;
        any = any || p[i] > 0;
    }
    return any;
}

static ts_status reset_adam(ts_gs_fit *f, size_t from, ts_error *err)
{
    if (!f->c.keep_adam) {
        from = 0;
        f->adam_t = 0;
    }
    f->lr_scale = 1;
    size_t offset = from * f->row * sizeof(float), bytes = (f->n - from) * f->row * sizeof(float);
    ts_status st = ts_buffer_fill_u32(f->queue, f->m, offset, 0, bytes, err);
    if (st == TS_OK)
        st = ts_buffer_fill_u32(f->queue, f->v, offset, 0, bytes, err);
    return st;
}

static ts_status add_rows(ts_gs_fit *f, size_t n, const uint32_t *pixel, const float *difference,
                          ts_error *err)
{
    float *rows = calloc(n * f->row, sizeof *rows);
    if (!rows)
        return ts_fail(err, TS_E_NO_MEMORY, "adding");
    for (size_t i = 0; i < n; ++i) {
        place(f, rows + i * f->row, pixel[i]);
        for (int c = 0; f->c.add_feat == TS_GS_ADD_RESIDUAL && c < f->ch; ++c)
            rows[i * f->row + 5 + (size_t)c] = difference[(size_t)c * f->pixels + pixel[i]];
    }
    size_t row = f->row * sizeof *rows, old = f->n;
    ts_status st = ts_buffer_write(f->queue, f->par, old * row, rows, n * row, err);
    free(rows);
    if (st != TS_OK)
        return st;
    f->n += n;
    say(f, "Step: %lld | Adding %zu Gaussians (%zu -> %zu)", (long long)f->step, n, old, f->n);
    tell(f, "added", (int64_t)old, (int64_t)f->n);
    return reset_adam(f, old, err);
}

ts_status ts_gs_fit_add(ts_gs_fit *f, int64_t count, const int rect[4], bool random, ts_error *err)
{
    size_t room = f->capacity - f->n, n = (size_t)count < room ? (size_t)count : room;
    ts_gs_eval now;
    if (n == 0)
        return TS_OK;
    float *shown = calloc(f->pixels * (size_t)f->ch, sizeof *shown);
    float *p = calloc(f->pixels, sizeof *p);
    uint32_t *pixel = calloc(n, sizeof *pixel);
    ts_status st = shown && p && pixel ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "adding");
    if (st == TS_OK)
        st = make_add_target(f, err);
    if (st == TS_OK)
        st = ts_gs_fit_evaluate(f, &now, err);
    if (st == TS_OK)
        st = ts_gs_fit_shown(f, shown, err);
    if (st == TS_OK) {
        bool any = error_map(f, shown, rect, p);
        st = ts_gs_sample(any && !random ? p : NULL, f->pixels, n, (uint64_t)f->c.seed,
                          TS_GS_DRAW_ADD, (uint32_t)++f->add_events, pixel, err);
    }
    if (st == TS_OK)
        st = add_rows(f, n, pixel, shown, err);
    free(shown);
    free(p);
    free(pixel);
    return st;
}

static ts_status progressive(ts_gs_fit *f, ts_error *err)
{
    int64_t most = ts_gs_rules_add(f->c.num_gaussians, f->first_count, f->c.add_times);
    return ts_gs_fit_add(f, most, NULL, false, err);
}

/* Keep the rows marked in `keep`, in order, in one of the three buffers. */
static ts_status compact(ts_gs_fit *f, ts_buffer *buffer, const bool *keep, ts_error *err)
{
    float *rows;
    ts_status st = ts_buffer_map(f->queue, buffer, 0, f->n * f->row * sizeof *rows,
                                 TS_MAP_READ | TS_MAP_WRITE, (void **)&rows, err);
    if (st != TS_OK)
        return st;
    size_t to = 0;
    for (size_t i = 0; i < f->n; ++i)
        if (keep[i])
            memmove(rows + f->row * to++, rows + f->row * i, f->row * sizeof *rows);
    ts_buffer_unmap(f->queue, buffer, rows);
    return TS_OK;
}

/* Contribution: with dL/dI = 1 in one channel, a feature's gradient is the sum of the weights. */
static ts_status contributions(ts_gs_fit *f, float *rows, ts_error *err)
{
    ts_buffer *out = NULL, *ones = ts_gs_loss_grad(f->loss);
    const ts_gs_planes *planes = ts_gs_splat_planes(f->splat);
    size_t bytes = f->n * f->row * sizeof *rows, total = f->pixels * (size_t)f->ch;
    float *host = calloc(total, sizeof *host);
    if (!host)
        return ts_fail(err, TS_E_NO_MEMORY, "pruning");
    for (size_t i = 0; i < f->pixels; ++i)
        host[i] = 1;
    ts_status st = ts_buffer_create(ts_queue_device(f->queue), bytes, &out, err);
    if (st == TS_OK)
        st = ts_gs_splat_render(f->splat, f->par, f->n, err);
    if (st == TS_OK)
        st = ts_gs_planes_write(f->queue, planes, ones, host, err);
    if (st == TS_OK)
        st = ts_gs_splat_backward(f->splat, ones, err);
    if (st == TS_OK)
        st = ts_gs_splat_gradients(f->splat, f->par, out, err);
    if (st == TS_OK)
        st = ts_buffer_read(f->queue, out, 0, rows, bytes, err);
    if (st == TS_OK)
        st = ts_gs_splat_clear_status(f->splat, err);
    ts_buffer_unref(out);
    free(host);
    return st;
}

static ts_status prune(ts_gs_fit *f, ts_error *err)
{
    float *rows = calloc(f->n * f->row, sizeof *rows);
    bool *keep = calloc(f->n, sizeof *keep);
    size_t kept = 0;
    ts_status st =
        rows && keep ? contributions(f, rows, err) : ts_fail(err, TS_E_NO_MEMORY, "pruning");
    for (size_t i = 0; st == TS_OK && i < f->n; ++i)
        kept += keep[i] = (double)rows[i * f->row + 5] >= f->c.prune_contrib;
    if (st == TS_OK && kept > 0 && kept < f->n) {
        ts_buffer *all[] = {f->par, f->m, f->v};
        for (int i = 0; st == TS_OK && i < 3; ++i)
            st = compact(f, all[i], keep, err);
        if (st == TS_OK) {
            say(f, "Step: %lld | Pruned %zu Gaussians (%zu -> %zu)", (long long)f->step,
                f->n - kept, f->n, kept);
            tell(f, "pruned", (int64_t)f->n, (int64_t)kept);
            f->n = kept;
        }
    }
    free(rows);
    free(keep);
    return st;
}

/* ---- steps ---- */

static ts_status enqueue_step(ts_gs_fit *f, int64_t ahead, ts_error *err)
{
    const ts_gs_config *c = &f->c;
    ts_gs_adam adam = {
        .lr = {(float)(c->pos_lr * f->lr_scale), (float)(c->scale_lr * f->lr_scale),
               (float)(c->rot_lr * f->lr_scale), (float)(c->feat_lr * f->lr_scale)},
        .beta1 = (float)c->adam_beta1,
        .beta2 = (float)c->adam_beta2,
        .eps = (float)c->adam_eps,
        .t = f->adam_t + ahead + 1,
    };
    ts_status st = ts_gs_splat_forward(f->splat, f->par, f->n, err);
    if (st == TS_OK)
        st = ts_gs_loss_gradient(f->loss, ts_gs_splat_image(f->splat), ts_gs_splat_status(f->splat),
                                 err);
    if (st == TS_OK)
        st = ts_gs_splat_backward(f->splat, ts_gs_loss_grad(f->loss), err);
    if (st == TS_OK)
        st = ts_gs_splat_step(f->splat, f->par, f->m, f->v, &adam, err);
    return st;
}

/* n steps; those that an overflow of the tile lists held back are repeated with larger ones. */
static ts_status run_steps(ts_gs_fit *f, int64_t n, ts_error *err)
{
    int64_t begin = ts_now_us(), left = n;
    while (left > 0) {
        ts_status st = TS_OK;
        /* the count of steps alone: the losses of the step before stay for the next evaluation */
        st = ts_buffer_fill_u32(f->queue, ts_gs_splat_status(f->splat), TS_GS_STEPS * 4, 0, 4, err);
        for (int64_t i = 0; st == TS_OK && i < left; ++i)
            st = enqueue_step(f, i, err);
        if (st == TS_OK)
            st = ts_gs_splat_read_status(f->splat, f->status, err);
        if (st != TS_OK)
            return st;
        int64_t done = f->status[TS_GS_STEPS];
        f->adam_t += done;
        f->step += done;
        f->steps_since_eval += done;
        left -= done;
        if (f->status[TS_GS_NONFINITE])
            return ts_fail(err, TS_E_INTERNAL, "non_finite_loss at step %lld",
                           (long long)f->step + 1);
        if (f->status[TS_GS_OVERFLOW])
            st = ts_gs_splat_grow(f->splat, f->status[TS_GS_NEED], err);
        else if (left > 0)
            st = ts_fail(err, TS_E_INTERNAL, "the device did %lld of %lld steps", (long long)done,
                         (long long)(left + done));
        if (st != TS_OK)
            return st;
    }
    double ms = (double)(ts_now_us() - begin) * 1e-3 / (double)n;
    f->total_s += ms * 1e-3 * (double)n;
    f->step_ms = f->step_ms > 0 ? 0.8 * f->step_ms + 0.2 * ms : ms;
    return TS_OK;
}

static bool adding_due(const ts_gs_fit *f, int64_t step)
{
    return !f->c.disable_prog_optim && step % f->c.add_steps == 0 && f->n < final_count(f);
}

/* Steps from `step` to the next multiple of `every`. */
static int64_t until(int64_t step, int64_t every)
{
    return every - step % every;
}

static int64_t steps_to_event(const ts_gs_fit *f)
{
    const ts_gs_config *c = &f->c;
    int64_t n = f->max_steps - f->step;
    const int64_t every[] = {c->eval_steps,
                             c->save_image_steps,
                             c->save_ckpt_steps,
                             c->disable_prog_optim ? INT64_MAX : c->add_steps,
                             c->prune_every ? c->prune_every : INT64_MAX,
                             c->capture_mode == TS_GS_CAPTURE_INDEPENDENT ? c->video_iterations
                                                                          : INT64_MAX};
    for (size_t i = 0; i < sizeof every / sizeof every[0]; ++i)
        if (every[i] != INT64_MAX && until(f->step, every[i]) < n)
            n = until(f->step, every[i]);
    return n;
}

static ts_status capture(ts_gs_fit *f, ts_error *err)
{
    ts_gs_eval now = f->last;
    if (!f->hooks.frame)
        return TS_OK;
    ts_status st = f->evaluated_now ? TS_OK : ts_gs_fit_evaluate(f, &now, err);
    return st == TS_OK ? f->hooks.frame(f->hooks.arg, f, &now, err) : st;
}

static ts_status store_image(ts_gs_fit *f, ts_error *err)
{
    ts_gs_eval now = f->last;
    if (!f->hooks.image)
        return TS_OK;
    ts_status st = f->evaluated_now ? TS_OK : ts_gs_fit_evaluate(f, &now, err);
    return st == TS_OK ? f->hooks.image(f->hooks.arg, f, &now, err) : st;
}

/* What is due after step f->step, in the order of the spec. */
static ts_status after_step(ts_gs_fit *f, ts_error *err)
{
    const ts_gs_config *c = &f->c;
    int64_t s = f->step;
    ts_status st = TS_OK;
    f->evaluated_now = false;
    if (s % c->eval_steps == 0)
        st = evaluation(f, true, err);
    bool last = s >= f->max_steps || f->stop;
    if (st == TS_OK && !last &&
        ts_gs_rules_capture(s, c->video_iterations, c->eval_steps,
                            c->capture_mode == TS_GS_CAPTURE_INDEPENDENT))
        st = capture(f, err);
    if (st == TS_OK && s % c->save_image_steps == 0)
        st = store_image(f, err);
    if (st == TS_OK && s % c->save_ckpt_steps == 0 && f->n == final_count(f) && f->hooks.checkpoint)
        st = f->hooks.checkpoint(f->hooks.arg, f, err);
    if (st == TS_OK && c->prune_every && s % c->prune_every == 0) {
        st = prune(f, err);
        f->evaluated_now = false;
    }
    if (st == TS_OK && adding_due(f, s)) {
        st = progressive(f, err);
        f->evaluated_now = false;
    }
    return st;
}

static ts_status step_zero(ts_gs_fit *f, ts_error *err)
{
    ts_status st = evaluation(f, false, err);
    if (st == TS_OK)
        st = store_image(f, err);
    if (st == TS_OK)
        st = capture(f, err);
    return st;
}

bool ts_gs_fit_running(const ts_gs_fit *f)
{
    return !f->stop && f->step < f->max_steps;
}

ts_status ts_gs_fit_slice(ts_gs_fit *f, int64_t steps, ts_error *err)
{
    if (!ts_gs_fit_running(f))
        return TS_OK;
    if (f->step == 0 && isnan(f->last.psnr)) {
        ts_status st = step_zero(f, err);
        if (st != TS_OK)
            return st;
    }
    int64_t event = steps_to_event(f), n = steps < event ? steps : event;
    ts_status st = run_steps(f, n, err);
    f->evaluated_now = false;
    if (st == TS_OK && n == event)
        st = after_step(f, err);
    return st;
}

void ts_gs_fit_finish(ts_gs_fit *f)
{
    f->stop = true;
}

ts_status ts_gs_fit_complete(ts_gs_fit *f, ts_gs_metrics *out, ts_error *err)
{
    float *shown = calloc(f->pixels * (size_t)f->ch, sizeof *shown);
    ts_status st = shown ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "the final picture");
    /* not at a step that was evaluated already: the last row of the metrics is the final figure */
    if (st == TS_OK && (f->last.step != f->step || isnan(f->last.psnr)))
        st = evaluation(f, false, err);
    else if (st == TS_OK)
        st = ts_gs_fit_evaluate(f, &(ts_gs_eval){0}, err);
    f->evaluated_now = true;
    if (st == TS_OK)
        st = store_image(f, err);
    if (st == TS_OK)
        st = ts_gs_fit_shown(f, shown, err);
    if (st == TS_OK)
        st = ts_gs_metrics_compute(f->shown_target, shown, f->ch, f->h, f->w, out, NULL, err);
    if (st == TS_OK)
        st = capture(f, err);
    free(shown);
    if (st != TS_OK)
        return st;
    /* the loop's own figures, so that every report of them agrees */
    out->psnr = f->last.psnr;
    out->ssim = f->last.ssim;
    char ms[16] = "n/a", flip[16] = "n/a";
    if (!isnan(out->ms_ssim))
        snprintf(ms, sizeof ms, "%.4f", out->ms_ssim);
    if (!isnan(out->flip))
        snprintf(flip, sizeof flip, "%.4f", out->flip);
    say(f, "PSNR: %.2f | SSIM: %.4f | LPIPS: n/a | FLIP: %s | MS-SSIM: %s", out->psnr, out->ssim,
        flip, ms);
    return TS_OK;
}

/* ---- reading out ---- */

ts_status ts_gs_fit_rgba(ts_gs_fit *f, uint8_t *out, ts_error *err)
{
    return ts_gs_loss_rgba(f->loss, 0, f->first_channels, out, err);
}

ts_status ts_gs_fit_shown(ts_gs_fit *f, float *chw, ts_error *err)
{
    return ts_gs_planes_read(f->queue, ts_gs_splat_planes(f->splat), ts_gs_loss_shown(f->loss), chw,
                             err);
}

static ts_status read_rows(ts_gs_fit *f, ts_buffer *buffer, float **out, ts_error *err)
{
    size_t bytes = f->n * f->row * sizeof **out;
    *out = malloc(bytes);
    if (!*out)
        return ts_fail(err, TS_E_NO_MEMORY, "a model");
    return ts_buffer_read(f->queue, buffer, 0, *out, bytes, err);
}

ts_status ts_gs_fit_model(ts_gs_fit *f, bool moments, ts_gs_model *out, ts_error *err)
{
    const ts_gs_config *c = &f->c;
    *out = (ts_gs_model){
        .n = f->n,
        .width = f->w,
        .height = f->h,
        .channels = f->ch,
        .inverse_scale = !c->disable_inverse_scale,
        .sum = c->disable_topk_norm && !c->disable_tiles,
        .all_tiles = c->disable_tiles,
        .topk = (int)c->topk,
        .eps = c->disable_tiles ? 1e-7 : 1e-4,
        .pixel_center = c->pixel_center,
        .gamma = c->gamma,
        .step = f->step,
        .adam_t = f->adam_t,
        .add_events = f->add_events,
        .seed = (uint64_t)c->seed,
        .lr_scale = f->lr_scale,
        .decay = f->decay,
        .config = ts_gs_config_json(c),
    };
    snprintf(out->input_channels, sizeof out->input_channels, "%s", f->input_channels);
    snprintf(out->bit_depths, sizeof out->bit_depths, "%s", f->bit_depths);
    ts_status st = read_rows(f, f->par, &out->par, err);
    if (st == TS_OK && moments)
        st = read_rows(f, f->m, &out->m, err);
    if (st == TS_OK && moments)
        st = read_rows(f, f->v, &out->v, err);
    if (st != TS_OK)
        ts_gs_model_finish(out);
    return st;
}

void ts_gs_fit_reconfigure(ts_gs_fit *f, const ts_gs_config *c)
{
    f->c.max_steps = c->max_steps;
    f->c.eval_steps = c->eval_steps;
    f->c.video_iterations = c->video_iterations;
    f->c.pos_lr = c->pos_lr;
    f->c.scale_lr = c->scale_lr;
    f->c.rot_lr = c->rot_lr;
    f->c.feat_lr = c->feat_lr;
    f->max_steps = c->max_steps < f->step ? f->step : c->max_steps;
}

void ts_gs_fit_progress(const ts_gs_fit *f, ts_gs_progress *out)
{
    *out = (ts_gs_progress){
        .step = f->step,
        .max_steps = f->max_steps,
        .count = (int64_t)f->n,
        .total_count = f->c.num_gaussians,
        .lr_scale = f->lr_scale,
        .best_psnr = f->decay.best_psnr,
        .best_ssim = f->decay.best_ssim,
        .step_ms = f->step_ms,
        .invalid = f->status[TS_GS_INVALID],
        .stopped_early = f->stopped_early,
        .bytes = ts_gs_splat_bytes(f->splat) + ts_gs_loss_bytes(f->loss) +
                 3 * f->capacity * f->row * sizeof(float),
    };
}

const ts_gs_eval *ts_gs_fit_last(const ts_gs_fit *f)
{
    return &f->last;
}

ts_queue *ts_gs_fit_queue(const ts_gs_fit *f)
{
    return f->queue;
}

const float *ts_gs_fit_target(const ts_gs_fit *f)
{
    return f->shown_target;
}

const float *ts_gs_fit_map(const ts_gs_fit *f)
{
    return f->map;
}
