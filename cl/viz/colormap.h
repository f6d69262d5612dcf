/*
 * Colormaps: the built-in tables and the user's own, by name.
 *
 * A colormap is a table of rows (linear or nearest lookup) or a list of stops. `name_r` is the
 * reversed form of `name`; names are case-insensitive; grayscale and grey mean gray. User colormaps
 * live in one table of the process until it ends. Thread: any.
 *
 *   const ts_colormap *map; bool reversed;
 *   if (ts_colormap_find("rdbu_r", &map, &reversed)) … ts_colormap_unref(map);
 */
#ifndef TS_CL_VIZ_COLORMAP_H
#define TS_CL_VIZ_COLORMAP_H

#include <stdbool.h>

#include "cl/base/json.h"
#include "cl/base/name.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_COLORMAP_MAX_STOPS = 64,
    TS_COLORMAP_MAX_ROWS = 4096,
    TS_COLORMAP_MAX_USER = 256
};

/** Immutable. Rows where n_rows > 0, else stops. */
typedef struct ts_colormap {
    int refs; /* atomic; not counted for built-in ones */
    bool builtin, uniform;
    char name[TS_NAME_MAX + 1];
    const char *group; /* sequential, diverging, cyclic, categorical, custom */
    int n_rows, n_stops;
    const float (*rows)[3];
    const float *stop_pos;
    const float (*stop_color)[3];
} ts_colormap;

/** Find by name; *out has one reference. False where there is none. */
bool ts_colormap_find(const char *name, const ts_colormap **out, bool *reversed);
void ts_colormap_unref(const ts_colormap *map); /* NULL is fine */

/**
 * Store a user colormap: {"stops":[[pos,[r,g,b]],…]} (2…64, ascending), {"colors":[[r,g,b],…]} or the
 * bare list of colours (2…4096); components 0…1. *created says whether the name is new.
 * Errors: TS_E_NAME, TS_E_OPTION, TS_E_EXISTS (a built-in's name), TS_E_LIMIT.
 */
TS_CHECKED ts_status ts_colormap_put(const char *name, const json_t *value, bool *created,
                                     ts_error *err);
/** {name, group, builtin, uniform, stops | colors}. Owner: caller. Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_colormap_get(const char *name, json_t **out, ts_error *err);
/** Remove a user colormap. Errors: TS_E_NOT_FOUND, TS_E_FORBIDDEN (a built-in one). */
TS_CHECKED ts_status ts_colormap_remove(const char *name, ts_error *err);
/** [{name, group, builtin, uniform, rows, swatch: 16 colours [r,g,b] u8}, …]. Owner: caller. */
json_t *ts_colormap_list(void);
/** The colour at t (clamped) by the map's own interpolation, reversed where asked. */
void ts_colormap_eval(const ts_colormap *map, bool reversed, bool nearest, double t, float out[3]);
/** Evaluate a list of stops (ascending; of equal positions the later holds at the position). */
void ts_colormap_eval_stops(int n, const float *pos, const float (*color)[3], double t,
                            float out[3]);
/** Read [[pos,[r,g,b]],…]. Errors: TS_E_OPTION naming `path`. */
TS_CHECKED ts_status ts_colormap_read_stops(const json_t *list, const char *path, int *n,
                                            float pos[TS_COLORMAP_MAX_STOPS],
                                            float color[TS_COLORMAP_MAX_STOPS][3], ts_error *err);
/** Read [r,g,b], floats 0…1. Errors: TS_E_OPTION naming `path`. */
TS_CHECKED ts_status ts_colormap_read_color(const json_t *value, const char *path, float out[3],
                                            ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
