/*
 * Request bodies that are tensors: raw bytes, NumPy, JSON, safetensors, pictures.
 *
 * A route with such a body has BODY SINK; its sink's open calls ts_tensor_body_open(), and append and
 * destroy are those here. The handler then takes the tensors. Raw, NumPy and safetensors go to the
 * device piece by piece; JSON and pictures are collected, up to --max-body.
 *
 *   static ts_status my_open(ts_app *app, ts_request *req, int64_t length, void **sink, ts_error *err)
 *   {
 *       return ts_tensor_body_open(app, req, length, my_query_keys, sink, err);
 *   }
 *   const ts_body_sink my_sink = {my_open, ts_tensor_body_append, ts_tensor_body_destroy};
 *
 * Thread: as server/router.h says of sinks.
 */
#ifndef TS_API_TENSOR_BODY_H
#define TS_API_TENSOR_BODY_H

#include "cl/tensor/ingest.h"
#include "cl/tensor/store.h"
#include "server/app.h"
#include "server/request.h"

/**
 * Begin to receive a body that holds one tensor, in the form that Content-Type says. `keys` are the
 * query parameters that the route takes beside those of the form (NULL: do not check any).
 * Errors: TS_E_ENCODING, TS_E_OPTION, and those of ts_ingest_open().
 */
TS_CHECKED ts_status ts_tensor_body_open(ts_app *app, ts_request *req, int64_t length,
                                         const char *const *keys, void **sink, ts_error *err);
/** The same for a safetensors file of which all tensors are wanted, named `prefix` + their names. */
TS_CHECKED ts_status ts_tensor_body_open_all(ts_app *app, ts_request *req, int64_t length,
                                             const char *const *keys, const char *prefix,
                                             void **sink, ts_error *err);
ts_status ts_tensor_body_append(void *sink, const void *data, size_t len, ts_error *err);
void ts_tensor_body_destroy(void *sink);
/** The tensors, their contents finished; exactly one after ts_tensor_body_open(). */
TS_CHECKED ts_status ts_tensor_body_take(void *sink, ts_queue *queue, ts_named_tensor **out,
                                         size_t *n, ts_error *err);

/**
 * What the query says of how to keep a tensor: step, t, run, tags. tags is a JSON object that the
 * caller json_decref()s (through *tags; NULL where there are none).
 */
TS_CHECKED ts_status ts_publish_query(const ts_request *req, ts_publish_options *out, json_t **tags,
                                      ts_error *err);
/** The object that GET /v1/tensors/{t} answers. Owner: caller. */
json_t *ts_entry_json(const ts_entry *entry);

#endif
