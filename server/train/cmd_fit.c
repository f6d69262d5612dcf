/* tensorscope fit IMAGE…: a fit without a server, every key of the configuration a flag. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "server/commands.h"
#include "server/train/fitrun.h"
#include "server/train/trainimage.h"

enum {
    MAX_IMAGES = 12,
    MAX_FILE = 512 << 20
};

typedef struct arguments {
    const char *images[MAX_IMAGES];
    int n_images;
    const char *out, *device, *init_model, *resume, *saliency;
    bool json, quiet, help;
    json_t *config;
} arguments;

static void print_help(void)
{
    printf("usage: tensorscope fit IMAGE… [options]\n\n"
           "Fit 2-D Gaussians to an image (several of one size are stacked) and write the model,\n"
           "metrics.csv, pictures and, with --video, the recording into a folder below --out.\n\n"
           "  --out DIR              where the folder goes (.)\n"
           "  --device DEVICE        auto, an index or a part of a name (auto)\n"
           "  --init-model FILE      start from a model file\n"
           "  --resume FILE          go on from a checkpoint\n"
           "  --saliency FILE        map for --init-mode saliency\n"
           "  --json                 print evaluations and the summary as JSON lines\n"
           "  --quiet                no progress bar\n\n"
           "Every key of a fit's configuration is an option; its default stands behind it:\n");
    ts_gs_config c;
    ts_gs_config_init(&c);
    json_t *defaults = ts_gs_config_json(&c);
    const ts_gs_key *k;
    for (size_t i = 0; (k = ts_gs_config_key(i)); ++i) {
        ts_buf value = {0};
        char flag[64];
        snprintf(flag, sizeof flag, "%s", k->name);
        for (char *p = flag; *p; ++p)
            *p = *p == '_' ? '-' : *p;
        if (json_object_get(defaults, k->name))
            ts_json_write(json_object_get(defaults, k->name), &value);
        printf("  --%-32s %s\n", flag, ts_buf_cstr(&value));
        ts_buf_finish(&value);
    }
    json_decref(defaults);
    ts_gs_config_finish(&c);
}

static const ts_gs_key *key_of(const char *flag)
{
    char name[64];
    snprintf(name, sizeof name, "%s", flag + 2);
    for (char *p = name; *p; ++p)
        *p = *p == '-' ? '_' : *p;
    const ts_gs_key *k;
    for (size_t i = 0; (k = ts_gs_config_key(i)); ++i)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

/* A switch may stand alone; any other key takes the next word. */
static ts_status config_flag(arguments *a, const char *flag, int argc, char **argv, int *i,
                             ts_error *err)
{
    const ts_gs_key *k = key_of(flag);
    if (!k)
        return ts_fail(err, TS_E_OPTION, "no option %s; see tensorscope fit --help", flag);
    bool alone = k->kind == 'B' || strcmp(k->name, "video") == 0;
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (alone && !(next && (strcmp(next, "true") == 0 || strcmp(next, "false") == 0 ||
                            (k->kind != 'B' && next[0] == '{'))))
        return ts_gs_config_word(a->config, k->name, "true", err);
    if (!next)
        return ts_fail(err, TS_E_OPTION, "%s needs a value", flag);
    ++*i;
    return ts_gs_config_word(a->config, k->name, next, err);
}

static ts_status parse(int argc, char **argv, arguments *a, ts_error *err)
{
    const struct {
        const char *flag;
        const char **to;
    } words[] = {{"--out", &a->out},
                 {"--device", &a->device},
                 {"--init-model", &a->init_model},
                 {"--resume", &a->resume},
                 {"--saliency", &a->saliency}};
    for (int i = 1; i < argc; ++i) {
        const char *arg = argv[i];
        size_t w = 0;
        while (w < 5 && strcmp(arg, words[w].flag) != 0)
            ++w;
        ts_status st = TS_OK;
        if (w < 5 && i + 1 >= argc)
            st = ts_fail(err, TS_E_OPTION, "%s needs a value", arg);
        else if (w < 5)
            *words[w].to = argv[++i];
        else if (strcmp(arg, "--json") == 0)
            a->json = true;
        else if (strcmp(arg, "--quiet") == 0)
            a->quiet = true;
        else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
            a->help = true;
        else if (arg[0] == '-' && arg[1])
            st = config_flag(a, arg, argc, argv, &i, err);
        else if (a->n_images == MAX_IMAGES)
            st = ts_fail(err, TS_E_OPTION, "at most %d images", MAX_IMAGES);
        else
            a->images[a->n_images++] = arg;
        if (st != TS_OK)
            return st;
    }
    if (!a->help && a->n_images == 0)
        return ts_fail(err, TS_E_OPTION, "expected an image; see tensorscope fit --help");
    return TS_OK;
}

