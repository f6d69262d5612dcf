#include "cl/viz/colormap.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cl/viz/colormap_tables.h"

#define X(title, count, set, even) \
    {.builtin = true,              \
     .uniform = even,              \
     .name = #title,               \
     .group = #set,                \
     .n_rows = count,              \
     .rows = ts_colormap_table_##title},
static const ts_colormap builtin[] = {
#include "cl/viz/colormaps.def"
};
#undef X

enum {
    N_BUILTIN = sizeof builtin / sizeof builtin[0]
};

static pthread_mutex_t user_lock = PTHREAD_MUTEX_INITIALIZER; /* guards: user, n_user */
static ts_colormap *user[TS_COLORMAP_MAX_USER];
static int n_user;

static const ts_colormap *find_builtin(const char *name)
{
    if (strcasecmp(name, "grayscale") == 0 || strcasecmp(name, "grey") == 0)
        name = "gray";
    for (int i = 0; i < N_BUILTIN; i++)
        if (strcasecmp(builtin[i].name, name) == 0)
            return &builtin[i];
    return NULL;
}

static int find_user_locked(const char *name)
{
    for (int i = 0; i < n_user; i++)
        if (strcasecmp(user[i]->name, name) == 0)
            return i;
    return -1;
}

static const ts_colormap *find_exact(const char *name)
{
    const ts_colormap *map = find_builtin(name);
    if (map)
        return map;
    pthread_mutex_lock(&user_lock);
    int at = find_user_locked(name);
    if (at >= 0) {
        __atomic_add_fetch(&user[at]->refs, 1, __ATOMIC_RELAXED);
        map = user[at];
    }
    pthread_mutex_unlock(&user_lock);
    return map;
}

bool ts_colormap_find(const char *name, const ts_colormap **out, bool *reversed)
{
    *reversed = false;
    *out = find_exact(name);
    if (*out)
        return true;
    size_t len = strlen(name);
    if (len < 3 || len > TS_NAME_MAX || strcasecmp(name + len - 2, "_r") != 0)
        return false;
    char base[TS_NAME_MAX + 1];
    memcpy(base, name, len - 2);
    base[len - 2] = 0;
    *reversed = true;
    *out = find_exact(base);
    return *out != NULL;
}

void ts_colormap_unref(const ts_colormap *map)
{
    if (!map || map->builtin)
        return;
    ts_colormap *own = (ts_colormap *)map;
    if (__atomic_sub_fetch(&own->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(own);
}

ts_status ts_colormap_read_color(const json_t *value, const char *path, float out[3], ts_error *err)
{
    if (!json_is_array(value) || json_array_size(value) != 3)
        return ts_fail(err, TS_E_OPTION, "%s: expected [r,g,b]", path);
    for (size_t i = 0; i < 3; i++) {
        const json_t *number = json_array_get(value, i);
        double x = json_number_value(number);
        if (!json_is_number(number) || !(x >= 0 && x <= 1))
            return ts_fail(err, TS_E_OPTION, "%s[%zu]: expected a number from 0 to 1", path, i);
        out[i] = (float)x;
    }
    return TS_OK;
}

ts_status ts_colormap_read_stops(const json_t *list, const char *path, int *n,
                                 float pos[TS_COLORMAP_MAX_STOPS],
                                 float color[TS_COLORMAP_MAX_STOPS][3], ts_error *err)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count < 2 || count > TS_COLORMAP_MAX_STOPS)
        return ts_fail(err, TS_E_OPTION, "%s: expected 2 to %d stops [position,[r,g,b]]", path,
                       TS_COLORMAP_MAX_STOPS);
    for (size_t i = 0; i < count; i++) {
        char at[96];
        snprintf(at, sizeof at, "%s[%zu]", path, i);
        const json_t *stop = json_array_get(list, i);
        const json_t *place = json_array_get(stop, 0);
        if (!json_is_array(stop) || json_array_size(stop) != 2 || !json_is_number(place))
            return ts_fail(err, TS_E_OPTION, "%s: expected [position,[r,g,b]]", at);
        double x = json_number_value(place);
        if (!(fabs(x) <= 1e6))
            return ts_fail(err, TS_E_OPTION, "%s: position outside -1e6 to 1e6", at);
        pos[i] = (float)x;
        if (i > 0 && pos[i] < pos[i - 1])
            return ts_fail(err, TS_E_OPTION, "%s: positions must ascend", at);
        ts_status st = ts_colormap_read_color(json_array_get(stop, 1), at, color[i], err);
        if (st != TS_OK)
            return st;
    }
    *n = (int)count;
    return TS_OK;
}

/* One block: the struct, then its arrays. */
static ts_colormap *alloc_map(const char *name, int n_rows, int n_stops)
{
    size_t floats = (size_t)n_rows * 3 + (size_t)n_stops * 4;
    ts_colormap *map = calloc(1, sizeof *map + floats * sizeof(float));
    if (!map)
        return NULL;
    float *data = (float *)(map + 1);
    map->refs = 1;
    map->group = "custom";
    strncpy(map->name, name, TS_NAME_MAX);
    map->n_rows = n_rows;
    map->n_stops = n_stops;
    map->rows = (const float(*)[3])data;
    map->stop_color = (const float(*)[3])data;
    map->stop_pos = data + (size_t)n_stops * 3;
    return map;
}

static ts_status read_rows(const char *name, const json_t *list, ts_colormap **out, ts_error *err)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count < 2 || count > TS_COLORMAP_MAX_ROWS)
        return ts_fail(err, TS_E_OPTION, "colors: expected 2 to %d colours [r,g,b]",
                       TS_COLORMAP_MAX_ROWS);
    ts_colormap *map = alloc_map(name, (int)count, 0);
    if (!map)
        return ts_fail(err, TS_E_NO_MEMORY, "colormap");
    float(*rows)[3] = (float(*)[3])(map + 1);
    for (size_t i = 0; i < count; i++) {
        char at[40];
        snprintf(at, sizeof at, "colors[%zu]", i);
        ts_status st = ts_colormap_read_color(json_array_get(list, i), at, rows[i], err);
        if (st != TS_OK) {
            free(map);
            return st;
        }
    }
    *out = map;
    return TS_OK;
}

