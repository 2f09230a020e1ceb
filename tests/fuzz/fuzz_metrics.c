/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_metrics.c - every parser of sensor/metrics_parse.c: the first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/metrics_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static cb_metrics_parser *const parsers[] = {
        cb_metrics_parse_number, cb_metrics_parse_keyed,    cb_metrics_parse_nested,
        cb_metrics_parse_blkio,  cb_metrics_parse_pressure, cb_metrics_parse_netdev,
    };
    static const struct cb_metrics_key keys[] = {
        {"some", 1000, 0}, {"rbytes", 1, 1}, {"Read", 1, 2}, {"rx_bytes", 1, 3}, {0},
    };
    uint64_t values[4] = {0};
    char *text;

    if (size == 0)
        return 0;
    text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    parsers[data[0] % (sizeof(parsers) / sizeof(parsers[0]))](text, keys, values);
    free(text);
    return 0;
}
