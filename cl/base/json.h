/*
 * JSON from outside: jansson behind checks of size, nesting and UTF-8, and typed getters whose errors
 * name the key's path and what would be right ("view.normalize.lo: expected a number, got a string").
 *
 * Options are read key by key into a struct; ts_json_only() afterwards refuses what nobody asked for.
 * Thread: a document belongs to one thread at a time (jansson's counts are atomic, its values not).
 */
#ifndef TS_CL_BASE_JSON_H
#define TS_CL_BASE_JSON_H

#include <jansson.h>

#include "cl/base/buf.h"
#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_JSON_MAX_DEPTH = 64
};

/** Parse one document (duplicate keys are refused). Owner: json_decref(*out). Errors: TS_E_JSON. */
TS_CHECKED ts_status ts_json_parse(const void *data, size_t len, json_t **out, ts_error *err);
/** Append a value's compact text. */
void ts_json_write(const json_t *value, ts_buf *out);
/** Append a string with quotes and escapes. */
void ts_json_write_string(const char *text, ts_buf *out);
/** Append a number; NaN and the infinities as the strings "NaN", "Infinity", "-Infinity". */
void ts_json_write_double(double value, ts_buf *out);
/** A number, or one of those three strings where it is not finite. */
json_t *ts_json_double(double value);

/*
 * Getters. `path` names the object in messages ("view"; "" for the top). An absent key, or null,
 * leaves *out as it is and is TS_OK. Errors: TS_E_OPTION.
 */
TS_CHECKED ts_status ts_json_get_int(const json_t *object, const char *path, const char *key,
                                     int64_t min, int64_t max, int64_t *out, ts_error *err);
TS_CHECKED ts_status ts_json_get_double(const json_t *object, const char *path, const char *key,
                                        double min, double max, double *out, ts_error *err);
TS_CHECKED ts_status ts_json_get_bool(const json_t *object, const char *path, const char *key,
                                      bool *out, ts_error *err);
/** *out points into the document. */
TS_CHECKED ts_status ts_json_get_string(const json_t *object, const char *path, const char *key,
                                        const char **out, ts_error *err);
/** One of `words` (NULL-terminated); *out is its index. */
TS_CHECKED ts_status ts_json_get_enum(const json_t *object, const char *path, const char *key,
                                      const char *const *words, int *out, ts_error *err);
/** Refuse every key of `object` that is not in `keys` (NULL-terminated), naming the nearest one. */
TS_CHECKED ts_status ts_json_only(const json_t *object, const char *path, const char *const *keys,
                                  ts_error *err);
/** RFC 7396: returns a new value, `target` patched by `patch`; neither argument is changed. */
json_t *ts_json_merge_patch(const json_t *target, const json_t *patch);

#ifdef __cplusplus
}
#endif
#endif
