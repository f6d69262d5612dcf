/*
 * The table of named tensors: name → current version. One per server.
 *
 * ts_store_publish() makes a new version visible; observers (streams, events) are told after the
 * lock is released. Thread: any; entries handed out are snapshots, the tensor in them a reference.
 */
#ifndef TS_CL_TENSOR_STORE_H
#define TS_CL_TENSOR_STORE_H

#include "cl/base/json.h"
#include "cl/base/name.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_store ts_store;

/** A snapshot of a name. Release with ts_entry_finish(). */
typedef struct ts_entry {
    char name[TS_NAME_MAX + 1];
    ts_tensor *tensor;
    uint64_t version; /* +1 per change */
    int64_t step;
    double t; /* source time, seconds since the epoch */
    char run[TS_NAME_MAX + 1];
    json_t *tags; /* object or NULL */
} ts_entry;
void ts_entry_finish(ts_entry *entry);

/** What is kept beside the tensor. Zero-initialised: step = previous + 1, t = now. */
typedef struct ts_publish_options {
    bool has_step, has_t;
    int64_t step;
    double t;
    const char *run;            /* NULL: keep */
    const json_t *tags;         /* NULL: keep */
    const uint64_t *if_version; /* publish only over this version (If-Match), else TS_E_VERSION */
    bool if_exists;             /* If-Match: *: only over some version, else TS_E_VERSION */
    bool if_absent;             /* If-None-Match: *: only a new name, else TS_E_VERSION */
} ts_publish_options;

typedef enum ts_store_change {
    TS_STORE_CREATED,
    TS_STORE_UPDATED,
    TS_STORE_DELETED
} ts_store_change;
/** Called without locks held, on the publishing thread; must not block. */
typedef void (*ts_store_observer)(void *arg, ts_store_change change, const ts_entry *entry);

TS_CHECKED ts_status ts_store_create(size_t max_tensors, ts_store **out, ts_error *err);
void ts_store_destroy(ts_store *store); /* NULL is fine */
/**
 * Add an observer (at most 4), while nobody publishes; they are told in this order. A NULL observer
 * takes the newest away again: parts come down in the opposite order of their start.
 */
void ts_store_observe(ts_store *store, ts_store_observer observer, void *arg);

/**
 * Make `tensor` the current version of `name` (the store takes its own reference). Its contents must
 * be finished. *created says whether the name is new; *entry (may be NULL) gets the new snapshot.
 * Errors: TS_E_LIMIT (--max-tensors), TS_E_VERSION.
 */
TS_CHECKED ts_status ts_store_publish(ts_store *store, const char *name, ts_tensor *tensor,
                                      const ts_publish_options *options, bool *created,
                                      ts_entry *entry, ts_error *err);
/** All or none, in one step: n names and tensors. */
TS_CHECKED ts_status ts_store_publish_all(ts_store *store, size_t n, const char *const *names,
                                          ts_tensor *const *tensors,
                                          const ts_publish_options *options, ts_entry *entries,
                                          ts_error *err);
/*
 * Change part of a tensor: begin, make the new contents, end. Edits of one name wait for each other.
 * Where nobody else has a reference *exclusive is true: the buffer may be written in place, and
 * ts_store_get() of the name waits until the end, so keep it short and have the data ready before.
 */
/** *entry is the version to change. Errors: TS_E_NOT_FOUND, TS_E_VERSION. */
TS_CHECKED ts_status ts_store_edit_begin(ts_store *store, const char *name,
                                         const ts_publish_options *options, ts_entry *entry,
                                         bool *exclusive, ts_error *err);
/**
 * Publish `tensor` (NULL: nothing was changed) and let others in. Takes `entry` from begin, whose
 * tensor reference it drops; *out (may be NULL) gets the new snapshot.
 */
TS_CHECKED ts_status ts_store_edit_end(ts_store *store, ts_entry *entry, ts_tensor *tensor,
                                       const ts_publish_options *options, ts_entry *out,
                                       ts_error *err);

/**
 * Write `patch` (dense, the tensor's dtype, its contents finished) into the region that begins at
 * `offset`: in place while nobody else can read the memory, else in a copy made on the device.
 * Errors: TS_E_NOT_FOUND, TS_E_VERSION, TS_E_DTYPE, TS_E_RANGE, device errors; nothing is changed then.
 */
TS_CHECKED ts_status ts_store_patch(ts_store *store, ts_queue *queue, const char *name,
                                    const ts_tensor *patch, const ts_shape *offset,
                                    const ts_publish_options *options, ts_entry *out,
                                    ts_error *err);

/** Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_store_get(ts_store *store, const char *name, ts_entry *out, ts_error *err);
TS_CHECKED ts_status ts_store_remove(ts_store *store, const char *name, ts_error *err);
/** Remove only this version (NULL: any). Errors: TS_E_NOT_FOUND, TS_E_VERSION. */
TS_CHECKED ts_status ts_store_remove_version(ts_store *store, const char *name,
                                             const uint64_t *if_version, ts_error *err);
/** Snapshots whose name starts with `prefix` (NULL: all) and run equals `run` (NULL: any), by name. */
TS_CHECKED ts_status ts_store_list(ts_store *store, const char *prefix, const char *run,
                                   ts_entry **out, size_t *n, ts_error *err);
void ts_entries_free(ts_entry *entries, size_t n);
size_t ts_store_count(ts_store *store);

#ifdef __cplusplus
}
#endif
#endif
