/* Any octets as a safetensors file, through both readers: of headers and of whole files. */
#include <stdlib.h>

#include "cl/tensor/safetensors.h"
#include "cl/tensor/st_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Entries cover the data without gap or overlap, and their names find them. */
static void check(const ts_st_header *file)
{
    uint64_t end = 0;
    for (size_t i = 0; i < file->n; i++) {
        const ts_st_entry *e = &file->entries[i];
        if (e->offset != end || ts_st_header_find(file, e->name) != e)
            abort();
        end += e->nbytes;
    }
    if (end != file->data_bytes)
        abort();
}

static uint32_t sum(const uint8_t *data, size_t n)
{
    uint32_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += data[i];
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t need;
    ts_st_header header;
    ts_safetensors file;
    if (ts_st_header_need(data, size, &need, NULL) == TS_OK &&
        ts_st_header_parse(data, size, UINT64_MAX, &header, NULL) == TS_OK)
    {
        check(&header);
        ts_st_header_finish(&header);
    }
    if (ts_safetensors_parse(data, size, &file, NULL) == TS_OK) {
        volatile uint32_t total = 0;
        for (size_t i = 0; i < file.n; i++)
            total += sum(file.tensor[i].data, file.tensor[i].nbytes);
        ts_safetensors_finish(&file);
    }
    return 0;
}
