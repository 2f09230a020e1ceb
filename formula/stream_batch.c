/* SPDX-License-Identifier: Apache-2.0 */
/* stream_batch.c - batches and answers of streams. See stream.h. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "formula/result.h"
#include "formula/stream.h"
#include "lib/err.h"

#define FIRST_BYTES 4096

uint64_t cb_stream_uncertainty_uj(const struct cb_stream_share *share,
                                  const struct cb_stream_domain *domain)
{
    uint64_t bound = domain->energy_uj + (uint64_t)domain->source_uj;

    return cb_result_halfwidth(hypot(share->param_uj, share->source_uj), sqrt(share->noise2_uj2),
                               bound);
}

static bool reserve(struct cb_batch *batch, size_t size)
{
    size_t capacity = batch->capacity ? batch->capacity : FIRST_BYTES;
    char *moved;

    if (batch->failed || size > SIZE_MAX / 4 - batch->size) {
        batch->failed = true;
        return false;
    }
    if (batch->size + size <= batch->capacity)
        return true;
    while (capacity < batch->size + size)
        capacity *= 2;
    moved = realloc(batch->bytes, capacity);
    if (!moved) {
        batch->failed = true;
        return false;
    }
    batch->bytes = moved;
    batch->capacity = capacity;
    return true;
}

void cb_batch_add(struct cb_batch *batch, const void *bytes, size_t size)
{
    if (size == 0 || !reserve(batch, size))
        return;
    memcpy(batch->bytes + batch->size, bytes, size);
    batch->size += size;
}

void cb_batch_text(struct cb_batch *batch, const char *text)
{
    cb_batch_add(batch, text, strlen(text));
}

void cb_batch_printf(struct cb_batch *batch, const char *format, ...)
{
    char text[512];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(text))
        batch->failed = true; /* for numbers and names of our own; texts go through _text() */
    else
        cb_batch_add(batch, text, (size_t)n);
}

void cb_batch_clear(struct cb_batch *batch)
{
    free(batch->bytes);
    *batch = (struct cb_batch){0};
}

int cb_stream_set_aside(struct cb_stream_answer *answer, const void *bytes, size_t size,
                        uint64_t rows, const char *reason, struct cb_err *err)
{
    struct cb_stream_aside *aside = malloc(sizeof(*aside) + size);

    if (!aside)
        return cb_err_set(err, ENOMEM, "out of memory");
    aside->rows = rows;
    aside->size = size;
    (void)snprintf(aside->reason, sizeof(aside->reason), "%s", reason);
    if (size)
        memcpy(aside->bytes, bytes, size);
    aside->next = answer->asides;
    answer->asides = aside;
    return 0;
}
