/* The files of an adaptive refinement: base_training/, enhanced/, other/patches/, comparison.jpg. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"
#include "server/train/fitrun_internal.h"

static ts_status make_folder(ts_fitrun *run, const char *name, ts_error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", run->folder, name);
    return ts_fs_mkdirs(path, err);
}

static ts_status copy_file(ts_fitrun *run, const char *from, const char *to, ts_error *err)
{
    char path[4096];
    ts_buf file = {0};
    snprintf(path, sizeof path, "%s/%s", run->folder, from);
    ts_status st = ts_fs_read(path, (size_t)1 << 32, &file, err);
    if (st == TS_OK)
        st = fitrun_write(run, to, file.data, file.len, err);
    ts_buf_finish(&file);
    return st;
}

ts_status fitrun_refine_start(ts_fitrun *run, ts_error *err)
{
    static const char *const copies[][2] = {
        {"model.safetensors", "base_training/model.safetensors"},
        {"rendered.jpg", "base_training/rendered.jpg"},
        {"metrics.csv", "base_training/metrics.csv"},
        {"other/log_train.txt", "base_training/log_train.txt"},
    };
    ts_gs_model base = {0};
    float *shown = malloc((size_t)run->w * (size_t)run->h * (size_t)run->channels * sizeof *shown);
    ts_status st =
        shown ? make_folder(run, "base_training", err) : ts_fail(err, TS_E_NO_MEMORY, "refinement");
    for (size_t i = 0; st == TS_OK && i < 4; ++i)
        st = copy_file(run, copies[i][0], copies[i][1], err);
    if (st == TS_OK)
        st = ts_gs_fit_model(run->fit, false, &base, err);
    if (st == TS_OK)
        st = ts_gs_fit_shown(run->fit, shown, err);
    if (st == TS_OK)
        st = ts_gs_refine_create(ts_gs_fit_queue(run->fit), &run->config,
                                 ts_gs_fit_target(run->fit), &base, shown, &run->refine, err);
    ts_gs_model_finish(&base);
    free(shown);
    if (st == TS_OK)
        ts_fitrun_log(run, "Phase: refine");
    return st;
}

/* ---- patches ---- */

static json_t *patch_json(const ts_gs_patch *p, int id)
{
    return json_pack("{s:i, s:i, s:i, s:[i,i,i,i], s:o, s:o, s:f, s:f, s:b, s:i, s:I, s:o, s:f}",
                     "patch_id", id, "row", p->row, "col", p->col, "coordinates", p->rect[0],
                     p->rect[1], p->rect[2], p->rect[3], "psnr", ts_gs_number(p->psnr), "ssim",
                     ts_gs_number(p->ssim), "combined_score", 1 - p->error, "combined_error",
                     p->error, "needs_refinement", p->needs_refinement, "refinement_iteration",
                     p->iterations, "total_gaussians", (json_int_t)p->gaussians, "psnr_before",
                     ts_gs_number(p->psnr_before), "combined_error_before", p->error_before);
}

static ts_status write_json(ts_fitrun *run, const char *name, json_t *value, ts_error *err)
{
    ts_buf text = {0};
    ts_json_write(value, &text);
    ts_buf_str(&text, "\n");
    json_decref(value);
    ts_status st = text.failed ? ts_fail(err, TS_E_NO_MEMORY, "%s", name)
                               : fitrun_write(run, name, text.data, text.len, err);
    ts_buf_finish(&text);
    return st;
}

/* The patch's part of three pictures. */
static ts_status write_cut(ts_fitrun *run, const char *folder, const char *name,
                           const uint8_t *rgba, const int rect[4], ts_error *err)
{
    char path[128];
    ts_pixels p = {.format = TS_PIXELS_RGBA8,
                   .width = rect[2] - rect[0],
                   .height = rect[3] - rect[1],
                   .plane = {rgba + ((size_t)rect[1] * (size_t)run->w + (size_t)rect[0]) * 4},
                   .stride = {(size_t)run->w * 4}};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fitrun_write_pixels(run, path, &p, err);
}

typedef struct pictures {
    uint8_t *base, *enhanced, *error_base, *error_enhanced;
} pictures;

