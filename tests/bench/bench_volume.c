/*
 * Ray casting: pictures per second of the modes at the sizes that the specification names (128³ at
 * 256² and step 1 on CPUs, 256³ at 512² and step 0.5 on GPUs). One JSON line per case; fails where a
 * CPU device stays below 5, another below 60 pictures a second.
 *
 *     bench_volume [--quick]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cl/viz/viz.h"

static double wall_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const ts_error *err, const char *what)
{
    fprintf(stderr, "%s: %s %s\n", what, err->text, err->detail ? err->detail : "");
    exit(1);
}

static ts_tensor *make_volume(ts_queue *queue, int n, ts_error *err)
{
    size_t count = (size_t)n * (size_t)n * (size_t)n;
    float *data = malloc(count * sizeof *data);
    ts_tensor *tensor = NULL;
    ts_shape shape = TS_SHAPE(n, n, n);
    for (size_t i = 0; data && i < count; i++) {
        double x = (double)(i % (size_t)n) / n, y = (double)(i / (size_t)n % (size_t)n) / n,
               z = (double)(i / ((size_t)n * (size_t)n)) / n;
        data[i] = (float)(sin(9 * x) * cos(7 * y) + sin(11 * z));
    }
    if (!data || ts_tensor_from_host(queue, TS_F32, &shape, data, count * sizeof *data, &tensor,
                                     err) != TS_OK)
        die(err, "volume");
    free(data);
    return tensor;
}

/* Pictures per second, the camera turning; *first_ms is the first one's time. */
static double turn(ts_device *device, ts_queue *queue, const ts_entry *entry, const char *mode,
                   int side, double step, double seconds, double *first_ms)
{
    ts_error err = {0};
    ts_viz *viz = NULL;
    if (ts_viz_create(device, &viz, &err) != TS_OK)
        die(&err, "viz");
    double t0 = wall_s(), t1 = t0, begin = 0;
    int n = 0;
    for (; n < 2 || wall_s() - begin < seconds; n++) {
        json_t *json = json_pack("{s:s,s:s,s:f,s:{s:f,s:f},s:{s:i,s:i}}", "kind", "volume", "mode",
                                 mode, "step", step, "camera", "azimuth", 3.0 * n, "elevation",
                                 20.0, "resize", "width", side, "height", side);
        ts_view *view = NULL;
        ts_viz_output out;
        if (ts_view_parse(json, &view, &err) != TS_OK)
            die(&err, "view");
        ts_viz_input in = {.view = view, .entry = entry, .format = TS_PIXELS_I420};
        if (ts_viz_render(viz, queue, &in, &out, &err) != TS_OK)
            die(&err, "render");
        ts_viz_output_finish(&out);
        ts_view_unref(view);
        json_decref(json);
        t1 = wall_s();
        if (n == 0) {
            *first_ms = (t1 - t0) * 1e3;
            begin = t1;
        }
    }
    ts_viz_destroy(viz);
    return (n - 1) / (t1 - begin);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"mip", "mean", "alpha", "iso"};
    double seconds = argc > 1 && strcmp(argv[1], "--quick") == 0 ? 0.5 : 2;
    ts_error err = {0};
    ts_device *device = NULL;
    ts_queue *queue = NULL;
    size_t index = 0;
    int bad = 0;
    if (ts_device_select(getenv("TENSORSCOPE_DEVICE"), &index, &err) != TS_OK ||
        ts_device_open(index, &(ts_device_options){0}, &device, &err) != TS_OK ||
        ts_queue_create(device, "bench", &queue, &err) != TS_OK)
        die(&err, "device");
    bool cpu = ts_device_caps(device)->kind == TS_DEVICE_CPU;
    int n = cpu ? 128 : 256, side = cpu ? 256 : 512;
    double step = cpu ? 1 : 0.5, limit = cpu ? 5 : 60;
    ts_entry entry = {.name = "v", .version = 1, .tensor = make_volume(queue, n, &err)};
    for (int i = 0; i < 4; i++) {
        double first_ms,
            fps = turn(device, queue, &entry, modes[i], side, step, seconds, &first_ms);
        bool limited = i == 0;
        bad += limited && fps < limit;
        printf("{\"name\":\"volume/%s\",\"params\":\"%d^3 at %dx%d step %g\",\"fps\":%.1f,"
               "\"first_ms\":%.0f,\"limit\":%s%.0f,\"device\":\"%s\"}\n",
               modes[i], n, side, side, step, fps, first_ms, limited ? "" : "-", limit,
               ts_device_caps(device)->name);
        fflush(stdout);
    }
    ts_tensor_unref(entry.tensor);
    ts_queue_destroy(queue);
    ts_device_close(device);
    return bad ? 1 : 0;
}
