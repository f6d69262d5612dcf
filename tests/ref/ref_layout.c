#include "tests/ref/ref_layout.h"

#include <string.h>

/* Step an index of `dim` in C order; false behind the last. */
static bool next(int rank, const int64_t *dim, int64_t *index)
{
    for (int a = rank - 1; a >= 0; a--) {
        if (++index[a] < dim[a])
            return true;
        index[a] = 0;
    }
    return false;
}

static bool is_empty(int rank, const int64_t *dim)
{
    for (int a = 0; a < rank; a++)
        if (dim[a] == 0)
            return true;
    return false;
}

void ref_layout_gather(const uint8_t *src, uint8_t *dst, int rank, const int64_t *dim,
                       const int64_t *stride, size_t offset, size_t width, bool swap)
{
    int64_t index[8] = {0};
    if (is_empty(rank, dim))
        return;
    do {
        size_t from = offset;
        for (int a = 0; a < rank; a++)
            from += (size_t)(index[a] * stride[a]);
        for (size_t b = 0; b < width; b++)
            *dst++ = src[from + (swap ? width - 1 - b : b)];
    } while (next(rank, dim, index));
}

void ref_layout_scatter(const uint8_t *src, uint8_t *dst, int rank, const int64_t *dim,
                        const int64_t *at, const int64_t *size, size_t width)
{
    int64_t index[8] = {0};
    if (is_empty(rank, size))
        return;
    do {
        size_t to = 0;
        for (int a = 0; a < rank; a++)
            to = to * (size_t)dim[a] + (size_t)(at[a] + index[a]);
        memcpy(dst + to * width, src, width);
        src += width;
    } while (next(rank, size, index));
}
