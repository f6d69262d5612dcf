/* Decoders and encoders against recorded results: the shipped models, AutoencoderKL, full width. */
#include <sys/stat.h>
#include <unistd.h>

#include "cl/models/vae/latent.h"
#include "cl/models/vae/vae.h"
#include "cl/ops/norm.h"
#include "tests/support/bigmodels.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"
#include "tests/support/opsfix.h"

#define GOLDEN  TS_TEST_DIR "/golden/vae/"
#define BUILTIN TS_TEST_DIR "/../cl/models/builtin/"

static ts_model *load(ts_opsfix *f, const char *path)
{
    ts_error err = {0};
    ts_model *model = NULL;
    CHECK_OK(ts_model_load(f->queue, path, &model, &err));
    return model;
}

static int picture_value(double v)
{
    v = v < 0 ? 0 : v > 1 ? 1 : v;
    return (int)floor(v * 255 + 0.5);
}

/* Latents decode to the recorded pictures, as floats and as bytes. */
static void decoder_case(ts_opsfix *f, const char *model_dir, const char *golden, double atol)
{
    ts_error err = {0};
    ts_golden g;
    ts_golden_open(golden, &g);
    ts_model *model = load(f, model_dir);
    ts_vae *vae = ts_vae_of(model);
    assert_non_null(vae);
    float *z = ts_golden_f32(&g, "latents"), *want = ts_golden_f32(&g, "expected");
    int64_t n = ts_golden_find(&g, "latents")->shape.dim[0];
    size_t total = ts_golden_count(&g, "expected");
    float *got = calloc(total, sizeof *got);
    uint8_t *bytes = calloc(total, 1);
    CHECK_OK(ts_vae_decode_f32(vae, z, n, got, &err));
    for (size_t i = 0; i < total; i++)
        ts_check_close(got[i], want[i], atol, 0, "decoded", i);
    CHECK_OK(ts_vae_decode_u8(vae, z, n, false, bytes, &err));
    const ts_shape *s = &ts_vae_get_info(vae)->image;
    size_t area = (size_t)(s->dim[1] * s->dim[2]), c = (size_t)s->dim[0];
    for (size_t i = 0; i < total; i++) { /* [n,H,W,C] against [n,C,H,W] */
        size_t k = i / (area * c), p = i / c % area, ch = i % c;
        ts_check_close(bytes[i], picture_value(want[(k * c + ch) * area + p]), 1, 0, "u8", i);
    }
    free(z);
    free(want);
    free(got);
    free(bytes);
    ts_model_destroy(model);
    ts_golden_close(&g);
}

static void digits_decode_as_recorded(void **state)
{
    decoder_case(*state, BUILTIN "mnist-decoder", GOLDEN "mnist.safetensors", 1e-4);
}

static void photos_decode_as_recorded(void **state)
{
    /* Recorded in F16: half a unit in the last place below 1 is 2.4e-4, the spec allows 6e-4. */
    decoder_case(*state, BUILTIN "photo-decoder-q4", GOLDEN "photo.safetensors", 6e-4);
}

static void a_grid_is_one_batch_and_equals_its_picture(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_golden g;
    ts_golden_open(GOLDEN "mnist.safetensors", &g);
    ts_model *model = load(f, BUILTIN "mnist-decoder");
    ts_latent_grid grid = ts_latent_square(10, 2);
    float z[200];
    for (int j = 0; j < 10; j++)
        for (int i = 0; i < 10; i++) {
            z[(j * 10 + i) * 2] = (float)ts_latent_grid_x(&grid, i);
            z[(j * 10 + i) * 2 + 1] = (float)ts_latent_grid_y(&grid, j);
        }
    uint8_t *got = calloc(100, 784);
    const uint8_t *want = ts_golden_find(&g, "grid")->data;
    CHECK_OK(ts_vae_decode_u8(ts_vae_of(model), z, 100, false, got, &err));
    for (int y = 0; y < 280; y++)
        for (int x = 0; x < 280; x++)
            ts_check_close(got[((y / 28) * 10 + x / 28) * 784 + y % 28 * 28 + x % 28],
                           want[y * 280 + x], 1, 0, "grid", (size_t)(y * 280 + x));
    free(got);
    ts_model_destroy(model);
    ts_golden_close(&g);
}

