/*
 * A view: how tensors become a picture (the keys of the API's `view` object).
 *
 * ts_view_parse() folds the inner `view` object into the outer one, checks every key (an unknown one
 * is TS_E_OPTION naming its path), and keeps both the parsed values and the folded JSON that the
 * server shows and merges patches into. Immutable and reference-counted. Thread: any.
 */
#ifndef TS_CL_VIZ_VIEW_H
#define TS_CL_VIZ_VIEW_H

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_view ts_view;

/** `object` NULL or {} is the default view. Owner: caller has one reference. */
TS_CHECKED ts_status ts_view_parse(const json_t *object, ts_view **out, ts_error *err);
void ts_view_unref(ts_view *view); /* NULL is fine */
/** The folded JSON object (borrowed, do not change). */
const json_t *ts_view_json(const ts_view *view);
/** Every tensor name that the view itself mentions (panels, compare): calls visit for each. */
void ts_view_each_tensor(const ts_view *view, void (*visit)(void *arg, const char *name),
                         void *arg);
/** Whether equal input gives equal output (no ema, temporal filter, waterfall, flicker …). */
bool ts_view_is_stateless(const ts_view *view);
/**
 * Put one dotted query pair ("normalize.lo", "0") into a view object: numbers, booleans, lists and
 * objects as JSON, anything else as a string. Errors: TS_E_OPTION.
 */
TS_CHECKED ts_status ts_view_from_query(json_t *object, const char *key, const char *value,
                                        ts_error *err);
/** Fold the inner `view` of a view object (recursively for panels); returns a new object. */
TS_CHECKED ts_status ts_view_fold(const json_t *object, json_t **out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
