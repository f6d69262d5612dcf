#include "server/limits.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/hash.h"

/* Open addressing over the addresses that have connections; as large as there can be connections. */
typedef struct address_count {
    uint8_t bytes[16];
    size_t n; /* 0: free, or left behind */
    bool used;
} address_count;

struct ts_limits {
    pthread_mutex_t table_lock; /* guards table, connections */
    address_count *table;
    size_t slots;
    size_t connections;
    size_t max_connections, max_per_address, max_websockets;
    _Atomic size_t open_connections, open_websockets;
};

ts_status ts_limits_create(const ts_options *options, ts_limits **out, ts_error *err)
{
    ts_limits *limits = calloc(1, sizeof *limits);
    size_t slots = 64;
    while (slots < 2 * (size_t)options->max_connections)
        slots *= 2;
    if (limits)
        limits->table = calloc(slots, sizeof *limits->table);
    if (!limits || !limits->table) {
        free(limits);
        return ts_fail(err, TS_E_NO_MEMORY, "table of %zu addresses", slots);
    }
    limits->slots = slots;
    limits->max_connections = (size_t)options->max_connections;
    limits->max_per_address = (size_t)options->max_per_address;
    limits->max_websockets = (size_t)options->max_websockets;
    pthread_mutex_init(&limits->table_lock, NULL);
    *out = limits;
    return TS_OK;
}

void ts_limits_destroy(ts_limits *limits)
{
    if (!limits)
        return;
    pthread_mutex_destroy(&limits->table_lock);
    free(limits->table);
    free(limits);
}

/* IPv4 as IPv4-mapped, and of IPv6 the /64 that one host owns. */
static void address_key(const struct sockaddr *address, uint8_t key[16])
{
    memset(key, 0, 16);
    if (address->sa_family == AF_INET) {
        memcpy(key + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
        key[10] = key[11] = 0xff;
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        memcpy(key, a, IN6_IS_ADDR_V4MAPPED(a) ? 16 : 8);
    }
}

static address_count *find_locked(ts_limits *limits, const uint8_t key[16], bool add)
{
    size_t at = (size_t)ts_fnv1a(TS_FNV_SEED, key, 16) & (limits->slots - 1);
    address_count *empty = NULL;
    for (size_t i = 0; i < limits->slots; i++) {
        address_count *entry = &limits->table[(at + i) & (limits->slots - 1)];
        if (entry->used && memcmp(entry->bytes, key, 16) == 0)
            return entry;
        if (!empty && entry->n == 0)
            empty = entry;
        if (!entry->used)
            break;
    }
    if (!add || !empty)
        return NULL;
    memcpy(empty->bytes, key, 16);
    empty->used = true;
    return empty;
}

bool ts_limits_connect(ts_limits *limits, const struct sockaddr *address)
{
    uint8_t key[16];
    address_key(address, key);
    bool local = ts_address_local(address);
    pthread_mutex_lock(&limits->table_lock);
    bool ok = limits->connections < limits->max_connections;
    address_count *entry = ok && !local ? find_locked(limits, key, true) : NULL;
    if (ok && !local)
        ok = entry && entry->n < limits->max_per_address;
    if (ok) {
        limits->connections++;
        if (entry)
            entry->n++;
    }
    limits->open_connections = limits->connections;
    pthread_mutex_unlock(&limits->table_lock);
    return ok;
}

void ts_limits_disconnect(ts_limits *limits, const struct sockaddr *address)
{
    uint8_t key[16];
    address_key(address, key);
    pthread_mutex_lock(&limits->table_lock);
    limits->connections--;
    limits->open_connections = limits->connections;
    if (!ts_address_local(address)) {
        address_count *entry = find_locked(limits, key, false);
        if (entry && entry->n)
            entry->n--;
    }
    /* Left-behind keys lengthen the probes; an idle table is the moment to forget them. */
    if (limits->connections == 0)
        memset(limits->table, 0, limits->slots * sizeof *limits->table);
    pthread_mutex_unlock(&limits->table_lock);
}

bool ts_limits_websocket_open(ts_limits *limits)
{
    if (atomic_fetch_add(&limits->open_websockets, 1) < limits->max_websockets)
        return true;
    atomic_fetch_sub(&limits->open_websockets, 1);
    return false;
}

void ts_limits_websocket_closed(ts_limits *limits)
{
    atomic_fetch_sub(&limits->open_websockets, 1);
}

size_t ts_limits_connections(const ts_limits *limits)
{
    return limits->open_connections;
}

size_t ts_limits_websockets(const ts_limits *limits)
{
    return limits->open_websockets;
}

bool ts_address_local(const struct sockaddr *address)
{
    if (address->sa_family == AF_UNIX)
        return true;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)address;
        return (ntohl(a->sin_addr.s_addr) >> 24) == 127;
    }
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

bool ts_address_text_local(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return ts_address_local((const void *)&v4);
    return inet_pton(AF_INET6, text, &v6.sin6_addr) == 1 && ts_address_local((const void *)&v6);
}

void ts_address_text(const struct sockaddr *address, char *out, size_t cap)
{
    const void *bytes = NULL;
    if (address->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    else if (address->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (!bytes || !inet_ntop(address->sa_family, bytes, out, (socklen_t)cap))
        snprintf(out, cap, "unix");
}
