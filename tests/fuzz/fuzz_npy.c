/* Any octets as the header of a NumPy file. What is accepted is written again and read back. */
#include <stdlib.h>

#include "cl/tensor/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ts_npy npy, again;
    size_t need;
    if (ts_npy_need(data, size, &need, NULL) != TS_OK ||
        ts_npy_parse(data, size, &npy, NULL) != TS_OK)
        return 0;
    if (npy.header_bytes > size || npy.shape.rank > TS_MAX_RANK ||
        npy.nbytes != (size_t)ts_shape_elements(&npy.shape) * ts_dtype_bytes(npy.dtype))
        abort();
    ts_buf out = {0};
    ts_npy_write_header(&out, npy.dtype, &npy.shape);
    if (ts_npy_parse(out.data, out.len, &again, NULL) != TS_OK || again.dtype != npy.dtype ||
        !ts_shape_equal(&again.shape, &npy.shape))
        abort();
    ts_buf_finish(&out);
    return 0;
}
