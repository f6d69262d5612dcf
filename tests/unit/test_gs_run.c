/* A run's folder when the disk is full, and that what was written before stays whole. */
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "server/train/fitrun.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"
#include "tests/support/gs_photo.h"

static ts_device *device;
static ts_queue *queue;
static float *photo;
static int photo_w, photo_h;
static char root[] = "/tmp/ts-gs-run-XXXXXX";

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(root));
    ts_devfix_open(&device, &queue);
    photo = gs_photo(TS_TEST_DIR, "fit_photo_gt.png", &photo_w, &photo_h);
    return 0;
}

static int teardown(void **state)
{
    ts_error err = {0};
    (void)state;
    free(photo);
    ts_devfix_close(device, queue);
    CHECK_OK(ts_fs_remove(root, &err));
    return 0;
}

/* Run to the end or the first error; `full` is a file of the folder that the disk has no room for. */
static ts_status run_into(const char *name, const char *full, char *folder, ts_error *err)
{
    ts_gs_config c;
    ts_fitrun *run = NULL;
    char path[512];
    ts_gs_config_init(&c);
    c.num_gaussians = 100;
    c.max_steps = 60;
    c.eval_steps = c.video_iterations = 10;
    c.save_ckpt_steps = 20;
    c.disable_prog_optim = true;
    c.video = true;
    snprintf(folder, 256, "%s/%s", root, name);
    if (ts_fs_mkdirs(folder, err) != TS_OK)
        fail_msg("%s", err->text);
    if (full) {
        snprintf(path, sizeof path, "%s/%s", folder, full);
        assert_int_equal(symlink("/dev/full", path), 0);
    }
    ts_fitrun_options o = {.config = &c,
                           .target = {.width = photo_w,
                                      .height = photo_h,
                                      .channels = 3,
                                      .chw = photo,
                                      .input_channels = "3",
                                      .bit_depths = "8"},
                           .folder = folder,
                           .name = "photo"};
    ts_status st = ts_fitrun_create(queue, &o, &run, err);
    while (st == TS_OK && ts_fitrun_running(run))
        st = ts_fitrun_slice(run, 8, err);
    if (st == TS_OK)
        st = ts_fitrun_complete(run, err);
    ts_fitrun_destroy(run);
    ts_gs_config_finish(&c);
    return st;
}

static void check_model(const char *folder, const char *name)
{
    ts_error err = {0};
    ts_buf file = {0};
    ts_gs_model model;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(ts_fs_read(path, 1 << 26, &file, &err));
    CHECK_OK(ts_gs_model_read(file.data, file.len, &model, &err));
    assert_int_equal(model.n, 100);
    ts_gs_model_finish(&model);
    ts_buf_finish(&file);
}

static void writes_everything_where_there_is_room(void **state)
{
    ts_error err = {0};
    char folder[256];
    (void)state;
    CHECK_OK(run_into("room", NULL, folder, &err));
    check_model(folder, "model.safetensors");
    check_model(folder, "other/checkpoints/ckpt_step-20.safetensors");
}

static void a_full_disk_at_the_recording_ends_the_run(void **state)
{
    ts_error err = {0};
    char folder[256];
    (void)state;
    CHECK_STATUS(TS_E_DISK_FULL, run_into("video", "training_video.mp4", folder, &err));
    /* the encoder holds pictures back, so the disk's answer comes late: what was there is whole */
    char path[512];
    snprintf(path, sizeof path, "%s/other/ground_truth.jpg", folder);
    assert_int_equal(access(path, R_OK), 0);
}

static void a_full_disk_at_the_metrics_ends_the_run(void **state)
{
    ts_error err = {0};
    char folder[256];
    (void)state;
    CHECK_STATUS(TS_E_DISK_FULL, run_into("csv", "metrics.csv", folder, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_everything_where_there_is_room),
        cmocka_unit_test(a_full_disk_at_the_recording_ends_the_run),
        cmocka_unit_test(a_full_disk_at_the_metrics_ends_the_run),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
