/*
 * RF-DETR object detection from its published directories (config.json, safetensors in either naming).
 *
 * As a model: pixel_values [B,3,H,W] f32 -> logits [B,Q,K], boxes [B,Q,4] (cx,cy,w,h of 0…1); taps tap‹j›,
 * projector, query_pos, ref_points, dec‹l›_norm. As a detector: pictures on the device in, ranked boxes
 * in source pixels out.
 *
 * Source: roboflow/rf-detr and huggingface/transformers rf_detr (Apache-2.0). Segmentation heads are loaded
 * past: masks are not computed.
 */
#ifndef TS_CL_MODELS_RFDETR_RFDETR_H
#define TS_CL_MODELS_RFDETR_RFDETR_H

#include "cl/models/model.h"
#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_rfdetr ts_rfdetr;

typedef struct ts_rfdetr_box {
    float x0, y0, x1, y1; /* pixels of the source (region) */
    float score;
    int class_id, query;
} ts_rfdetr_box;

/** A region of a picture on the device, RGBA or RGB. */
typedef struct ts_rfdetr_image {
    ts_arr rgba; /* u8 [height,width,4] or [height,width,3] */
    int x, y, width, height;
} ts_rfdetr_image;

/** The model as a detector; NULL where it is of another kind. */
ts_rfdetr *ts_rfdetr_of(ts_model *model);
int ts_rfdetr_queries(const ts_rfdetr *model);
/** The name of a class, or NULL where the configuration has no real one. */
const char *ts_rfdetr_label(const ts_rfdetr *model, int class_id);

/**
 * Detect in one picture; waits. At most ts_rfdetr_queries() pairs, best first, score > threshold.
 * Work runs on the model's own queue: what writes the picture must be finished.
 * Errors: TS_E_SHAPE (region outside), TS_E_DEVICE…, TS_E_INTERNAL (non-finite outputs).
 */
TS_CHECKED ts_status ts_rfdetr_detect(ts_rfdetr *model, const ts_rfdetr_image *image,
                                      float threshold, bool clamp_boxes, ts_rfdetr_box *out,
                                      size_t *n, ts_error *err);
/** Only the preparation: pixel_values [1,3,H,W] of a picture (borrowed until the next call). */
TS_CHECKED ts_status ts_rfdetr_prepare(ts_rfdetr *model, const ts_rfdetr_image *image, ts_arr *out,
                                       ts_error *err);

extern const ts_model_ops ts_rfdetr_model_ops;

#ifdef __cplusplus
}
#endif
#endif
