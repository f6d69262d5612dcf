#include "server/train/fitrun.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cl/base/fs.h"
#include "cl/base/size.h"
#include "server/train/fitrun_internal.h"

#define CSV_HEADER                                                                 \
    "step,total_loss,l1_loss,l2_loss,ssim_loss,psnr,ssim,num_gaussians,num_bytes," \
    "render_time_accum,total_time_accum"

/* ---- files ---- */

static bool path_of(const ts_fitrun *run, const char *name, char *out, size_t n)
{
    return snprintf(out, n, "%s/%s", run->folder, name) < (int)n;
}

ts_status fitrun_write(ts_fitrun *run, const char *name, const void *data, size_t len,
                       ts_error *err)
{
    char path[4096];
    if (!path_of(run, name, path, sizeof path))
        return ts_fail(err, TS_E_OPTION, "the path of %s is too long", name);
    return ts_fs_write_atomic(path, data, len, err);
}

ts_status fitrun_write_pixels(ts_fitrun *run, const char *name, const ts_pixels *pixels,
                              ts_error *err)
{
    const char *end = strrchr(name, '.');
    ts_encode_options o = {.codec = TS_CODEC_JPEG, .quality = 95};
    ts_buf file = {0};
    if (end && strcmp(end, ".png") == 0)
        o.codec = TS_CODEC_PNG;
    else if (end && strcmp(end, ".webp") == 0)
        o.codec = TS_CODEC_WEBP_LOSSLESS;
    ts_status st = ts_frame_encode(pixels, &o, run->encoder, &file, err);
    if (st == TS_OK)
        st = fitrun_write(run, name, file.data, file.len, err);
    ts_buf_finish(&file);
    return st;
}

ts_status fitrun_write_rgba(ts_fitrun *run, const char *name, const uint8_t *rgba, ts_error *err)
{
    ts_pixels p = {.format = TS_PIXELS_RGBA8,
                   .width = run->w,
                   .height = run->h,
                   .plane = {rgba},
                   .stride = {(size_t)run->w * 4}};
    return fitrun_write_pixels(run, name, &p, err);
}

static FILE *open_file(ts_fitrun *run, const char *name, ts_error *err)
{
    char path[4096];
    FILE *f = path_of(run, name, path, sizeof path) ? fopen(path, "wb") : NULL;
    if (!f && ts_fail_errno(err, errno, "open %s", path) == TS_OK)
        return NULL;
    return f;
}

static ts_status flushed(FILE *f, const char *name, ts_error *err)
{
    if (fflush(f) != 0 || ferror(f))
        return ts_fail_errno(err, errno, "write %s", name);
    return TS_OK;
}

/* ---- log ---- */

void ts_fitrun_log(ts_fitrun *run, const char *line)
{
    char stamp[32];
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "%Y/%m/%d %H:%M:%S", &local);
    fprintf(run->log, "[%s] %s\n", stamp, line);
    if (!run->disk_failed && flushed(run->log, "log_train.txt", &run->disk_error) != TS_OK)
        run->disk_failed = true; /* the next slice reports it */
}

static void on_log(void *arg, const char *line)
{
    ts_fitrun_log(arg, line);
}

static void log_file(ts_fitrun *run, const char *fmt, const char *what)
{
    char line[4300];
    snprintf(line, sizeof line, fmt, what);
    ts_fitrun_log(run, line);
}

/* ---- evaluations ---- */

static void csv_number(FILE *f, double v, const char *fmt)
{
    fputc(',', f);
    if (isinf(v))
        fputs(v > 0 ? "inf" : "-inf", f);
    else if (!isnan(v))
        fprintf(f, fmt, v);
}

