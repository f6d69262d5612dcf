/* fit.json in every fit's folder, and what is read of them at the start. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "server/codec.h"
#include "server/train/fits_internal.h"

enum {
    MAX_DOCUMENT = 64 << 20
};

ts_status fits_store_job(ts_fits *fits, fit_job *j, ts_error *err)
{
    char path[3200];
    ts_buf text = {0};
    pthread_mutex_lock(&fits->fits_lock);
    json_t *document = fits_job_json_locked(j), *evals = json_array();
    if (j->ending)
        json_object_set_new(document, "state", json_string(fit_state_words[j->ended_as]));
    for (size_t i = 0; i < j->n_evals; ++i)
        json_array_append_new(evals, ts_fitrun_eval_json(&j->evals[i]));
    pthread_mutex_unlock(&fits->fits_lock);
    json_object_set_new(document, "evaluations", evals);
    ts_json_write(document, &text);
    ts_buf_str(&text, "\n");
    json_decref(document);
    snprintf(path, sizeof path, "%s/fit.json", j->folder);
    ts_status st = text.failed ? ts_fail(err, TS_E_NO_MEMORY, "fit.json")
                               : ts_fs_write_atomic(path, text.data, text.len, err);
    ts_buf_finish(&text);
    return st;
}

/* ---- batches ---- */

static double number_at(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : json_is_string(v) ? INFINITY : NAN;
}

/* One row of a batch's table, from a fit's document. */
static json_t *batch_row(const json_t *doc)
{
    static const char *const bits_keys[] = {"pos_bits", "scale_bits", "rot_bits", "feat_bits"};
    const json_t *config = json_object_get(doc, "config"), *m = json_object_get(doc, "metrics");
    bool quantised = json_is_true(json_object_get(config, "quantize"));
    unsigned bits[4];
    for (int i = 0; i < 4; ++i)
        bits[i] =
            quantised ? (unsigned)json_integer_value(json_object_get(config, bits_keys[i])) : 32;
    int w = (int)json_integer_value(json_object_get(doc, "width"));
    int h = (int)json_integer_value(json_object_get(doc, "height"));
    int c = (int)json_integer_value(json_object_get(doc, "channels"));
    ts_gs_size size = ts_gs_rules_size(json_integer_value(json_object_get(doc, "count")), c,
                                       w > 0 ? w : 1, h > 0 ? h : 1, bits);
    double raw = (double)w * h * c;
    return json_pack(
        "{s:O, s:O, s:O, s:O, s:O, s:o, s:o, s:o, s:O?, s:O?, s:O?, s:O?}", "id",
        json_object_get(doc, "id"), "name", json_object_get(doc, "name"), "state",
        json_object_get(doc, "state"), "num_gaussians", json_object_get(config, "num_gaussians"),
        "max_steps", json_object_get(config, "max_steps"), "model_bytes", json_real(size.bytes),
        "compression", json_real(size.bytes > 0 ? raw / size.bytes : 0), "bpp", json_real(size.bpp),
        "mean_diff", json_object_get(m, "mean_diff"), "max_diff", json_object_get(m, "max_diff"),
        "psnr", json_object_get(m, "psnr"), "ssim", json_object_get(m, "ssim"));
}

static int row_order(const void *pa, const void *pb)
{
    const json_t *a = *(json_t *const *)pa, *b = *(json_t *const *)pb;
    static const char *const keys[] = {"num_gaussians", "max_steps"};
    for (int i = 0; i < 2; ++i) {
        json_int_t x = json_integer_value(json_object_get(a, keys[i]));
        json_int_t y = json_integer_value(json_object_get(b, keys[i]));
        if (x != y)
            return x < y ? -1 : 1;
    }
    return strcmp(json_string_value(json_object_get(a, "id")),
                  json_string_value(json_object_get(b, "id")));
}