static void extreme_latents_stay_finite(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_model *model = load(f, BUILTIN "mnist-decoder");
    const float z[8] = {1e3f, -1e3f, 30, 30, -30, 30, 0, 0};
    float got[4 * 784];
    CHECK_OK(ts_vae_decode_f32(ts_vae_of(model), z, 4, got, &err));
    for (size_t i = 0; i < 4 * 784; i++)
        assert_true(got[i] >= 0 && got[i] <= 1);
    CHECK_STATUS(TS_E_OPTION, ts_vae_decode_f32(ts_vae_of(model), (float[]){0, NAN}, 1, got, &err));
    ts_model_destroy(model);
}

static void pictures_encode_as_recorded(void **state)
{
    ts_opsfix *f = *state;
    static const struct {
        const char *model, *golden;
        double atol;
    } cases[] = {{BUILTIN "mnist-decoder", GOLDEN "mnist.safetensors", 1e-4},
                 {BUILTIN "photo-decoder-q4", GOLDEN "photo.safetensors", 1e-3}};
    for (size_t c = 0; c < 2; c++) {
        ts_error err = {0};
        ts_golden g;
        ts_golden_open(cases[c].golden, &g);
        ts_model *model = load(f, cases[c].model);
        ts_vae *vae = ts_vae_of(model);
        const ts_st_tensor *in = ts_golden_find(&g, "reconstruct.input_u8");
        float *mu = ts_golden_f32(&g, "reconstruct.mu");
        float *logvar = ts_golden_f32(&g, "reconstruct.logvar");
        int64_t ch = in->shape.dim[1], h = in->shape.dim[2], w = in->shape.dim[3];
        int64_t latents = ts_vae_get_info(vae)->latent_dim;
        for (int64_t k = 0; k < in->shape.dim[0]; k++) {
            uint8_t *rgb = malloc((size_t)(ch * h * w)); /* channels last, as pictures come */
            for (int64_t i = 0; i < ch * h * w; i++)
                rgb[i] = in->data[(k * ch + i % ch) * h * w + i / ch];
            float *x, got[2][64];
            ts_shape shape;
            CHECK_OK(ts_vae_prepare(vae, rgb, h, w, ch, &x, &shape, &err));
            ts_arr dx = {0}, dmu, dlogvar;
            CHECK_OK(ts_arr_from_host(ts_vae_ops(vae), TS_F32,
                                      &TS_SHAPE(1, shape.dim[0], shape.dim[1], shape.dim[2]), x,
                                      &dx, &err));
            CHECK_OK(ts_vae_encode_array(vae, &dx, &dmu, &dlogvar, &err));
            CHECK_OK(ts_arr_read(ts_vae_ops(vae), &dmu, got[0], &err));
            CHECK_OK(ts_arr_read(ts_vae_ops(vae), &dlogvar, got[1], &err));
            for (int64_t i = 0; i < latents; i++) {
                ts_check_close(got[0][i], mu[k * latents + i], cases[c].atol, 0, "mu", (size_t)i);
                ts_check_close(got[1][i], logvar[k * latents + i], cases[c].atol, 0, "logvar",
                               (size_t)i);
            }
            ts_arr_free(&dx);
            free(x);
            free(rgb);
        }
        free(mu);
        free(logvar);
        ts_model_destroy(model);
        ts_golden_close(&g);
    }
}

