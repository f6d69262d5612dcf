#include "cl/models/imagegs/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/name.h"
#include "cl/models/imagegs/rules.h"

const char *const ts_gs_init_words[] = {"gradient", "saliency", "random", NULL};
const char *const ts_gs_gradient_words[] = {"exact", "legacy", NULL};
const char *const ts_gs_add_words[] = {"residual", "target", NULL};
const char *const ts_gs_space_words[] = {"sigma", "log_sigma", "raw", NULL};
const char *const ts_gs_image_words[] = {"jpg", "png", "webp", "exr", NULL};
const char *const ts_gs_capture_words[] = {"eval", "independent", NULL};
const char *const ts_gs_adaptive_words[] = {"patches", "joint", NULL};

/* One row per key: where its field is and what it may hold. */
typedef struct row {
    ts_gs_key key;
    size_t offset;
} row;

static const row rows[] = {
#define B(name_, value) {{#name_, 'B', NULL, 0, 1}, offsetof(ts_gs_config, name_)},
#define I(name_, value, min_, max_) \
    {{#name_, 'I', NULL, (double)(min_), (double)(max_)}, offsetof(ts_gs_config, name_)},
#define F(name_, value, min_, max_) \
    {{#name_, 'F', NULL, min_, max_}, offsetof(ts_gs_config, name_)},
#define E(name_, value, words_) {{#name_, 'E', words_, 0, 0}, offsetof(ts_gs_config, name_)},
#include "cl/models/imagegs/config.def"
#undef B
#undef I
#undef F
#undef E
};

/* Keys that are no plain value, in the command line's list after the rows. */
static const ts_gs_key others[] = {
    {"init_from", 'S', NULL, 0, 0}, {"prune", 'J', NULL, 0, 0},   {"video", 'J', NULL, 0, 0},
    {"live", 'J', NULL, 0, 0},      {"overlay", 'J', NULL, 0, 0},
};

enum {
    N_ROWS = sizeof rows / sizeof rows[0],
    N_OTHERS = sizeof others / sizeof others[0]
};

static const char *const ignored_keys[] = {"use_amp", "use_gradient_checkpointing",
                                           "video_save_to_disk", NULL};

void ts_gs_config_init(ts_gs_config *c)
{
    memset(c, 0, sizeof *c);
#define B(name, value)           c->name = value;
#define I(name, value, min, max) c->name = value;
#define F(name, value, min, max) c->name = value;
#define E(name, value, words)    c->name = value;
#include "cl/models/imagegs/config.def"
#undef B
#undef I
#undef F
#undef E
    c->prune_contrib = 0.05;
}

void ts_gs_config_finish(ts_gs_config *c)
{
    json_decref(c->video_options);
    json_decref(c->live);
    json_decref(c->overlay);
    json_decref(c->ignored);
    c->video_options = c->live = c->overlay = c->ignored = NULL;
}

void ts_gs_config_copy(ts_gs_config *to, const ts_gs_config *from)
{
    *to = *from;
    to->video_options = json_deep_copy(from->video_options);
    to->live = json_deep_copy(from->live);
    to->overlay = json_deep_copy(from->overlay);
    to->ignored = json_deep_copy(from->ignored);
}

/* ---- reading ---- */

typedef struct reader {
    ts_gs_config *c;
    json_t *problems;
} reader;

static void problem(reader *r, const char *field, const json_t *value, const char *fmt, ...)
    TS_PRINTF(4, 5);
static void problem(reader *r, const char *field, const json_t *value, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    json_array_append_new(r->problems, json_pack("{s:s, s:O?, s:s}", "field", field, "value", value,
                                                 "message", text));
}

static int word_index(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; ++i)
        if (word && strcmp(words[i], word) == 0)
            return i;
    return -1;
}

static void list_words(const char *const *words, char *out, size_t n)
{
    out[0] = 0;
    for (int i = 0; words[i]; ++i)
        snprintf(out + strlen(out), n - strlen(out), "%s\"%s\"", i ? ", " : "", words[i]);
}

static void read_row(reader *r, const row *w, const json_t *v)
{
    void *at = (char *)r->c + w->offset;
    const ts_gs_key *k = &w->key;
    char words[160];
    if (k->kind == 'B') {
        if (json_is_boolean(v))
            *(bool *)at = json_is_true(v);
        else
            problem(r, k->name, v, "%s: expected true or false", k->name);
    } else if (k->kind == 'I') {
        if (json_is_integer(v) && (double)json_integer_value(v) >= k->min &&
            (double)json_integer_value(v) <= k->max)
            *(int64_t *)at = json_integer_value(v);
        else
            problem(r, k->name, v, "%s: expected an integer, %.0f to %.0f", k->name, k->min,
                    k->max);
    } else if (k->kind == 'F') {
        if (json_is_number(v) && json_number_value(v) >= k->min && json_number_value(v) <= k->max)
            *(double *)at = json_number_value(v);
        else
            problem(r, k->name, v, "%s: expected a number, %g to %g", k->name, k->min, k->max);
    } else {
        int i = word_index(k->words, json_string_value(v));
        list_words(k->words, words, sizeof words);
        if (i >= 0)
            *(int *)at = i;
        else
            problem(r, k->name, v, "%s: expected one of %s", k->name, words);
    }
}

static void read_prune(reader *r, const json_t *v)
{
    static const char *const keys[] = {"every", "min_contrib", NULL};
    ts_error err = {0};
    int64_t every = 0;
    double contrib = 0.05;
    if (!json_is_object(v)) {
        problem(r, "prune", v, "prune: expected {\"every\":…,\"min_contrib\":…}");
        return;
    }
    if (ts_json_only(v, "prune", keys, &err) != TS_OK ||
        ts_json_get_int(v, "prune", "every", 1, 100000000, &every, &err) != TS_OK ||
        ts_json_get_double(v, "prune", "min_contrib", 0, 1e9, &contrib, &err) != TS_OK)
        problem(r, "prune", v, "%s", err.text);
    else if (every == 0)
        problem(r, "prune", v, "prune.every: missing");
    ts_error_clear(&err);
    r->c->prune_every = every;
    r->c->prune_contrib = contrib;
}

static void take_object(reader *r, const char *field, const json_t *v, json_t **to)
{
    if (!json_is_object(v)) {
        problem(r, field, v, "%s: expected an object", field);
        return;
    }
    json_decref(*to);
    *to = json_deep_copy(v);
}

static void read_video(reader *r, const char *field, const json_t *v)
{
    if (json_is_boolean(v)) {
        r->c->video = json_is_true(v);
    } else if (json_is_object(v)) {
        r->c->video = true;
        take_object(r, field, v, &r->c->video_options);
    } else {
        problem(r, field, v, "%s: expected true, false or an object", field);
    }
}

static void read_init_from(reader *r, const json_t *v)
{
    const char *name = json_string_value(v);
    if (json_is_null(v))
        r->c->init_from[0] = 0;
    else if (!name || !ts_name_valid(name))
        problem(r, "init_from", v, "init_from: expected the name of a model");
    else
        snprintf(r->c->init_from, sizeof r->c->init_from, "%s", name);
}

static bool read_preset(reader *r, const json_t *v)
{
    static const char *const names[] = {"compact", "balanced", "detail", NULL};
    static const int64_t steps[][2] = {{100, 100}, {50, 50}, {25, 25}};
    int i = word_index(names, json_string_value(v));
    if (i < 0) {
        problem(r, "preset", v, "preset: expected one of \"compact\", \"balanced\", \"detail\"");
        return false;
    }
    r->c->video = true;
    r->c->video_iterations = steps[i][0];
    r->c->eval_steps = steps[i][1];
    return true;
}

static void read_other(reader *r, const char *name, const json_t *v)
{
    if (strcmp(name, "init_from") == 0)
        read_init_from(r, v);
    else if (strcmp(name, "prune") == 0 && json_is_null(v))
        r->c->prune_every = 0;
    else if (strcmp(name, "prune") == 0)
        read_prune(r, v);
    else if (strcmp(name, "video") == 0 || strcmp(name, "make_training_video") == 0)
        read_video(r, name, v);
    else if (strcmp(name, "live") == 0)
        take_object(r, name, v, &r->c->live);
    else if (strcmp(name, "overlay") == 0)
        take_object(r, name, v, &r->c->overlay);
    else if (word_index(ignored_keys, name) >= 0) {
        if (!r->c->ignored)
            r->c->ignored = json_array();
        json_array_append_new(r->c->ignored, json_string(name));
    } else {
        problem(r, name, v, "%.80s: no such key", name);
    }
}

static void cross_checks(reader *r)
{
    const ts_gs_config *c = r->c;
    if (c->l1_loss_ratio <= 1e-7 && c->l2_loss_ratio <= 1e-7 && c->ssim_loss_ratio <= 1e-7)
        problem(r, "l1_loss_ratio", NULL,
                "l1_loss_ratio, l2_loss_ratio and ssim_loss_ratio: "
                "at least one must be above 1e-7");
    if (!c->adaptive_refinement)
        return;
    if (fabs(c->adaptive_psnr_weight + c->adaptive_ssim_weight - 1) > 0.01)
        problem(r, "adaptive_psnr_weight", NULL,
                "adaptive_psnr_weight and adaptive_ssim_weight: their sum must be 1");
    if (c->adaptive_overlap >= c->adaptive_patch_size)
        problem(r, "adaptive_overlap", NULL, "adaptive_overlap: must be below adaptive_patch_size");
    if (c->adaptive_max_gaussians_per_patch < c->adaptive_base_gaussians)
        problem(r, "adaptive_max_gaussians_per_patch", NULL,
                "adaptive_max_gaussians_per_patch: must be adaptive_base_gaussians or more");
}

static const row *row_of(const char *name)
{
    for (size_t i = 0; i < N_ROWS; ++i)
        if (strcmp(rows[i].key.name, name) == 0)
            return &rows[i];
    return NULL;
}

ts_status ts_gs_config_read(ts_gs_config *config, const json_t *object, json_t **problems,
                            ts_error *err)
{
    reader r = {config, json_array()};
    const char *name;
    json_t *value, *preset = json_object_get(object, "preset");
    *problems = r.problems;
    if (!json_is_object(object))
        return ts_fail(err, TS_E_OPTION, "a configuration is a JSON object");
    if (preset)
        read_preset(&r, preset);
    json_object_foreach((json_t *)object, name, value)
    {
        const row *w = row_of(name);
        if (w)
            read_row(&r, w, value);
        else if (strcmp(name, "preset") != 0)
            read_other(&r, name, value);
    }
    cross_checks(&r);
    if (json_array_size(r.problems) == 0)
        return TS_OK;
    const json_t *first = json_array_get(r.problems, 0);
    return ts_fail(err, TS_E_OPTION, "%s", json_string_value(json_object_get(first, "message")));
}

/* ---- writing ---- */

json_t *ts_gs_config_json(const ts_gs_config *c)
{
    json_t *out = json_object();
    for (size_t i = 0; i < N_ROWS; ++i) {
        const void *at = (const char *)c + rows[i].offset;
        const ts_gs_key *k = &rows[i].key;
        json_t *v = k->kind == 'B'   ? json_boolean(*(const bool *)at)
                    : k->kind == 'I' ? json_integer(*(const int64_t *)at)
                    : k->kind == 'F' ? json_real(*(const double *)at)
                                     : json_string(k->words[*(const int *)at]);
        json_object_set_new(out, k->name, v);
    }
    json_object_set_new(out, "init_from",
                        c->init_from[0] ? json_string(c->init_from) : json_null());
    json_object_set_new(out, "prune",
                        c->prune_every ? json_pack("{s:I, s:f}", "every", c->prune_every,
                                                   "min_contrib", c->prune_contrib)
                                       : json_null());
    json_object_set_new(
        out, "video", c->video_options ? json_deep_copy(c->video_options) : json_boolean(c->video));
    json_object_set_new(out, "live", c->live ? json_deep_copy(c->live) : json_object());
    if (c->overlay)
        json_object_set_new(out, "overlay", json_deep_copy(c->overlay));
    return out;
}

const ts_gs_key *ts_gs_config_key(size_t index)
{
    if (index < N_ROWS)
        return &rows[index].key;
    return index - N_ROWS < N_OTHERS ? &others[index - N_ROWS] : NULL;
}

ts_status ts_gs_config_word(json_t *object, const char *name, const char *word, ts_error *err)
{
    json_t *v = NULL;
    json_error_t detail;
    const row *w = row_of(name);
    char *end = NULL;
    if (w && w->key.kind == 'E')
        v = json_string(word);
    else if (w && w->key.kind == 'B')
        v = strcmp(word, "true") == 0 || strcmp(word, "1") == 0    ? json_true()
            : strcmp(word, "false") == 0 || strcmp(word, "0") == 0 ? json_false()
                                                                   : NULL;
    else if (w && w->key.kind == 'I') {
        long long n = strtoll(word, &end, 10);
        v = end != word && *end == 0 ? json_integer(n) : NULL;
    } else if (w) {
        double d = strtod(word, &end);
        v = end != word && *end == 0 && isfinite(d) ? json_real(d) : NULL;
    } else if (strcmp(name, "init_from") == 0) {
        v = json_string(word);
    } else {
        v = json_loads(word, JSON_DECODE_ANY, &detail);
    }
    if (!v)
        return ts_fail(err, TS_E_OPTION, "--%s: \"%.80s\" is no value of it", name, word);
    json_object_set_new(object, name, v);
    return TS_OK;
}

int64_t ts_gs_config_steps(const ts_gs_config *c)
{
    int64_t least = ts_gs_rules_min_steps(c->add_steps, c->add_times, c->post_min_steps);
    return c->disable_prog_optim || c->max_steps >= least ? c->max_steps : least;
}