static ts_status csv_row(ts_fitrun *run, const ts_gs_eval *e, ts_error *err)
{
    unsigned bits[4] = {32, 32, 32, 32};
    const ts_gs_config *c = &run->config;
    if (c->quantize) {
        bits[0] = (unsigned)c->pos_bits;
        bits[1] = (unsigned)c->scale_bits;
        bits[2] = (unsigned)c->rot_bits;
        bits[3] = (unsigned)c->feat_bits;
    }
    ts_gs_size size = ts_gs_rules_size(c->num_gaussians, run->channels, run->w, run->h, bits);
    fprintf(run->csv, "%lld", (long long)e->step);
    csv_number(run->csv, e->total, "%.9g");
    csv_number(run->csv, e->l1, "%.9g");
    csv_number(run->csv, e->l2, "%.9g");
    csv_number(run->csv, e->ssim_loss, "%.9g");
    csv_number(run->csv, e->psnr, "%.9g");
    csv_number(run->csv, e->ssim, "%.9g");
    fprintf(run->csv, ",%lld", (long long)e->count);
    csv_number(run->csv, size.bytes, "%.9g");
    csv_number(run->csv, e->render_s, "%.6f");
    csv_number(run->csv, e->total_s, "%.6f");
    if (c->csv_extra) {
        csv_number(run->csv, e->lr_scale, "%.9g");
        csv_number(run->csv, e->step_ms, "%.4f");
    }
    fputc('\n', run->csv);
    return flushed(run->csv, "metrics.csv", err);
}

static ts_status keep_eval(ts_fitrun *run, const ts_gs_eval *e, ts_error *err)
{
    if (run->n_evals == run->cap_evals) {
        size_t cap = run->cap_evals ? run->cap_evals * 2 : 64;
        ts_gs_eval *more = ts_realloc_array(run->evals, cap, sizeof *more);
        if (!more)
            return ts_fail(err, TS_E_NO_MEMORY, "evaluations");
        run->evals = more;
        run->cap_evals = cap;
    }
    run->evals[run->n_evals++] = *e;
    return TS_OK;
}

static ts_status on_evaluated(void *arg, const ts_gs_eval *e, ts_error *err)
{
    ts_fitrun *run = arg;
    ts_status st = keep_eval(run, e, err);
    if (st == TS_OK && e->step > 0)
        st = csv_row(run, e, err);
    if (run->hooks.evaluated)
        run->hooks.evaluated(run->hooks.arg, e);
    return st;
}

static void on_event(void *arg, const char *event, int64_t step, int64_t a, int64_t b)
{
    ts_fitrun *run = arg;
    if (run->hooks.event)
        run->hooks.event(run->hooks.arg, event, step, a, b);
}

/* ---- pictures ---- */

static ts_trainpic_text text_of(const ts_fitrun *run, const ts_gs_eval *e)
{
    ts_gs_progress p = {0};
    if (run->fit)
        ts_gs_fit_progress(run->fit, &p);
    return (ts_trainpic_text){.step = e->step,
                              .max_steps = p.max_steps,
                              .count = e->count,
                              .psnr = e->psnr,
                              .ssim = e->ssim,
                              .loss = e->total,
                              .seconds = e->total_s};
}

static ts_status compose(ts_fitrun *run, const ts_trainpic_options *look, const ts_gs_eval *e,
                         ts_pixels **out, ts_error *err)
{
    const uint8_t *panels[TS_TRAINPIC_MAX_PANELS];
    ts_trainpic_text text = text_of(run, e);
    char where[48];
    const ts_gs_patch *p = run->refine ? ts_gs_refine_current(run->refine) : NULL;
    if (p) {
        snprintf(where, sizeof where, "Patch: %d,%d  iter %d", p->row, p->col, p->iterations + 1);
        text.extra[0] = where;
    }
    ts_status st = fitrun_panels(run, look, panels, err);
    if (st == TS_OK)
        st = ts_trainpic_compose(look, run->w, run->h, panels, &text, out, err);
    return st;
}

static ts_status on_frame(void *arg, ts_gs_fit *fit, const ts_gs_eval *e, ts_error *err)
{
    ts_fitrun *run = arg;
    ts_pixels *picture = NULL;
    if (!run->video && !run->config.keep_frames)
        return TS_OK;
    if (!run->fit)
        run->fit = fit;
    ts_status st = compose(run, &run->video_look, e, &picture, err);
    if (st == TS_OK && run->video)
        st = ts_trainvideo_add(run->video, picture, err);
    if (st == TS_OK && run->config.keep_frames) {
        char name[64];
        snprintf(name, sizeof name, "frames/%09lld.webp", (long long)e->step);
        st = fitrun_write_pixels(run, name, picture, err);
    }
    ts_pixels_unref(picture);
    return st;
}

static const char *extension(const ts_fitrun *run)
{
    return run->config.save_image_format == TS_GS_IMAGE_PNG    ? "png"
           : run->config.save_image_format == TS_GS_IMAGE_WEBP ? "webp"
                                                               : "jpg";
}

static ts_status visualise(ts_fitrun *run, const ts_gs_eval *e, ts_error *err);

