/* Kernels of a queue, and their launch. */
#include <stdlib.h>
#include <string.h>

#include "cl/base/hash.h"
#include "cl/base/size.h"
#include "cl/device/device_internal.h"

/* family \0 options \0 name \0 in one piece; short ones on the stack. */
typedef struct kernel_key {
    char text[1024];
    size_t len, name_at;
} kernel_key;

static bool make_key(const char *family, const char *options, const char *name, kernel_key *key)
{
    size_t f = strlen(family) + 1, o = strlen(options) + 1, n = strlen(name) + 1;
    if (f + o + n > sizeof key->text)
        return false;
    memcpy(key->text, family, f);
    memcpy(key->text + f, options, o);
    memcpy(key->text + f + o, name, n);
    key->name_at = f + o;
    key->len = f + o + n;
    return true;
}

static ts_status make_kernel(ts_queue *queue, const kernel_key *key, cl_program program,
                             ts_kernel **out, ts_error *err)
{
    ts_kernel *k = calloc(1, sizeof *k);
    if (k)
        k->key = malloc(key->len);
    if (!k || !k->key) {
        free(k);
        return ts_fail(err, TS_E_NO_MEMORY, "kernel");
    }
    memcpy(k->key, key->text, key->len);
    k->key_len = key->len;
    k->name = k->key + key->name_at;
    k->generation = queue->generation;
    cl_int rc = ts_cl_fault("clCreateKernel");
    if (rc == CL_SUCCESS)
        k->cl = clCreateKernel(program, k->name, &rc);
    if (rc == CL_SUCCESS)
        rc = clGetKernelInfo(k->cl, CL_KERNEL_NUM_ARGS, sizeof k->n_args, &k->n_args, NULL);
    if (rc != CL_SUCCESS) {
        ts_status st = ts_fail_cl(err, queue->device, rc, "kernel %s of %s.cl", k->name, k->key);
        if (k->cl)
            clReleaseKernel(k->cl);
        free(k->key);
        free(k);
        return st;
    }
    *out = k;
    return TS_OK;
}

ts_status ts_queue_kernel(ts_queue *queue, const char *family, const char *options,
                          const char *name, ts_kernel **out, ts_error *err)
{
    kernel_key key;
    ts_status st = ts_queue_enter(queue, err);
    if (st != TS_OK)
        return st;
    if (!make_key(family, options ? options : "", name, &key))
        return ts_fail(err, TS_E_INTERNAL, "options of %s are too long", family);
    ts_kernel **bucket =
        &queue->kernels[ts_fnv1a(TS_FNV_SEED, key.text, key.len) % N_KERNEL_BUCKETS];
    for (ts_kernel *k = *bucket; k; k = k->next)
        if (k->key_len == key.len && memcmp(k->key, key.text, key.len) == 0) {
            *out = k;
            return TS_OK;
        }
    cl_program cl = NULL;
    st = ts_program_get(queue->device, family, options ? options : "", &cl, err);
    ts_kernel *k = NULL;
    if (st == TS_OK)
        st = make_kernel(queue, &key, cl, &k, err);
    if (st != TS_OK)
        return st;
    k->next = *bucket;
    *bucket = k;
    *out = k;
    return TS_OK;
}

static cl_int set_arg(ts_queue *queue, cl_kernel kernel, cl_uint i, const ts_arg *arg)
{
    switch (arg->kind) {
    case TS_ARG_BUFFER: {
        cl_mem mem = NULL;
        if (arg->as.buffer) {
            ts_queue_uses(queue, arg->as.buffer);
            mem = arg->as.buffer->mem;
        }
        return clSetKernelArg(kernel, i, sizeof mem, mem ? &mem : NULL);
    }
    case TS_ARG_I32:
        return clSetKernelArg(kernel, i, sizeof(cl_int), &arg->as.i32);
    case TS_ARG_U32:
        return clSetKernelArg(kernel, i, sizeof(cl_uint), &arg->as.u32);
    case TS_ARG_I64:
        return clSetKernelArg(kernel, i, sizeof(cl_long), &arg->as.i64);
    case TS_ARG_U64:
        return clSetKernelArg(kernel, i, sizeof(cl_ulong), &arg->as.u64);
    case TS_ARG_F32:
        return clSetKernelArg(kernel, i, sizeof(cl_float), &arg->as.f32);
    case TS_ARG_F64:
        return clSetKernelArg(kernel, i, sizeof(cl_double), &arg->as.f64);
    case TS_ARG_LOCAL:
        return clSetKernelArg(kernel, i, arg->as.local_bytes, NULL);
    case TS_ARG_BYTES:
        return clSetKernelArg(kernel, i, arg->as.bytes.len, arg->as.bytes.data);
    }
    return CL_INVALID_ARG_VALUE;
}

/* Fill the sizes to enqueue; returns false where a dimension is 0: there is nothing to do. */
static bool plan_sizes(const ts_queue *queue, unsigned dims, const size_t *global,
                       const size_t *local, size_t *out_global, size_t *out_local,
                       const size_t **use_local)
{
    /*
     * PoCL compiles a kernel anew for every local size (60 to 130 ms) and would choose another one
     * for most global sizes; work-groups of one item are compiled once.
     */
    bool ones = !local && queue->device->caps.kind == TS_DEVICE_CPU;
    *use_local = local || ones ? out_local : NULL;
    for (unsigned i = 0; i < dims; i++) {
        if (global[i] == 0)
            return false;
        out_local[i] = ones || !local || local[i] == 0 ? 1 : local[i];
        out_global[i] = ts_round_up(global[i], out_local[i]);
    }
    return true;
}

ts_status ts_launch(ts_queue *queue, ts_kernel *kernel, unsigned dims, const size_t *global,
                    const size_t *local, const ts_arg *args, size_t n_args, ts_error *err)
{
    ts_status st = ts_queue_enter(queue, err);
    if (st != TS_OK)
        return st;
    if (kernel->generation != queue->generation)
        return ts_fail(err, TS_E_DEVICE, "kernel %s: the device was opened again", kernel->name);
    for (size_t i = 0; i < n_args; i++)
        if (args[i].kind == TS_ARG_BUFFER && args[i].as.buffer &&
            args[i].as.buffer->generation != queue->generation)
            return ts_fail(err, TS_E_GONE, "the memory was lost with its device");
    if (n_args != kernel->n_args)
        return ts_fail(err, TS_E_INTERNAL, "kernel %s takes %u arguments, got %zu", kernel->name,
                       kernel->n_args, n_args);
    if (dims < 1 || dims > 3)
        return ts_fail(err, TS_E_INTERNAL, "kernel %s: %u dimensions", kernel->name, dims);
    size_t g[3], l[3];
    const size_t *use_local;
    if (!plan_sizes(queue, dims, global, local, g, l, &use_local))
        return TS_OK;
    for (size_t i = 0; i < n_args; i++) {
        cl_int rc = set_arg(queue, kernel->cl, (cl_uint)i, &args[i]);
        if (rc != CL_SUCCESS)
            return ts_fail_cl(err, queue->device, rc, "argument %zu of kernel %s", i, kernel->name);
    }
    cl_int rc = TS_CL(clEnqueueNDRangeKernel, queue->cl, kernel->cl, dims, NULL, g, use_local, 0,
                      NULL, ts_queue_event(queue));
    if (rc != CL_SUCCESS)
        return ts_fail_cl(err, queue->device, rc, "launch kernel %s", kernel->name);
    atomic_fetch_add_explicit(&queue->device->launches, 1, memory_order_relaxed);
    return TS_OK;
}
