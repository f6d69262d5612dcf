#include "server/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cl/base/fs.h"
#include "cl/base/size.h"
#include "server/listen.h"

typedef enum kind {
    LIST,
    STRING,
    BOOL,
    INT,
    SIZE,
    SECONDS
} kind;

typedef struct definition {
    kind kind;
    const char *key; /* "max_body" */
    size_t offset;
    const char *text; /* the default */
    double min, max;
    const char *argument, *help;
} definition;

static const definition table[] = {
#define OPTION(kind, field, def, min, max, argument, help) \
    {kind, #field, offsetof(ts_options, field), def, min, max, argument, help},
#include "server/options.def"
#undef OPTION
};

enum {
    COUNT = sizeof table / sizeof *table
};

/* Where a value comes from; a higher one replaces a lower one. */
typedef enum level {
    DEFAULT,
    FROM_FILE,
    FROM_ENVIRONMENT,
    FROM_FLAG
} level;

typedef struct parser {
    ts_options *options;
    level levels[COUNT];
    ts_error *err;
} parser;

/* ---- names ---- */

static void flag_name(const char *key, char out[64])
{
    snprintf(out, 64, "--%s", key);
    for (char *c = out + 2; *c; c++)
        if (*c == '_')
            *c = '-';
}

static void environment_name(const char *key, char out[64])
{
    snprintf(out, 64, "TENSORSCOPE_%s", key);
    for (char *c = out; *c; c++)
        *c = (char)toupper((unsigned char)*c);
}

/* Levenshtein distance. */
static size_t distance(const char *a, const char *b)
{
    size_t row[64], n = strlen(b);
    if (n >= 64 || strlen(a) >= 64)
        return SIZE_MAX;
    for (size_t i = 0; i <= n; i++)
        row[i] = i;
    for (; *a; a++) {
        size_t corner = row[0]++;
        for (size_t i = 1; i <= n; i++) {
            size_t best = corner + (*a != b[i - 1]);
            corner = row[i];
            best = row[i] + 1 < best ? row[i] + 1 : best;
            row[i] = row[i - 1] + 1 < best ? row[i - 1] + 1 : best;
        }
    }
    return row[n];
}

/* The known name closest to a misspelt one, in the form that `name` makes. */
static void nearest(const char *wrong, void (*name)(const char *key, char out[64]), char out[64])
{
    size_t best = SIZE_MAX;
    for (int i = 0; i < COUNT; i++) {
        char text[64];
        name(table[i].key, text);
        size_t d = distance(wrong, text);
        if (d < best) {
            best = d;
            snprintf(out, 64, "%s", text);
        }
    }
}

static void key_name(const char *key, char out[64])
{
    snprintf(out, 64, "%s", key);
}

/* ---- values ---- */

/* Digits with a fraction, and nothing else that strtod() would take (signs, hex, exponents). */
static bool read_decimal(const char *text, double *out, const char **rest)
{
    size_t n = strspn(text, "0123456789.");
    char *end;
    *out = strtod(text, &end);
    *rest = text + n;
    return isdigit((unsigned char)*text) && end == *rest && isfinite(*out);
}

bool ts_parse_size(const char *text, uint64_t *out)
{
    const char *rest;
    double value;
    if (!read_decimal(text, &value, &rest))
        return false;
    static const char units[] = "KMGT";
    const char *unit = *rest ? strchr(units, toupper((unsigned char)*rest)) : NULL;
    if (unit && *unit) {
        value = ldexp(value, (int)(10 * (unit - units + 1)));
        rest++;
        if (strcasecmp(rest, "iB") == 0 || strcasecmp(rest, "B") == 0)
            rest = "";
    }
    if (*rest || !(value <= 9e18) || value != floor(value))
        return false;
    *out = (uint64_t)value;
    return true;
}

bool ts_parse_seconds(const char *text, double *out)
{
    static const struct {
        const char *unit;
        double scale;
    } units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"min", 60}, {"h", 3600}};
    const char *rest;
    double value;
    if (!read_decimal(text, &value, &rest))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(rest, units[i].unit) == 0) {
            *out = value * units[i].scale;
            return true;
        }
    return false;
}

static ts_status list_add(ts_strings *list, const char *text, size_t len, ts_error *err)
{
    char **items = ts_realloc_array(list->items, list->n + 1, sizeof *items);
    if (items)
        list->items = items;
    char *copy = items ? strndup(text, len) : NULL;
    if (!copy)
        return ts_fail(err, TS_E_NO_MEMORY, "options");
    list->items[list->n++] = copy;
    return TS_OK;
}

