/*
 * Min-max quantisation of a tensor on the host: codes for model files, and back.
 *
 * step = max((max - min) / (2^bits - 1), 1e-8), code = clamp(round-half-even((x - min) / step)),
 * value = code * step + min, all in float32 as the training kernel does it. Thread: any.
 */
#ifndef TS_CL_MODELS_IMAGEGS_QUANT_H
#define TS_CL_MODELS_IMAGEGS_QUANT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_gs_quant {
    unsigned bits; /* 4 … 32 */
    float min, step;
} ts_gs_quant;

/** Minimum and step of n values. */
ts_gs_quant ts_gs_quant_of(const float *x, size_t n, unsigned bits);
uint32_t ts_gs_quant_code(const ts_gs_quant *q, float x);
float ts_gs_quant_value(const ts_gs_quant *q, uint32_t code);
/** Bytes that n codes take: whole u8 or u16 at 8 and 16 bits, else packed, lowest bit first. */
size_t ts_gs_quant_bytes(size_t n, unsigned bits);
void ts_gs_quant_pack(const ts_gs_quant *q, const float *x, size_t n, uint8_t *out);
void ts_gs_quant_unpack(const ts_gs_quant *q, const uint8_t *packed, size_t n, float *out);

#ifdef __cplusplus
}
#endif
#endif
