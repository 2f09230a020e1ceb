/* SPDX-License-Identifier: Apache-2.0 */
/*
 * line.h - InfluxDB's line protocol, one line after the other into a batch.
 *
 * Order     begin, tags (in the order of their keys), fields, end.
 * Escaping  A tag keeps its text but for what the protocol cannot say: control characters become
 *           '_', and so does a backslash at its end (it would escape what follows). An empty tag is
 *           left out, and so is a field that is not finite; a line without a field is none.
 */
#ifndef CB_FORMULA_LINE_H
#define CB_FORMULA_LINE_H

#include "formula/stream.h"

struct cb_line {
    struct cb_batch *batch;
    size_t begin;
    bool has_field;
};

/* @measurement and all keys are names of our own: nothing to escape. */
void cb_line_begin(struct cb_line *line, struct cb_batch *batch, const char *measurement);
void cb_line_tag(struct cb_line *line, const char *key, const char *value);
void cb_line_tag_number(struct cb_line *line, const char *key, unsigned value);
/* Signed 64 bit is what every version takes: what is larger is cut to its largest. */
void cb_line_integer(struct cb_line *line, const char *key, uint64_t value);
void cb_line_double(struct cb_line *line, const char *key, double value);
void cb_line_text(struct cb_line *line, const char *key, const char *value);
/* Counts a row of the batch. */
void cb_line_end(struct cb_line *line, int64_t time_ns);

#endif
