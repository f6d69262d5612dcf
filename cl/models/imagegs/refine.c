#include "cl/models/imagegs/refine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ts_gs_refine {
    ts_queue *queue;
    ts_gs_config c;
    int w, h, ch;
    size_t pixels;
    float *target, *base_picture, *picture;
    ts_gs_model base, joint;
    ts_gs_patches grid;
    ts_gs_patch *patch;
    float **best; /* per patch: [C,size,size] of the best refinement, or NULL */
    int n, at;
    ts_gs_fit *fit; /* of the current patch, or the joint one */
    float *patch_target;
    int64_t count; /* Gaussians of the current iteration */
    bool stop, is_joint;
};

/* ---- patches ---- */

/* Index inside [0,n) for one past an edge: mirrored, or the edge where the picture is too small. */
static int reflect(int i, int n)
{
    if (i < n)
        return i;
    int m = 2 * (n - 1) - i;
    return m >= 0 ? m : n - 1;
}

/* [C,size,size] of a picture at a patch, completed by reflection. */
static void cut(const ts_gs_refine *r, const float *picture, const ts_gs_patch *p, float *out)
{
    int size = r->grid.size;
    size_t area = (size_t)size * (size_t)size;
    for (int c = 0; c < r->ch; ++c)
        for (int y = 0; y < size; ++y)
            for (int x = 0; x < size; ++x) {
                int sx = p->rect[0] + x, sy = p->rect[1] + y;
                sx = reflect(sx, r->w);
                sy = reflect(sy, r->h);
                out[(size_t)c * area + (size_t)y * (size_t)size + (size_t)x] =
                    picture[(size_t)c * r->pixels + (size_t)sy * (size_t)r->w + (size_t)sx];
            }
}

static ts_status judge(const ts_gs_refine *r, const float *truth, const float *render, double *psnr,
                       double *ssim, double *error, ts_error *err)
{
    ts_status st =
        ts_gs_metrics_quick(truth, render, r->ch, r->grid.size, r->grid.size, psnr, ssim, err);
    if (st == TS_OK)
        *error =
            ts_gs_rules_error(*psnr, *ssim, r->c.adaptive_psnr_weight, r->c.adaptive_ssim_weight);
    return st;
}

static ts_status judge_all(ts_gs_refine *r, ts_error *err)
{
    size_t n = (size_t)r->ch * (size_t)r->grid.size * (size_t)r->grid.size;
    float *pair = calloc(2 * n, sizeof *pair);
    ts_status st = pair ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "patches");
    for (int i = 0; st == TS_OK && i < r->n; ++i) {
        ts_gs_patch *p = &r->patch[i];
        p->row = i / r->grid.cols;
        p->col = i % r->grid.cols;
        ts_gs_rules_patch(&r->grid, p->row, p->col, p->rect);
        cut(r, r->target, p, pair);
        cut(r, r->base_picture, p, pair + n);
        st = judge(r, pair, pair + n, &p->psnr, &p->ssim, &p->error, err);
        p->psnr_before = p->psnr;
        p->ssim_before = p->ssim;
        p->error_before = p->error;
        p->needs_refinement = p->error > r->c.adaptive_error_threshold;
    }
    free(pair);
    return st;
}

/* ---- the model of a patch ---- */

typedef struct member {
    double area;
    uint32_t index;
} member;