static ts_status write_patch(ts_fitrun *run, int i, const pictures *pic, ts_error *err)
{
    const ts_gs_patch *p = ts_gs_refine_patch(run->refine, i);
    char folder[64], name[128];
    if (!p->needs_refinement)
        return TS_OK;
    snprintf(folder, sizeof folder, "other/patches/patch_%d_%d", p->row, p->col);
    ts_status st = make_folder(run, folder, err);
    if (st == TS_OK)
        st = write_cut(run, folder, "before.jpg", pic->base, p->rect, err);
    if (st == TS_OK)
        st = write_cut(run, folder, "after.jpg", pic->enhanced, p->rect, err);
    if (st == TS_OK)
        st = write_cut(run, folder, "ground_truth.jpg", run->gt, p->rect, err);
    if (st == TS_OK)
        st = write_cut(run, folder, "error_before.jpg", pic->error_base, p->rect, err);
    if (st == TS_OK)
        st = write_cut(run, folder, "error_after.jpg", pic->error_enhanced, p->rect, err);
    snprintf(name, sizeof name, "%s/metrics.json", folder);
    if (st == TS_OK)
        st = write_json(run, name, patch_json(p, i), err);
    if (st == TS_OK && p->model.par) {
        ts_buf file = {0};
        snprintf(name, sizeof name, "%s/model.safetensors", folder);
        st = ts_gs_model_write(&p->model, &file, err);
        if (st == TS_OK)
            st = fitrun_write(run, name, file.data, file.len, err);
        ts_buf_finish(&file);
    }
    return st;
}

static ts_status write_patch_summary(ts_fitrun *run, ts_error *err)
{
    const ts_gs_patches *g = ts_gs_refine_grid(run->refine);
    const ts_gs_config *c = &run->config;
    json_t *list = json_array();
    for (int i = 0; i < g->rows * g->cols; ++i)
        json_array_append_new(list, patch_json(ts_gs_refine_patch(run->refine, i), i));
    return write_json(run, "enhanced/patch_summary.json",
                      json_pack("{s:[i,i,i], s:i, s:I, s:f, s:f, s:f, s:i, s:i, s:i, s:o}",
                                "image_shape", run->channels, run->h, run->w, "patch_size", g->size,
                                "overlap", (json_int_t)c->adaptive_overlap, "error_threshold",
                                c->adaptive_error_threshold, "psnr_weight", c->adaptive_psnr_weight,
                                "ssim_weight", c->adaptive_ssim_weight, "n_rows", g->rows, "n_cols",
                                g->cols, "total_patches", g->rows * g->cols, "patches", list),
                      err);
}

/* ---- pictures ---- */

static void outline(const ts_fitrun *run, uint8_t *rgba, const int rect[4], bool bad)
{
    for (int y = rect[1]; y < rect[3]; ++y)
        for (int x = rect[0]; x < rect[2]; ++x) {
            bool edge = x < rect[0] + 2 || x >= rect[2] - 2 || y < rect[1] + 2 || y >= rect[3] - 2;
            uint8_t *p = rgba + ((size_t)y * (size_t)run->w + (size_t)x) * 4;
            if (!edge)
                continue;
            const int color[3] = {bad ? 255 : 0, bad ? 0 : 255, 0};
            for (int k = 0; k < 3; ++k)
                p[k] = (uint8_t)(0.7 * run->gt[p - rgba + k] + 0.3 * color[k] + 0.5);
        }
}

static ts_status write_grid(ts_fitrun *run, ts_error *err)
{
    size_t bytes = (size_t)run->w * (size_t)run->h * 4;
    const ts_gs_patches *g = ts_gs_refine_grid(run->refine);
    uint8_t *rgba = malloc(bytes);
    if (!rgba)
        return ts_fail(err, TS_E_NO_MEMORY, "the patch grid");
    memcpy(rgba, run->gt, bytes);
    for (int i = 0; i < g->rows * g->cols; ++i) {
        const ts_gs_patch *p = ts_gs_refine_patch(run->refine, i);
        outline(run, rgba, p->rect, p->needs_refinement);
    }
    ts_status st = fitrun_write_rgba(run, "other/patch_grid_visualization.jpg", rgba, err);
    free(rgba);
    return st;
}

