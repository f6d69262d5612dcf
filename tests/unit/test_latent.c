/* Seeded numbers, slerp, directions, grids and paths: the arithmetic that all clients share. */
#include "cl/base/fs.h"
#include "cl/base/json.h"
#include "cl/models/vae/latent.h"
#include "tests/support/check.h"

static void seeded_numbers_equal_the_list(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_buf text = {0};
    json_t *doc, *list;
    const char *seed;
    CHECK_OK(ts_fs_read(TS_TEST_DIR "/golden/vae/seeded_normal.json", 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &doc, &err));
    ts_buf_finish(&text);
    int n = 0;
    json_object_foreach(json_object_get(doc, "seeds"), seed, list)
    {
        float got[16];
        size_t len = json_array_size(list);
        ts_seeded_normal(strtoull(seed, NULL, 10), got, len);
        for (size_t i = 0; i < len; i++, n++)
            ts_check_close(got[i], json_number_value(json_array_get(list, i)), 0, 1.2e-7, seed, i);
    }
    assert_true(n >= 24);
    json_decref(doc);
}

static void slerp_keeps_the_ends_and_falls_back(void **state)
{
    (void)state;
    const float a[3] = {1, 0, 0}, b[3] = {0, 2, 0}, same[3] = {2, 0, 0}, far[3] = {1000, 0, 0};
    const float back[3] = {-1000, 0, 0};
    float out[3];
    ts_latent_slerp(a, b, 0, out, 3);
    assert_true(out[0] == 1 && out[1] == 0);
    ts_latent_slerp(a, b, 0.5, out, 3);
    ts_check_close(out[0], sqrt(0.5), 1e-6, 0, "half", 0);
    ts_check_close(out[1], 2 * sqrt(0.5), 1e-6, 0, "half", 1);
    ts_latent_slerp(a, same, 0.5, out, 3); /* parallel: lerp */
    ts_check_close(out[0], 1.5, 1e-6, 0, "parallel", 0);
    /* Opposite: lerp, for lengths that the 1e-8 of the formula does not bend. */
    ts_latent_slerp(far, back, 0.25, out, 3);
    ts_check_close(out[0], 500, 1e-3, 0, "opposite", 0);
}

static void directions_are_orthonormal(void **state)
{
    (void)state;
    float d1[32], d2[32];
    ts_latent_directions(307, d1, d2, 32);
    double aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < 32; i++)
        aa += d1[i] * d1[i], bb += d2[i] * d2[i], ab += d1[i] * d2[i];
    ts_check_close(aa, 1, 1e-6, 0, "|d1|", 0);
    ts_check_close(bb, 1, 1e-6, 0, "|d2|", 0);
    ts_check_close(ab, 0, 1e-6, 0, "d1·d2", 0);
}

static void grids_run_from_top_left(void **state)
{
    (void)state;
    ts_latent_grid g = ts_latent_square(5, 2);
    assert_true(ts_latent_grid_x(&g, 0) == -2 && ts_latent_grid_x(&g, 4) == 2);
    assert_true(ts_latent_grid_y(&g, 0) == 2 && ts_latent_grid_y(&g, 1) == 1);
    g = ts_latent_square(1, 2);
    assert_true(ts_latent_grid_x(&g, 0) == 0 && ts_latent_grid_y(&g, 0) == 0);
    g = ts_latent_square(2, 2);
    g.normal_quantiles = true;
    ts_check_close(ts_latent_grid_x(&g, 0), -0.6744897501960817, 1e-12, 0, "quantile", 0);
    ts_check_close(ts_normal_quantile(0.001), -3.090232306167813, 1e-11, 0, "quantile", 1);
    ts_check_close(ts_normal_quantile(0.975), 1.959963984540054, 1e-12, 0, "quantile", 2);
}

static void paths_pass_their_points_and_loop(void **state)
{
    (void)state;
    const float points[6] = {1, 0, 0, 1, -1, 0};
    ts_latent_path p = {.points = points, .count = 3, .n = 2, .seconds = 2};
    float out[2];
    assert_true(ts_latent_path_seconds(&p) == 4);
    ts_latent_path_at(&p, 2, out);
    ts_check_close(out[1], 1, 1e-6, 0, "second point", 1);
    ts_latent_path_at(&p, 100, out);
    ts_check_close(out[0], -1, 1e-6, 0, "end", 0);
    p.loop = true;
    assert_true(ts_latent_path_seconds(&p) == 6);
    ts_latent_path_at(&p, 6, out);
    ts_check_close(out[0], 1, 1e-6, 0, "around", 0);
    p.smoothstep = true;
    ts_latent_path_at(&p, 0.5, out); /* u = 0.25 -> 0.15625 */
    ts_check_close(out[1], sin(0.15625 * 1.5707963267948966), 1e-6, 0, "eased", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeded_numbers_equal_the_list),
        cmocka_unit_test(slerp_keeps_the_ends_and_falls_back),
        cmocka_unit_test(directions_are_orthonormal),
        cmocka_unit_test(grids_run_from_top_left),
        cmocka_unit_test(paths_pass_their_points_and_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
