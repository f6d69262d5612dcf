/*
 * Messages on the wire: the JSON header of a frame, and the framing `u32 N, N octets of JSON,
 * payload` of binary messages. Thread: any.
 */
#ifndef TS_SERVER_WIRE_H
#define TS_SERVER_WIRE_H

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_wire_frame {
    const char *stream, *codec;
    uint64_t seq, config_rev, base;
    int64_t step;
    double t, t_send;
    int width, height, quality;
    bool key, has_range, replay, pinned, final;
    double lo, hi;
    const char *metrics; /* JSON object text, or NULL */
    const char *rects;   /* JSON array text of a delta, or NULL */
} ts_wire_frame;

/** Append the header's object without its closing brace. */
void ts_wire_frame_head(const ts_wire_frame *frame, ts_buf *out);

/**
 * Take a binary message of a client apart. Owner: caller json_decref()s *header; *payload points into
 * the message. Errors: TS_E_SIZE (N beyond the message), TS_E_JSON (not an object).
 */
TS_CHECKED ts_status ts_wire_split(const uint8_t *data, size_t len, json_t **header,
                                   const uint8_t **payload, size_t *payload_len, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
