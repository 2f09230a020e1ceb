/* SPDX-License-Identifier: Apache-2.0 */
/*
 * powerapi_lines.h - JSON documents out of a byte stream, as PowerAPI's sensor sends them: one a
 * line since its version 1.4, one behind the other without a separator before.
 *
 * A document begins with '{' and ends where its braces are closed; it has no newline inside. What
 * is not one is skipped up to the next newline and counted. A document of more than
 * CB_POWERAPI_DOCUMENT bytes is -EMSGSIZE, and the stream is of no use any more.
 */
#ifndef CB_FORMULA_POWERAPI_LINES_H
#define CB_FORMULA_POWERAPI_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

#define CB_POWERAPI_DOCUMENT (1u << 20)

/* Start with a zeroed one. */
struct cb_powerapi_lines {
    char *text;
    size_t begin, scanned, end, room; /* begin: of the document at hand */
    unsigned depth;
    bool in_string, escaped, skipping;
    uint64_t bad;
};

/* Where to read the next bytes to, and how many fit (at least 4096). -ENOMEM, -EMSGSIZE */
int cb_powerapi_lines_room(struct cb_powerapi_lines *lines, char **ret_at,
                           size_t *ret_room) cb_must_check;
void cb_powerapi_lines_added(struct cb_powerapi_lines *lines, size_t n);

/* The next document, valid until the next call of cb_powerapi_lines_room(). */
bool cb_powerapi_lines_next(struct cb_powerapi_lines *lines, const char **ret_text,
                            size_t *ret_size);

void cb_powerapi_lines_clear(struct cb_powerapi_lines *lines);

#endif
