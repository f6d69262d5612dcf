/* Element by element: conversion of any dtype to float. */
#include "common.clh"

/*
 * out[i] = (float)in[first + i] for i < n; built with -DTS_IN=<dtype>.
 * in: any dtype, contiguous; out: f32. Global: any number of items; each takes a run of elements.
 * Reference: tests/unit/test_device.c.
 */
kernel void elementwise_to_float(const global uchar *in, ulong first, global float *out, ulong n)
{
#ifdef TS_IN
    ulong items = get_global_size(0), each = (n + items - 1) / items;
    ulong start = get_global_id(0) * each, end = min(n, start + each);
    for (ulong i = start; i < end; i++)
        out[i] = ts_load(in, first + i);
#endif
}

/* out[i] = scale·x[i] + y[i] for i < n, f32. Global: any number of items. */
kernel void elementwise_axpy(const global float *x, const global float *y, global float *out,
                             float scale, ulong n)
{
    ulong items = get_global_size(0), each = (n + items - 1) / items;
    ulong start = get_global_id(0) * each, end = min(n, start + each);
    for (ulong i = start; i < end; i++)
        out[i] = scale * x[i] + y[i];
}
