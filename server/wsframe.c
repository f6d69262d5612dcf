#include "server/wsframe.h"

#include <string.h>

enum {
    STATE_HEAD,
    STATE_PAYLOAD,
    STATE_CONTROL,
    STATE_FAILED
};

/* ---- UTF-8 (RFC 3629): the second octet's range shuts out overlong forms and surrogates ---- */

static bool utf8_lead(ts_utf8 *s, uint8_t c)
{
    s->lo = 0x80;
    s->hi = 0xbf;
    if (c < 0xc2 || c > 0xf4)
        return false;
    if (c < 0xe0) {
        s->need = 1;
    } else if (c < 0xf0) {
        s->need = 2;
        if (c == 0xe0)
            s->lo = 0xa0;
        else if (c == 0xed)
            s->hi = 0x9f;
    } else {
        s->need = 3;
        if (c == 0xf0)
            s->lo = 0x90;
        else if (c == 0xf4)
            s->hi = 0x8f;
    }
    return true;
}

bool ts_utf8_feed(ts_utf8 *s, const uint8_t *data, size_t len)
{
    size_t i = 0;
    while (i < len) {
        if (!s->need) {
            uint64_t word;
            while (len - i >= sizeof word) {
                memcpy(&word, data + i, sizeof word);
                if (word & 0x8080808080808080u)
                    break;
                i += sizeof word;
            }
            while (i < len && data[i] < 0x80)
                i++;
            if (i < len && !utf8_lead(s, data[i++]))
                return false;
            continue;
        }
        if (data[i] < s->lo || data[i] > s->hi)
            return false;
        s->lo = 0x80;
        s->hi = 0xbf;
        s->need--;
        i++;
    }
    return true;
}

/* ---- server frames ---- */

size_t ts_wsframe_header(uint8_t out[TS_WS_MAX_HEADER], int opcode, uint64_t len)
{
    out[0] = (uint8_t)(0x80 | opcode);
    if (len < 126) {
        out[1] = (uint8_t)len;
        return 2;
    }
    if (len < 65536) {
        out[1] = 126;
        out[2] = (uint8_t)(len >> 8);
        out[3] = (uint8_t)len;
        return 4;
    }
    out[1] = 127;
    for (int i = 0; i < 8; i++)
        out[2 + i] = (uint8_t)(len >> (56 - 8 * i));
    return 10;
}

size_t ts_wsframe_close_payload(uint8_t out[TS_WS_MAX_CONTROL], int code, const char *reason)
{
    out[0] = (uint8_t)(code >> 8);
    out[1] = (uint8_t)code;
    size_t n = reason ? strlen(reason) : 0;
    if (n > TS_WS_MAX_CONTROL - 2) {
        n = TS_WS_MAX_CONTROL - 2;
        while (n > 0 && ((uint8_t)reason[n] & 0xc0) == 0x80)
            n--;
    }
    if (n)
        memcpy(out + 2, reason, n);
    return n + 2;
}