/* The rows of the batch's fits that have ended, in the table's order. Caller owns them. */
static json_t *batch_rows(ts_fits *fits, int64_t batch)
{
    json_t *list = json_array(), *sorted = json_array();
    pthread_mutex_lock(&fits->fits_lock);
    for (const fit_job *j = fits->jobs; j; j = j->next)
        if (j->batch == batch && (j->ending || fit_ended(j->state))) {
            json_t *doc = fits_job_json_locked(j), *row = batch_row(doc);
            if (row && j->ending)
                json_object_set_new(row, "state", json_string(fit_state_words[j->ended_as]));
            if (row)
                json_array_append_new(list, row);
            json_decref(doc);
        }
    pthread_mutex_unlock(&fits->fits_lock);
    size_t n = json_array_size(list);
    json_t **rows = calloc((n + 1), sizeof(json_t *));
    for (size_t i = 0; rows && i < n; ++i)
        rows[i] = json_array_get(list, i);
    if (rows)
        qsort(rows, n, sizeof(json_t *), row_order);
    for (size_t i = 0; rows && i < n; ++i)
        json_array_append(sorted, rows[i]);
    free(rows);
    json_decref(list);
    return sorted;
}

static void best_line(ts_buf *t, const json_t *rows, const char *key, const char *title)
{
    const json_t *best = NULL;
    json_t *row;
    size_t i;
    json_array_foreach((json_t *)rows, i,
                       row) if (!isnan(number_at(row, key)) &&
                                (!best || number_at(row, key) > number_at(best, key))) best = row;
    if (best)
        ts_buf_printf(t, "%s: %s (%s), %.4g\n", title,
                      json_string_value(json_object_get(best, "name")),
                      json_string_value(json_object_get(best, "id")), number_at(best, key));
}

static void batch_text(const json_t *rows, ts_buf *t)
{
    json_t *row;
    size_t i;
    ts_buf_printf(t, "%-8s %-24s %10s %8s %12s %10s %8s %10s %10s %8s %8s  %s\n", "fit", "image",
                  "gaussians", "steps", "bytes", "rate", "bpp", "mean diff", "max diff", "PSNR",
                  "SSIM", "state");
    json_array_foreach((json_t *)rows, i, row) ts_buf_printf(
        t,
        "%-8s %-24.24s %10.0f %8.0f %12.1f %10.2f %8.4f %10.5f %10.5f %8.2f %8.4f  "
        "%s\n",
        json_string_value(json_object_get(row, "id")),
        json_string_value(json_object_get(row, "name")), number_at(row, "num_gaussians"),
        number_at(row, "max_steps"), number_at(row, "model_bytes"), number_at(row, "compression"),
        number_at(row, "bpp"), number_at(row, "mean_diff"), number_at(row, "max_diff"),
        number_at(row, "psnr"), number_at(row, "ssim"),
        json_string_value(json_object_get(row, "state")));
    best_line(t, rows, "compression", "Best compression");
    best_line(t, rows, "psnr", "Best quality");
}

ts_status fits_store_batch(ts_fits *fits, int64_t batch, ts_error *err)
{
    char path[3200];
    ts_buf text = {0}, json = {0};
    json_t *rows = batch_rows(fits, batch);
    batch_text(rows, &text);
    json_t *document = json_pack("{s:I, s:O}", "batch", (json_int_t)batch, "fits", rows);
    ts_json_write(document, &json);
    ts_buf_str(&json, "\n");
    json_decref(document);
    json_decref(rows);
    snprintf(path, sizeof path, "%s/batch_%lld/batch.txt", fits->folder, (long long)batch);
    ts_status st = text.failed || json.failed ? ts_fail(err, TS_E_NO_MEMORY, "batch.json")
                                              : ts_fs_write_atomic(path, text.data, text.len, err);
    snprintf(path, sizeof path, "%s/batch_%lld/batch.json", fits->folder, (long long)batch);
    if (st == TS_OK)
        st = ts_fs_write_atomic(path, json.data, json.len, err);
    ts_buf_finish(&text);
    ts_buf_finish(&json);
    return st;
}

/* ---- loading ---- */

static fit_state state_of(const json_t *document)
{
    const char *word = json_string_value(json_object_get(document, "state"));
    for (int s = FIT_DONE; s <= FIT_CANCELLED; ++s)
        if (word && strcmp(word, fit_state_words[s]) == 0)
            return (fit_state)s;
    return FIT_QUEUED; /* it was running when the server died */
}

static void number_into(const json_t *o, const char *key, double *out)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_number(v))
        *out = json_number_value(v);
}