static ts_status write_comparison(ts_fitrun *run, const pictures *pic, const double figures[4],
                                  ts_error *err)
{
    ts_trainpic_options look;
    ts_pixels *picture = NULL;
    const uint8_t *panels[] = {run->gt, pic->base, pic->enhanced, pic->error_base,
                               pic->error_enhanced};
    ts_trainpic_defaults(&look);
    look.n_panels = 3;
    look.show_step = look.show_psnr = look.show_ssim = false;
    snprintf(look.label[0], sizeof look.label[0], "Original");
    snprintf(look.label[1], sizeof look.label[1], "Base %.2f dB %.4f", figures[0], figures[1]);
    snprintf(look.label[2], sizeof look.label[2], "Enhanced %.2f dB %.4f", figures[2], figures[3]);
    snprintf(look.label[3], sizeof look.label[3], "Error of the base");
    snprintf(look.label[4], sizeof look.label[4], "Error enhanced");
    ts_status st =
        ts_trainpic_compose(&look, run->w, run->h, panels, &(ts_trainpic_text){0}, &picture, err);
    if (st == TS_OK)
        st = fitrun_write_pixels(run, "comparison.jpg", picture, err);
    ts_pixels_unref(picture);
    picture = NULL;
    look.n_panels = 5;
    if (st == TS_OK)
        st = ts_trainpic_compose(&look, run->w, run->h, panels, &(ts_trainpic_text){0}, &picture,
                                 err);
    if (st == TS_OK)
        st = fitrun_write_pixels(run, "comparison_detailed.png", picture, err);
    ts_pixels_unref(picture);
    return st;
}

static ts_status enhanced_figures(ts_fitrun *run, double *psnr, double *ssim, ts_error *err)
{
    return ts_gs_metrics_quick(ts_gs_fit_target(run->fit), ts_gs_refine_picture(run->refine),
                               run->channels, run->h, run->w, psnr, ssim, err);
}

json_t *ts_fitrun_enhanced(ts_fitrun *run)
{
    double psnr, ssim;
    if (!run->refine || enhanced_figures(run, &psnr, &ssim, NULL) != TS_OK)
        return NULL;
    return json_pack("{s:o, s:o}", "psnr", ts_gs_number(psnr), "ssim", ts_gs_number(ssim));
}

static ts_status make_pictures(ts_fitrun *run, pictures *pic, ts_error *err)
{
    size_t n = (size_t)run->w * (size_t)run->h;
    pic->base = calloc(n * 16, 1);
    if (!pic->base)
        return ts_fail(err, TS_E_NO_MEMORY, "pictures");
    pic->enhanced = pic->base + 4 * n;
    pic->error_base = pic->base + 8 * n;
    pic->error_enhanced = pic->base + 12 * n;
    ts_gs_eval eval;
    ts_status st = ts_gs_fit_evaluate(run->fit, &eval, err);
    if (st == TS_OK)
        st = ts_gs_fit_rgba(run->fit, pic->base, err);
    fitrun_rgba(run, ts_gs_refine_picture(run->refine), run->w, run->h, pic->enhanced);
    ts_trainpic_difference(pic->base, run->gt, n, false, pic->error_base);
    ts_trainpic_difference(pic->enhanced, run->gt, n, false, pic->error_enhanced);
    return st;
}

ts_status fitrun_refine_files(ts_fitrun *run, ts_error *err)
{
    pictures pic = {0};
    double figures[4] = {run->final.psnr, run->final.ssim, 0, 0};
    const ts_gs_patches *g = ts_gs_refine_grid(run->refine);
    ts_status st = make_folder(run, "enhanced", err);
    if (st == TS_OK)
        st = make_pictures(run, &pic, err);
    if (st == TS_OK)
        st = enhanced_figures(run, &figures[2], &figures[3], err);
    if (st == TS_OK)
        st = fitrun_write_rgba(run, "enhanced/rendered.jpg", pic.enhanced, err);
    if (st == TS_OK)
        st = fitrun_write_rgba(run, "enhanced/rendered.png", pic.enhanced, err);
    if (st == TS_OK)
        st = write_patch_summary(run, err);
    for (int i = 0; st == TS_OK && i < g->rows * g->cols; ++i)
        st = write_patch(run, i, &pic, err);
    if (st == TS_OK)
        st = write_grid(run, err);
    if (st == TS_OK)
        st = write_comparison(run, &pic, figures, err);
    const ts_gs_model *joint = ts_gs_refine_joint(run->refine);
    if (st == TS_OK && joint) {
        ts_buf file = {0};
        st = ts_gs_model_write(joint, &file, err);
        if (st == TS_OK)
            st = fitrun_write(run, "enhanced/model.safetensors", file.data, file.len, err);
        ts_buf_finish(&file);
    }
    free(pic.base);
    if (st == TS_OK) {
        char line[128];
        snprintf(line, sizeof line, "Phase: done | PSNR: %.2f -> %.2f | SSIM: %.4f -> %.4f",
                 figures[0], figures[2], figures[1], figures[3]);
        ts_fitrun_log(run, line);
    }
    return st;
}