static ts_status on_image(void *arg, ts_gs_fit *fit, const ts_gs_eval *e, ts_error *err)
{
    ts_fitrun *run = arg;
    char name[160];
    snprintf(name, sizeof name, "other/render_step-%lld_psnr-%.2f_ssim-%.4f_res-%dx%d.%s",
             (long long)e->step, e->psnr, e->ssim, run->h, run->w, extension(run));
    ts_status st = ts_gs_fit_rgba(fit, run->render, err);
    if (st == TS_OK && e->step == 0 && run->initial)
        memcpy(run->initial, run->render, (size_t)run->w * (size_t)run->h * 4);
    if (st == TS_OK)
        st = fitrun_write_rgba(run, name, run->render, err);
    if (!run->fit)
        run->fit = fit;
    return st == TS_OK ? visualise(run, e, err) : st;
}

static ts_status write_model(ts_fitrun *run, const ts_gs_model *model, const char *name,
                             bool quantised, ts_error *err)
{
    const ts_gs_config *c = &run->config;
    unsigned bits[4] = {(unsigned)c->pos_bits, (unsigned)c->scale_bits, (unsigned)c->rot_bits,
                        (unsigned)c->feat_bits};
    ts_buf file = {0};
    ts_status st = quantised ? ts_gs_model_write_quantised(model, c->quant_space, bits,
                                                           c->sigma_max, &file, err)
                             : ts_gs_model_write(model, &file, err);
    if (st == TS_OK)
        st = fitrun_write(run, name, file.data, file.len, err);
    ts_buf_finish(&file);
    return st;
}

static ts_status on_checkpoint(void *arg, ts_gs_fit *fit, ts_error *err)
{
    ts_fitrun *run = arg;
    ts_gs_model model;
    char name[96];
    ts_status st = ts_gs_fit_model(fit, true, &model, err);
    if (st != TS_OK)
        return st;
    snprintf(name, sizeof name, "other/checkpoints/ckpt_step-%lld.safetensors",
             (long long)model.step);
    st = write_model(run, &model, name, false, err);
    ts_gs_model_finish(&model);
    if (st == TS_OK)
        log_file(run, "Checkpoint '%s' successfully saved", strrchr(name, '/') + 1);
    return st;
}

/* ---- creation ---- */

static ts_status read_look(const ts_gs_config *c, ts_trainpic_options *look, ts_error *err)
{
    const json_t *overlay = c->overlay;
    if (json_object_get(c->video_options, "overlay"))
        overlay = json_object_get(c->video_options, "overlay");
    ts_trainpic_defaults(look);
    return ts_trainpic_options_read(c->video_options, overlay, look, err);
}

ts_status ts_fitrun_check(const ts_gs_config *c, ts_error *err)
{
    ts_trainpic_options look;
    ts_status st = read_look(c, &look, err);
    return st == TS_OK && c->video ? ts_trainvideo_check(c->video_options, err) : st;
}

static ts_status make_folders(ts_fitrun *run, ts_error *err)
{
    static const char *const folders[] = {"other/checkpoints", "frames"};
    char path[4096];
    ts_status st = TS_OK;
    for (int i = 0; st == TS_OK && i < (run->config.keep_frames ? 2 : 1); ++i)
        st = path_of(run, folders[i], path, sizeof path)
                 ? ts_fs_mkdirs(path, err)
                 : ts_fail(err, TS_E_OPTION, "the folder's path is too long");
    if (st == TS_OK)
        st = (run->log = open_file(run, "other/log_train.txt", err)) ? TS_OK : TS_E_INTERNAL;
    if (st == TS_OK)
        st = (run->csv = open_file(run, "metrics.csv", err)) ? TS_OK : TS_E_INTERNAL;
    if (st != TS_OK)
        return err && err->status ? err->status : st;
    fprintf(run->csv, "%s%s\n", CSV_HEADER, run->config.csv_extra ? ",lr_scale,step_ms" : "");
    return flushed(run->csv, "metrics.csv", err);
}

void fitrun_rgba(const ts_fitrun *run, const float *chw, int w, int h, uint8_t *rgba)
{
    size_t n = (size_t)w * (size_t)h;
    for (size_t i = 0; i < n; ++i) {
        for (size_t k = 0; k < 3; ++k) {
            float v = chw[(run->picture_channels == 3 ? k : 0) * n + i];
            v = v < 0 ? 0 : v > 1 ? 1 : v;
            rgba[4 * i + k] = (uint8_t)(v * 255 + 0.5f);
        }
        rgba[4 * i + 3] = 255;
    }
}

