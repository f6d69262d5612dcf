#include "cl/viz/font.h"

/* One code point; a malformed byte is U+FFFD. */
static uint32_t next_code(const char **text)
{
    const unsigned char *s = (const unsigned char *)*text;
    int more = s[0] < 0x80       ? 0
               : s[0] >> 5 == 6  ? 1
               : s[0] >> 4 == 14 ? 2
               : s[0] >> 3 == 30 ? 3
                                 : -1;
    *text += 1;
    if (more <= 0)
        return more == 0 ? s[0] : 0xfffd;
    uint32_t code = s[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++) {
        if (s[i] >> 6 != 2)
            return 0xfffd;
        code = code << 6 | (s[i] & 0x3f);
    }
    *text += more;
    return code;
}

int ts_font_next(const char **text)
{
    uint32_t code = next_code(text);
    if (code == 0x3bc) /* Greek mu looks like the micro sign */
        code = 0xb5;
    if (code >= 0x20 && code < 0x7f)
        return (int)code - 0x20;
    for (int i = 0; i < FONT_GLYPHS; i++)
        if (ts_font_codes[i] == code)
            return i;
    return '?' - 0x20;
}
