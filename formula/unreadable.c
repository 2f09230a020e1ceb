/* SPDX-License-Identifier: Apache-2.0 */
/* unreadable.c - see unreadable.h. */
#include "formula/unreadable.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/frame.h"
#include "lib/utf8.h"

static bool has(const struct cb_unreadable *unreadable, const char *name)
{
    for (size_t i = 0; i < unreadable->n_names; i++)
        if (strcmp(unreadable->names[i], name) == 0)
            return true;
    return false;
}

void cb_unreadable_of_frame(const struct cb_frame *frame, struct cb_unreadable *ret)
{
    ret->n = frame->n_gaps;
    ret->n_names = 0;
    for (size_t i = 0; i < frame->n_gaps && ret->n_names < CB_UNREADABLE_NAMES; i++) {
        char name[CB_UNREADABLE_NAME_SIZE];

        (void)snprintf(name, sizeof(name), "%s", frame->gaps[i].source);
        cb_utf8_clean(name);
        if (!has(ret, name)) /* two that differ only in what is cut are one */
            memcpy(ret->names[ret->n_names++], name, sizeof(name));
    }
}
