/*
 * OpenCL devices, queues, buffers and kernels: the only folder that includes <CL/cl.h>.
 *
 *   ts_device  one device and its context, program cache and memory pool     shared by all threads
 *   ts_queue   an in-order command queue with its own kernel objects         one thread at a time
 *   ts_buffer  device memory from the pool, reference-counted                any thread
 *   ts_kernel  a kernel of one queue, made once by name and kept             the queue's thread
 *
 * A thread that works on the device has its own ts_queue. What one queue wrote is published to
 * others only after ts_queue_finish(), so no events cross threads. Building programs is safe from
 * any thread; equal requests build once.
 *
 *   ts_kernel *k;
 *   ts_queue_kernel(q, "elementwise", "-DT=float", "elementwise_add", &k, err);
 *   ts_launch(q, k, 1, (size_t[]){n}, NULL, TS_ARGS(TS_BUF(a), TS_BUF(b), TS_ULONG(n)), err);
 *
 * Errors: every OpenCL failure is named: TS_E_DEVICE_MEMORY (allocation, resources), TS_E_DEVICE
 * (anything else; `native` is the cl_int). A lost device makes every call TS_E_DEVICE; once it is
 * open again (ts_device_recover), buffers of before are TS_E_GONE.
 */
#ifndef TS_CL_DEVICE_DEVICE_H
#define TS_CL_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cl/base/buf.h"
#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_device ts_device;
typedef struct ts_queue ts_queue;
typedef struct ts_buffer ts_buffer;
typedef struct ts_kernel ts_kernel;

typedef enum ts_device_kind {
    TS_DEVICE_CPU,
    TS_DEVICE_GPU,
    TS_DEVICE_OTHER
} ts_device_kind;

/** What a device is and can do. Value struct; strings are cut to fit. */
typedef struct ts_caps {
    size_t index; /* in ts_device_list order: platform by platform */
    ts_device_kind kind;
    char name[128], vendor[64], platform[128], version[64], driver[64];
    bool fp16, fp64, unified_memory, nvidia;
    bool compiler; /* has an online compiler; without one the device is listed, not used */
    int sm;        /* NVIDIA compute capability times ten (90 for Hopper), else 0 */
    int preferred_float_width;
    uint32_t compute_units;
    size_t max_work_group, local_bytes, base_align_bytes;
    uint64_t global_bytes, max_alloc_bytes;
} ts_caps;

/** List all devices of all platforms (none is not an error). Owner: caller frees *out. */
TS_CHECKED ts_status ts_device_list(ts_caps **out, size_t *n, ts_error *err);
/**
 * Pick a device: "auto" (NULL, "") prefers a GPU, then the CPU; "N" is an index of the list, other
 * text a case-insensitive part of a name. Errors: TS_E_NOT_FOUND with the list in the text.
 */
TS_CHECKED ts_status ts_device_select(const char *spec, size_t *index, ts_error *err);

typedef struct ts_device_options {
    uint64_t memory_budget_bytes; /* 0: 80 % of the device's memory */
    const char *cache_dir;        /* program binaries and tuning; NULL: none is kept */
    const char *kernel_dir;       /* read *.cl from here instead of the embedded ones; NULL */
    bool profiling;               /* queues record event times */
} ts_device_options;

TS_CHECKED ts_status ts_device_open(size_t index, const ts_device_options *options, ts_device **out,
                                    ts_error *err);
/** Close after all queues and buffers are gone. NULL is fine. */
void ts_device_close(ts_device *device);
const ts_caps *ts_device_caps(const ts_device *device);
/** True once a call has shown that the device's context is lost. */
bool ts_device_lost(const ts_device *device);
/** Say that it is lost: it hangs. Calls that wait for it stay stuck, all others fail from now on. */
void ts_device_mark_lost(ts_device *device);
/** How long the oldest call that waits for the device has been waiting; 0: none waits. */
int64_t ts_device_stalled_us(ts_device *device);
/**
 * Open a lost device again: a new context, checked by a small computation. Queues and kernels are made
 * again by their next use; buffers of before are TS_E_GONE. Thread: any, one at a time.
 * Errors: TS_E_DEVICE (it is still lost), TS_E_LIMIT (too often).
 */