static void autoencoder_kl_case(ts_vae *vae, const ts_golden *g, const char *in, const char *out)
{
    ts_error err = {0};
    const ts_st_tensor *t = ts_golden_find(g, in);
    float *z = ts_golden_f32(g, in), *want = ts_golden_f32(g, out);
    size_t n = ts_golden_count(g, out);
    ts_arr dz = {0}, image;
    float *got = calloc(n, sizeof *got);
    CHECK_OK(ts_arr_from_host(ts_vae_ops(vae), TS_F32, &t->shape, z, &dz, &err));
    CHECK_OK(ts_vae_decode_array(vae, &dz, &image, &err));
    assert_int_equal(ts_arr_elements(&image), n);
    CHECK_OK(ts_arr_read(ts_vae_ops(vae), &image, got, &err));
    for (size_t i = 0; i < n; i++)
        ts_check_close(got[i], want[i], 1e-4, 0, out, i);
    ts_arr_free(&dz);
    free(z);
    free(want);
    free(got);
}

static void autoencoder_kl_decodes_and_encodes_as_recorded(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_golden g;
    ts_golden_open(GOLDEN "kl-tiny.safetensors", &g);
    ts_model *model = load(f, GOLDEN "kl-tiny");
    ts_vae *vae = ts_vae_of(model);
    assert_int_equal(model->info.parameters, 167959);
    autoencoder_kl_case(vae, &g, "z", "decoded");
    autoencoder_kl_case(vae, &g, "z_odd", "decoded_odd");
    float *x = ts_golden_f32(&g, "image"), *mean = ts_golden_f32(&g, "enc_mean");
    float *logvar = ts_golden_f32(&g, "enc_logvar");
    size_t n = ts_golden_count(&g, "enc_mean");
    float *got = calloc(n, sizeof *got);
    ts_arr dx = {0}, dmu, dlogvar;
    CHECK_OK(ts_arr_from_host(ts_vae_ops(vae), TS_F32, &ts_golden_find(&g, "image")->shape, x, &dx,
                              &err));
    CHECK_OK(ts_vae_encode_array(vae, &dx, &dmu, &dlogvar, &err));
    CHECK_OK(ts_arr_read(ts_vae_ops(vae), &dmu, got, &err));
    for (size_t i = 0; i < n; i++)
        ts_check_close(got[i], mean[i], 1e-4, 0, "mean", i);
    CHECK_OK(ts_arr_read(ts_vae_ops(vae), &dlogvar, got, &err));
    for (size_t i = 0; i < n; i++)
        ts_check_close(got[i], logvar[i], 1e-4, 0, "logvar", i);
    ts_arr_free(&dx);
    free(x);
    free(mean);
    free(logvar);
    free(got);
    ts_model_destroy(model);
    ts_golden_close(&g);
}

/* Tiles see only their part, so the result differs a little; seams and edges must not show. */
static void large_latents_are_decoded_in_tiles(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_model *model = load(f, GOLDEN "kl-tiny");
    ts_vae *vae = ts_vae_of(model);
    enum {
        H = 40,
        W = 28,
        N = 3 * 4 * H * W
    };
    float *z = calloc(4 * H * W, sizeof *z), *whole = calloc(N, 4), *tiled = calloc(N, 4);
    for (int i = 0; i < 4 * H * W; i++) /* smooth, the same everywhere on average */
        z[i] = sinf((float)(i % W) * 0.9f + (float)(i / W)) * 2;
    ts_arr dz = {0}, image;
    CHECK_OK(ts_arr_from_host(ts_vae_ops(vae), TS_F32, &TS_SHAPE(1, 4, H, W), z, &dz, &err));
    CHECK_OK(ts_vae_decode_array(vae, &dz, &image, &err));
    CHECK_OK(ts_arr_read(ts_vae_ops(vae), &image, whole, &err));
    ts_vae_set_tile(vae, 16);
    CHECK_OK(ts_vae_decode_array(vae, &dz, &image, &err));
    assert_true(ts_shape_equal(&image.shape, &TS_SHAPE(1, 3, 2 * H, 2 * W)));
    CHECK_OK(ts_arr_read(ts_vae_ops(vae), &image, tiled, &err));
    double s = 0, m = 0;
    for (int i = 0; i < N; i++) {
        s += (whole[i] - tiled[i]) * (whole[i] - tiled[i]);
        m += whole[i] * whole[i];
    }
    if (!(s < 0.02 * m))
        fail_msg("tiles differ from the whole by %g of its power", s / m);
    ts_arr_free(&dz);
    free(z);
    free(whole);
    free(tiled);
    ts_model_destroy(model);
}