/* The last picture, for the stream. */
static void load_picture(fit_job *j)
{
    char path[3200];
    ts_buf file = {0}, pixels = {0};
    ts_image_info info;
    snprintf(path, sizeof path, "%s/other/final_frame.png", j->folder);
    if (ts_fs_read(path, MAX_DOCUMENT, &file, NULL) == TS_OK &&
        ts_image_decode(file.data, file.len, 3, &info, &pixels, NULL) == TS_OK)
        j->picture = ts_pixels_create(TS_PIXELS_RGB8, info.width, info.height);
    for (int y = 0; j->picture && y < info.height; ++y)
        memcpy((uint8_t *)j->picture->plane[0] + (size_t)y * j->picture->stride[0],
               pixels.data + (size_t)y * (size_t)info.width * 3, (size_t)info.width * 3);
    j->picture_version = j->picture != NULL;
    ts_buf_finish(&file);
    ts_buf_finish(&pixels);
}

static fit_job *job_of(json_t *document, const char *folder)
{
    const char *id = json_string_value(json_object_get(document, "id"));
    fit_job *j = id && id[0] == 'f' && strlen(id) < 20 ? calloc(1, sizeof *j) : NULL;
    if (!j)
        return NULL;
    snprintf(j->id, sizeof j->id, "%s", id);
    snprintf(j->folder, sizeof j->folder, "%s", folder);
    json_object_set_new(document, "folder", json_string(folder)); /* the data may have moved */
    j->state = state_of(document);
    j->batch = json_integer_value(json_object_get(document, "batch"));
    j->picture_step = json_integer_value(json_object_get(document, "step"));
    j->picture_eval = (ts_gs_eval){.step = j->picture_step,
                                   .count = json_integer_value(json_object_get(document, "count")),
                                   .total = NAN,
                                   .l1 = NAN,
                                   .l2 = NAN,
                                   .ssim_loss = NAN,
                                   .psnr = NAN,
                                   .ssim = NAN};
    number_into(document, "psnr", &j->picture_eval.psnr);
    number_into(document, "ssim", &j->picture_eval.ssim);
    j->stored = json_incref(document);
    j->refs = 1;
    ts_gs_config_init(&j->request.config);
    if (j->state == FIT_QUEUED) {
        j->state = FIT_FAILED;
        json_object_set_new(document, "state", json_string("failed"));
        json_object_set_new(document, "error",
                            json_pack("{s:s, s:s}", "code", "not-ready", "detail",
                                      "the server stopped while it ran"));
    }
    load_picture(j);
    return j;
}

static void load_one(ts_fits *fits, const char *folder)
{
    char path[3200];
    ts_buf text = {0};
    json_t *document = NULL;
    snprintf(path, sizeof path, "%s/fit.json", folder);
    fit_job *j = NULL;
    if (ts_fs_read(path, MAX_DOCUMENT, &text, NULL) == TS_OK &&
        ts_json_parse(text.data, text.len, &document, NULL) == TS_OK)
        j = job_of(document, folder);
    json_decref(document);
    ts_buf_finish(&text);
    if (!j)
        return;
    long long number = atoll(j->id + 1);
    if (number >= fits->next_id)
        fits->next_id = number + 1;
    fit_job **at = &fits->jobs;
    while (*at && atoll((*at)->id + 1) < number)
        at = &(*at)->next;
    j->next = *at;
    *at = j;
}

/* Visit the folders in `folder` whose name begins with `prefix`. */
static void each_folder(ts_fits *fits, const char *folder, const char *prefix,
                        void (*visit)(ts_fits *, const char *))
{
    DIR *dir = opendir(folder);
    const struct dirent *e;
    while (dir && (e = readdir(dir))) {
        char path[3000];
        if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < (int)sizeof path)
            visit(fits, path);
    }
    if (dir)
        closedir(dir);
}

static void load_batch(ts_fits *fits, const char *folder)
{
    each_folder(fits, folder, "", load_one);
}

ts_status fits_load(ts_fits *fits, ts_error *err)
{
    (void)err;
    each_folder(fits, fits->folder, "batch_", load_batch);
    return TS_OK;
}
