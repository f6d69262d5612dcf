/*
 * What drives a fuzz target where libFuzzer does not: every file of the directories named, then
 * altered copies of each, the same ones every time.
 *
 * usage: fuzz_NAME [-n ALTERED] [-o FILE] DIR|FILE…      -o keeps the input that is being tried
 */
#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 0x9e3779b97f4a7c15u;
static const char *keep;
static size_t tried;

static uint32_t roll(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? (uint32_t)(state >> 32) % below : 0;
}

static void try_one(const uint8_t *data, size_t size)
{
    /* An exact copy, so that a sanitizer sees any step past its end. */
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return;
    memcpy(copy, data, size);
    FILE *f = keep ? fopen(keep, "wb") : NULL;
    if (f) {
        fwrite(copy, 1, size, f);
        fclose(f);
    }
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    tried++;
}

/* One small change; `data` has room for `size` + 16. Returns the new size. */
static size_t alter(uint8_t *data, size_t size)
{
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', ']', '-', '9', ','};
    uint32_t at = roll((uint32_t)size), n = 1 + roll(8);
    switch (roll(6)) {
    case 0:
        if (size)
            data[at] ^= (uint8_t)(1u << roll(8));
        return size;
    case 1:
        if (size)
            data[at] = odd[roll(sizeof odd)];
        return size;
    case 2:
        return at; /* cut off */
    case 3:
        memmove(data + at + n, data + at, size - at);
        for (uint32_t i = 0; i < n; i++)
            data[at + i] = odd[roll(sizeof odd)];
        return size + n;
    case 4:
        n = n < size - at ? n : (uint32_t)(size - at);
        memmove(data + at, data + at + n, size - at - n);
        return size - n;
    default:
        for (uint32_t i = 0; i < n && at + i < size; i++)
            data[at + i] = (uint8_t)roll(256);
        return size;
    }
}

static bool run_file(const char *path, unsigned altered)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    uint8_t *data = malloc(1 << 20), *copy = malloc((1 << 20) + 256);
    size_t size = data ? fread(data, 1, 1 << 20, f) : 0;
    fclose(f);
    if (data && copy) {
        try_one(data, size);
        for (unsigned i = 0; i < altered; i++) {
            memcpy(copy, data, size);
            size_t n = size;
            for (uint32_t k = 1 + roll(4); k; k--)
                n = alter(copy, n);
            try_one(copy, n);
        }
    }
    free(data);
    free(copy);
    return true;
}

static bool run_path(const char *path, unsigned altered)
{
    DIR *dir = opendir(path);
    if (!dir)
        return run_file(path, altered);
    for (struct dirent *e; (e = readdir(dir));) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            run_file(file, altered);
    }
    closedir(dir);
    return true;
}

int main(int argc, char **argv)
{
    unsigned altered = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
            altered = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
            keep = argv[++i];
        else if (!run_path(argv[i], altered)) {
            fprintf(stderr, "%s: not there\n", argv[i]);
            return 2;
        }
    }
    printf("%zu inputs\n", tried);
    return tried ? 0 : 2;
}
