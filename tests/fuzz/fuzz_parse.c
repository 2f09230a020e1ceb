/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_parse.c - lib/parse: what is accepted is written back as the same value. */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "lib/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
    if (!ok)
        abort();
}

static void numbers(const char *text)
{
    char again[64];
    uint64_t u = 77;
    uint64_t v;
    double d = 77;
    double e;

    if (cb_parse_u64(text, &u) == 0) {
        (void)snprintf(again, sizeof(again), "%" PRIu64 "\n", u);
        must(cb_parse_u64(again, &v) == 0 && v == u);
        must(cb_parse_double(text, &d) == 0);
    } else {
        must(u == 77);
    }
    d = 77;
    if (cb_parse_double(text, &d) == 0) {
        must(isfinite(d));
        (void)snprintf(again, sizeof(again), "%.17g", d);
        must(cb_parse_double(again, &e) == 0 && e == d);
    } else {
        must(d == 77);
    }
    u = 77;
    if (cb_parse_duration(text, &u) == 0) {
        (void)snprintf(again, sizeof(again), "%" PRIu64 "ns", u);
        must(u <= INT64_MAX && (u > (UINT64_C(1) << 53) || cb_parse_duration(again, &v) == 0));
    } else {
        must(u == 77);
    }
}

static void cpulist(const char *text)
{
    uint8_t set[300];
    size_t count = 77;
    size_t n = 0;

    if (cb_parse_cpulist(text, set, sizeof(set), &count) < 0) {
        must(count == 77);
        return;
    }
    for (size_t i = 0; i < sizeof(set); i++) {
        must(set[i] <= 1);
        n += set[i];
    }
    must(n == count);
}

static void cleaned(char *text)
{
    char again[4096];
    size_t n = strlen(text);

    if (n >= sizeof(again))
        return;
    cb_utf8_clean(text);
    must(strlen(text) <= n);
    memcpy(again, text, strlen(text) + 1);
    cb_utf8_clean(again);
    must(strcmp(again, text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    numbers(text);
    cpulist(text);
    cleaned(text);
    free(text);
    return 0;
}
