#include "cl/base/name.h"

#include <string.h>

static bool letter_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

bool ts_name_valid(const char *name)
{
    size_t len = 0;
    if (!name || !letter_digit(name[0]))
        return false;
    for (; name[len]; len++)
        if (len == TS_NAME_MAX ||
            !(letter_digit(name[len]) || name[len] == '.' || name[len] == '-'))
            return false;
    return true;
}

ts_status ts_name_check(const char *what, const char *name, ts_error *err)
{
    if (ts_name_valid(name))
        return TS_OK;
    return ts_fail(
        err, TS_E_NAME,
        "'%.140s' is no %s name: 1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or -",
        name ? name : "", what);
}