static ts_status read_stops(const char *name, const json_t *list, ts_colormap **out, ts_error *err)
{
    int n = 0;
    float pos[TS_COLORMAP_MAX_STOPS], color[TS_COLORMAP_MAX_STOPS][3];
    ts_status st = ts_colormap_read_stops(list, "stops", &n, pos, color, err);
    if (st != TS_OK)
        return st;
    ts_colormap *map = alloc_map(name, 0, n);
    if (!map)
        return ts_fail(err, TS_E_NO_MEMORY, "colormap");
    memcpy((float *)map->stop_color, color, (size_t)n * sizeof color[0]);
    memcpy((float *)map->stop_pos, pos, (size_t)n * sizeof pos[0]);
    *out = map;
    return TS_OK;
}

static ts_status read_map(const char *name, const json_t *value, ts_colormap **out, ts_error *err)
{
    if (json_is_array(value))
        return read_rows(name, value, out, err);
    if (!json_is_object(value))
        return ts_fail(err, TS_E_OPTION, "colormap: expected an object with stops or colors");
    static const char *const keys[] = {"stops", "colors", NULL};
    ts_status st = ts_json_only(value, "", keys, err);
    if (st != TS_OK)
        return st;
    const json_t *stops = json_object_get(value, "stops");
    const json_t *colors = json_object_get(value, "colors");
    if (!stops == !colors)
        return ts_fail(err, TS_E_OPTION, "colormap: expected either stops or colors");
    return stops ? read_stops(name, stops, out, err) : read_rows(name, colors, out, err);
}

ts_status ts_colormap_put(const char *name, const json_t *value, bool *created, ts_error *err)
{
    ts_status st = ts_name_check("colormap", name, err);
    if (st != TS_OK)
        return st;
    const ts_colormap *known;
    bool reversed;
    if (ts_colormap_find(name, &known, &reversed)) {
        bool fixed = known->builtin;
        ts_colormap_unref(known);
        if (fixed)
            return ts_fail(err, TS_E_EXISTS, "colormap %s is built in", name);
    }
    ts_colormap *map = NULL;
    st = read_map(name, value, &map, err);
    if (st != TS_OK)
        return st;
    ts_colormap *old = NULL;
    pthread_mutex_lock(&user_lock);
    int at = find_user_locked(name);
    if (at >= 0) {
        old = user[at];
        user[at] = map;
    } else if (n_user < TS_COLORMAP_MAX_USER) {
        user[n_user++] = map;
    } else {
        st = TS_E_LIMIT;
    }
    pthread_mutex_unlock(&user_lock);
    ts_colormap_unref(old);
    if (st != TS_OK) {
        free(map);
        return ts_fail(err, st, "there are already %d user colormaps", TS_COLORMAP_MAX_USER);
    }
    *created = !old;
    return TS_OK;
}

