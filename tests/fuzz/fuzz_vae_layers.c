/* Any octets as the layer list of a decoder, over a file that has some tensors. No device. */
#include <stdlib.h>
#include <string.h>

#include "cl/models/vae/layers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* w [4,2], b [4], k [2,1,3,3]: names that the corpus uses. */
static ts_weights *some_weights(void)
{
    static const struct {
        const char *name;
        ts_shape shape;
    } all[] = {{"b", {.rank = 1, .dim = {4}}},
               {"k", {.rank = 4, .dim = {2, 1, 3, 3}}},
               {"w", {.rank = 2, .dim = {4, 2}}}};
    ts_st_tensor *t = calloc(3, sizeof *t);
    float *v = calloc(64, sizeof *v);
    ts_weights *out = NULL;
    if (!t || !v)
        abort();
    for (int i = 0; i < 3; i++)
        t[i] = (ts_st_tensor){.name = all[i].name,
                              .dtype = TS_F32,
                              .shape = all[i].shape,
                              .data = (const uint8_t *)v,
                              .nbytes = (size_t)ts_shape_elements(&all[i].shape) * sizeof *v};
    if (ts_weights_from_memory(t, 3, v, &out, NULL) != TS_OK)
        abort();
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *layers = NULL;
    ts_net *net = NULL;
    ts_error err = {0};
    ts_shape input = {.rank = 1, .dim = {2}}, out;
    int x = 0;
    if (size > 65536 || ts_json_parse(data, size, &layers, NULL) != TS_OK)
        return 0;
    ts_weights *weights = some_weights();
    if (ts_net_create(&net, NULL) != TS_OK)
        abort();
    ts_status st = ts_layers_build(net, weights, layers, "layers", &input, &x, &err);
    if (st != TS_OK && !err.text[0])
        __builtin_trap(); /* a refusal says why */
    if (st == TS_OK && ts_net_shape(net, x, &input, &out, NULL) != TS_OK)
        __builtin_trap(); /* what was built has a shape */
    ts_error_clear(&err);
    ts_net_destroy(net);
    ts_weights_close(weights);
    json_decref(layers);
    return 0;
}
