/* The grey card of streams without a picture: drawn on the host, no device needed. */
#include <string.h>

#include "cl/viz/font.h"
#include "cl/viz/viz.h"

enum {
    CARD_GREY = 64,
    CARD_TEXT = 200
};

/* One grey pixel in any format. */
static void put_grey(ts_pixels *p, int x, int y, uint8_t grey)
{
    uint8_t *at = (uint8_t *)p->plane[0] + (size_t)y * p->stride[0];
    switch (p->format) {
    case TS_PIXELS_RGB8:
        memset(at + 3 * x, grey, 3);
        break;
    case TS_PIXELS_RGBA8:
        memset(at + 4 * x, grey, 3);
        at[4 * x + 3] = 255;
        break;
    case TS_PIXELS_RGBA16:
        for (int c = 0; c < 4; c++)
            ((uint16_t *)at)[4 * x + c] = (uint16_t)((c < 3 ? grey : 255) * 257);
        break;
    case TS_PIXELS_RGBA32F:
        for (int c = 0; c < 4; c++)
            ((float *)at)[4 * x + c] = c < 3 ? (float)grey / 255.0f : 1.0f;
        break;
    case TS_PIXELS_I420: /* limited range: 16 … 235 */
        at[x] = (uint8_t)(16 + (grey * 219 + 127) / 255);
        break;
    case TS_PIXELS_INDEXED:
        at[x] = grey == CARD_TEXT;
        break;
    }
}

static void fill(ts_pixels *p)
{
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++)
            put_grey(p, x, y, CARD_GREY);
    if (p->format == TS_PIXELS_I420)
        for (int i = 1; i < 3; i++)
            memset((uint8_t *)p->plane[i], 128, p->stride[i] * (((size_t)p->height + 1) / 2));
    p->n_colors = 2;
    memset(p->palette[0], CARD_GREY, 3);
    memset(p->palette[1], CARD_TEXT, 3);
}

static void draw_glyph(ts_pixels *p, int x, int y, int glyph)
{
    for (int row = 0; row < FONT_HEIGHT; row++)
        for (int i = 0; i < FONT_WIDTH; i++)
            if ((ts_font_rows[glyph][row] >> (7 - i) & 1) && x + i >= 0 && x + i < p->width &&
                y + row >= 0 && y + row < p->height)
                put_grey(p, x + i, y + row, CARD_TEXT);
}

enum {
    MAX_LINES = 32,
    MAX_CELLS = 256
};

/* Break at newlines and at the picture's width; returns the number of lines. */
static int break_lines(const char *text, int most, int line_of[MAX_LINES][MAX_CELLS],
                       int length[MAX_LINES])
{
    int n = 0;
    length[0] = 0;
    while (*text) {
        bool newline = *text == '\n';
        int glyph = ts_font_next(&text);
        if (newline || length[n] == most) {
            if (++n == MAX_LINES)
                return n;
            length[n] = 0;
        }
        if (!newline)
            line_of[n][length[n]++] = glyph;
    }
    return n + 1;
}

ts_pixels *ts_viz_card(int width, int height, ts_pixel_format format, const char *text)
{
    ts_pixels *p = ts_pixels_create(format, width, height);
    if (!p)
        return NULL;
    fill(p);
    int line_of[MAX_LINES][MAX_CELLS], length[MAX_LINES];
    int most = (width - 8) / FONT_WIDTH;
    most = most < MAX_CELLS ? most : MAX_CELLS;
    if (!text || most < 1)
        return p;
    int lines = break_lines(text, most, line_of, length);
    int y = (height - lines * FONT_HEIGHT) / 2;
    for (int i = 0; i < lines; i++, y += FONT_HEIGHT)
        for (int k = 0; k < length[i]; k++)
            draw_glyph(p, (width - length[i] * FONT_WIDTH) / 2 + k * FONT_WIDTH, y, line_of[i][k]);
    return p;
}
