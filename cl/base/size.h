/* Checked arithmetic for sizes that come from outside. Each returns false on overflow. */
#ifndef TS_CL_BASE_SIZE_H
#define TS_CL_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static inline bool ts_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool ts_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/** realloc() for n elements of `size` bytes; NULL on overflow too. */
static inline void *ts_realloc_array(void *memory, size_t n, size_t size)
{
    size_t bytes;
    return ts_mul_size(n, size, &bytes) ? realloc(memory, bytes) : NULL;
}

/** `a` rounded up to a multiple of `b` (b > 0); for sizes known to be far from SIZE_MAX. */
static inline size_t ts_round_up(size_t a, size_t b)
{
    return (a + b - 1) / b * b;
}

#endif
