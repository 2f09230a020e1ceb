/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_usage.c - the packed usage of containers: what is taken packs to the same bytes again. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formula/usage.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cb_usage usage = {0};
    struct cb_err err = {0};
    uint8_t *bytes = NULL;
    size_t packed = 0;
    int r = cb_usage_unpack(data, size, &usage, &err);

    if (r < 0) {
        assert(err.code == -r && err.text[0]);
    } else {
        assert(cb_usage_pack(&usage, &bytes, &packed, NULL) == 0);
        assert(packed == size && memcmp(bytes, data, size) == 0);
        free(bytes);
    }
    cb_usage_clear(&usage);
    return 0;
}
