/*
 * The demo's computations on the device: a reaction-diffusion field, a wave in a box, and a small
 * network that learns a turning pattern. They advance step by step; each step's picture is an
 * ordinary tensor.
 *
 * Thread: the thread of the queue it was created with.
 */
#ifndef TS_CL_MODELS_DEMO_DEMO_H
#define TS_CL_MODELS_DEMO_DEMO_H

#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_demo ts_demo;

enum {
    TS_DEMO_FIELD = 256,
    TS_DEMO_BOX = 64,
    TS_DEMO_UNITS = 64,
    TS_DEMO_BATCH = 256
};

TS_CHECKED ts_status ts_demo_create(ts_queue *queue, ts_demo **out, ts_error *err);
void ts_demo_destroy(ts_demo *demo); /* NULL is fine */

/** Advance and give the second substance: f32 [256,256], about 0 … 0.4. Owner: caller's reference. */
TS_CHECKED ts_status ts_demo_reaction(ts_demo *demo, ts_queue *queue, ts_tensor **out,
                                      ts_error *err);
/** Advance and give the pressure: f32 [64,64,64]. */
TS_CHECKED ts_status ts_demo_wave(ts_demo *demo, ts_queue *queue, ts_tensor **out, ts_error *err);
/** Train one batch; give the second layer's weights f32 [64,64] and the batch's mean squared error. */
TS_CHECKED ts_status ts_demo_train(ts_demo *demo, ts_queue *queue, ts_tensor **weights, float *loss,
                                   ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
