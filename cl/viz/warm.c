/* Warming up: small pictures that take the kernels of the usual ones. */
#include <string.h>

#include "cl/viz/viz.h"

typedef struct warm_step {
    ts_dtype dtype;
    ts_shape shape;
    const char *view;
    ts_pixel_format format;
} warm_step;

static const warm_step steps[] = {
    {TS_F32, {2, {16, 16}}, "{}", TS_PIXELS_I420},
    {TS_F32,
     {2, {16, 16}},
     "{\"resize\":{\"width\":24,\"height\":24,\"fit\":\"contain\"}}",
     TS_PIXELS_RGB8},
    {TS_U8, {3, {16, 16, 3}}, "{}", TS_PIXELS_I420},
    {TS_F32, {2, {16, 16}}, "{\"overlay\":{\"title\":\"x\",\"colorbar\":true}}", TS_PIXELS_I420},
    {TS_F32, {1, {16}}, "{}", TS_PIXELS_I420},
};

static ts_status run_step(ts_viz *viz, ts_queue *queue, const warm_step *step, ts_error *err)
{
    json_t *json = NULL;
    ts_view *view = NULL;
    ts_viz_output out = {0};
    ts_entry entry = {.name = "warm"};
    ts_status st = ts_json_parse(step->view, strlen(step->view), &json, err);
    if (st == TS_OK)
        st = ts_view_parse(json, &view, err);
    json_decref(json);
    if (st == TS_OK)
        st =
            ts_tensor_create(ts_queue_device(queue), step->dtype, &step->shape, &entry.tensor, err);
    if (st == TS_OK)
        st = ts_buffer_fill_u32(queue, ts_tensor_buffer(entry.tensor), 0, 0,
                                ts_tensor_nbytes(entry.tensor), err);
    ts_viz_input input = {.view = view, .entry = &entry, .format = step->format};
    if (st == TS_OK)
        st = ts_viz_render(viz, queue, &input, &out, err);
    ts_viz_output_finish(&out);
    ts_tensor_unref(entry.tensor);
    ts_view_unref(view);
    return st;
}

ts_status ts_viz_warm(ts_queue *queue, bool (*stop)(void *arg), void *arg, ts_error *err)
{
    ts_viz *viz = NULL;
    ts_status st = ts_viz_create(ts_queue_device(queue), &viz, err);
    for (size_t i = 0; st == TS_OK && i < sizeof steps / sizeof steps[0]; i++) {
        if (stop && stop(arg))
            break;
        st = run_step(viz, queue, &steps[i], err);
    }
    ts_viz_destroy(viz);
    return st;
}
