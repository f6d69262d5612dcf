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