/* Taps run the unfused twin: its picture must equal the fused one, and its taps feed each other. */
static void taps_of_fused_layers_come_from_an_equal_network(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_model *model = load(f, BUILTIN "photo-decoder-q4");
    ts_vae *vae = ts_vae_of(model);
    float z[32], image[3 * 128 * 128], plain[3 * 128 * 128];
    ts_seeded_normal(320, z, 32);
    CHECK_OK(ts_vae_decode_f32(vae, z, 1, image, &err));
    ts_tensor *in, *out[3];
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, &TS_SHAPE(1, 32), z, sizeof z, &in, &err));
    const char *wanted[] = {"image", "layers.5", "layers.6"}; /* batch norm, then ReLU */
    CHECK_OK(ts_model_run(model, (const ts_tensor *const *)&in, wanted, 3, out, &err));
    CHECK_OK(ts_tensor_read(f->queue, out[0], plain, &err));
    for (size_t i = 0; i < 3 * 128 * 128; i++)
        ts_check_close(plain[i], image[i], 1e-5, 0, "folded and plain", i);
    size_t n = (size_t)ts_shape_elements(ts_tensor_shape(out[1]));
    float *norm = calloc(n, sizeof *norm), *relu = calloc(n, sizeof *relu);
    CHECK_OK(ts_tensor_read(f->queue, out[1], norm, &err));
    CHECK_OK(ts_tensor_read(f->queue, out[2], relu, &err));
    int negative = 0;
    for (size_t i = 0; i < n; i++) {
        negative += norm[i] < 0;
        assert_true(relu[i] == (norm[i] < 0 ? 0 : norm[i]));
    }
    assert_true(negative > 0);
    free(norm);
    free(relu);
    for (int i = 0; i < 3; i++)
        ts_tensor_unref(out[i]);
    wanted[0] = "layers.99";
    CHECK_STATUS(TS_E_NOT_FOUND,
                 ts_model_run(model, (const ts_tensor *const *)&in, wanted, 1, out, &err));
    ts_tensor_unref(in);
    ts_model_destroy(model);
}

/* 12,313,667 seeded values, folded at load; pictures of the latents of seeds 0 to 3. */
static void the_full_width_decoder_gives_the_recorded_pictures(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    char dir[] = "/tmp/ts-dog-XXXXXX";
    assert_non_null(mkdtemp(dir));
    assert_true(ts_write_dog(dir, 256, 7));
    ts_golden g;
    ts_golden_open(GOLDEN "full-size.safetensors", &g);
    ts_model *model = load(f, dir);
    assert_int_equal(model->info.parameters, 12313667);
    float z[4 * 256];
    for (uint64_t k = 0; k < 4; k++)
        ts_seeded_normal(k, z + k * 256, 256);
    uint8_t *got = malloc(4 * 128 * 128 * 3);
    const uint8_t *want = ts_golden_find(&g, "expected_u8")->data; /* side by side */
    CHECK_OK(ts_vae_decode_u8(ts_vae_of(model), z, 4, false, got, &err));
    for (int y = 0; y < 128; y++)
        for (int x = 0; x < 512 * 3; x++)
            ts_check_close(got[((x / 384) * 128 + y) * 384 + x % 384], want[y * 512 * 3 + x], 1, 0,
                           "picture", (size_t)(y * 512 * 3 + x));
    /* Device bytes: the folded weights (49.2 MB), activations of the batch above, little more. */
    double weights = 12302019.0 * 4;
    assert_true((double)model->info.device_bytes <= 1.15 * weights);
    free(got);
    ts_model_destroy(model);
    ts_golden_close(&g);
    ts_remove_model(dir);
}

