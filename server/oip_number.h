/* Scanning and numbers of inference requests: what jansson cannot give (exact 64-bit, spans). */
#ifndef TS_SERVER_OIP_NUMBER_H
#define TS_SERVER_OIP_NUMBER_H

#include "server/oip.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Where the text of an inputs[i].data array lies in the request. */
typedef struct ts_oip_span {
    const char *text;
    size_t len;
} ts_oip_span;

/**
 * Copy a JSON text with every `data` array of its inputs replaced by the index of its span.
 * Errors: TS_E_JSON (nested deeper than 64, unbalanced), TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_oip_split(const char *text, size_t len, ts_buf *reduced, ts_oip_span *spans,
                                  size_t max_spans, size_t *n_spans, ts_error *err);
/** Read the (nested or flat) array of a span into tensor->owned as the tensor's dtype. */
TS_CHECKED ts_status ts_oip_read_data(const ts_oip_span *span, ts_oip_tensor *tensor,
                                      ts_error *err);
/** Append element `i` of raw data as a JSON number. Errors: NaN, infinities, FP16 and BF16. */
TS_CHECKED ts_status ts_oip_write_element(const ts_oip_tensor *tensor, size_t i, ts_buf *out,
                                          ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
