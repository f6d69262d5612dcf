/* Deterministic clips for trying gaze without a camera: equal arguments give equal bytes. */
#ifndef TS_SERVER_TESTCLIP_H
#define TS_SERVER_TESTCLIP_H

#include <stdbool.h>
#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_test_clip {
    TS_TEST_STATIC,      /* a picture */
    TS_TEST_PAN,         /* it shifts by (9, 5) px a frame, around the edges */
    TS_TEST_PULSE,       /* 16 frames still, 24 moving, 8 still, and again */
    TS_TEST_LOCAL_MOTION /* a patch moves for 24 frames on the still picture, then settles */
} ts_test_clip;

/** "static", "pan", "pulse", "local-motion". Errors: TS_E_OPTION lists them. */
TS_CHECKED ts_status ts_test_clip_parse(const char *name, ts_test_clip *out, ts_error *err);
/** Frame t as RGBA8 into width*height*4 bytes. */
void ts_test_clip_frame(ts_test_clip clip, int64_t t, int width, int height, uint8_t *rgba);

#ifdef __cplusplus
}
#endif
#endif
