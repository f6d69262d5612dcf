/* Kinds that are not drawn yet answer so. */
#include "cl/viz/compare.h"

#define PENDING(err) ts_fail((err), TS_E_OPTION, "kind: not available in this build")

ts_status compare_size(ts_viz *viz, const ts_viz_input *input, int *w, int *h, ts_error *err)
{
    (void)viz, (void)input, (void)w, (void)h;
    return PENDING(err);
}
ts_status compare_draw(ts_viz *viz, const ts_viz_input *input, const target *t, ts_viz_output *out,
                       ts_error *err)
{
    (void)viz, (void)input, (void)t, (void)out;
    return PENDING(err);
}
ts_status filter_apply(ts_viz *viz, part_state *state, const view_part *part, viz_plan *plan,
                       ts_error *err)
{
    (void)viz, (void)state, (void)part, (void)plan;
    return PENDING(err);
}
ts_status plot_lines(ts_viz *viz, part_state *state, const view_part *part, const viz_plan *plan,
                     const target *t, ts_error *err)
{
    (void)viz, (void)state, (void)part, (void)plan, (void)t;
    return PENDING(err);
}
ts_status plot_histogram(ts_viz *viz, part_state *state, const view_part *part,
                         const viz_plan *plan, int bins, bool log, const target *t, ts_error *err)
{
    (void)viz, (void)state, (void)part, (void)plan, (void)bins, (void)log, (void)t;
    return PENDING(err);
}
ts_status plot_project(ts_viz *viz, part_state *state, const view_part *part, viz_plan *plan,
                       ts_error *err)
{
    (void)viz, (void)state, (void)part, (void)plan;
    return PENDING(err);
}
ts_status plot_waterfall(ts_viz *viz, part_state *state, const view_part *part, viz_plan *plan,
                         ts_error *err)
{
    (void)viz, (void)state, (void)part, (void)plan;
    return PENDING(err);
}
ts_status volume_draw(ts_viz *viz, part_state *state, const view_part *part, viz_plan *plan,
                      const target *t, ts_error *err)
{
    (void)viz, (void)state, (void)part, (void)plan, (void)t;
    return PENDING(err);
}
ts_status ts_viz_probe(ts_viz *viz, ts_queue *queue, const ts_viz_input *input, double x, double y,
                       json_t **out, ts_error *err)
{
    (void)viz, (void)queue, (void)input, (void)x, (void)y, (void)out;
    return PENDING(err);
}