static ts_status make_pictures(ts_fitrun *run, const ts_gs_target *target, ts_error *err)
{
    size_t bytes = (size_t)run->w * (size_t)run->h * 4;
    ts_status st = ts_encoder_create(&run->encoder, err);
    run->gt = malloc(bytes);
    run->render = malloc(bytes);
    run->initial = malloc(bytes);
    run->extra = NULL;
    if (!run->gt || !run->render || !run->initial)
        return ts_fail(err, TS_E_NO_MEMORY, "pictures of %d x %d", run->w, run->h);
    fitrun_rgba(run, target->chw, run->w, run->h, run->gt);
    if (st == TS_OK)
        st = fitrun_write_rgba(run, "other/ground_truth.jpg", run->gt, err);
    if (st == TS_OK)
        st = read_look(&run->config, &run->video_look, err);
    if (st == TS_OK && run->config.video) {
        char path[4096];
        if (!path_of(run, "training_video", path, sizeof path))
            return ts_fail(err, TS_E_OPTION, "the folder's path is too long");
        st = ts_trainvideo_create(path, run->config.video_options, &run->video, err);
    }
    return st;
}

/* The configuration in YAML: one key a line, values as JSON (which YAML contains). */
static ts_status write_config(ts_fitrun *run, ts_error *err)
{
    json_t *all = ts_gs_config_json(&run->config), *v;
    const char *key;
    ts_buf text = {0};
    json_object_foreach(all, key, v)
    {
        ts_buf_printf(&text, "%s: ", key);
        ts_json_write(v, &text);
        ts_buf_str(&text, "\n");
    }
    json_decref(all);
    ts_status st = text.failed
                       ? ts_fail(err, TS_E_NO_MEMORY, "cfg_train.yaml")
                       : fitrun_write(run, "other/cfg_train.yaml", text.data, text.len, err);
    ts_buf_finish(&text);
    return st;
}

static ts_status write_map(ts_fitrun *run, ts_error *err)
{
    const float *map = ts_gs_fit_map(run->fit);
    size_t n = (size_t)run->w * (size_t)run->h;
    char name[64];
    if (!map)
        return TS_OK;
    uint8_t *rgba = calloc(n * 4, 1);
    if (!rgba)
        return ts_fail(err, TS_E_NO_MEMORY, "the map");
    for (size_t i = 0; i < n; ++i) {
        memset(rgba + 4 * i, (int)(map[i] * 255 + 0.5f), 3);
        rgba[4 * i + 3] = 255;
    }
    bool saliency = run->config.init_mode == TS_GS_INIT_SALIENCY;
    snprintf(name, sizeof name, "other/%smap_res-%dx%d.jpg", saliency ? "s" : "g", run->h, run->w);
    ts_status st = fitrun_write_rgba(run, name, rgba, err);
    free(rgba);
    if (st == TS_OK)
        ts_fitrun_log(run, saliency ? "Image saliency map successfully saved"
                                    : "Image gradient map successfully saved");
    return st;
}

static ts_status write_initial(ts_fitrun *run, const ts_gs_model *init, ts_error *err)
{
    if (!init)
        return TS_OK;
    run->init_count = init->n;
    run->init_taken = init->n;
    return write_model(run, init, "initial_model.safetensors", false, err);
}

/* A reduced target for the fit, where that is asked for; the full one stays for the end. */
static ts_status downsample(ts_fitrun *run, ts_gs_target *t, float **small, ts_error *err)
{
    if (!run->config.downsample || run->config.downsample_ratio <= 1)
        return TS_OK;
    size_t n = (size_t)t->width * (size_t)t->height * (size_t)t->channels;
    run->full = calloc(n, sizeof *run->full);
    if (!run->full)
        return ts_fail(err, TS_E_NO_MEMORY, "the target");
    memcpy(run->full, t->chw, n * sizeof *run->full);
    run->full_w = t->width;
    run->full_h = t->height;
    ts_status st = ts_trainimage_reduce(t->chw, t->channels, t->height, t->width,
                                        run->config.downsample_ratio, small, &run->h, &run->w, err);
    t->chw = *small;
    t->width = run->w;
    t->height = run->h;
    return st;
}

