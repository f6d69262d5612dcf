/* Kinds that are not drawn yet answer so. */
#include "cl/viz/compare.h"

#define PENDING(err) ts_fail((err), TS_E_OPTION, "kind: not available in this build")

ts_status ts_viz_probe(ts_viz *viz, ts_queue *queue, const ts_viz_input *input, double x, double y,
                       json_t **out, ts_error *err)
{
    (void)viz, (void)queue, (void)input, (void)x, (void)y, (void)out;
    return PENDING(err);
}
