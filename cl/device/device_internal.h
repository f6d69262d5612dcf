/* What the files of cl/device share; nobody else includes this. */
#ifndef TS_CL_DEVICE_DEVICE_INTERNAL_H
#define TS_CL_DEVICE_DEVICE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <CL/cl.h>

#include "cl/device/device.h"

enum {
    N_CLASSES = 160,       /* 256 bytes × 1.25^k: past 2^57 bytes */
    MAX_GENERATIONS = 16,  /* how often a lost device is opened again */
    N_SLOTS = 63,          /* queues that are tracked one by one; the rest share OVERFLOW_SLOT */
    OVERFLOW_SLOT = 63,    /* buffers they used are never pooled */
    N_KERNEL_BUCKETS = 256 /* per queue */
};

/*
 * When may a freed buffer be used again? Its last user may still have work enqueued on some queue.
 * Every free takes a stamp from `clock`; every queue remembers the clock at its first unfinished
 * command. A buffer may be reused once each queue that touched it is idle or was idle after the free.
 */
typedef struct queue_slot {
    atomic_bool taken;
    atomic_int_fast64_t waiting_since_us; /* 0: not in a call that waits for the device */
    atomic_uint_fast64_t pending; /* 0: idle, else clock + 1 at the first unfinished command */
} queue_slot;

typedef struct program_entry {
    struct program_entry *next;
    char *family, *options;
    cl_program cl; /* NULL while it is being built */
    unsigned generation;
} program_entry;

struct ts_device {
    ts_caps caps;
    cl_platform_id platform;
    cl_device_id id;
    /*
     * A lost device gets a new context: a new generation. What was made for an older one is refused:
     * buffers are gone, queues and kernels are made again. Old contexts stay until the end, since
     * other threads may still be in a call that uses them.
     */
    _Atomic(cl_context) context;
    atomic_uint generation;
    cl_context contexts[MAX_GENERATIONS];
    char *cache_dir, *kernel_dir;
    bool profiling;
    uint64_t budget_bytes;
    atomic_bool lost;

    pthread_mutex_t probe_lock; /* guards: probe */
    cl_command_queue probe;     /* touches new memory; asks whether the device is still there */

    pthread_mutex_t pool_lock; /* guards: free_list, limbo, used_bytes, pooled_bytes */
    ts_buffer *free_list[N_CLASSES];
    ts_buffer *limbo; /* freed, but a queue may still be using them */
    uint64_t used_bytes, pooled_bytes;

    atomic_uint_fast64_t clock;
    queue_slot slots[N_SLOTS];

    pthread_mutex_t programs_lock; /* guards: programs, old_programs */
    pthread_cond_t programs_built;
    program_entry *programs, *old_programs;

    atomic_uint_fast64_t bytes_h2d, bytes_d2h, allocations, pool_hits, launches;
};

struct ts_buffer {
    atomic_int refs;
    atomic_uint_fast64_t used_by; /* bit per queue slot */
    ts_device *device;
    cl_mem mem;
    size_t bytes, capacity;
    int size_class;   /* -1: not pooled */
    uint64_t retired; /* clock at the last unref */
    unsigned generation;
    ts_buffer *next;
};

struct ts_kernel {
    ts_kernel *next;
    char *key;
    size_t key_len;
    cl_kernel cl;
    cl_uint n_args;
    unsigned generation;
    const char *name; /* the end of key */
};

struct ts_queue {
    ts_device *device;
    cl_command_queue cl;
    char name[32];
    int slot;
    unsigned generation;
    ts_kernel *kernels[N_KERNEL_BUCKETS];
    ts_kernel *old_kernels; /* of older generations; callers may still have a pointer */
    cl_event *events;       /* with profiling: commands since ts_queue_take_device_us() */
    size_t n_events, cap_events;
};

/* The CL_… name of a code. */
const char *ts_cl_name(cl_int code);
/* Fail with an OpenCL code; `device` (may be NULL) is marked lost where the code says so. */
#define ts_fail_cl(err, device, code, ...) \
    ts_fail_cl_at((err), (device), (code), TS_HERE, __VA_ARGS__)
ts_status ts_fail_cl_at(ts_error *err, ts_device *device, cl_int code, const char *where,
                        const char *fmt, ...) TS_PRINTF(5, 6);
/* Errors of calls that wait: out of resources there may be a crashed context, so ask the device. */
#define ts_fail_wait(err, device, code, ...) \
    (ts_device_probe((device), (code)), ts_fail_cl((err), (device), (code), __VA_ARGS__))
void ts_device_probe(ts_device *device, cl_int code);

/* TS_OK, or TS_E_DEVICE when the device is lost. */
TS_CHECKED ts_status ts_device_alive(const ts_device *device, ts_error *err);
cl_int ts_device_touch(ts_device *device, cl_mem mem);

/* A device's id by its index of the list. */
TS_CHECKED ts_status ts_platform_device(size_t index, cl_platform_id *platform, cl_device_id *id,
                                        ts_caps *caps, ts_error *err);

void ts_pool_finish(ts_device *device);
void ts_programs_finish(ts_device *device);
/* Put programs of the old generation aside. */
void ts_programs_retire(ts_device *device);
TS_CHECKED ts_status ts_program_get(ts_device *device, const char *family, const char *options,
                                    cl_program *out, ts_error *err);

/* Before any use: the device is there, and the queue belongs to its present generation. */
TS_CHECKED ts_status ts_queue_enter(ts_queue *queue, ts_error *err);
/* Before a command is enqueued that uses `buffer`; after one that waited for all before it. */
void ts_queue_uses(ts_queue *queue, ts_buffer *buffer);
void ts_queue_idle(ts_queue *queue);
/* Where an event is to be recorded, or NULL without profiling. */
cl_event *ts_queue_event(ts_queue *queue);
/* The slot of the queue that this thread used last on `device`; -1 none. */
int ts_queue_current_slot(const ts_device *device);

/* Injected faults: CL_SUCCESS, or the code that the call named is to fail with. */
cl_int ts_cl_fault(const char *call);
#define TS_CL(function, ...) \
    (ts_cl_fault(#function) != CL_SUCCESS ? ts_cl_fault_code() : function(__VA_ARGS__))
cl_int ts_cl_fault_code(void);

#endif