TS_CHECKED ts_status ts_device_recover(ts_device *device, ts_error *err);
/** Build and run a small kernel and compare what it computes. Errors: TS_E_DEVICE… */
TS_CHECKED ts_status ts_device_check(ts_device *device, ts_error *err);

typedef struct ts_device_stats {
    uint64_t budget_bytes, used_bytes /* live buffers */, pooled_bytes /* kept for reuse */;
    uint64_t bytes_h2d, bytes_d2h, allocations, pool_hits, launches;
} ts_device_stats;
void ts_device_get_stats(ts_device *device, ts_device_stats *out);
/** Give pooled (unused) memory back to the driver. */
void ts_device_trim(ts_device *device);

/* ---- queues ---- */

TS_CHECKED ts_status ts_queue_create(ts_device *device, const char *name, ts_queue **out,
                                     ts_error *err);
/** Finish and free. NULL is fine. */
void ts_queue_destroy(ts_queue *queue);
ts_device *ts_queue_device(ts_queue *queue);
/** Wait until everything enqueued is done; what it wrote may then be used by any queue. */
TS_CHECKED ts_status ts_queue_finish(ts_queue *queue, ts_error *err);

/* ---- buffers ---- */

/**
 * Device memory of at least `bytes` (contents undefined), reused from the pool where it can be.
 * Owner: caller has one reference. Thread: any. Errors: TS_E_DEVICE_MEMORY (over budget: the text
 * says how much was asked and is free).
 */
TS_CHECKED ts_status ts_buffer_create(ts_device *device, size_t bytes, ts_buffer **out,
                                      ts_error *err);
/** Take a reference; NULL gives NULL. */
ts_buffer *ts_buffer_ref(ts_buffer *buffer);
/**
 * Drop a reference; the last returns the memory to the pool. Thread: any, but work that uses the
 * buffer must be finished on every queue other than the one that will reuse it: finish first.
 */
void ts_buffer_unref(ts_buffer *buffer);
bool ts_buffer_unique(const ts_buffer *buffer);
size_t ts_buffer_bytes(const ts_buffer *buffer);
ts_device *ts_buffer_device(const ts_buffer *buffer);

/** Copy host bytes in; `src` may be reused on return. Counted as bytes_h2d. */
TS_CHECKED ts_status ts_buffer_write(ts_queue *queue, ts_buffer *buffer, size_t offset,
                                     const void *src, size_t bytes, ts_error *err);
/** Copy bytes out, waiting for everything enqueued before. Counted as bytes_d2h. */
TS_CHECKED ts_status ts_buffer_read(ts_queue *queue, ts_buffer *buffer, size_t offset, void *dst,
                                    size_t bytes, ts_error *err);
TS_CHECKED ts_status ts_buffer_copy(ts_queue *queue, ts_buffer *src, size_t src_offset,
                                    ts_buffer *dst, size_t dst_offset, size_t bytes, ts_error *err);
/** Fill with a repeated 4-byte pattern; `bytes` and `offset` are multiples of 4. */
TS_CHECKED ts_status ts_buffer_fill_u32(ts_queue *queue, ts_buffer *buffer, size_t offset,
                                        uint32_t value, size_t bytes, ts_error *err);

typedef enum ts_map_mode {
    TS_MAP_READ = 1,
    TS_MAP_WRITE = 2
} ts_map_mode;
/**
 * Host view of a buffer, waiting for everything enqueued before. Free where the device shares the
 * host's memory (caps.unified_memory); elsewhere it goes through pinned memory of the driver.
 * TS_MAP_WRITE alone leaves old contents undefined. Unmap with the same queue.
 */
