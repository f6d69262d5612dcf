/*
 * Copies between memory layouts: strided, transposed, byte-swapped, regions.
 *
 * Built with -DTS_BYTES=1|2|4|8 (element size) and -DTS_SWAP=0|1 (reverse the bytes of an element).
 */
#include "common.clh"

#ifndef TS_BYTES
#    define TS_BYTES 4
#    define TS_SWAP  0
#endif

#if TS_BYTES == 8
typedef ulong element;
#elif TS_BYTES == 4
typedef uint element;
#elif TS_BYTES == 2
typedef ushort element;
#else
typedef uchar element;
#endif

/* Bytes from one index to the next of each axis; the last axis is the inner loop. */
typedef struct layout {
    ulong dim[8], src_stride[8], dst_stride[8];
    ulong src_offset, dst_offset;
    int rank, pad;
} layout;

/*
 * dst[dst_offset + Σ i·dst_stride] = src[src_offset + Σ i·src_stride] for every index of dim.
 * src may be unaligned; dst offsets and strides are multiples of the element. rank >= 1.
 * Global: any (columns, rows); items step over the rest. Reference: tests/ref/ref_layout.c.
 */
kernel void layout_copy(const global uchar *src, global uchar *dst, layout l)
{
    int last = l.rank - 1;
    ulong rows = 1;
    for (int a = 0; a < last; a++)
        rows *= l.dim[a];
    ulong inner = l.dim[last], src_step = l.src_stride[last], dst_step = l.dst_stride[last];
    ulong lanes = get_global_size(0), lane = get_global_id(0);
    for (ulong row = get_global_id(1); row < rows; row += get_global_size(1)) {
        ulong rest = row, from = l.src_offset, to = l.dst_offset;
        for (int a = last - 1; a >= 0; a--) {
            ulong i = rest % l.dim[a];
            rest /= l.dim[a];
            from += i * l.src_stride[a];
            to += i * l.dst_stride[a];
        }
        const global uchar *s = src + from + lane * src_step;
        global uchar *d = dst + to + lane * dst_step;
        for (ulong x = lane; x < inner; x += lanes) {
            element value = 0;
            for (int b = 0; b < TS_BYTES; b++)
                value |= (element)((element)s[TS_SWAP ? TS_BYTES - 1 - b : b] << (8 * b));
            *(global element *)d = value;
            s += lanes * src_step;
            d += lanes * dst_step;
        }
    }
}
