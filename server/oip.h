/*
 * The Open Inference Protocol's requests and answers as data: JSON head, binary tail, tensors as
 * bytes. No HTTP and no model here.
 *
 * Numbers in JSON go straight from text to the tensor's own type, so that 64-bit integers stay exact.
 * Source: kserve/open-inference-protocol v2 with the binary, classification and parameter extensions.
 *
 * Thread: values belong to one thread. Errors: TS_E_OPTION (400) naming model and tensor.
 */
#ifndef TS_SERVER_OIP_H
#define TS_SERVER_OIP_H

#include <stdbool.h>

#include "cl/base/json.h"
#include "cl/base/name.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_OIP_TENSORS = 256,
    TS_OIP_ID = 256
};

/** A tensor of a request or an answer. BYTES have dtype TS_DTYPE_COUNT. */
typedef struct ts_oip_tensor {
    char name[256];
    bool bytes; /* BYTES: data is length-prefixed elements */
    ts_dtype dtype;
    ts_shape shape;
    const uint8_t *data; /* little-endian, C order; points into the body or `owned` */
    size_t nbytes;
    ts_buf owned;
    char resident[TS_NAME_MAX + 1]; /* parameters.tensor; "" without */
} ts_oip_tensor;

typedef struct ts_oip_output {
    char name[256];
    bool has_binary, binary;
    int classification;
    char resident[TS_NAME_MAX + 1];
} ts_oip_output;

typedef struct ts_oip_request {
    char id[TS_OIP_ID + 1];
    ts_oip_tensor *inputs;
    size_t n_inputs;
    ts_oip_output *outputs;
    size_t n_outputs;
    bool binary_output;  /* parameters.binary_data_output */
    uint64_t priority;   /* 0: default, 1: highest */
    uint64_t timeout_us; /* 0: none */
} ts_oip_request;

/**
 * Read a body. `header_length` is the value of Inference-Header-Content-Length or NULL; "0" (the raw
 * form) is the caller's to handle. The request points into `body`.
 */
TS_CHECKED ts_status ts_oip_parse(const uint8_t *body, size_t len, const char *header_length,
                                  ts_oip_request *out, ts_error *err);
void ts_oip_request_finish(ts_oip_request *request);
void ts_oip_tensor_finish(ts_oip_tensor *tensor);
/** Check that `nbytes` of data fit the dtype and shape (BYTES: that the elements add up). */
TS_CHECKED ts_status ts_oip_check_bytes(const ts_oip_tensor *tensor, ts_error *err);
/** The value of Inference-Header-Content-Length: digits only, at most `len`. */
TS_CHECKED ts_status ts_oip_header_length(const char *text, size_t len, size_t *out, ts_error *err);

/** Replace a tensor by its `k` largest values as BYTES "value:index[:label]". Labels may be NULL. */
TS_CHECKED ts_status ts_oip_classify(ts_oip_tensor *tensor, int k, bool batched,
                                     const char *const *labels, size_t n_labels, ts_error *err);

/** One output of an answer. */
typedef struct ts_oip_answer {
    const ts_oip_tensor *tensor; /* data NULL and resident set: kept on the device */
    bool binary;
} ts_oip_answer;
/**
 * Append JSON and binary data. *header_length is the JSON's length where any output is binary, else 0.
 * Errors: TS_E_OPTION (NaN, FP16, invalid UTF-8 asked as JSON).
 */
TS_CHECKED ts_status ts_oip_write(const char *model, const char *version, const char *id,
                                  const ts_oip_answer *outputs, size_t n, ts_buf *out,
                                  size_t *header_length, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