TS_CHECKED ts_status ts_buffer_map(ts_queue *queue, ts_buffer *buffer, size_t offset, size_t bytes,
                                   ts_map_mode mode, void **out, ts_error *err);
void ts_buffer_unmap(ts_queue *queue, ts_buffer *buffer, void *mapped);

/**
 * Host memory that the device reads and writes at full speed (page-locked where that matters), for
 * staging. It stays mapped for its whole life. Owner: ts_pinned_destroy. Thread: any.
 */
typedef struct ts_pinned ts_pinned;
TS_CHECKED ts_status ts_pinned_create(ts_queue *queue, size_t bytes, ts_pinned **out,
                                      ts_error *err);
void *ts_pinned_data(ts_pinned *pinned);
/** NULL is fine. */
void ts_pinned_destroy(ts_queue *queue, ts_pinned *pinned);

/* ---- kernels ---- */

/**
 * The kernel `name` of family `family` (cl/kernels/<family>.cl) built with `options` ("-D…", may be
 * ""), for this queue. The program is built once per device and options, and cached on disk.
 * Owner: the queue. Errors: TS_E_INTERNAL with the build log in err->detail.
 */
TS_CHECKED ts_status ts_queue_kernel(ts_queue *queue, const char *family, const char *options,
                                     const char *name, ts_kernel **out, ts_error *err);

typedef enum ts_arg_kind {
    TS_ARG_BUFFER,
    TS_ARG_I32,
    TS_ARG_U32,
    TS_ARG_I64,
    TS_ARG_U64,
    TS_ARG_F32,
    TS_ARG_F64,
    TS_ARG_LOCAL,
    TS_ARG_BYTES
} ts_arg_kind;

typedef struct ts_arg {
    ts_arg_kind kind;
    union {
        ts_buffer *buffer;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
        float f32;
        double f64;
        size_t local_bytes;
        struct {
            const void *data;
            size_t len;
        } bytes; /* a struct argument, copied */
    } as;
} ts_arg;

#define TS_BUF(b)      ((ts_arg){.kind = TS_ARG_BUFFER, .as.buffer = (b)}) /* NULL is a null pointer */
#define TS_INT(v)      ((ts_arg){.kind = TS_ARG_I32, .as.i32 = (int32_t)(v)})
#define TS_UINT(v)     ((ts_arg){.kind = TS_ARG_U32, .as.u32 = (uint32_t)(v)})
#define TS_LONG(v)     ((ts_arg){.kind = TS_ARG_I64, .as.i64 = (int64_t)(v)})
#define TS_ULONG(v)    ((ts_arg){.kind = TS_ARG_U64, .as.u64 = (uint64_t)(v)})
#define TS_FLOAT(v)    ((ts_arg){.kind = TS_ARG_F32, .as.f32 = (float)(v)})
#define TS_DOUBLE(v)   ((ts_arg){.kind = TS_ARG_F64, .as.f64 = (double)(v)})
#define TS_LOCAL(n)    ((ts_arg){.kind = TS_ARG_LOCAL, .as.local_bytes = (n)})
#define TS_BYTES(p, n) ((ts_arg){.kind = TS_ARG_BYTES, .as.bytes = {(p), (n)}})
#define TS_ARGS(...) \
    (const ts_arg[]){__VA_ARGS__}, sizeof((const ts_arg[]){__VA_ARGS__}) / sizeof(ts_arg)

/**
 * Set the arguments (their number is checked against the kernel's) and enqueue. `global` is rounded
 * up to a multiple of `local` where that is given, so kernels check their bounds. Does not wait.
 */
TS_CHECKED ts_status ts_launch(ts_queue *queue, ts_kernel *kernel, unsigned dims,
                               const size_t *global, const size_t *local, const ts_arg *args,
                               size_t n_args, ts_error *err);

/** Device time of the commands since the last call, in microseconds; 0 without profiling. */
double ts_queue_take_device_us(ts_queue *queue);

#ifdef __cplusplus
}
#endif
#endif
