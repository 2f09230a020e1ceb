/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_config_file.c - cbsensor's YAML: what is accepted is printed, and read back it is the same.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/config_file.h"
#include "sensor/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(void *context, const char *text)
{
    (void)context;
    if (strchr(text, '\n'))
        abort();
}

static struct cb_config_file *load(const char *text, size_t size, struct cb_sensor_options *options)
{
    char program[] = "cbsensor";
    char *argv[] = {program, NULL};
    struct cb_config_file *file = NULL;
    int next;

    if (cb_config_file_parse(text, size, "f", cb_sensor_opts, NULL, NULL, &file, NULL) < 0)
        return NULL;
    memset(options, 0, sizeof(*options));
    /* more entries of a list than it holds are told here */
    if (cb_config_parse_with(cb_sensor_opts, NULL, file, 1, argv, options, &next, NULL) < 0)
        file = cb_config_file_free(file);
    return file;
}

static char *print(const struct cb_sensor_options *options, size_t *ret_size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_size);

    if (!out)
        abort();
    cb_config_file_print(out, cb_sensor_opts, options);
    (void)fclose(out);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cb_sensor_options first, second;
    struct cb_config_file *file = NULL, *again;
    char *text, *same;
    size_t length, same_length;

    if (cb_config_file_parse((const char *)data, size, "f", cb_sensor_opts, ignore, NULL, &file,
                             NULL) == 0)
        file = cb_config_file_free(file);
    file = load((const char *)data, size, &first);
    if (!file)
        return 0;
    text = print(&first, &length);
    again = load(text, length, &second);
    if (!again)
        abort();
    same = print(&second, &same_length);
    if (strcmp(text, same) != 0)
        abort();
    free(text);
    free(same);
    file = cb_config_file_free(file);
    again = cb_config_file_free(again);
    return 0;
}
