/* SPDX-License-Identifier: Apache-2.0 */
/* powerapi_lines.c - see powerapi_lines.h. */
#include "formula/powerapi_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP 4096
#define MAX_DEPTH 64 /* a report has five levels */

void cb_powerapi_lines_clear(struct cb_powerapi_lines *lines)
{
    free(lines->text);
    *lines = (struct cb_powerapi_lines){0};
}

int cb_powerapi_lines_room(struct cb_powerapi_lines *lines, char **ret_at, size_t *ret_room)
{
    size_t kept = lines->end - lines->begin;

    if (lines->begin > 0) {
        memmove(lines->text, lines->text + lines->begin, kept);
        lines->scanned -= lines->begin;
        lines->end = kept;
        lines->begin = 0;
    }
    if (kept > CB_POWERAPI_DOCUMENT)
        return -EMSGSIZE;
    if (lines->room - lines->end < STEP) {
        size_t room = lines->room ? lines->room * 2 : 4 * STEP;
        char *text = realloc(lines->text, room);

        if (!text)
            return -ENOMEM;
        lines->text = text;
        lines->room = room;
    }
    *ret_at = lines->text + lines->end;
    *ret_room = lines->room - lines->end;
    return 0;
}

void cb_powerapi_lines_added(struct cb_powerapi_lines *lines, size_t n)
{
    lines->end += n;
}

/* The line at hand is no document: what is left of it goes. */
static void skip_line(struct cb_powerapi_lines *lines)
{
    lines->bad++;
    lines->skipping = true;
    lines->in_string = lines->escaped = false;
    lines->depth = 0;
}

/* Inside a document. True: @c ended it. */
static bool scan(struct cb_powerapi_lines *lines, char c)
{
    if (lines->escaped) {
        lines->escaped = false;
    } else if (lines->in_string) {
        lines->escaped = c == '\\';
        lines->in_string = c != '"';
    } else if (c == '"') {
        lines->in_string = true;
    } else if (c == '{' && ++lines->depth > MAX_DEPTH) {
        skip_line(lines);
    } else if (c == '}') {
        return --lines->depth == 0;
    }
    return false;
}

bool cb_powerapi_lines_next(struct cb_powerapi_lines *lines, const char **ret_text,
                            size_t *ret_size)
{
    while (lines->scanned < lines->end) {
        char c = lines->text[lines->scanned++];

        if (lines->depth > 0 && c != '\n') {
            if (!scan(lines, c))
                continue;
            *ret_text = lines->text + lines->begin;
            *ret_size = lines->scanned - lines->begin;
            lines->begin = lines->scanned;
            return true;
        }
        if (lines->depth > 0)
            skip_line(lines);
        if (c == '\n')
            lines->skipping = false;
        else if (!lines->skipping && c == '{')
            lines->depth = 1;
        else if (!lines->skipping && c != ' ' && c != '\t' && c != '\r')
            skip_line(lines);
        lines->begin = lines->scanned - (lines->depth > 0);
    }
    if (lines->depth == 0)
        lines->begin = lines->scanned; /* what is skipped needs no room */
    return false;
}
