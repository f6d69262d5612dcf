/*
 * Uploads: bytes that arrive piece by piece go straight to the device.
 *
 * Where the device shares the host's memory the pieces are copied into its mapped buffer; elsewhere
 * they are collected in a pinned slot of bounded size and sent when it is full. A body never lies
 * whole on the host. A ts_uploader serves any number of uploads at once.
 *
 *   ts_upload_begin(uploader, &layout, NULL, &u, err);     any thread
 *   ts_upload_append(u, data, len, err);                   … as often as pieces come
 *   ts_upload_commit(u, queue, &tensor, err);              frees u in every case
 *
 * Thread: an upload belongs to one thread at a time, which may change between calls.
 */
#ifndef TS_CL_TENSOR_UPLOAD_H
#define TS_CL_TENSOR_UPLOAD_H

#include "cl/tensor/layout.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_uploader ts_uploader;
typedef struct ts_upload ts_upload;

TS_CHECKED ts_status ts_uploader_create(ts_device *device, ts_uploader **out, ts_error *err);
/** After all its uploads. NULL is fine. */
void ts_uploader_destroy(ts_uploader *uploader);
ts_device *ts_uploader_device(ts_uploader *uploader);

/**
 * Begin an upload of one tensor. `declared` is the number of bytes that will come, or NULL where it
 * is not known: it is checked before anything is allocated. Owner: commit or abort frees *out.
 * Errors: those of ts_layout_check(), TS_E_SIZE (declared is not the layout's), TS_E_DEVICE_MEMORY.
 */
TS_CHECKED ts_status ts_upload_begin(ts_uploader *uploader, const ts_layout *layout,
                                     const uint64_t *declared, ts_upload **out, ts_error *err);
/** Errors: TS_E_SIZE (more than the layout has room for). */
TS_CHECKED ts_status ts_upload_append(ts_upload *upload, const void *data, size_t len,
                                      ts_error *err);
/**
 * The tensor, in C order, its contents finished. Frees the upload in every case.
 * Errors: TS_E_SIZE (bytes are missing), device errors.
 */
TS_CHECKED ts_status ts_upload_commit(ts_upload *upload, ts_queue *queue, ts_tensor **out,
                                      ts_error *err);
/** NULL is fine. */
void ts_upload_abort(ts_upload *upload);

/** A whole tensor in one call: begin, append, commit. */
TS_CHECKED ts_status ts_upload_bytes(ts_uploader *uploader, ts_queue *queue,
                                     const ts_layout *layout, const void *data, size_t len,
                                     ts_tensor **out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
