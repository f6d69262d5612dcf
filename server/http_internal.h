/*
 * Types shared by the files of the HTTP side, http.c and http_*.c; nobody else includes this.
 *
 * Thread: an exchange belongs to its loop's thread, and to a worker while its phase is RUNNING.
 */
#ifndef TS_SERVER_HTTP_INTERNAL_H
#define TS_SERVER_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <microhttpd.h>

#include "cl/base/chan.h"
#include "cl/base/thread.h"
#include "server/front.h"
#include "server/http.h"
#include "server/listen.h"
#include "server/peers.h"
#include "server/request_impl.h"

enum {
    MAX_DAEMONS = 4,
    /*
     * Memory of a connection beyond the largest header block: parsed fields, the answer's header. The
     * library zeroes all of it after each request, so an idle connection holds it; a larger one would
     * receive uploads a few per cent faster.
     */
    CONNECTION_EXTRA = 16 * 1024,
    DRAIN_BYTES = 65536, /* of a refused body, to keep the connection */
    GOODBYE_US = 250000  /* without a request before the end closes kept connections */
};

typedef struct exchange exchange;

/* One event loop of the library: one thread, so what hangs on it needs no lock. */
typedef struct loop {
    ts_http *http;
    struct MHD_Daemon *daemon;
    exchange *chunked; /* receiving a chunked body */
} loop;

typedef enum phase {
    PHASE_NEW,     /* the request line is known */
    PHASE_BODY,    /* accepted; the body is coming */
    PHASE_REFUSED, /* an error is waiting for the end of the (small) body */
    PHASE_READY,   /* complete; suspended at the next call */
    PHASE_RUNNING, /* with a worker */
    PHASE_DONE     /* res is filled */
} phase;

/* One request and its answer on one connection. */
struct exchange {
    ts_request req;
    loop *loop;
    ts_peer *conn;
    struct MHD_Connection *connection;
    exchange *prev, *next; /* of loop->chunked */
    bool in_chunked;
    phase phase;
    ts_error error;
    char allow[64];
    char forwarded[64]; /* the client's address as a trusted proxy gives it */
    const char *origin; /* echoed where allowed, else NULL */
    int64_t started_us, queued_us;
    size_t drained;
    const uint8_t *body_start; /* where the library keeps a chunked body */
    bool close;
    bool upgrading, upgraded; /* the 101 is queued; the socket was handed over */
    int logged_status;
};

typedef struct worker {
    ts_http *http;
    ts_thread *thread;
    ts_worker_context context;
} worker;

struct ts_http {
    ts_app *app;
    ts_listener *listener;
    ts_front *front; /* NULL: no TLS */
    ts_peers *peers;
    int n_loops;
    _Atomic int n_workers, idle_workers, max_workers;
    pthread_mutex_t workers_lock; /* guards starting one */
    loop loops[MAX_DAEMONS];
    worker *workers;
    ts_chan *queue;
    _Atomic size_t active;
    _Atomic unsigned next_loop;
    _Atomic bool stopping;
    bool strict_layout;
    pthread_mutex_t streams_lock; /* guards streams */
    struct stream_answer *streams;
};

/* http_answer.c */
/** Queue res as the library's answer, conditional headers applied. */
enum MHD_Result http_send(exchange *ex);
/** Fill res from the exchange's error, and clear that. */
void http_fill_error(exchange *ex);
/** Answer the error in front of the body; the library then closes, and the rest is drained. */
enum MHD_Result http_refuse_now(exchange *ex);
/** Fill res for OPTIONS, CORS preflights included. */
void http_answer_options(exchange *ex);
void http_stop_streams(ts_http *http);
/** End the endless answers whose clients are gone; they may have nothing to send for long. */
void http_end_left_streams(ts_http *http);

/* http_worker.c */
TS_CHECKED ts_status http_start_workers(ts_http *http, ts_error *err);
/** Start another worker if all are taken and --workers allows it. */
void http_grow_workers(ts_http *http);
/** Run the route's handler; its error becomes the answer. */
void http_run_handler(exchange *ex);

/* http_admit.c */
/** Route, authorization and content type: everything that is decided before the body. */
TS_CHECKED ts_status http_admit(exchange *ex, ts_error *err);
/** The same for OPTIONS, which carries no credentials. */
TS_CHECKED ts_status http_admit_options(exchange *ex, ts_error *err);
/** The WebSocket handshake of RFC 6455 §4.2.1, and the Origin. */
TS_CHECKED ts_status http_check_upgrade(exchange *ex, const char *version, ts_error *err);
/** Give a duplicate of the socket, and what came behind the request, to the WebSocket side. */
void http_hand_over(exchange *ex, int fd, const void *extra, size_t n_extra);

/* http_receive.c */
/** The library's request callback, after the context was found. */
enum MHD_Result http_receive(exchange *ex, const char *method, const char *version,
                             const char *data, size_t *len);
void http_unlink_chunked(exchange *ex);
/** The library is about to answer 500 to a chunk header that fills its buffer. */
void http_refuse_endless_chunk_header(loop *self);

#endif
