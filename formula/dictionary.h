/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dictionary.h - the names of a recording's targets, of any number of machines. A target's text is
 * in the first frame that has it, or in a record of its own; a name holds for one sensor start.
 *
 * Name     a container's name, else its id, else its cgroup; without any of them "#" and the number.
 * Errors   -ENOMEM
 * Threads  one object belongs to one thread.
 */
#ifndef CB_FORMULA_DICTIONARY_H
#define CB_FORMULA_DICTIONARY_H

#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;
struct cb_dictionary;

int cb_dictionary_new(struct cb_dictionary **ret_dictionary, struct cb_err *err) cb_must_check;
struct cb_dictionary *cb_dictionary_free(struct cb_dictionary *dictionary);

/* A target whose text came before the recording began. */
int cb_dictionary_put(struct cb_dictionary *dictionary, const char *machine, const char *start_id,
                      uint32_t id, const char *name, struct cb_err *err) cb_must_check;

/* Learn what @frame says. *@ret_names: of its targets, in their order, until the next call. */
int cb_dictionary_names(struct cb_dictionary *dictionary, const struct cb_frame *frame,
                        const char *const **ret_names, struct cb_err *err) cb_must_check;

#endif