ts_status ts_fitrun_create(ts_queue *queue, const ts_fitrun_options *options, ts_fitrun **out,
                           ts_error *err)
{
    ts_fitrun_options reduced = *options;
    const ts_fitrun_options *o = &reduced;
    float *small = NULL;
    ts_fitrun *run = calloc(1, sizeof *run);
    if (!run)
        return ts_fail(err, TS_E_NO_MEMORY, "a fit");
    ts_gs_config_copy(&run->config, o->config);
    if (run->config.adaptive_refinement)
        run->config.num_gaussians = run->config.adaptive_base_gaussians;
    run->refined_at = -1;
    run->hooks = o->hooks;
    snprintf(run->folder, sizeof run->folder, "%s", o->folder);
    snprintf(run->name, sizeof run->name, "%s", o->name ? o->name : "image");
    run->source_bytes = o->source_bytes;
    run->w = o->target.width;
    run->h = o->target.height;
    run->channels = o->target.channels;
    run->picture_channels = o->target.input_channels[0] == '1' || run->channels < 3 ? 1 : 3;
    memcpy(run->input_channels, o->target.input_channels, sizeof run->input_channels);
    memcpy(run->bit_depths, o->target.bit_depths, sizeof run->bit_depths);
    ts_gs_hooks hooks = {.arg = run,
                         .log = on_log,
                         .evaluated = on_evaluated,
                         .frame = on_frame,
                         .image = on_image,
                         .checkpoint = on_checkpoint,
                         .event = on_event};
    ts_status st = downsample(run, &reduced.target, &small, err);
    if (st == TS_OK)
        st = make_folders(run, err);
    if (st == TS_OK)
        st = make_pictures(run, &o->target, err);
    if (st == TS_OK)
        st = write_config(run, err);
    if (st == TS_OK)
        st = write_initial(run, o->target.init, err);
    if (st == TS_OK)
        st = ts_gs_fit_create(queue, &run->config, &o->target, &hooks, &run->fit, err);
    if (st == TS_OK)
        st = write_map(run, err);
    free(small);
    if (st != TS_OK) {
        ts_fitrun_destroy(run);
        return st;
    }
    *out = run;
    return TS_OK;
}

void ts_fitrun_destroy(ts_fitrun *run)
{
    if (!run)
        return;
    ts_gs_refine_destroy(run->refine);
    ts_gs_fit_destroy(run->fit);
    if (run->video && ts_trainvideo_finish(run->video, NULL) != TS_OK) {
        /* it was reported where it happened; what there is of the file stays */
    }
    ts_trainvideo_destroy(run->video);
    ts_encoder_destroy(run->encoder);
    if (run->log)
        fclose(run->log);
    if (run->csv)
        fclose(run->csv);
    free(run->full);
    free(run->gt);
    free(run->render);
    free(run->initial);
    free(run->extra);
    free(run->evals);
    ts_error_clear(&run->disk_error);
    ts_gs_config_finish(&run->config);
    free(run);
}

/* ---- running ---- */

bool ts_fitrun_refining(const ts_fitrun *run)
{
    return run->refine != NULL;
}

bool ts_fitrun_running(const ts_fitrun *run)
{
    if (ts_gs_fit_running(run->fit))
        return true;
    if (!run->config.adaptive_refinement)
        return false;
    return run->refine ? ts_gs_refine_running(run->refine) : !run->base_done;
}

void ts_fitrun_finish(ts_fitrun *run)
{
    ts_gs_fit_finish(run->fit);
    run->base_done = true; /* a stop before the refinement leaves it out */
    if (run->refine)
        ts_gs_refine_finish(run->refine);
}

static ts_status disk_status(ts_fitrun *run, ts_error *err)
{
    if (!run->disk_failed)
        return TS_OK;
    return ts_fail(err, run->disk_error.status, "%s", run->disk_error.text);
}

static ts_status base_complete(ts_fitrun *run, ts_error *err);

/* A frame after each refined patch: the recording goes on through the refinement. */
static ts_status refine_frame(ts_fitrun *run, ts_error *err)
{
    ts_gs_eval eval = *ts_gs_fit_last(run->fit);
    const ts_gs_patch *p = ts_gs_refine_current(run->refine);
    int at = p ? p->row * 1000 + p->col : -2;
    if (at == run->refined_at)
        return TS_OK;
    bool first = run->refined_at == -1;
    run->refined_at = at;
    return first ? TS_OK : on_frame(run, run->fit, &eval, err);
}

