#include "cl/base/hash.h"

#include <openssl/sha.h>

uint64_t ts_fnv1a(uint64_t seed, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        seed = (seed ^ bytes[i]) * 0x100000001b3u;
    return seed;
}

void ts_sha256(const void *data, size_t len, uint8_t out[32])
{
    SHA256(data, len, out);
}

void ts_hex(const uint8_t *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * len] = '\0';
}
