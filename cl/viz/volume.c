/* Ray casting: the camera, and the two kernels that follow its rays. */
#include <math.h>

#include "cl/viz/viz_internal.h"

static void cross(const double a[3], const double b[3], double out[3])
{
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

static void camera_vectors(const view_camera *camera, viz_volume *v)
{
    const double degree = 3.14159265358979323846 / 180;
    double az = fmod(camera->azimuth, 360) * degree, el = camera->elevation * degree;
    double f[3] = {-cos(el) * sin(az), -sin(el), -cos(el) * cos(az)};
    double r[3], u[3];
    cross(f, (const double[3]){0, 1, 0}, r);
    double len = sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
    for (int i = 0; i < 3; i++)
        r[i] /= len; /* elevation is at most 89 degrees: never zero */
    cross(r, f, u);
    for (int i = 0; i < 3; i++) {
        v->forward[i] = (float)f[i];
        v->right[i] = (float)r[i];
        v->up[i] = (float)u[i];
    }
    v->scale = (float)camera->scale;
    v->distance = (float)camera->distance;
    v->tan_half_fov = (float)tan(camera->fov * degree / 2);
    v->perspective = camera->perspective;
}

static void volume_args(const view_part *part, const viz_plan *plan, viz_volume *v)
{
    *v = (viz_volume){.base = plan->src.base,
                      .sz = plan->stride[0],
                      .sy = plan->stride[1],
                      .sx = plan->stride[2],
                      .d = (int)plan->dim[0],
                      .h = (int)plan->dim[1],
                      .w = (int)plan->dim[2],
                      .step = (float)part->step,
                      .iso = (float)part->iso,
                      .mode = (int)part->volume,
                      .n_opacity = part->n_opacity};
    memcpy(v->opacity, part->opacity, sizeof v->opacity);
    for (int i = 0; i < 3; i++) {
        v->color[i] = (float)part->color.c[i] / 255.0f;
        v->background[i] = (float)part->background.c[i] / 255.0f;
    }
    camera_vectors(&part->camera, v);
}

static ts_status draw_reduced(ts_viz *viz, part_state *state, const view_part *part,
                              const viz_plan *plan, const viz_volume *v, const viz_draw *d,
                              const target *t, ts_error *err)
{
    size_t w = (size_t)t->rw, h = (size_t)t->rh;
    ts_status st = slot_need(viz, &state->reduced, w * h * sizeof(float), err);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_volume", (int)plan->dtype, "viz_volume_reduce",
                        SIZES(div_up(w, (size_t)d->chunk), h, 1), NULL,
                        TS_ARGS(TS_BUF(plan->data), TS_BYTES(v, sizeof *v), TS_BYTES(d, sizeof *d),
                                TS_BUF(state->active->records.buffer),
                                viz_slot_arg(viz, &state->active->cdf),
                                TS_BUF(state->reduced.buffer)),
                        err);
    if (st != TS_OK)
        return st;
    viz_plan flat = *plan;
    plan_plane(&flat, state->reduced.buffer, TS_F32, (uint32_t)h, (uint32_t)w);
    flat.is_t = true;
    view_size size = {0};
    draw_call call = {.ox = t->x,
                      .oy = t->y,
                      .W = t->rw,
                      .H = t->rh,
                      .cols = 1,
                      .out = VIZ_OUT_CANVAS,
                      .dst_w = t->w,
                      .dst_h = t->h,
                      .dst = t->canvas,
                      .size = &size};
    return draw_plan(viz, state, state->active, part, &flat, &call, err);
}

ts_status volume_draw(ts_viz *viz, part_state *state, const view_part *part, viz_plan *plan,
                      const target *t, ts_error *err)
{
    viz_volume v;
    viz_draw d;
    volume_args(part, plan, &v);
    draw_rect_args(state, part, plan, t, &d);
    d.color = state->color.kind; /* colours are mixed: unrounded ones */
    d.chunk = viz->cpu ? 64 : 1;
    if (part->volume != VOLUME_ALPHA && part->volume != VOLUME_ISO)
        return draw_reduced(viz, state, part, plan, &v, &d, t, err);
    return viz_launch(viz, "viz_volume", (int)plan->dtype, "viz_volume_color",
                      SIZES(div_up((size_t)t->rw, (size_t)d.chunk), (size_t)t->rh, 1), NULL,
                      TS_ARGS(TS_BUF(plan->data), TS_BYTES(&v, sizeof v), TS_BYTES(&d, sizeof d),
                              TS_BUF(state->active->records.buffer),
                              viz_slot_arg(viz, &state->active->cdf),
                              TS_BUF(state->color.rows.buffer), TS_BUF(t->canvas->buffer)),
                      err);
}