static int larger_first(const void *pa, const void *pb)
{
    const member *a = pa, *b = pb;
    if (a->area != b->area)
        return a->area > b->area ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static int by_index(const void *pa, const void *pb)
{
    const member *a = pa, *b = pb;
    return a->index < b->index ? -1 : a->index > b->index;
}

static double sigma_of(const ts_gs_model *m, float stored)
{
    double s = fabs((double)stored);
    return m->inverse_scale ? 1 / fmax(s, 1e-9) : s;
}

/*
 * The base's Gaussians in the patch (10 % around it), in its coordinates; the `most` largest, in
 * their old order. Sigma in pixels stays.
 */
static ts_status members(const ts_gs_refine *r, const ts_gs_patch *p, int64_t most,
                         ts_gs_model *out, ts_error *err)
{
    const ts_gs_model *b = &r->base;
    size_t row = 5 + (size_t)r->ch, n = 0;
    member *list = calloc((b->n + 1), sizeof *list);
    *out = *b;
    out->metrics = out->config = NULL;
    out->m = out->v = NULL;
    out->width = out->height = r->grid.size;
    out->par = calloc((b->n + 1) * row, sizeof *out->par);
    if (!list || !out->par) {
        free(list);
        free(out->par);
        out->par = NULL;
        return ts_fail(err, TS_E_NO_MEMORY, "a patch");
    }
    for (size_t i = 0; i < b->n; ++i) {
        const float *g = b->par + i * row;
        double x = ((double)g[0] * r->w - p->rect[0]) / r->grid.size;
        double y = ((double)g[1] * r->h - p->rect[1]) / r->grid.size;
        if (x >= -0.1 && x <= 1.1 && y >= -0.1 && y <= 1.1)
            list[n++] = (member){sigma_of(b, g[2]) * sigma_of(b, g[3]), (uint32_t)i};
    }
    qsort(list, n, sizeof *list, larger_first);
    if ((int64_t)n > most)
        n = (size_t)most;
    qsort(list, n, sizeof *list, by_index);
    for (size_t k = 0; k < n; ++k) {
        float *to = out->par + k * row;
        memcpy(to, b->par + list[k].index * row, row * sizeof *to);
        to[0] = (float)(((double)to[0] * r->w - p->rect[0]) / r->grid.size);
        to[1] = (float)(((double)to[1] * r->h - p->rect[1]) / r->grid.size);
    }
    out->n = n;
    free(list);
    return TS_OK;
}

/* A fit's configuration inside a refinement: half the steps, no adding, no schedule. */
static void inner_config(const ts_gs_refine *r, int64_t gaussians, ts_gs_config *c)
{
    ts_gs_config_copy(c, &r->c);
    c->num_gaussians = gaussians;
    c->max_steps = r->c.max_steps / 2 > 0 ? r->c.max_steps / 2 : 1;
    c->eval_steps = c->save_ckpt_steps = c->save_image_steps = c->max_steps;
    c->disable_prog_optim = c->disable_lr_schedule = true;
    c->init_partial = true;
    c->prune_every = 0;
    c->adaptive_refinement = false;
    if (c->init_mode == TS_GS_INIT_SALIENCY)
        c->init_mode = TS_GS_INIT_GRADIENT; /* the map was of the whole picture */
}

static ts_status start_patch(ts_gs_refine *r, ts_error *err)
{
    ts_gs_patch *p = &r->patch[r->at];
    size_t n = (size_t)r->ch * (size_t)r->grid.size * (size_t)r->grid.size;
    ts_gs_model start = {0};
    ts_gs_config c;
    if (!r->patch_target)
        r->patch_target = calloc(n, sizeof *r->patch_target);
    if (!r->patch_target)
        return ts_fail(err, TS_E_NO_MEMORY, "a patch");
    cut(r, r->target, p, r->patch_target);
    ts_status st = members(r, p, r->count, &start, err);
    if (st != TS_OK)
        return st;
    inner_config(r, r->count, &c);
    c.seed += 1 + r->at * 101 + p->iterations;
    ts_gs_target t = {.width = r->grid.size,
                      .height = r->grid.size,
                      .channels = r->ch,
                      .chw = r->patch_target,
                      .init = start.n ? &start : NULL};
    st = ts_gs_fit_create(r->queue, &c, &t, NULL, &r->fit, err);
    ts_gs_config_finish(&c);
    free(start.par);
    return st;
}

/* A patch's fit has ended: keep it if it is the best so far, and go on. */
static ts_status end_patch(ts_gs_refine *r, ts_error *err)
{
    ts_gs_patch *p = &r->patch[r->at];
    size_t n = (size_t)r->ch * (size_t)r->grid.size * (size_t)r->grid.size;
    double psnr, ssim, error;
    ts_gs_eval eval;
    float *shown = calloc(n, sizeof *shown);
    ts_status st =
        shown ? ts_gs_fit_evaluate(r->fit, &eval, err) : ts_fail(err, TS_E_NO_MEMORY, "a patch");
    if (st == TS_OK)
        st = ts_gs_fit_shown(r->fit, shown, err);
    if (st == TS_OK)
        st = judge(r, r->patch_target, shown, &psnr, &ssim, &error, err);
    if (st == TS_OK && error < p->error) {
        ts_gs_model_finish(&p->model);
        st = ts_gs_fit_model(r->fit, false, &p->model, err);
        p->psnr = psnr;
        p->ssim = ssim;
        p->error = error;
        p->gaussians = r->count;
        free(r->best[r->at]);
        r->best[r->at] = shown;
        shown = NULL;
    }
    free(shown);
    ts_gs_fit_destroy(r->fit);
    r->fit = NULL;
    if (st != TS_OK)
        return st;
    p->iterations++;
    r->count += r->c.adaptive_refinement_increment;
    if (p->error <= r->c.adaptive_error_threshold ||
        p->iterations >= r->c.adaptive_max_iterations ||
        r->count > r->c.adaptive_max_gaussians_per_patch)
    {
        r->at++;
        r->count = r->c.adaptive_base_gaussians;
    }
    return TS_OK;
}

static void skip_good(ts_gs_refine *r)
{
    while (r->at < r->n && !r->patch[r->at].needs_refinement)
        r->at++;
}

/* ---- reconstruction ---- */

/* The ramp of a patch's weight at `i` of its side; none where the side is the picture's border. */
static float ramp(int i, int length, int overlap, bool low_border, bool high_border)
{
    float w = 1;
    if (overlap < 2)
        return 1;
    if (!low_border && i < overlap)
        w = (float)i / (float)(overlap - 1);
    if (!high_border && length - 1 - i < overlap) {
        float v = (float)(length - 1 - i) / (float)(overlap - 1);
        w = v < w ? v : w;
    }
    return w;
}

static void rebuild(ts_gs_refine *r)
{
    int size = r->grid.size, overlap = (int)r->c.adaptive_overlap;
    size_t area = (size_t)size * (size_t)size;
    float *sum = calloc(r->pixels, sizeof *sum);
    if (!sum)
        return; /* the last reconstruction stays */
    memset(r->picture, 0, r->pixels * (size_t)r->ch * sizeof *r->picture);
    for (int i = 0; i < r->n; ++i) {
        const ts_gs_patch *p = &r->patch[i];
        for (int y = p->rect[1]; y < p->rect[3]; ++y)
            for (int x = p->rect[0]; x < p->rect[2]; ++x) {
                int px = x - p->rect[0], py = y - p->rect[1];
                float w =
                    ramp(px, p->rect[2] - p->rect[0], overlap, p->rect[0] == 0,
                         p->rect[2] == r->w) *
                    ramp(py, p->rect[3] - p->rect[1], overlap, p->rect[1] == 0, p->rect[3] == r->h);
                size_t at = (size_t)y * (size_t)r->w + (size_t)x;
                sum[at] += w;
                for (int c = 0; c < r->ch; ++c) {
                    size_t to = (size_t)c * r->pixels + at;
                    float v =
                        r->best[i]
                            ? r->best[i][(size_t)c * area + (size_t)py * (size_t)size + (size_t)px]
                            : r->base_picture[to];
                    r->picture[to] += w * v;
                }
            }
    }
    for (size_t i = 0; i < r->pixels; ++i)
        for (int c = 0; c < r->ch; ++c) {
            size_t to = (size_t)c * r->pixels + i;
            /* where only ramps' zeros met, the base shows */
            r->picture[to] = sum[i] > 1e-6f ? r->picture[to] / sum[i] : r->base_picture[to];
        }
    free(sum);
}

/* ---- joint ---- */

static int count_bad(const ts_gs_refine *r)
{
    int bad = 0;
    for (int i = 0; i < r->n; ++i)
        bad += r->patch[i].needs_refinement;
    return bad;
}

static ts_status start_joint(ts_gs_refine *r, ts_error *err)
{
    ts_gs_config c;
    int bad = count_bad(r);
    int64_t added = r->c.adaptive_refinement_increment;
    inner_config(r, (int64_t)r->base.n + added, &c);
    /* starts with the base's count; the rest of the capacity is added in the bad patches */
    c.disable_prog_optim = false;
    c.initial_ratio = ((double)r->base.n - 0.5) / (double)c.num_gaussians;
    c.add_steps = c.max_steps + 1;
    c.add_times = 1;
    c.post_min_steps = 0;
    c.keep_adam = true;
    c.add_feat = TS_GS_ADD_TARGET; /* the residual's colours would first have to be unlearned */
    int64_t steps = c.max_steps;
    ts_gs_target t = {
        .width = r->w, .height = r->h, .channels = r->ch, .chw = r->target, .init = &r->base};
    ts_status st = ts_gs_fit_create(r->queue, &c, &t, NULL, &r->fit, err);
    c.max_steps = steps;
    if (st == TS_OK)
        ts_gs_fit_reconfigure(r->fit, &c);
    ts_gs_config_finish(&c);
    for (int i = 0; st == TS_OK && i < r->n; ++i)
        if (r->patch[i].needs_refinement)
            st = ts_gs_fit_add(r->fit, added / bad > 0 ? added / bad : 1, r->patch[i].rect, false,
                               err);
    return st;
}

static ts_status end_joint(ts_gs_refine *r, ts_error *err)
{
    ts_gs_eval eval;
    ts_status st = ts_gs_fit_evaluate(r->fit, &eval, err);
    if (st == TS_OK)
        st = ts_gs_fit_shown(r->fit, r->picture, err);
    if (st == TS_OK)
        st = ts_gs_fit_model(r->fit, false, &r->joint, err);
    ts_gs_fit_destroy(r->fit);
    r->fit = NULL;
    r->at = r->n;
    if (st != TS_OK)
        return st;
    /* the patches' figures are the new picture's */
    float *keep = r->base_picture;
    r->base_picture = r->picture;
    for (int i = 0; st == TS_OK && i < r->n; ++i) {
        ts_gs_patch *p = &r->patch[i], old = *p;
        size_t n = (size_t)r->ch * (size_t)r->grid.size * (size_t)r->grid.size;
        float *pair = calloc(2 * n, sizeof *pair);
        if (!pair) {
            st = ts_fail(err, TS_E_NO_MEMORY, "patches");
            break;
        }
        cut(r, r->target, p, pair);
        cut(r, r->picture, p, pair + n);
        st = judge(r, pair, pair + n, &p->psnr, &p->ssim, &p->error, err);
        p->iterations = old.needs_refinement;
        free(pair);
    }
    r->base_picture = keep;
    return st;
}

/* ---- the object ---- */

static float *copy_of(const float *from, size_t n)
{
    float *to = calloc(n, sizeof *to);
    if (to)
        memcpy(to, from, n * sizeof *to);
    return to;
}

ts_status ts_gs_refine_create(ts_queue *queue, const ts_gs_config *config, const float *target,
                              const ts_gs_model *base, const float *base_picture,
                              ts_gs_refine **out, ts_error *err)
{
    ts_gs_refine *r = calloc(1, sizeof *r);
    if (!r)
        return ts_fail(err, TS_E_NO_MEMORY, "refinement");
    r->queue = queue;
    ts_gs_config_copy(&r->c, config);
    r->w = base->width;
    r->h = base->height;
    r->ch = base->channels;
    r->pixels = (size_t)r->w * (size_t)r->h;
    r->is_joint = config->adaptive_mode == TS_GS_ADAPTIVE_JOINT;
    r->grid = ts_gs_rules_patches(r->w, r->h, (int)config->adaptive_patch_size,
                                  (int)config->adaptive_overlap);
    r->n = r->grid.rows * r->grid.cols;
    r->count = config->adaptive_base_gaussians;
    size_t total = r->pixels * (size_t)r->ch, row = 5 + (size_t)r->ch;
    r->target = copy_of(target, total);
    r->base_picture = copy_of(base_picture, total);
    r->picture = copy_of(base_picture, total);
    r->patch = calloc((size_t)r->n, sizeof *r->patch);
    r->best = calloc((size_t)r->n, sizeof(float *));
    r->base = *base;
    r->base.m = r->base.v = NULL;
    r->base.metrics = r->base.config = NULL;
    r->base.par = copy_of(base->par, base->n * row);
    ts_status st = r->target && r->base_picture && r->picture && r->patch && r->best && r->base.par
                       ? judge_all(r, err)
                       : ts_fail(err, TS_E_NO_MEMORY, "refinement");
    if (st != TS_OK) {
        ts_gs_refine_destroy(r);
        return st;
    }
    skip_good(r);
    *out = r;
    return TS_OK;
}

void ts_gs_refine_destroy(ts_gs_refine *r)
{
    if (!r)
        return;
    ts_gs_fit_destroy(r->fit);
    for (int i = 0; i < r->n; ++i) {
        if (r->patch)
            ts_gs_model_finish(&r->patch[i].model);
        if (r->best)
            free(r->best[i]);
    }
    free(r->patch);
    free(r->best);
    free(r->target);
    free(r->base_picture);
    free(r->picture);
    free(r->patch_target);
    free(r->base.par);
    ts_gs_model_finish(&r->joint);
    ts_gs_config_finish(&r->c);
    free(r);
}

bool ts_gs_refine_running(const ts_gs_refine *r)
{
    return !r->stop && r->at < r->n;
}

void ts_gs_refine_finish(ts_gs_refine *r)
{
    r->stop = true;
}

ts_status ts_gs_refine_slice(ts_gs_refine *r, int64_t steps, ts_error *err)
{
    ts_status st = TS_OK;
    if (!ts_gs_refine_running(r))
        return TS_OK;
    if (!r->fit)
        st = r->is_joint ? start_joint(r, err) : start_patch(r, err);
    if (st == TS_OK)
        st = ts_gs_fit_slice(r->fit, steps, err);
    if (st != TS_OK || ts_gs_fit_running(r->fit))
        return st;
    if (r->is_joint)
        return end_joint(r, err);
    st = end_patch(r, err);
    skip_good(r);
    if (st == TS_OK)
        rebuild(r);
    return st;
}

const float *ts_gs_refine_picture(ts_gs_refine *r)
{
    return r->picture;
}

const ts_gs_patch *ts_gs_refine_current(const ts_gs_refine *r)
{
    return r->at < r->n ? &r->patch[r->at] : NULL;
}

const ts_gs_patches *ts_gs_refine_grid(const ts_gs_refine *r)
{
    return &r->grid;
}

const ts_gs_patch *ts_gs_refine_patch(const ts_gs_refine *r, int i)
{
    return &r->patch[i];
}

const ts_gs_model *ts_gs_refine_joint(const ts_gs_refine *r)
{
    return r->joint.par ? &r->joint : NULL;
}