static void list_clear(ts_strings *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (ts_strings){0};
}

static ts_status out_of_range(const definition *def, const char *source, const char *text,
                              ts_error *err)
{
    return ts_fail(err, TS_E_OPTION, "%s: %.80s is out of range, allowed are %.15g to %.15g",
                   source, text, def->min, def->max);
}

static ts_status set_number(const definition *def, void *field, const char *text,
                            const char *source, ts_error *err)
{
    if (def->kind == INT) {
        char *end;
        errno = 0;
        long long value = strtoll(text, &end, 10);
        if (!*text || *end || errno)
            return ts_fail(err, TS_E_OPTION, "%s: \"%.80s\" is not a whole number", source, text);
        if ((double)value < def->min || (double)value > def->max)
            return out_of_range(def, source, text, err);
        *(int64_t *)field = value;
    } else if (def->kind == SIZE) {
        uint64_t value;
        if (!ts_parse_size(text, &value))
            return ts_fail(err, TS_E_OPTION,
                           "%s: \"%.80s\" is not a size: a number of bytes, or one with K, M or G",
                           source, text);
        if ((double)value < def->min || (double)value > def->max)
            return out_of_range(def, source, text, err);
        *(uint64_t *)field = value;
    } else {
        double value;
        if (!ts_parse_seconds(text, &value))
            return ts_fail(err, TS_E_OPTION,
                           "%s: \"%.80s\" is not a time: seconds, or a number with ms, s, m or h",
                           source, text);
        if (value < def->min || value > def->max)
            return out_of_range(def, source, text, err);
        *(double *)field = value;
    }
    return TS_OK;
}

static ts_status set_bool(bool *field, const char *text, const char *source, ts_error *err)
{
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (int i = 0; i < 8; i++)
        if (strcasecmp(text, words[i]) == 0) {
            *field = i & 1;
            return TS_OK;
        }
    return ts_fail(err, TS_E_OPTION, "%s: \"%.80s\" is neither true nor false", source, text);
}

/* Take one value; `split` cuts a list at its commas. */
static ts_status set(parser *p, int index, level from, const char *text, bool split,
                     const char *source)
{
    const definition *def = &table[index];
    void *field = (char *)p->options + def->offset;
    if (from < p->levels[index])
        return TS_OK;
    if (def->kind == LIST && from > p->levels[index])
        list_clear(field);
    p->levels[index] = from;
    switch (def->kind) {
    case LIST:
        while (*text) {
            size_t n = split ? strcspn(text, ",") : strlen(text);
            ts_status st = n ? list_add(field, text, n, p->err) : TS_OK;
            if (st != TS_OK)
                return st;
            text += n + (text[n] == ',');
        }
        return TS_OK;
    case STRING: {
        char *copy = strdup(text);
        if (!copy)
            return ts_fail(p->err, TS_E_NO_MEMORY, "options");
        free(*(char **)field);
        *(char **)field = copy;
        return TS_OK;
    }
    case BOOL:
        return set_bool(field, text, source, p->err);
    default:
        if (!*text && from == DEFAULT)
            return TS_OK; /* zero: decided later */
        return set_number(def, field, text, source, p->err);
    }
}

/* ---- the file ---- */

/* jansson keeps no positions: the line of the first "key" outside of other words is close enough. */
static int line_of(const char *text, const char *key)
{
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%.70s\"", key);
    const char *at = strstr(text, quoted);
    int line = 1;
    for (const char *c = text; at && c < at; c++)
        line += *c == '\n';
    return line;
}

