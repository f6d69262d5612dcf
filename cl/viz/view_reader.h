/*
 * Reading options into structs, key by key, and reading a part (cl/viz/view*.c only).
 *
 * The first failure sticks in the reader, later reads do nothing, so that a caller checks once.
 */
#ifndef TS_CL_VIZ_VIEW_READER_H
#define TS_CL_VIZ_VIEW_READER_H

#include "cl/viz/view_values.h"

/* One object being read: the first failure sticks in st, later reads do nothing. */
typedef struct reader {
    const json_t *object;
    char path[96];
    ts_status st;
    ts_error *err;
} reader;

/** The object under `key`, whose keys must all be in `keys`. False: absent, or failed. */
bool reader_enter(reader *outer, const char *key, const char *const *keys, reader *inner);
/** Carry a failure of the inner object to the outer one. */
void reader_leave(reader *outer, const reader *inner);
/** Fail with "path.key: expected want". */
void reader_bad(reader *r, const char *key, const char *want);
/** The value of a key; NULL where it is absent or null. */
const json_t *reader_value_of(const reader *r, const char *key);
bool reader_has(const reader *r, const char *key);
void reader_get_int(reader *r, const char *key, int min, int max, int *out);
void reader_get_double(reader *r, const char *key, double min, double max, double *out);
void reader_get_bool(reader *r, const char *key, bool *out);
/** The index of a word; `value` where the key is absent. */
int reader_get_word(reader *r, const char *key, const char *const *words, int value);
void reader_get_text(reader *r, const char *key, char **out);
/** `least` to `most` numbers within min … max; false: absent or failed. */
bool reader_get_numbers(reader *r, const char *key, size_t least, size_t most, double min,
                        double max, bool whole, double *out, size_t *n);
void reader_get_color(reader *r, const char *key, view_color *out);
/** Defaults, then every key of a part. */
void view_read_part(reader *r, view_part *part);
/** Free what a part owns. */
void view_part_finish(view_part *part);

#endif
