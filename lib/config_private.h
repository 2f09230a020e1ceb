/* SPDX-License-Identifier: Apache-2.0 */
/* config_private.h - what config.c and config_file.c share. */
#ifndef CB_LIB_CONFIG_PRIVATE_H
#define CB_LIB_CONFIG_PRIVATE_H

#include "lib/config.h"

/* One value of the file, in its order; a list has an entry for each. */
struct cb_config_entry {
    const struct cb_opt *opt;
    size_t line;
    char *text;
};

struct cb_config_file {
    char *name;
    size_t n, room;
    struct cb_config_entry *entries;
};

/* Set the member of one row; @where stands for it in errors. Lists grow. */
int cb_config_set(const struct cb_opt *opt, const char *where, const char *text, void *config,
                  struct cb_err *err) cb_must_check;

/* A number, duration or bool as it is given on the command line. */
void cb_config_format(const struct cb_opt *opt, const void *from, char *ret_text, size_t size);

#endif