static ts_status base_slice(ts_fitrun *run, int64_t steps, ts_error *err)
{
    ts_status st = ts_gs_fit_slice(run->fit, steps, err);
    return st == TS_OK ? disk_status(run, err) : st;
}

ts_status ts_fitrun_slice(ts_fitrun *run, int64_t steps, ts_error *err)
{
    if (ts_gs_fit_running(run->fit))
        return base_slice(run, steps, err);
    if (!run->config.adaptive_refinement)
        return TS_OK;
    if (!run->refine) {
        ts_status st = base_complete(run, err);
        run->base_done = true;
        return st == TS_OK ? fitrun_refine_start(run, err) : st;
    }
    ts_status st = refine_frame(run, err);
    if (st == TS_OK)
        st = ts_gs_refine_slice(run->refine, steps, err);
    return st == TS_OK ? disk_status(run, err) : st;
}

/* The model of a reduced target at the full size, against the full target. */
static ts_status upsampled(ts_fitrun *run, const ts_gs_model *model, ts_error *err)
{
    char name[160];
    float *chw = NULL;
    int w = 0;
    ts_status st =
        ts_gs_model_render(ts_gs_fit_queue(run->fit), model, run->full_h, true, &chw, &w, err);
    if (st != TS_OK || w != run->full_w) { /* a ratio that rounds to another width: no figures */
        free(chw);
        return st;
    }
    uint8_t *rgba = malloc((size_t)w * (size_t)run->full_h * 4);
    if (!rgba) {
        free(chw);
        return ts_fail(err, TS_E_NO_MEMORY, "the upsampled picture");
    }
    st = ts_gs_metrics_compute(run->full, chw, run->channels, run->full_h, w, &run->upsampled, NULL,
                               err);
    fitrun_rgba(run, chw, w, run->full_h, rgba);
    ts_pixels p = {.format = TS_PIXELS_RGBA8,
                   .width = w,
                   .height = run->full_h,
                   .plane = {rgba},
                   .stride = {(size_t)w * 4}};
    snprintf(name, sizeof name, "render_upsample-psnr-%.2f_ssim-%.4f_res-%dx%d.%s",
             run->upsampled.psnr, run->upsampled.ssim, run->full_h, w, extension(run));
    if (st == TS_OK)
        st = fitrun_write_pixels(run, name, &p, err);
    free(rgba);
    free(chw);
    return st;
}

/* With vis_gaussians: the error, the positions and the footprints beside a stored render. */
static ts_status visualise(ts_fitrun *run, const ts_gs_eval *e, ts_error *err)
{
    static const struct {
        ts_panel_kind kind;
        const char *name;
    } all[] = {{TS_PANEL_ERROR, "flip-error"},
               {TS_PANEL_POSITIONS, "gaussian-position"},
               {TS_PANEL_FOOTPRINT, "gaussian-footprint"}};
    const uint8_t *panels[TS_TRAINPIC_MAX_PANELS];
    ts_trainpic_options look;
    char name[160];
    if (!run->config.vis_gaussians)
        return TS_OK;
    ts_trainpic_defaults(&look);
    look.n_panels = 3;
    for (int i = 0; i < 3; ++i)
        look.panel[i] = all[i].kind;
    ts_status st = fitrun_panels(run, &look, panels, err);
    for (int i = 0; st == TS_OK && i < 3; ++i) {
        snprintf(name, sizeof name, "other/%s_step-%lld_res-%dx%d.%s", all[i].name,
                 (long long)e->step, run->h, run->w, extension(run));
        st = fitrun_write_rgba(run, name, panels[i], err);
    }
    return st;
}

