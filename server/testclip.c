#include "server/testclip.h"

#include <string.h>

static const char *const names[] = {"static", "pan", "pulse", "local-motion"};

ts_status ts_test_clip_parse(const char *name, ts_test_clip *out, ts_error *err)
{
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i])) {
            *out = (ts_test_clip)i;
            return TS_OK;
        }
    return ts_fail(err, TS_E_OPTION, "test: no '%s'; static, pan, pulse or local-motion", name);
}

/* A picture with soft slopes, hard edges and fine texture. */
static void pixel(int x, int y, int w, int h, uint8_t *p)
{
    uint32_t noise = ((uint32_t)x * 73856093u ^ (uint32_t)y * 19349663u) * 2654435761u;
    int check = (x / 32 + y / 32) % 2 ? 24 : 0;
    p[0] = (uint8_t)(40 + 160 * x / w + check);
    p[1] = (uint8_t)(40 + 160 * y / h + check);
    p[2] = (uint8_t)(96 + (noise >> 27) + check);
    p[3] = 255;
}

/* How many frames of movement have passed by frame t. */
static int64_t moved(ts_test_clip clip, int64_t t)
{
    enum {
        STILL = 16,
        MOVING = 24,
        CYCLE = 48
    };
    if (clip == TS_TEST_PAN)
        return t;
    if (clip == TS_TEST_LOCAL_MOTION)
        return t < MOVING ? t : MOVING;
    if (clip != TS_TEST_PULSE)
        return 0;
    int64_t in_cycle = t % CYCLE - STILL;
    in_cycle = in_cycle < 0 ? 0 : in_cycle > MOVING ? MOVING : in_cycle;
    return t / CYCLE * MOVING + in_cycle;
}

static void draw_patch(int64_t step, int w, int h, uint8_t *rgba)
{
    int side = (w < h ? w : h) / 6;
    int x0 = w / 8 + (int)(step * (w / 2) / 24), y0 = h / 3;
    for (int y = y0; y < y0 + side && y < h; y++)
        for (int x = x0; x < x0 + side && x < w; x++) {
            uint8_t *p = rgba + 4 * ((size_t)y * (size_t)w + (size_t)x);
            p[0] = (uint8_t)(230 - 2 * (y - y0));
            p[1] = (uint8_t)((x - x0) % 8 < 4 ? 210 : 60);
            p[2] = 40;
        }
}

void ts_test_clip_frame(ts_test_clip clip, int64_t t, int w, int h, uint8_t *rgba)
{
    int64_t step = moved(clip, t);
    bool pan = clip == TS_TEST_PAN || clip == TS_TEST_PULSE;
    int dx = pan ? (int)(9 * step % w) : 0, dy = pan ? (int)(5 * step % h) : 0;
    uint8_t *p = rgba;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, p += 4)
            pixel((x - dx + w) % w, (y - dy + h) % h, w, h, p);
    if (clip == TS_TEST_LOCAL_MOTION)
        draw_patch(step, w, h, rgba);
}
