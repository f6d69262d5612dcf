/* What a finished fit says about itself: summary.txt, summary.json, summary.png, metrics_plot.png. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/train/fitrun_internal.h"
#include "server/train/trainplot.h"

static uint64_t size_of(const ts_fitrun *run, const char *name)
{
    char path[4096];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", run->folder, name);
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

static json_t *files_json(const ts_fitrun *run)
{
    static const char *const names[] = {"model.safetensors",  "model.q.safetensors", "rendered.jpg",
                                        "rendered.png",       "rendered.webp",       "metrics.csv",
                                        "training_video.mp4", "other/log_train.txt"};
    json_t *files = json_object();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
        if (size_of(run, names[i]))
            json_object_set_new(files, names[i], json_integer((json_int_t)size_of(run, names[i])));
    return files;
}

typedef struct figures {
    ts_gs_progress p;
    ts_gs_size nominal;
    double raw_bytes, rate, file_bpp;
    uint64_t file_bytes;
} figures;

static double raw_bits(const ts_fitrun *run)
{
    const char *ch = run->input_channels, *depth = run->bit_depths;
    double bits = 0;
    while (ch && *ch) {
        bits += strtod(ch, NULL) * (depth && *depth ? strtod(depth, NULL) : 8);
        ch = strchr(ch, ',') ? strchr(ch, ',') + 1 : NULL;
        depth = depth && strchr(depth, ',') ? strchr(depth, ',') + 1 : depth;
    }
    return bits > 0 ? bits : 8.0 * run->channels;
}

static figures figures_of(ts_fitrun *run)
{
    figures f;
    const ts_gs_config *c = &run->config;
    unsigned bits[4] = {32, 32, 32, 32};
    if (c->quantize) {
        bits[0] = (unsigned)c->pos_bits;
        bits[1] = (unsigned)c->scale_bits;
        bits[2] = (unsigned)c->rot_bits;
        bits[3] = (unsigned)c->feat_bits;
    }
    ts_gs_fit_progress(run->fit, &f.p);
    f.nominal = ts_gs_rules_size(f.p.count, run->channels, run->w, run->h, bits);
    f.raw_bytes = raw_bits(run) * run->w * run->h / 8;
    f.rate = f.raw_bytes / f.nominal.bytes;
    f.file_bytes = size_of(run, c->quantize ? "model.q.safetensors" : "model.safetensors");
    f.file_bpp = (double)f.file_bytes * 8 / ((double)run->w * run->h);
    return f;
}

static ts_status write_json(ts_fitrun *run, const figures *f, ts_error *err)
{
    json_t *all =
        json_pack("{s:s, s:i, s:i, s:i, s:I, s:I, s:o, s:o, s:f, s:f, s:f, s:f, s:I, s:f, s:o}",
                  "image", run->name, "width", run->w, "height", run->h, "channels", run->channels,
                  "step", (json_int_t)f->p.step, "num_gaussians", (json_int_t)f->p.count, "config",
                  ts_gs_config_json(&run->config), "metrics", ts_gs_metrics_json(&run->final),
                  "nominal_bytes", f->nominal.bytes, "bpp", f->nominal.bpp, "bppc", f->nominal.bppc,
                  "compression_rate", f->rate, "file_bytes", (json_int_t)f->file_bytes, "file_bpp",
                  f->file_bpp, "files", files_json(run));
    json_object_set_new(all, "source_bytes",
                        run->source_bytes ? json_integer((json_int_t)run->source_bytes)
                                          : json_null());
    ts_buf text = {0};
    ts_json_write(all, &text);
    ts_buf_str(&text, "\n");
    json_decref(all);
    ts_status st = text.failed ? ts_fail(err, TS_E_NO_MEMORY, "summary.json")
                               : fitrun_write(run, "summary.json", text.data, text.len, err);
    ts_buf_finish(&text);
    return st;
}

static void figure(ts_buf *t, const char *name, double v, const char *fmt)
{
    char text[48];
    if (isnan(v))
        snprintf(text, sizeof text, "n/a");
    else if (isinf(v))
        snprintf(text, sizeof text, "inf");
    else
        snprintf(text, sizeof text, fmt, v);
    ts_buf_printf(t, "  %-18s %s\n", name, text);
}

static void write_start(const ts_fitrun *run, ts_buf *t)
{
    ts_buf_str(t, "Initialisation\n");
    if (!run->init_count)
        ts_buf_str(t, "  from scratch\n");
    else if ((int64_t)run->init_count == run->config.num_gaussians)
        ts_buf_str(t, "  exact match of a model\n");
    else
        ts_buf_printf(t, "  partial, a model of %zu\n", run->init_count);
}

static ts_status write_text(ts_fitrun *run, const figures *f, ts_error *err)
{
    const ts_gs_metrics *m = &run->final;
    ts_buf t = {0};
    ts_buf_printf(&t, "%s\n\nConfiguration\n", run->name);
    json_t *config = ts_gs_config_json(&run->config), *v;
    const char *key;
    json_object_foreach(config, key, v)
    {
        ts_buf_printf(&t, "  %s: ", key);
        ts_json_write(v, &t);
        ts_buf_str(&t, "\n");
    }
    json_decref(config);
    write_start(run, &t);
    ts_buf_printf(&t, "Resolution\n  %d x %d, %d channels\n", run->w, run->h, run->channels);
    ts_buf_str(&t, "Compression\n");
    if (run->source_bytes)
        figure(&t, "image file", (double)run->source_bytes, "%.0f bytes");
    figure(&t, "raw", f->raw_bytes, "%.0f bytes");
    figure(&t, "nominal", f->nominal.bytes, "%.1f bytes");
    figure(&t, "nominal bpp", f->nominal.bpp, "%.4f");
    figure(&t, "rate vs raw", f->rate, "%.2fx");
    if (run->source_bytes)
        figure(&t, "rate vs file", (double)run->source_bytes / f->nominal.bytes, "%.2fx");
    figure(&t, "model file", (double)f->file_bytes, "%.0f bytes");
    figure(&t, "file bpp", f->file_bpp, "%.4f");
    ts_buf_str(&t, "Quality\n");
    figure(&t, "PSNR", m->psnr, "%.4f dB");
    figure(&t, "SSIM", m->ssim, "%.6f");
    figure(&t, "MS-SSIM", m->ms_ssim, "%.6f");
    figure(&t, "FLIP", m->flip, "%.6f");
    figure(&t, "mean difference", m->mean_diff, "%.6f");
    figure(&t, "max difference", m->max_diff, "%.6f");
    figure(&t, "std difference", m->std_diff, "%.6f");
    figure(&t, "over 1 %", m->over_1, "%.2f %%");
    figure(&t, "over 5 %", m->over_5, "%.2f %%");
    figure(&t, "over 10 %", m->over_10, "%.2f %%");
    ts_buf_str(&t, "Files\n");
    json_t *files = files_json(run);
    json_object_foreach(files, key, v)
        ts_buf_printf(&t, "  %s, %lld bytes\n", key, (long long)json_integer_value(v));
    json_decref(files);
    ts_status st = t.failed ? ts_fail(err, TS_E_NO_MEMORY, "summary.txt")
                            : fitrun_write(run, "summary.txt", t.data, t.len, err);
    ts_buf_finish(&t);
    return st;
}

static ts_status write_picture(ts_fitrun *run, ts_error *err)
{
    size_t n = (size_t)run->w * (size_t)run->h;
    ts_trainpic_options look;
    ts_pixels *picture = NULL;
    ts_trainpic_defaults(&look);
    look.n_panels = run->init_count ? 4 : 3;
    look.panel[2] = TS_PANEL_ABS_DIFF;
    look.panel[3] = TS_PANEL_INITIAL;
    look.show_step = look.show_psnr = look.show_ssim = false;
    float *map = calloc(n, sizeof *map);
    uint8_t *hot = calloc(n * 4, 1);
    ts_status st = map && hot ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "summary.png");
    for (size_t i = 0; st == TS_OK && i < n; ++i) {
        int d = 0;
        for (size_t k = 0; k < 3; ++k)
            d += abs(run->gt[4 * i + k] - run->render[4 * i + k]);
        map[i] = (float)d / (3 * 255.0f) / 0.2f;
    }
    if (st == TS_OK) {
        ts_trainpic_hot(map, n, hot);
        const uint8_t *panels[] = {run->gt, run->render, hot, run->initial};
        st = ts_trainpic_compose(&look, run->w, run->h, panels, &(ts_trainpic_text){0}, &picture,
                                 err);
    }
    if (st == TS_OK)
        st = fitrun_write_pixels(run, "summary.png", picture, err);
    ts_pixels_unref(picture);
    free(map);
    free(hot);
    return st;
}

static ts_status write_plot(ts_fitrun *run, ts_error *err)
{
    enum {
        STEP,
        TOTAL,
        L1,
        SSIM_LOSS,
        PSNR,
        SSIM,
        BYTES,
        COUNT,
        TIME,
        COLUMNS
    };
    size_t n = run->n_evals;
    double *all = calloc(COLUMNS * (n + 1), sizeof *all), *c[COLUMNS];
    if (!all)
        return ts_fail(err, TS_E_NO_MEMORY, "metrics_plot.png");
    for (size_t i = 0; i < COLUMNS; ++i)
        c[i] = all + i * (n + 1);
    for (size_t i = 0; i < n; ++i) {
        const ts_gs_eval *e = &run->evals[i];
        unsigned bits[4] = {32, 32, 32, 32};
        c[STEP][i] = (double)e->step;
        c[TOTAL][i] = e->total;
        c[L1][i] = e->l1;
        c[SSIM_LOSS][i] = e->ssim_loss;
        c[PSNR][i] = e->psnr;
        c[SSIM][i] = e->ssim;
        c[BYTES][i] = ts_gs_rules_size(e->count, run->channels, run->w, run->h, bits).bytes;
        c[COUNT][i] = (double)e->count;
        c[TIME][i] = e->total_s;
    }
    const ts_plot plots[] = {
        {"Loss", 3, {c[TOTAL], c[L1], c[SSIM_LOSS]}, {"total", "L1", "SSIM"}},
        {"PSNR (dB)", 1, {c[PSNR]}, {NULL}},
        {"SSIM", 1, {c[SSIM]}, {NULL}},
        {"Size (bytes)", 1, {c[BYTES]}, {NULL}},
        {"Gaussians", 1, {c[COUNT]}, {NULL}},
        {"Time (s)", 1, {c[TIME]}, {NULL}},
    };
    ts_pixels *picture = ts_trainplot(plots, 6, 3, c[STEP], n);
    ts_status st = picture ? fitrun_write_pixels(run, "metrics_plot.png", picture, err)
                           : ts_fail(err, TS_E_NO_MEMORY, "metrics_plot.png");
    ts_pixels_unref(picture);
    free(all);
    return st;
}

ts_status fitrun_summary(ts_fitrun *run, ts_error *err)
{
    figures f = figures_of(run);
    ts_status st = write_picture(run, err);
    if (st == TS_OK)
        st = write_plot(run, err);
    if (st == TS_OK)
        st = write_json(run, &f, err);
    if (st == TS_OK)
        st = write_text(run, &f, err);
    return st;
}
