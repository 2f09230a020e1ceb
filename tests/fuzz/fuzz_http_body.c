/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_http_body.c - the bodies of the HTTP API: the first byte chooses begin or end. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formula/http_private.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_begin(const char *body, size_t size)
{
    struct cb_store_test test;
    struct cb_err err = {0};
    char *args = NULL;
    int r = cb_http_parse_begin(body, size, &test, &args, &err);

    if (r < 0) {
        assert(err.code == -r && err.text[0]);
        assert(!args);
        return;
    }
    assert(test.name[0] && test.boot_id[0] && args[0] == '[');
    free(args);
}

static void try_end(const char *body, size_t size)
{
    struct cb_store_test test;
    struct cb_err err = {0};
    int r = cb_http_parse_end(body, size, &test, &err);

    if (r < 0) {
        assert(err.code == -r && err.text[0]);
        return;
    }
    assert(test.container_id[0] && test.begin_ns < test.end_ns);
    assert(!test.has_warmup || (test.begin_ns <= test.warmup_ns && test.warmup_ns <= test.end_ns));
    assert(!test.has_execution ||
           (test.begin_ns <= test.execution_ns && test.execution_ns <= test.end_ns));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 'b')
        try_begin((const char *)data + 1, size - 1);
    else
        try_end((const char *)data + 1, size - 1);
    return 0;
}