typedef struct scratch_model {
    char dir[64], path[128];
} scratch_model;

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    fclose(file);
}

/* ---- VAEQ ---- */

/* One tensor in a mode: 0 f32, 1 f16, 2 i8 with a scale per row of matrices. */
static void put_tensor(ts_buf *out, int mode, const float *v, int64_t n, int64_t rows)
{
    uint32_t head[2] = {(uint32_t)n, (uint32_t)rows};
    if (mode == 0)
        ts_buf_append(out, v, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n && mode == 1; i++) {
        uint16_t bits = ts_f32_to_f16(v[i]);
        ts_buf_append(out, &bits, sizeof bits);
    }
    if (mode != 2)
        return;
    ts_buf_append(out, head, sizeof head);
    float *scale = calloc((size_t)rows, sizeof *scale);
    for (int64_t i = 0; i < n; i++)
        scale[i / (n / rows)] = fmaxf(scale[i / (n / rows)], fmaxf(fabsf(v[i]), 1e-8f));
    for (int64_t r = 0; r < rows; r++)
        scale[r] /= 127;
    ts_buf_append(out, scale, (size_t)rows * sizeof *scale);
    for (int64_t i = 0; i < n; i++) {
        int8_t q = (int8_t)lrintf(v[i] / scale[i / (n / rows)]);
        ts_buf_append(out, &q, 1);
    }
    ts_buf_append(out, "\0\0\0", (size_t)((4 - n % 4) % 4));
    free(scale);
}

static float *named(ts_weights *w, const json_t *layer, const char *key)
{
    ts_error err = {0};
    float *v;
    CHECK_OK(ts_weights_f32(w, json_string_value(json_object_get(layer, key)), NULL, &v, &err));
    return v;
}

/* The layers' weights in order, batch norms folded into what is before them. */
static uint32_t put_layers(ts_buf *out, int mode, ts_weights *w, const json_t *layers)
{
    uint32_t n = 0;
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i), *next = json_array_get(layers, i + 1);
        const char *op = json_string_value(json_object_get(layer, "op"));
        const char *after = json_string_value(json_object_get(next, "op"));
        n += put_layers(out, mode, w, json_object_get(layer, "layers"));
        if (strcmp(op, "linear") && strcmp(op, "conv2d"))
            continue;
        int64_t rows = json_integer_value(json_object_get(layer, "out"));
        const char *name = json_string_value(json_object_get(layer, "weight"));
        int64_t size = ts_shape_elements(&ts_weights_find(w, name)->shape);
        float *weight = named(w, layer, "weight"), *bias = named(w, layer, "bias");
        if (after && !strcmp(after, "batchnorm2d")) {
            float *p[4], *scale = calloc((size_t)rows * 2, sizeof *scale);
            static const char *const parts[] = {"weight", "bias", "mean", "var"};
            for (int k = 0; k < 4; k++)
                p[k] = named(w, next, parts[k]);
            ts_batch_norm_fold(rows, p[0], p[1], p[2], p[3], 1e-5, scale, scale + rows);
            ts_fold_into_weight(rows, size / rows, scale, scale + rows, weight, bias);
            for (int k = 0; k < 4; k++)
                free(p[k]);
            free(scale);
        }
        put_tensor(out, mode, weight, size, rows);
        put_tensor(out, mode, bias, rows, 1);
        free(weight);
        free(bias);
        n += 2;
    }
    return n;
}

