/* Any octets as a configuration file. */
#include "server/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ts_error err = {0};
    if (ts_options_check_text(data, size, &err) != TS_OK && !err.text[0])
        __builtin_trap(); /* a refusal says why */
    ts_error_clear(&err);
    return 0;
}