bool ts_wsframe_close_code_valid(int code)
{
    if (code >= 3000 && code <= 4999)
        return true;
    return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

/* ---- the parser ---- */

void ts_wsframe_init(ts_wsframe *p, uint64_t max_text, uint64_t max_binary)
{
    memset(p, 0, sizeof *p);
    p->max_text = max_text;
    p->max_binary = max_binary;
    p->head_need = 2;
}

static void fail(ts_wsframe *p, ts_ws_event *e, int code, const char *reason)
{
    /* kept in `left` and `control`-free fields so that later calls repeat it */
    p->state = STATE_FAILED;
    p->left = (uint64_t)code;
    e->kind = TS_WS_EVENT_ERROR;
    e->close_code = code;
    e->reason = reason;
}

static bool is_control(int opcode)
{
    return opcode >= 8;
}

/* What the first two octets alone can show to be wrong; NULL where nothing is. */
static const char *check_start(const ts_wsframe *p)
{
    int opcode = p->head[0] & 15;
    bool fin = p->head[0] & 0x80;
    int len7 = p->head[1] & 127;
    if (p->head[0] & 0x70)
        return "a reserved bit is set";
    if ((opcode > 2 && opcode < 8) || opcode > 10)
        return "reserved opcode";
    if (!(p->head[1] & 0x80))
        return "client frames must be masked";
    if (is_control(opcode)) {
        if (!fin)
            return "fragmented control frame";
        if (len7 > TS_WS_MAX_CONTROL)
            return "control frame over 125 octets";
        return NULL;
    }
    if (opcode == TS_WS_CONTINUATION && !p->in_message)
        return "continuation with nothing to continue";
    if (opcode != TS_WS_CONTINUATION && p->in_message)
        return "new message inside a fragmented one";
    return NULL;
}

static bool read_length(ts_wsframe *p, uint64_t *out)
{
    int len7 = p->head[1] & 127;
    if (len7 < 126) {
        *out = (uint64_t)len7;
        return true;
    }
    if (len7 == 126) {
        *out = (uint64_t)p->head[2] << 8 | p->head[3];
        return *out >= 126;
    }
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | p->head[2 + i];
    *out = n;
    return n >= 65536 && !(n >> 63);
}

/* The header is complete: set up the payload. False: failed. */
static bool begin_frame(ts_wsframe *p, ts_ws_event *e)
{
    uint64_t len;
    if (!read_length(p, &len)) {
        fail(p, e, TS_WS_CLOSE_PROTOCOL, "length not minimally encoded or out of range");
        return false;
    }
    p->opcode = p->head[0] & 15;
    p->fin = p->head[0] & 0x80;
    memcpy(p->mask, p->head + p->head_need - 4, 4);
    p->mask_at = 0;
    p->left = len;
    if (is_control(p->opcode)) {
        p->control_len = 0;
        p->state = STATE_CONTROL;
        return true;
    }
    if (p->opcode != TS_WS_CONTINUATION) {
        p->message_opcode = p->opcode;
        p->message_bytes = 0;
        p->in_message = true;
        p->started = false;
        memset(&p->utf8, 0, sizeof p->utf8);
    }
    uint64_t max = p->message_opcode == TS_WS_TEXT ? p->max_text : p->max_binary;
    if (len > max || p->message_bytes > max - len) {
        fail(p, e, TS_WS_CLOSE_TOO_BIG, "message over the limit");
        return false;
    }
    p->message_bytes += len;
    p->state = STATE_PAYLOAD;
    return true;
}

/* Collect header octets. Returns those used; the state changes once the header is whole. */
static size_t take_head(ts_wsframe *p, const uint8_t *data, size_t len, ts_ws_event *e)
{
    size_t used = 0;
    while (used < len && p->head_len < p->head_need) {
        p->head[p->head_len++] = data[used++];
        if (p->head_len != 2)
            continue;
        const char *wrong = check_start(p);
        if (wrong) {
            fail(p, e, TS_WS_CLOSE_PROTOCOL, wrong);
            return used;
        }
        int len7 = p->head[1] & 127;
        p->head_need = (uint8_t)(6 + (len7 == 126 ? 2 : len7 == 127 ? 8 : 0));
    }
    if (p->head_len == p->head_need)
        begin_frame(p, e);
    return used;
}

static void unmask(ts_wsframe *p, uint8_t *data, size_t len)
{
    uint8_t key[8];
    for (int i = 0; i < 8; i++)
        key[i] = p->mask[(p->mask_at + (unsigned)i) & 3];
    uint64_t k, word;
    memcpy(&k, key, 8);
    size_t i = 0;
    for (; len - i >= 8; i += 8) {
        memcpy(&word, data + i, 8);
        word ^= k;
        memcpy(data + i, &word, 8);
    }
    for (; i < len; i++)
        data[i] ^= key[i & 7];
    p->mask_at = (p->mask_at + (unsigned)(len & 3)) & 3;
}

static void end_frame(ts_wsframe *p)
{
    p->state = STATE_HEAD;
    p->head_len = 0;
    p->head_need = 2;
}

static size_t take_payload(ts_wsframe *p, uint8_t *data, size_t len, ts_ws_event *e)
{
    size_t n = len < p->left ? len : (size_t)p->left;
    unmask(p, data, n);
    p->left -= n;
    bool last = p->left == 0 && p->fin;
    if (p->message_opcode == TS_WS_TEXT) {
        if (!ts_utf8_feed(&p->utf8, data, n) || (last && p->utf8.need)) {
            fail(p, e, TS_WS_CLOSE_UTF8, "text is not UTF-8");
            return n;
        }
    }
    if (p->left == 0)
        end_frame(p);
    if (n == 0 && !last)
        return 0; /* an empty fragment */
    e->kind = TS_WS_EVENT_DATA;
    e->opcode = p->message_opcode;
    e->data = data;
    e->len = n;
    e->first = !p->started;
    e->last = last;
    p->started = true;
    if (last)
        p->in_message = false;
    return n;
}

static void finish_control(ts_wsframe *p, ts_ws_event *e)
{
    e->kind = TS_WS_EVENT_CONTROL;
    e->opcode = p->opcode;
    e->data = p->control;
    e->len = p->control_len;
    end_frame(p);
    if (p->opcode != TS_WS_CLOSE)
        return;
    e->close_code = TS_WS_CLOSE_NO_STATUS;
    if (e->len == 0)
        return;
    ts_utf8 utf8 = {0};
    int code = e->len >= 2 ? p->control[0] << 8 | p->control[1] : 0;
    if (!ts_wsframe_close_code_valid(code))
        fail(p, e, TS_WS_CLOSE_PROTOCOL, "invalid close code");
    else if (!ts_utf8_feed(&utf8, p->control + 2, e->len - 2) || utf8.need)
        fail(p, e, TS_WS_CLOSE_UTF8, "close reason is not UTF-8");
    else
        e->close_code = code;
}

static size_t take_control(ts_wsframe *p, uint8_t *data, size_t len, ts_ws_event *e)
{
    size_t n = len < p->left ? len : (size_t)p->left;
    unmask(p, data, n);
    memcpy(p->control + p->control_len, data, n);
    p->control_len = (uint8_t)(p->control_len + n);
    p->left -= n;
    if (p->left == 0)
        finish_control(p, e);
    return n;
}

size_t ts_wsframe_next(ts_wsframe *p, uint8_t *data, size_t len, ts_ws_event *e)
{
    memset(e, 0, sizeof *e);
    size_t used = 0;
    while (e->kind == TS_WS_EVENT_NONE) {
        if (p->state == STATE_FAILED) {
            fail(p, e, (int)p->left, "the connection has failed");
            return len;
        }
        /* an empty payload is an event of its own and needs no further octet */
        if (used == len && !(p->state != STATE_HEAD && p->left == 0))
            break;
        if (p->state == STATE_HEAD)
            used += take_head(p, data + used, len - used, e);
        else if (p->state == STATE_CONTROL)
            used += take_control(p, data + used, len - used, e);
        else
            used += take_payload(p, data + used, len - used, e);
    }
    return used;
}
