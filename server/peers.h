/*
 * The table of open HTTP connections and the reaper that closes the slow ones.
 *
 * The HTTP library's own timeout is one of inactivity, which one octet a second defeats. Here the
 * whole header block has --header-timeout from its first octet, a body must make progress, and a
 * connection closed behind an early answer is drained first, so that the answer is not lost to a
 * reset. Knows descriptors only. Thread: any; nothing of the HTTP library may be called with the
 * table locked, since the library calls in here with its own lock held.
 */
#ifndef TS_SERVER_PEERS_H
#define TS_SERVER_PEERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "server/options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_peers ts_peers;

typedef enum ts_peer_phase {
    TS_PEER_IDLE, /* between requests; or the header block is coming */
    TS_PEER_BODY, /* receiving a body */
    TS_PEER_BUSY  /* being answered */
} ts_peer_phase;

typedef struct ts_peer {
    int fd;
    bool local;
    char peer[64];
    struct sockaddr_storage address;
    /* guarded by the table's lock */
    struct ts_peer *prev, *next;
    ts_peer_phase phase;
    bool fresh, killed, linger;
    int64_t since_us, progress_us, first_octet_us; /* first_octet: 0 before it came */
    uint64_t body_bytes, received_mark;
} ts_peer;

/** `tick(arg)` is called every quarter of a second on the reaper thread. */
TS_CHECKED ts_status ts_peers_create(const ts_options *options, void (*tick)(void *), void *arg,
                                     ts_peers **out, ts_error *err);
/** After every connection is gone. NULL is fine. */
void ts_peers_destroy(ts_peers *peers);

/** NULL: no memory. */
ts_peer *ts_peers_open(ts_peers *peers, int fd, const struct sockaddr *address);
/** Before the descriptor is closed by its owner; lingers on a duplicate if that was asked for. */
void ts_peers_close(ts_peers *peers, ts_peer *conn);
void ts_peers_phase(ts_peers *peers, ts_peer *conn, ts_peer_phase phase);
/** The request line has come. */
void ts_peers_request_line(ts_peers *peers, ts_peer *conn);
void ts_peers_progress(ts_peers *peers, ts_peer *conn, size_t body_bytes);
/** Drain what the client still sends when this connection closes. */
void ts_peers_linger(ts_peers *peers, ts_peer *conn);
/**
 * Whether the client has closed its side and nothing of it is left to read. Looks at the socket only:
 * whoever asks must know that the connection is still there.
 */
bool ts_peers_has_left(const ts_peer *conn);
/** Shut down all idle connections (at the end of the server), or all of them. */
void ts_peers_shutdown(ts_peers *peers, bool all);
/** Write an error answer past the HTTP library, where that can't; the caller then closes. */
void ts_peers_raw_answer(int fd, int status, const char *reason, const char *code,
                         const char *detail);

#ifdef __cplusplus
}
#endif
#endif
