/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_result.c - the packed result: what is accepted packs to the same bytes again. */
#include <stdlib.h>
#include <string.h>

#include "formula/result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cb_result result = {0};
    uint8_t *bytes = NULL;
    size_t n = 0;

    if (cb_result_unpack(data, size, &result, NULL) == 0) {
        if (cb_result_pack(&result, &bytes, &n, NULL) < 0 || n != size || memcmp(bytes, data, n))
            abort();
        free(bytes);
    }
    cb_result_clear(&result);
    return 0;
}