/* ---- progress ---- */

typedef struct progress {
    bool json, bar;
    int64_t shown_us;
    ts_gs_eval last;
} progress;

static void on_evaluated(void *arg, const ts_gs_eval *e)
{
    progress *p = arg;
    p->last = *e;
    if (!p->json)
        return;
    json_t *line = ts_fitrun_eval_json(e);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

static void show_bar(progress *p, ts_fitrun *run, bool end)
{
    enum {
        CELLS = 30
    };
    int64_t now = ts_now_us();
    if (!p->bar || (!end && now - p->shown_us < 200000))
        return;
    p->shown_us = now;
    ts_gs_progress g;
    ts_gs_fit_progress(ts_fitrun_fit(run), &g);
    char bar[CELLS + 1];
    int full = g.max_steps ? (int)(CELLS * g.step / g.max_steps) : CELLS;
    for (int i = 0; i < CELLS; ++i)
        bar[i] = i < full ? '#' : '.';
    bar[CELLS] = 0;
    fprintf(stderr,
            "\r[%s] %lld/%lld  PSNR %.2f  SSIM %.4f  %lld Gaussians  %.1f steps/s  eta %.0f s   ",
            bar, (long long)g.step, (long long)g.max_steps, p->last.psnr, p->last.ssim,
            (long long)g.count, g.step_ms > 0 ? 1000 / g.step_ms : 0,
            (double)(g.max_steps - g.step) * g.step_ms / 1000);
    if (end)
        fputc('\n', stderr);
}

/* ---- running ---- */

static ts_status read_file(const char *path, ts_buf *out, ts_error *err)
{
    ts_status st = ts_fs_read(path, MAX_FILE, out, err);
    return st == TS_E_NOT_FOUND || st == TS_E_TOO_LARGE ? (err->status = TS_E_FILE) : st;
}

static ts_status load_images(const arguments *a, ts_trainimage *image, ts_error *err)
{
    for (int i = 0; i < a->n_images; ++i) {
        ts_buf file = {0};
        ts_status st = read_file(a->images[i], &file, err);
        if (st == TS_OK)
            st = ts_trainimage_add_file(image, a->images[i], file.data, file.len, err);
        ts_buf_finish(&file);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

static ts_status load_model(const char *path, ts_gs_model *out, ts_error *err)
{
    ts_buf file = {0};
    ts_status st = read_file(path, &file, err);
    if (st == TS_OK)
        st = ts_gs_model_read(file.data, file.len, out, err);
    if (st != TS_OK)
        ts_error_prefix(err, "%s", path);
    ts_buf_finish(&file);
    return st;
}

/* <out>/<stem>-<gaussians>-<steps>, with ~2, ~3, … where that is taken. */
static ts_status folder_name(const char *out, const char *stem, const ts_gs_config *c, char *path,
                             size_t n, ts_error *err)
{
    for (int i = 1; i < 10000; ++i) {
        char again[16] = "";
        if (i > 1)
            snprintf(again, sizeof again, "~%d", i);
        if (snprintf(path, n, "%s/%s-%lld-%lld%s", out, stem, (long long)c->num_gaussians,
                     (long long)c->max_steps, again) >= (int)n)
            return ts_fail(err, TS_E_OPTION, "--out is too long");
        if (access(path, F_OK) != 0)
            return ts_fs_mkdirs(path, err);
    }
    return ts_fail(err, TS_E_EXISTS, "%s has 9999 runs of that name", out);
}

static ts_status train(ts_fitrun *run, progress *p, ts_error *err)
{
    while (ts_fitrun_running(run)) {
        ts_status st = ts_fitrun_slice(run, 16, err);
        if (st != TS_OK)
            return st;
        show_bar(p, run, false);
    }
    ts_status st = ts_fitrun_complete(run, err);
    show_bar(p, run, true);
    return st;
}

static void report(const ts_fitrun *run, const char *folder, bool json)
{
    const ts_gs_metrics *m = ts_fitrun_metrics(run);
    if (json) {
        json_t *line = ts_gs_metrics_json(m);
        json_object_set_new(line, "folder", json_string(folder));
        json_dumpf(line, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(line);
        return;
    }
    printf("PSNR %.3f dB, SSIM %.5f\n%s\n", m->psnr, m->ssim, folder);
}

static ts_status fit_on(ts_queue *queue, const arguments *a, const ts_gs_config *c,
                        ts_trainimage *image, ts_error *err)
{
    ts_gs_model model = {0};
    ts_trainimage saliency = {0};
    ts_buf file = {0};
    ts_fitrun *run = NULL;
    char folder[3072];
    progress p = {.json = a->json, .bar = !a->quiet && !a->json && isatty(STDERR_FILENO)};
    const char *from = a->resume ? a->resume : a->init_model;
    ts_fitrun_options o = {.config = c,
                           .target = ts_trainimage_target(image),
                           .folder = folder,
                           .name = a->images[0],
                           .source_bytes = image->bytes,
                           .hooks = {.arg = &p, .evaluated = on_evaluated}};
    o.target.path = a->images[0];
    ts_status st = from ? load_model(from, &model, err) : TS_OK;
    if (st == TS_OK && a->saliency)
        st = read_file(a->saliency, &file, err);
    if (st == TS_OK && a->saliency)
        st = ts_trainimage_add_file(&saliency, a->saliency, file.data, file.len, err);
    if (st == TS_OK)
        st = folder_name(a->out ? a->out : ".", image->stem, c, folder, sizeof folder, err);
    if (st == TS_OK) {
        o.target.init = from ? &model : NULL;
        o.target.resume = a->resume != NULL;
        o.target.saliency = saliency.chw;
        o.target.saliency_w = saliency.width;
        o.target.saliency_h = saliency.height;
        st = ts_fitrun_create(queue, &o, &run, err);
    }
    if (st == TS_OK)
        st = train(run, &p, err);
    if (st == TS_OK)
        report(run, folder, a->json);
    ts_fitrun_destroy(run);
    ts_gs_model_finish(&model);
    ts_trainimage_finish(&saliency);
    ts_buf_finish(&file);
    return st;
}

static ts_status with_device(const arguments *a, const ts_gs_config *c, ts_trainimage *image,
                             bool *device_failed, ts_error *err)
{
    ts_device *device = NULL;
    ts_queue *queue = NULL;
    size_t index;
    *device_failed = true;
    ts_status st = ts_device_select(a->device, &index, err);
    if (st == TS_OK)
        st = ts_device_open(index, &(ts_device_options){0}, &device, err);
    if (st == TS_OK)
        st = ts_queue_create(device, "fit", &queue, err);
    if (st == TS_OK) {
        *device_failed = false;
        st = fit_on(queue, a, c, image, err);
    }
    ts_queue_destroy(queue);
    ts_device_close(device);
    return st;
}

int ts_command_fit(int argc, char **argv)
{
    arguments a = {.config = json_object()};
    ts_gs_config c;
    ts_trainimage image = {0};
    json_t *problems = NULL;
    ts_error err = {0};
    bool device_failed = false;
    ts_gs_config_init(&c);
    ts_status st = parse(argc, argv, &a, &err);
    if (st == TS_OK && a.help) {
        print_help();
    } else if (st == TS_OK) {
        st = ts_gs_config_read(&c, a.config, &problems, &err);
        if (st == TS_OK)
            st = ts_fitrun_check(&c, &err);
        if (st == TS_OK)
            st = load_images(&a, &image, &err);
        if (st == TS_OK)
            st = with_device(&a, &c, &image, &device_failed, &err);
    }
    int status = st == TS_OK ? 0 : ts_command_fail("fit", &err);
    if (st != TS_OK && err.detail)
        fprintf(stderr, "%s\n", err.detail);
    if (device_failed)
        status = 3;
    ts_error_clear(&err);
    json_decref(problems);
    json_decref(a.config);
    ts_gs_config_finish(&c);
    ts_trainimage_finish(&image);
    return status;
}