static ts_status set_from_json(parser *p, int index, const json_t *value, const char *source)
{
    static const char *const wanted[] = {"an array of strings", "a string", "true or false",
                                         "a whole number",      "a size",   "a time"};
    kind k = table[index].kind;
    char text[64];
    if (k == LIST && json_is_array(value)) {
        size_t i;
        json_t *item;
        ts_status st = set(p, index, FROM_FILE, "", false, source);
        json_array_foreach((json_t *)(uintptr_t)value, i, item)
        {
            if (!json_is_string(item))
                return ts_fail(p->err, TS_E_OPTION, "%s: expected %s", source, wanted[k]);
            if (st == TS_OK)
                st = set(p, index, FROM_FILE, json_string_value(item), false, source);
        }
        return st;
    }
    if (k == BOOL && json_is_boolean(value))
        return set(p, index, FROM_FILE, json_is_true(value) ? "true" : "false", false, source);
    if ((k == INT || k == SIZE) && json_is_integer(value)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        return set(p, index, FROM_FILE, text, false, source);
    }
    if (k == SECONDS && json_is_number(value)) {
        snprintf(text, sizeof text, "%.9f", json_number_value(value));
        return set(p, index, FROM_FILE, text, false, source);
    }
    if (json_is_string(value) && k != BOOL && k != INT)
        return set(p, index, FROM_FILE, json_string_value(value), false, source);
    return ts_fail(p->err, TS_E_OPTION, "%s: expected %s", source, wanted[k]);
}

static int find_key(const char *key)
{
    for (int i = 0; i < COUNT; i++)
        if (strcmp(table[i].key, key) == 0)
            return i;
    return -1;
}

