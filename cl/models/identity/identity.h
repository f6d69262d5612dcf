/*
 * The identity model: one input of any datatype and shape, one equal output, copied on the device.
 * It measures what a server costs around its models. Thread: as cl/models/model.h.
 */
#ifndef TS_CL_MODELS_IDENTITY_IDENTITY_H
#define TS_CL_MODELS_IDENTITY_IDENTITY_H

#include "cl/models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const ts_model_ops ts_identity_model_ops;

#ifdef __cplusplus
}
#endif
#endif