static void vaeq_files_load_in_every_mode(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_weights *w;
    ts_buf text = {0};
    json_t *config;
    scratch_model m = {.dir = "/tmp/ts-vaeq-XXXXXX"};
    ts_golden g;
    ts_golden_open(GOLDEN "photo.safetensors", &g);
    assert_non_null(mkdtemp(m.dir));
    CHECK_OK(ts_weights_open(BUILTIN "photo-decoder-q4", NULL, 0, &w, &err));
    CHECK_OK(ts_fs_read(BUILTIN "photo-decoder-q4/config.json", 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &config, &err));
    ts_buf_finish(&text);
    json_object_del(config, "latent"); /* its tensors have no place in such a file */
    json_object_set_new(config, "weights", json_string("model.vaeq"));
    ts_json_write(config, &text);
    snprintf(m.path, sizeof m.path, "%s/config.json", m.dir);
    write_file(m.path, text.data, text.len);
    ts_model *original = load(f, BUILTIN "photo-decoder-q4");
    float *z = ts_golden_f32(&g, "latents");
    size_t one = 3 * 128 * 128;
    float *want = calloc(16 * one, sizeof *want), *got = calloc(16 * one, sizeof *got);
    CHECK_OK(ts_vae_decode_f32(ts_vae_of(original), z, 16, want, &err));
    for (int mode = -1; mode < 3; mode++) { /* -1: raw f32 without a header */
        ts_buf file = {0};
        uint32_t head[4] = {0x56414551, 1, (uint32_t)mode, 0};
        if (mode >= 0)
            ts_buf_append(&file, head, sizeof head);
        head[3] = put_layers(&file, mode < 0 ? 0 : mode, w, json_object_get(config, "layers"));
        if (mode >= 0)
            memcpy(file.data + 12, &head[3], 4);
        snprintf(m.path, sizeof m.path, "%s/model.vaeq", m.dir);
        write_file(m.path, file.data, file.len);
        ts_model *model = load(f, m.dir);
        assert_false(ts_vae_get_info(ts_vae_of(model))->has_encoder);
        CHECK_OK(ts_vae_decode_f32(ts_vae_of(model), z, 16, got, &err));
        ts_model_destroy(model);
        for (size_t k = 0; k < 16; k++) {
            double mse = 0, worst = 0;
            for (size_t i = k * one; i < (k + 1) * one; i++) {
                double d = fabs((double)got[i] - want[i]);
                worst = d > worst ? d : worst;
                mse += d * d / (double)one;
            }
            ts_check_close(worst, 0, mode == 2 ? 1 : mode == 1 ? 2e-3 : 1e-5, 0, "worst", k);
            if (mode == 2 && !(-10 * log10(mse) >= 42))
                fail_msg("i8 latent %zu: %.2f dB, want 42", k, -10 * log10(mse));
        }
        /* Cut short, too long, another count: refused. */
        ts_model *none = NULL;
        write_file(m.path, file.data, file.len - 4);
        CHECK_STATUS(TS_E_FILE, ts_model_load(f->queue, m.dir, &none, &err));
        ts_buf_append(&file, "abcd", 4);
        write_file(m.path, file.data, file.len);
        CHECK_STATUS(TS_E_FILE, ts_model_load(f->queue, m.dir, &none, &err));
        ts_buf_finish(&file);
    }
    unlink(m.path);
    ts_remove_model(m.dir);
    free(z);
    free(want);
    free(got);
    ts_buf_finish(&text);
    json_decref(config);
    ts_weights_close(w);
    ts_model_destroy(original);
    ts_golden_close(&g);
}

/* ---- malformed models ---- */