static ts_status final_model(ts_fitrun *run, ts_error *err)
{
    ts_gs_model model;
    ts_status st = ts_gs_fit_model(run->fit, true, &model, err);
    if (st != TS_OK)
        return st;
    model.metrics = ts_gs_metrics_json(&run->final);
    char name[96];
    snprintf(name, sizeof name, "other/checkpoints/ckpt_step-%lld.safetensors",
             (long long)model.step);
    st = write_model(run, &model, name, false, err);
    free(model.m);
    free(model.v);
    model.m = model.v = NULL;
    if (st == TS_OK)
        st = write_model(run, &model, "model.safetensors", false, err);
    if (st == TS_OK && run->config.quantize)
        st = write_model(run, &model, "model.q.safetensors", true, err);
    double scale = 0, raw = 0;
    for (size_t i = 0; i < model.n; ++i)
        for (size_t k = 2; k < 4; ++k) {
            double s = (double)model.par[i * (5 + (size_t)model.channels) + k];
            raw += fabs(s) / (2 * (double)model.n);
            scale +=
                (model.inverse_scale ? 1 / fmax(fabs(s), 1e-9) : fabs(s)) / (2 * (double)model.n);
        }
    if (st == TS_OK && run->full)
        st = upsampled(run, &model, err);
    ts_gs_model_finish(&model);
    char line[96];
    ts_fitrun_log(run, "Optimization completed");
    snprintf(line, sizeof line, "Mean scale: %.4f (pixel) | %.4f (raw)", scale, raw);
    ts_fitrun_log(run, line);
    return st;
}

static ts_status final_pictures(ts_fitrun *run, ts_error *err)
{
    static const char *const names[] = {"rendered.jpg", "rendered.png", "rendered.webp"};
    ts_status st = ts_gs_fit_rgba(run->fit, run->render, err);
    for (int i = 0; st == TS_OK && i < 3; ++i)
        st = fitrun_write_rgba(run, names[i], run->render, err);
    return st;
}

static ts_status final_video(ts_fitrun *run, ts_error *err)
{
    if (!run->video)
        return TS_OK;
    ts_status st = ts_trainvideo_finish(run->video, err);
    if (st == TS_OK)
        log_file(run, "Training video saved to: %s", ts_trainvideo_path(run->video));
    return st;
}

/* Final figures, pictures and model of the fit itself. */
static ts_status base_complete(ts_fitrun *run, ts_error *err)
{
    ts_status st = ts_gs_fit_complete(run->fit, &run->final, err);
    if (st == TS_OK)
        st = final_pictures(run, err);
    return st == TS_OK ? final_model(run, err) : st;
}

ts_status ts_fitrun_complete(ts_fitrun *run, ts_error *err)
{
    ts_status st = TS_OK;
    if (run->refine) {
        st = refine_frame(run, err);
        if (st == TS_OK)
            st = fitrun_refine_files(run, err);
    } else {
        st = base_complete(run, err);
    }
    if (st == TS_OK)
        st = final_video(run, err);
    if (st == TS_OK)
        st = fitrun_summary(run, err);
    if (st == TS_OK)
        log_file(run, "Metrics saved to: %s", "metrics.csv");
    if (st == TS_OK)
        st = disk_status(run, err);
    run->completed = st == TS_OK;
    return st;
}

ts_gs_fit *ts_fitrun_fit(ts_fitrun *run)
{
    return run->fit;
}

const ts_gs_metrics *ts_fitrun_metrics(const ts_fitrun *run)
{
    return run->completed ? &run->final : NULL;
}

json_t *ts_fitrun_video_json(ts_fitrun *run)
{
    return run->video ? ts_trainvideo_json(run->video) : NULL;
}

ts_status ts_fitrun_picture(ts_fitrun *run, const ts_trainpic_options *look, ts_gs_eval *eval,
                            ts_pixels **out, ts_error *err)
{
    ts_status st = TS_OK;
    if (run->refine)
        *eval = *ts_gs_fit_last(run->fit);
    else
        st = ts_gs_fit_evaluate(run->fit, eval, err);
    return st == TS_OK ? compose(run, look, eval, out, err) : st;
}

json_t *ts_fitrun_upsampled(const ts_fitrun *run)
{
    if (!run->full || !run->completed)
        return NULL;
    return ts_gs_metrics_json(&run->upsampled);
}

json_t *ts_fitrun_eval_json(const ts_gs_eval *e)
{
    json_t *out =
        json_pack("{s:I, s:I}", "step", (json_int_t)e->step, "num_gaussians", (json_int_t)e->count);
    const struct {
        const char *name;
        double value;
    } all[] = {{"total_loss", e->total},
               {"l1_loss", e->l1},
               {"l2_loss", e->l2},
               {"ssim_loss", e->ssim_loss},
               {"psnr", e->psnr},
               {"ssim", e->ssim},
               {"lr_scale", e->lr_scale},
               {"render_time_accum", e->render_s},
               {"total_time_accum", e->total_s}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i)
        json_object_set_new(out, all[i].name, ts_gs_number(all[i].value));
    return out;
}
