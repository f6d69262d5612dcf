/* What live.c (connections), live_commands.c and subscriber.c (subscriptions, groups) share. */
#ifndef TS_SERVER_LIVE_INTERNAL_H
#define TS_SERVER_LIVE_INTERNAL_H

#include <stdatomic.h>

#include "server/adaptive.h"
#include "server/intake.h"
#include "server/live.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CREDIT = 2, /* unacknowledged frames of a subscriber */
    METRICS_US = 1000000,
    NO_ACK_US = 30000000, /* a client that takes frames and never acknowledges one is dead */
    MAX_SUBSCRIPTIONS = 256
};

typedef struct session session;
typedef struct subscriber subscriber;
typedef struct group group;

/* The subscribers of one variant. */
struct group {
    ts_sink sink; /* first: the sink's calls cast back */
    ts_ws_task task;
    ts_live *live;
    group *next;
    ts_stream *stream;
    ts_watch *watch;
    ts_frame *frame;    /* newest */
    atomic_uint events; /* EVENT_… bits, set on other threads */
    subscriber *members;
    uint64_t sent, bytes, dropped; /* not yet told to the stream */
};

typedef enum subscriber_mode {
    MODE_LIVE,
    MODE_PAUSED,
    MODE_SEEK, /* shows one kept frame */
    MODE_PLAY  /* goes through kept frames */
} subscriber_mode;

/* What a client asked for; zero is "the stream's own". */
typedef struct subscriber_wish {
    int quality;
    double scale, max_fps;
    bool lossless, delta, adaptive;
    int min_level, max_level;
} subscriber_wish;

struct subscriber {
    session *session;
    subscriber *next;        /* of the session */
    subscriber *next_member; /* of the group */
    group *group;
    ts_stream *stream;
    subscriber_wish wish;
    json_t *patch; /* own view over the stream's, or NULL */
    subscriber_mode mode;
    bool stale;        /* the stream's configuration changed since it chose its variant */
    bool pending;      /* the group's frame was not sent yet */
    bool held_by_rate; /* pending for its own max_fps, not for an acknowledgement */
    bool has_last;
    uint64_t last_seq;
    struct {
        uint64_t seq, ping_id;
        int64_t sent_us;
        size_t bytes;
    } unacked[CREDIT];
    int n_unacked;
    int64_t next_send_us;
    double stream_fps; /* the stream's max_fps */
    uint64_t dropped, dropped_total, sent;
    double rtt_ms; /* newest; 0: none */
    int slow_acks; /* in a row */
    /* adaptive */
    ts_adaptive ladder;
    int64_t next_tick_us;
    uint64_t tick_bytes_out;
    int tick_offered, tick_dropped;
    bool tick_idle;
    double frame_bytes; /* mean */
    /* replay */
    uint64_t replay_seq, play_to;
    bool play_loop;
    uint64_t play_from;
    double play_fps;
    int64_t next_play_us;
    bool play_waiting; /* for a kept tensor's picture */
};

struct session {
    ts_live *live;
    ts_conn *conn;
    session *next, *prev;
    uint64_t id;
    bool multi, bare, client_acks;
    unsigned scopes;
    subscriber_wish wish; /* of the query: subscriptions start with it */
    subscriber *subscribers;
    size_t n_subscribers;
    uint64_t next_ping_id;
    int64_t next_metrics_us;
    int malformed;      /* in a row */
    int intake_pending; /* binary messages taken and not yet done */
};

struct ts_live {
    ts_app *app;
    ts_ws *ws;
    ts_intake *intake; /* NULL without a device */
    ts_ws_endpoint endpoints[4];
    group *groups;
    session *sessions;
    uint64_t next_id;
};

enum {
    EVENT_DELETED = 1,
    EVENT_REPLACED = 2,
    EVENT_CONFIG = 4,
    EVENT_ENDED = 8,
    EVENT_FRAME = 16
};

/* ---- subscriber.c ---- */
TS_CHECKED ts_status subscriber_create(session *session, ts_stream *stream,
                                       const subscriber_wish *wish, subscriber **out,
                                       ts_error *err);
void subscriber_destroy(subscriber *sub);
/** Watch what its wishes, level and view say now. On an error it keeps what it had. */
TS_CHECKED ts_status subscriber_rewatch(subscriber *sub, ts_error *err);
/** Send the newest frame if the subscriber is ready for one. */
void subscriber_pump(subscriber *sub);
/** Frames up to `seq` (by ping: up to that id) have arrived. */
void subscriber_ack_seq(subscriber *sub, uint64_t seq, int64_t now_us);
void subscriber_ack_ping(subscriber *sub, uint64_t ping_id, int64_t now_us);
/** Adaptive tick, replay, dead peers; returns when to be called again. */
int64_t subscriber_tick(subscriber *sub, int64_t now_us);
void subscriber_send_metrics(subscriber *sub);
/** Show a kept frame; the mode becomes SEEK. Not where tensors are kept: session_replay(). */
TS_CHECKED ts_status subscriber_seek(subscriber *sub, ts_seek_by by, int64_t value, ts_error *err);
/** A kept frame has come: send it. */
void subscriber_show(subscriber *sub, ts_frame *frame, bool playing);
/** There is nothing (more) to play. */
void subscriber_play_ended(subscriber *sub);
void subscriber_set_mode(subscriber *sub, subscriber_mode mode);
/** A want for this subscriber's picture (one-shot uses: probe). */
void subscriber_want(const subscriber *sub, ts_want *want);

/* ---- live.c ---- */
void session_send_event(session *session, const char *stream, const char *event,
                        json_t *more /* stolen, or NULL */);
void session_send_hello(session *session, ts_stream *stream);
TS_CHECKED ts_status session_subscribe(session *session, const char *name,
                                       const subscriber_wish *wish, ts_error *err);
subscriber *session_find(session *session, const char *stream);
session *live_find_session(ts_live *live, uint64_t id);

/* ---- live_commands.c ---- */
void session_command(session *session, const uint8_t *data, size_t len);
void session_binary(session *session, const uint8_t *data, size_t len);
/** Render what is kept there and then subscriber_show() it. `message` (NULL: a playing one) is answered. */
TS_CHECKED ts_status session_replay(session *session, subscriber *sub, ts_seek_by by, int64_t value,
                                    const json_t *message, ts_error *err);
/** Read quality, tier, max_fps, scale, delta of an object into a wish. Errors: TS_E_OPTION. */
TS_CHECKED ts_status wish_read(const json_t *object, subscriber_wish *wish, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