static void put_model(scratch_model *m, const char *config, size_t weight_bytes)
{
    char header[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[4,2],\"data_offsets\":[0,32]},"
                    "\"nan\":{\"dtype\":\"F32\",\"shape\":[4,2],\"data_offsets\":[32,64]}}";
    uint8_t file[512] = {0};
    file[0] = (uint8_t)strlen(header);
    memcpy(file + 8, header, strlen(header));
    memset(file + 8 + strlen(header) + 32, 0xff, 32);
    snprintf(m->path, sizeof m->path, "%s/model.safetensors", m->dir);
    write_file(m->path, file, weight_bytes ? weight_bytes : 8 + strlen(header) + 64);
    snprintf(m->path, sizeof m->path, "%s/config.json", m->dir);
    write_file(m->path, config, strlen(config));
}

#define CONFIG(layers)                                                        \
    "{\"format\":\"tensorscope-vae/"                                          \
    "1\",\"latent_dim\":2,\"output\":{\"shape\":[1,2,2]},\"layers\":[" layers \
    "],\"weights\":\"model.safetensors\"}"
#define LINEAR(w) "{\"op\":\"linear\",\"in\":2,\"out\":4,\"weight\":\"" w "\"}"
#define RESHAPE   ",{\"op\":\"reshape\",\"shape\":[1,2,2]}"

static void malformed_models_are_refused_by_name(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const struct {
        const char *config, *says;
        size_t cut;
    } bad[] = {
        {"{", "config.json", 0},
        {"{\"format\":\"other\"}", "not a model", 0},
        {CONFIG(LINEAR("w")), "output.shape", 0},
        {CONFIG(LINEAR("x") RESHAPE), "layers.0 (linear): tensor x is missing", 0},
        {CONFIG(LINEAR("nan") RESHAPE), "nan", 0},
        {CONFIG(LINEAR("w") ",{\"op\":\"fly\"}"), "layers.1 (fly)", 0},
        {CONFIG(LINEAR("w") ",{\"op\":\"relu\",\"slope\":1}"), "slope", 0},
        {CONFIG("{\"op\":\"linear\",\"in\":3,\"out\":4,\"weight\":\"w\"}"),
         "w is [4,2], want [4,3]", 0},
        {CONFIG(LINEAR("w") ",{\"op\":\"reshape\",\"shape\":[1,2,3]}"), "reshape", 0},
        {CONFIG(
             LINEAR("w") ",{\"op\":\"conv2d\",\"in\":1,\"out\":1,\"kernel\":3,\"weight\":\"w\"}"),
         "layers.1 (conv2d)", 0},
        {CONFIG(LINEAR("w") ",{\"op\":\"add\",\"from\":\"a\"}"), "saved", 0},
        {CONFIG(LINEAR("w") RESHAPE), "model.safetensors", 100},
        {CONFIG(LINEAR("w") RESHAPE), "model.safetensors", 5},
        {"{\"format\":\"tensorscope-vae/1\",\"latent_dim\":2,\"depth\":1}", "depth", 0},
    };
    scratch_model m = {.dir = "/tmp/ts-vae-XXXXXX"};
    assert_non_null(mkdtemp(m.dir));
    ts_model *model = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_model(&m, bad[i].config, bad[i].cut);
        ts_status st = ts_model_load(f->queue, m.dir, &model, &err);
        if (st != TS_E_FILE || !strstr(err.text, bad[i].says))
            fail_msg("case %zu: %s \"%s\", want \"%s\"", i, ts_status_code(st), err.text,
                     bad[i].says);
        ts_error_clear(&err);
    }
    put_model(&m, CONFIG(LINEAR("w") RESHAPE), 0);
    CHECK_OK(ts_model_load(f->queue, m.dir, &model, &err));
    ts_model_destroy(model);
    unlink(m.path);
    snprintf(m.path, sizeof m.path, "%s/model.safetensors", m.dir);
    unlink(m.path);
    rmdir(m.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_decode_as_recorded),
        cmocka_unit_test(photos_decode_as_recorded),
        cmocka_unit_test(a_grid_is_one_batch_and_equals_its_picture),
        cmocka_unit_test(extreme_latents_stay_finite),
        cmocka_unit_test(pictures_encode_as_recorded),
        cmocka_unit_test(autoencoder_kl_decodes_and_encodes_as_recorded),
        cmocka_unit_test(large_latents_are_decoded_in_tiles),
        cmocka_unit_test(taps_of_fused_layers_come_from_an_equal_network),
        cmocka_unit_test(the_full_width_decoder_gives_the_recorded_pictures),
        cmocka_unit_test(vaeq_files_load_in_every_mode),
        cmocka_unit_test(malformed_models_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
