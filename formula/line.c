/* SPDX-License-Identifier: Apache-2.0 */
/* line.c - see line.h. */
#include "formula/line.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

void cb_line_begin(struct cb_line *line, struct cb_batch *batch, const char *measurement)
{
    *line = (struct cb_line){.batch = batch, .begin = batch->size};
    cb_batch_text(batch, measurement);
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

void cb_line_tag(struct cb_line *line, const char *key, const char *value)
{
    struct cb_batch *batch = line->batch;

    if (!value[0])
        return;
    cb_batch_add(batch, ",", 1);
    cb_batch_text(batch, key);
    cb_batch_add(batch, "=", 1);
    for (; *value; value++) {
        if (*value == ' ' || *value == ',' || *value == '=')
            cb_batch_add(batch, "\\", 1);
        if (is_control(*value) || (*value == '\\' && !value[1]))
            cb_batch_add(batch, "_", 1);
        else
            cb_batch_add(batch, value, 1);
    }
}

void cb_line_tag_number(struct cb_line *line, const char *key, unsigned value)
{
    cb_batch_printf(line->batch, ",%s=%u", key, value);
}

static void field(struct cb_line *line, const char *key)
{
    cb_batch_add(line->batch, line->has_field ? "," : " ", 1);
    cb_batch_text(line->batch, key);
    cb_batch_add(line->batch, "=", 1);
    line->has_field = true;
}

void cb_line_integer(struct cb_line *line, const char *key, uint64_t value)
{
    field(line, key);
    cb_batch_printf(line->batch, "%" PRIu64 "i", value > INT64_MAX ? INT64_MAX : value);
}

void cb_line_double(struct cb_line *line, const char *key, double value)
{
    if (!isfinite(value))
        return;
    field(line, key);
    cb_batch_printf(line->batch, "%.17g", value);
}

void cb_line_text(struct cb_line *line, const char *key, const char *value)
{
    field(line, key);
    cb_batch_add(line->batch, "\"", 1);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            cb_batch_add(line->batch, "\\", 1);
        cb_batch_add(line->batch, is_control(*value) ? "_" : value, 1);
    }
    cb_batch_add(line->batch, "\"", 1);
}

void cb_line_end(struct cb_line *line, int64_t time_ns)
{
    struct cb_batch *batch = line->batch;

    if (!line->has_field) {
        if (!batch->failed)
            batch->size = line->begin;
        return;
    }
    cb_batch_printf(batch, " %" PRId64 "\n", time_ns);
    batch->rows++;
}
