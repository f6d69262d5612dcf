/*
 * RFC 6455 framing, the server's side: a strict incremental parser of masked client frames, and the
 * header of unmasked server frames. No sockets, no allocation, no extensions.
 *
 * The caller reads octets into its own buffer and pulls events out of them; payloads are unmasked in
 * place and handed out in the pieces in which they arrived, except those of control frames, which
 * come whole. UTF-8 of text is checked as it arrives, across fragments. Limits hold for a message,
 * whatever number of fragments it has, and are enforced when a frame's length is known.
 *
 *   while (len > 0) {
 *       size_t used = ts_wsframe_next(&parser, data, len, &event);
 *       data += used, len -= used;
 *       if (event.kind == TS_WS_EVENT_ERROR) ... close with event.close_code
 *   }
 *
 * Thread: one at a time.
 */
#ifndef TS_SERVER_WSFRAME_H
#define TS_SERVER_WSFRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_WS_CONTINUATION = 0,
    TS_WS_TEXT = 1,
    TS_WS_BINARY = 2,
    TS_WS_CLOSE = 8,
    TS_WS_PING = 9,
    TS_WS_PONG = 10,

    TS_WS_MAX_HEADER = 10, /* of an unmasked frame */
    TS_WS_MAX_CONTROL = 125
};

enum {
    TS_WS_CLOSE_NORMAL = 1000,
    TS_WS_CLOSE_AWAY = 1001,
    TS_WS_CLOSE_PROTOCOL = 1002,
    TS_WS_CLOSE_NO_STATUS = 1005, /* never on the wire */
    TS_WS_CLOSE_UTF8 = 1007,
    TS_WS_CLOSE_POLICY = 1008,
    TS_WS_CLOSE_TOO_BIG = 1009,
    TS_WS_CLOSE_INTERNAL = 1011
};

/** Incremental UTF-8 check; zero-initialised is the state between code points. */
typedef struct ts_utf8 {
    uint8_t need;   /* continuation octets still to come */
    uint8_t lo, hi; /* range of the next one */
} ts_utf8;
/** Check some octets. False: invalid. The text is complete where `state->need` is 0. */
bool ts_utf8_feed(ts_utf8 *state, const uint8_t *data, size_t len);

typedef enum ts_ws_event_kind {
    TS_WS_EVENT_NONE,    /* more octets are needed */
    TS_WS_EVENT_DATA,    /* a piece of a message; data may be empty only where `last` is true */
    TS_WS_EVENT_CONTROL, /* a whole ping, pong or close frame */
    TS_WS_EVENT_ERROR    /* the client broke the protocol; nothing more is parsed */
} ts_ws_event_kind;

typedef struct ts_ws_event {
    ts_ws_event_kind kind;
    int opcode;          /* TEXT or BINARY of the message; PING, PONG or CLOSE */
    const uint8_t *data; /* in the caller's buffer, or in the parser (control frames) */
    size_t len;
    bool first, last;   /* DATA: the message starts, ends with this piece */
    int close_code;     /* CLOSE: the peer's code, 1005 where it gave none; ERROR: ours */
    const char *reason; /* ERROR: static text */
} ts_ws_event;

typedef struct ts_wsframe {
    uint64_t max_text, max_binary; /* octets of one message */
    /* private: */
    uint8_t state, head[14], head_len, head_need;
    uint8_t opcode, message_opcode;
    bool fin, started, in_message;
    uint8_t mask[4];
    unsigned mask_at;
    uint64_t left, message_bytes;
    ts_utf8 utf8;
    uint8_t control[TS_WS_MAX_CONTROL];
    uint8_t control_len;
} ts_wsframe;

void ts_wsframe_init(ts_wsframe *parser, uint64_t max_text, uint64_t max_binary);
/**
 * Parse until there is one event or the input ends. Returns the octets used; `data` is written to
 * (unmasked). After an error every call uses all input and gives the same error.
 */
size_t ts_wsframe_next(ts_wsframe *parser, uint8_t *data, size_t len, ts_ws_event *event);

/** Write the header of a final, unmasked frame; returns its length (2, 4 or 10). */
size_t ts_wsframe_header(uint8_t out[TS_WS_MAX_HEADER], int opcode, uint64_t len);
/** A close frame's payload: code and reason, cut to 123 octets at a code point. Returns its length. */
size_t ts_wsframe_close_payload(uint8_t out[TS_WS_MAX_CONTROL], int code, const char *reason);
/** Whether an endpoint may send this close code. */
bool ts_wsframe_close_code_valid(int code);

#ifdef __cplusplus
}
#endif
#endif