ts_status ts_colormap_remove(const char *name, ts_error *err)
{
    if (find_builtin(name))
        return ts_fail(err, TS_E_FORBIDDEN, "colormap %s is built in", name);
    ts_colormap *old = NULL;
    pthread_mutex_lock(&user_lock);
    int at = find_user_locked(name);
    if (at >= 0) {
        old = user[at];
        user[at] = user[--n_user];
    }
    pthread_mutex_unlock(&user_lock);
    if (!old)
        return ts_fail(err, TS_E_NOT_FOUND, "no colormap %s", name);
    ts_colormap_unref(old);
    return TS_OK;
}

static void mix(const float a[3], const float b[3], double f, float out[3])
{
    for (int c = 0; c < 3; c++)
        out[c] = (float)(a[c] + (b[c] - a[c]) * f);
}

void ts_colormap_eval_stops(int n, const float *pos, const float (*color)[3], double t,
                            float out[3])
{
    int s = 0; /* stops at or before t */
    while (s < n && pos[s] <= t)
        s++;
    if (s == 0)
        memcpy(out, color[0], sizeof color[0]);
    else if (s == n)
        memcpy(out, color[n - 1], sizeof color[0]);
    else
        mix(color[s - 1], color[s], (t - pos[s - 1]) / ((double)pos[s] - pos[s - 1]), out);
}

void ts_colormap_eval(const ts_colormap *map, bool reversed, bool nearest, double t, float out[3])
{
    t = t > 0 ? (t < 1 ? t : 1) : 0;
    if (map->n_rows == 0) {
        /* Seen from the other end: a step's earlier colour then holds at the position. */
        ts_colormap_eval_stops(map->n_stops, map->stop_pos, map->stop_color, reversed ? 1 - t : t,
                               out);
        return;
    }
    int last = map->n_rows - 1;
    if (nearest) {
        int i = (int)(t * map->n_rows);
        i = i > last ? last : i;
        memcpy(out, map->rows[reversed ? last - i : i], sizeof map->rows[0]);
        return;
    }
    double p = t * last;
    int i = (int)p;
    if (i >= last)
        i = last - 1;
    const float *a = map->rows[reversed ? last - i : i];
    const float *b = map->rows[reversed ? last - i - 1 : i + 1];
    mix(a, b, p - i, out);
}

static json_t *json_color(const float c[3])
{
    return json_pack("[f,f,f]", (double)c[0], (double)c[1], (double)c[2]);
}

static json_t *describe(const ts_colormap *map)
{
    return json_pack("{s:s,s:s,s:b,s:b,s:i}", "name", map->name, "group", map->group, "builtin",
                     map->builtin, "uniform", map->uniform, "rows", map->n_rows);
}

ts_status ts_colormap_get(const char *name, json_t **out, ts_error *err)
{
    const ts_colormap *map;
    bool reversed;
    if (!ts_colormap_find(name, &map, &reversed))
        return ts_fail(err, TS_E_NOT_FOUND, "no colormap %s", name);
    json_t *object = describe(map);
    json_t *list = json_array();
    for (int i = 0; i < map->n_rows; i++)
        json_array_append_new(list, json_color(map->rows[reversed ? map->n_rows - 1 - i : i]));
    for (int i = 0; i < map->n_stops; i++) {
        int at = reversed ? map->n_stops - 1 - i : i;
        double pos = reversed ? 1 - (double)map->stop_pos[at] : (double)map->stop_pos[at];
        json_array_append_new(list, json_pack("[f,o]", pos, json_color(map->stop_color[at])));
    }
    if (reversed)
        json_object_set_new(object, "name", json_string(name));
    json_object_set_new(object, map->n_rows ? "colors" : "stops", list);
    ts_colormap_unref(map);
    if (!object)
        return ts_fail(err, TS_E_NO_MEMORY, "colormap");
    *out = object;
    return TS_OK;
}

static json_t *summary(const ts_colormap *map)
{
    json_t *object = describe(map), *swatch = json_array();
    for (int i = 0; i < 16; i++) {
        float c[3];
        ts_colormap_eval(map, false, strcmp(map->group, "categorical") == 0, (i + 0.5) / 16, c);
        json_array_append_new(swatch,
                              json_pack("[i,i,i]", (int)(c[0] * 255 + 0.5f),
                                        (int)(c[1] * 255 + 0.5f), (int)(c[2] * 255 + 0.5f)));
    }
    json_object_set_new(object, "swatch", swatch);
    return object;
}

json_t *ts_colormap_list(void)
{
    json_t *list = json_array();
    for (int i = 0; i < N_BUILTIN; i++)
        json_array_append_new(list, summary(&builtin[i]));
    pthread_mutex_lock(&user_lock);
    for (int i = 0; i < n_user; i++)
        json_array_append_new(list, summary(user[i]));
    pthread_mutex_unlock(&user_lock);
    return list;
}
