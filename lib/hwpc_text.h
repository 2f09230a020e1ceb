/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_text.h - the JSON documents of a file one after the other, each with its line: on lines of
 * their own or not, pretty-printed, elements of an array, or of the array {"reports":[...]} is.
 *
 * Reading  line by line; no more is kept than the document that is being read. A BOM is skipped.
 * Broken   A document that does not end, or with a line break in a string, ends where the next one
 *          seems to begin: the next line that begins with '{' as far left as it, or with a whole
 *          object. It is given like any other; who parses it says what is wrong.
 * Threads  one object belongs to one thread.
 */
#ifndef CB_LIB_HWPC_TEXT_H
#define CB_LIB_HWPC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_hwpc_text;

struct cb_hwpc_document {
    const char *text; /* NULL: the file ends; lives until the next call */
    size_t size;
    uint64_t line; /* where it begins, from 1 */
};

/* @file and @name are borrowed. @strict: an array with a comma too many or too few, or without an
 * end, is an error; otherwise only what is between them is looked at. */
int cb_hwpc_text_new(FILE *file, const char *name, bool strict, struct cb_hwpc_text **ret_text,
                     struct cb_err *err) cb_must_check;
struct cb_hwpc_text *cb_hwpc_text_free(struct cb_hwpc_text *text);

/* -EBADMSG (when strict: "name:line: malformed JSON: ..."), -EIO, -ENOMEM */
int cb_hwpc_text_next(struct cb_hwpc_text *text, struct cb_hwpc_document *ret_document,
                      struct cb_err *err) cb_must_check;

/* Is the document that was given last an element of an array? */
bool cb_hwpc_text_in_array(const struct cb_hwpc_text *text);

#endif
