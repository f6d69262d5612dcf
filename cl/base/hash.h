/* Hashes: FNV-1a for tables and cache keys, SHA-256 (libcrypto) where collisions must not be made. */
#ifndef TS_CL_BASE_HASH_H
#define TS_CL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TS_FNV_SEED 0xcbf29ce484222325u

/** FNV-1a 64; chain by passing the last result as `seed`. */
uint64_t ts_fnv1a(uint64_t seed, const void *data, size_t len);
void ts_sha256(const void *data, size_t len, uint8_t out[32]);
/** Lower-case hex of `len` bytes and a zero into out[2*len+1]. */
void ts_hex(const uint8_t *data, size_t len, char *out);

#ifdef __cplusplus
}
#endif
#endif