static ts_status apply_document(parser *p, const char *path, const char *text, json_t *document)
{
    const char *key;
    json_t *value;
    if (!json_is_object(document))
        return ts_fail(p->err, TS_E_OPTION, "%s line 1: expected an object of options", path);
    json_object_foreach(document, key, value)
    {
        char source[512], close[64] = "";
        int index = find_key(key);
        snprintf(source, sizeof source, "%.300s line %d: %.80s", path, line_of(text, key), key);
        if (index < 0) {
            nearest(key, key_name, close);
            return ts_fail(p->err, TS_E_OPTION, "%s: unknown key, did you mean \"%s\"?", source,
                           close);
        }
        ts_status st = set_from_json(p, index, value, source);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

static ts_status apply_text(parser *p, const char *name, ts_buf *text)
{
    ts_error inner = {0};
    json_t *document = NULL;
    ts_status st = ts_json_parse(text->data, text->len, &document, &inner);
    if (st != TS_OK)
        st = ts_fail(p->err, TS_E_OPTION, "--config %.200s: %.250s", name, inner.text);
    else
        st = apply_document(p, name, ts_buf_cstr(text), document);
    json_decref(document);
    ts_error_clear(&inner);
    return st;
}

static ts_status apply_file(parser *p, const char *path)
{
    ts_buf text = {0};
    ts_error inner = {0};
    ts_status st = ts_fs_read(path, 1 << 20, &text, &inner) == TS_OK
                       ? apply_text(p, path, &text)
                       : ts_fail(p->err, TS_E_OPTION, "--config %.200s: %.250s", path, inner.text);
    ts_error_clear(&inner);
    ts_buf_finish(&text);
    return st;
}

/* ---- environment and flags ---- */

static const char *environment_value(char **environment, const char *name)
{
    size_t n = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
            return *environment + n + 1;
    return NULL;
}

static ts_status apply_environment(parser *p, char **environment)
{
    for (int i = 0; i < COUNT; i++) {
        char name[64];
        environment_name(table[i].key, name);
        const char *text = environment_value(environment, name);
        ts_status st = text ? set(p, i, FROM_ENVIRONMENT, text, true, name) : TS_OK;
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

static int find_flag(const char *flag, size_t len)
{
    for (int i = 0; i < COUNT; i++) {
        char name[64];
        flag_name(table[i].key, name);
        if (strlen(name) == len && strncmp(name, flag, len) == 0)
            return i;
    }
    return -1;
}

/* Walk the flags; with p NULL only --config is looked for. */
static ts_status walk_flags(parser *p, int argc, char **argv, const char **config, bool *help,
                            ts_error *err)
{
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        size_t len = strcspn(flag, "=");
        const char *value = flag[len] ? flag + len + 1 : NULL;
        if (strcmp(flag, "--help") == 0 || strcmp(flag, "-h") == 0) {
            *help = true;
            continue;
        }
        bool is_config = len == 8 && strncmp(flag, "--config", 8) == 0;
        int index = is_config ? -1 : find_flag(flag, len);
        if (!is_config && index < 0) {
            char close[64] = "";
            nearest(flag, flag_name, close);
            return strncmp(flag, "--", 2) == 0
                       ? ts_fail(err, TS_E_OPTION, "unknown option %.80s, did you mean %s?", flag,
                                 close)
                       : ts_fail(err, TS_E_OPTION, "unexpected argument \"%.80s\"", flag);
        }
        bool is_bool = !is_config && table[index].kind == BOOL;
        if (!value && is_bool)
            value = "true";
        else if (!value && ++i < argc)
            value = argv[i];
        if (!value)
            return ts_fail(err, TS_E_OPTION, "%.80s needs a value", flag);
        if (is_config) {
            *config = value;
            continue;
        }
        char name[64];
        flag_name(table[index].key, name);
        ts_status st = p ? set(p, index, FROM_FLAG, value, false, name) : TS_OK;
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

/* ---- cross-checks ---- */

static ts_status check_origins(const ts_options *options, ts_error *err)
{
    for (size_t i = 0; i < options->allow_origin.n; i++) {
        const char *origin = options->allow_origin.items[i], *host = strstr(origin, "://");
        if (!host || host == origin || !host[3] || strchr(host + 3, '/'))
            return ts_fail(err, TS_E_OPTION,
                           "--allow-origin %.100s: expected scheme://host or scheme://host:port",
                           origin);
    }
    return TS_OK;
}

static ts_status check_words(const ts_options *o, ts_error *err)
{
    const struct {
        const char *flag, *value, *words[4];
    } checks[] = {{"--log-format", o->log_format, {"text", "json"}},
                  {"--cluster-frames", o->cluster_frames, {"auto", "direct", "broker"}},
                  {"--cluster-placement", o->cluster_placement, {"group", "local"}}};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        bool known = false;
        for (int k = 0; k < 4 && checks[i].words[k]; k++)
            known |= strcmp(checks[i].value, checks[i].words[k]) == 0;
        if (!known)
            return ts_fail(err, TS_E_OPTION, "%s: \"%.60s\" is not one of %s, %s%s%s",
                           checks[i].flag, checks[i].value, checks[i].words[0], checks[i].words[1],
                           checks[i].words[2] ? ", " : "",
                           checks[i].words[2] ? checks[i].words[2] : "");
    }
    return TS_OK;
}

static ts_status check_log_level(const char *spec, ts_error *err)
{
    static const char *const words[] = {"error", "warn", "info", "debug", "trace"};
    while (*spec) {
        size_t n = strcspn(spec, ",");
        const char *equals = memchr(spec, '=', n);
        const char *word = equals ? equals + 1 : spec;
        size_t len = (size_t)(spec + n - word);
        bool known = false;
        for (int i = 0; i < 5; i++)
            known |= strlen(words[i]) == len && strncmp(word, words[i], len) == 0;
        if (!known)
            return ts_fail(err, TS_E_OPTION,
                           "--log-level: \"%.*s\" is none of error, warn, info, debug, trace",
                           (int)(len < 40 ? len : 40), word);
        spec += n + (spec[n] == ',');
    }
    return TS_OK;
}

static ts_status validate(const ts_options *options, ts_error *err)
{
    for (size_t i = 0; i < options->listen.n; i++) {
        ts_status st = ts_listen_check(options->listen.items[i], err);
        if (st != TS_OK)
            return st;
    }
    if (options->listen.n == 0)
        return ts_fail(err, TS_E_OPTION, "--listen: at least one address is needed");
    if (!*options->tls_cert != !*options->tls_key)
        return ts_fail(err, TS_E_OPTION, "--tls-cert and --tls-key belong together");
    if (options->no_auth && *options->token_file)
        return ts_fail(err, TS_E_OPTION, "--no-auth and --token-file exclude each other");
    ts_status st = check_origins(options, err);
    if (st == TS_OK)
        st = check_words(options, err);
    if (st == TS_OK)
        st = check_log_level(options->log_level, err);
    return st;
}

static ts_status default_data_dir(ts_options *options, char **environment, ts_error *err)
{
    if (*options->data_dir)
        return TS_OK;
    const char *base = environment_value(environment, "XDG_DATA_HOME");
    const char *home = environment_value(environment, "HOME");
    ts_buf path = {0};
    if (base && *base == '/')
        ts_buf_printf(&path, "%s/tensorscope", base);
    else if (home && *home == '/')
        ts_buf_printf(&path, "%s/.local/share/tensorscope", home);
    else
        return ts_fail(err, TS_E_OPTION, "--data-dir: none given, and HOME is not set");
    free(options->data_dir);
    ts_buf_cstr(&path);
    options->data_dir = (char *)path.data;
    return path.failed ? ts_fail(err, TS_E_NO_MEMORY, "options") : TS_OK;
}

/* ---- the interface ---- */

static ts_status set_defaults(parser *p)
{
    for (int i = 0; i < COUNT; i++) {
        ts_status st = set(p, i, DEFAULT, table[i].text, true, table[i].key);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

ts_status ts_options_parse(int argc, char **argv, char **environment, ts_options *out, bool *help,
                           ts_error *err)
{
    *out = (ts_options){0};
    *help = false;
    parser p = {.options = out, .err = err};
    const char *config = environment_value(environment, "TENSORSCOPE_CONFIG");
    ts_status st = set_defaults(&p);
    if (st == TS_OK)
        st = walk_flags(NULL, argc, argv, &config, help, err);
    if (st == TS_OK && *help)
        return TS_OK;
    if (st == TS_OK && config && *config)
        st = apply_file(&p, config);
    if (st == TS_OK)
        st = apply_environment(&p, environment);
    if (st == TS_OK)
        st = walk_flags(&p, argc, argv, &config, help, err);
    if (st == TS_OK)
        st = validate(out, err);
    if (st == TS_OK)
        st = default_data_dir(out, environment, err);
    if (st != TS_OK)
        ts_options_finish(out);
    return st;
}

static ts_status check(const char *name, ts_buf *text, ts_error *err)
{
    ts_options options = {0};
    parser p = {.options = &options, .err = err};
    ts_status st = set_defaults(&p);
    if (st == TS_OK)
        st = text ? apply_text(&p, name, text) : apply_file(&p, name);
    if (st == TS_OK)
        st = validate(&options, err);
    ts_options_finish(&options);
    return st;
}

ts_status ts_options_check_file(const char *path, ts_error *err)
{
    return check(path, NULL, err);
}

ts_status ts_options_check_text(const void *data, size_t len, ts_error *err)
{
    ts_buf text = {0};
    ts_buf_append(&text, data, len);
    ts_status st =
        text.failed ? ts_fail(err, TS_E_NO_MEMORY, "options") : check("text", &text, err);
    ts_buf_finish(&text);
    return st;
}

void ts_options_finish(ts_options *options)
{
    for (int i = 0; i < COUNT; i++) {
        void *field = (char *)options + table[i].offset;
        if (table[i].kind == LIST)
            list_clear(field);
        else if (table[i].kind == STRING)
            free(*(char **)field);
    }
    *options = (ts_options){0};
}

void ts_options_help(ts_buf *out)
{
    for (int i = 0; i < COUNT; i++) {
        char name[64], left[96];
        flag_name(table[i].key, name);
        snprintf(left, sizeof left, "%s%s%s", name, *table[i].argument ? " " : "",
                 table[i].argument);
        ts_buf_printf(out, "  %-30s %s", left, table[i].help);
        if (*table[i].text && table[i].kind != BOOL)
            ts_buf_printf(out, " (%s)", table[i].text);
        ts_buf_str(out, "\n");
    }
    ts_buf_printf(out, "  %-30s %s\n", "--config FILE", "a JSON file of these options");
}

/* "redis://user:secret@host" without what stands before the @. */
static json_t *without_credentials(const char *text)
{
    const char *host = strstr(text, "://");
    const char *at = host ? strrchr(host, '@') : NULL;
    return at ? json_sprintf("%.*s***%s", (int)(host + 3 - text), text, at) : json_string(text);
}

static json_t *value_json(const definition *def, const void *field)
{
    switch (def->kind) {
    case LIST: {
        const ts_strings *list = field;
        json_t *array = json_array();
        for (size_t i = 0; i < list->n; i++)
            json_array_append_new(array, without_credentials(list->items[i]));
        return array;
    }
    case STRING:
        return without_credentials(*(char *const *)field);
    case BOOL:
        return json_boolean(*(const bool *)field);
    case INT:
        return json_integer(*(const int64_t *)field);
    case SIZE:
        return json_integer((json_int_t) * (const uint64_t *)field);
    default:
        return json_real(*(const double *)field);
    }
}

json_t *ts_options_json(const ts_options *options)
{
    json_t *object = json_object();
    for (int i = 0; i < COUNT; i++)
        json_object_set_new(object, table[i].key,
                            value_json(&table[i], (const char *)options + table[i].offset));
    return object;
}
