/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hwpc_options.c - hwpc-sensor's JSON file, and its command line with the words parted by NUL
 * bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "sensor/hwpc_options.h"

#define MAX_WORDS 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_json(const char *text, size_t size)
{
    struct cb_hwpc_options options = {0};
    struct cb_err err = {0};

    if (cb_hwpc_options_json(text, size, "f", &options, &err) < 0 && !*err.text)
        abort();
    cb_hwpc_options_fini(&options);
}

/* A word that would read a file is left out: nothing outside is meant here. */
static void read_line(char *text, size_t size)
{
    static char program[] = "cbsensor";
    char *argv[MAX_WORDS + 1] = {program};
    char *rest[MAX_WORDS + 1];
    struct cb_hwpc_options options;
    struct cb_err err = {0};
    int argc = 1, n = 0;

    for (char *at = text; at < text + size && argc < MAX_WORDS; at += strlen(at) + 1)
        if (!strchr(at, 'x') || strncmp(at, "--", 2) == 0)
            argv[argc++] = strncmp(at, "--config", 8) == 0 ? program : at;
    argv[argc] = NULL;
    (void)cb_hwpc_options_are_meant(argc, argv);
    if (cb_hwpc_options_parse(argc, argv, &options, &n, rest, &err) == 0)
        (void)!cb_hwpc_options_check(&options, false, &err);
    else if (!*err.text)
        abort();
    if (n > argc)
        abort();
    cb_hwpc_options_fini(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    read_json(text, size);
    read_line(text, size);
    free(text);
    return 0;
}
