#include "server/model_detector.h"

#include <stdio.h>
#include <stdlib.h>

#include "cl/models/rfdetr/rfdetr.h"

enum {
    BOXES_MAX = 4096 /* queries that a model may have */
};

typedef struct served {
    ts_models *models;
    char name[TS_NAME_MAX + 1];
    ts_rfdetr_box box[BOXES_MAX];
} served;

static int clamp_int(double v, int most)
{
    return v < 0.0 ? 0 : v > most ? most : (int)v;
}

static ts_rfdetr_image image_of(const ts_detect_frame *f)
{
    ts_rfdetr_image image = {
        .rgba = ts_arr_at(f->rgba, 0, TS_U8, &TS_SHAPE(f->height, f->width, 4)),
        .width = f->width,
        .height = f->height};
    if (f->roi) {
        image.x = clamp_int(f->roi->x1, f->width);
        image.y = clamp_int(f->roi->y1, f->height);
        image.width = clamp_int(f->roi->x2, f->width) - image.x;
        image.height = clamp_int(f->roi->y2, f->height) - image.y;
    }
    return image;
}

static ts_status find(served *s, ts_loaded **out, ts_error *err)
{
    ts_status st = ts_models_get(s->models, s->name, out, err);
    if (st == TS_OK && !ts_rfdetr_of(ts_loaded_model(*out))) {
        ts_loaded_unref(*out);
        *out = NULL;
        st = ts_fail(err, TS_E_OPTION, "model %s is no detector", s->name);
    }
    return st;
}

static ts_status detect(void *model, ts_queue *queue, const ts_detect_frame *frame,
                        double confidence, ts_detection *out, size_t max, size_t *n, ts_error *err)
{
    served *s = model;
    ts_loaded *loaded = NULL;
    size_t found = 0;
    ts_rfdetr_image image = image_of(frame);
    *n = 0;
    ts_status st = find(s, &loaded, err);
    if (st == TS_OK) /* the model's queue reads what this one wrote */
        st = ts_queue_finish(queue, err);
    if (st == TS_OK)
        st = ts_loaded_begin(loaded, err);
    if (st == TS_OK) {
        st = ts_rfdetr_detect(ts_rfdetr_of(ts_loaded_model(loaded)), &image, (float)confidence, true,
                              s->box, &found, err);
        ts_loaded_end(loaded);
    }
    for (size_t i = 0; i < found && *n < max; i++) {
        const ts_rfdetr_box *b = &s->box[i];
        out[(*n)++] = (ts_detection){.cx = (double)(b->x0 + b->x1) / 2.0,
                                     .cy = (double)(b->y0 + b->y1) / 2.0,
                                     .w = (double)(b->x1 - b->x0),
                                     .h = (double)(b->y1 - b->y0),
                                     .score = (double)b->score,
                                     .class_id = b->class_id};
    }
    ts_loaded_unref(loaded);
    return st;
}

ts_status ts_model_detector_open(ts_models *models, const char *name, ts_model_detector *out,
                                 ts_error *err)
{
    served *s = calloc(1, sizeof *s);
    ts_loaded *loaded = NULL;
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "detector");
    s->models = models;
    snprintf(s->name, sizeof s->name, "%s", name);
    ts_status st = find(s, &loaded, err);
    ts_loaded_unref(loaded);
    if (st != TS_OK) {
        free(s);
        return st;
    }
    *out = (ts_model_detector){.model = s, .detect = detect, .release = free};
    return TS_OK;
}
