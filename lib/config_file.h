/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_file.h - a program's options as a YAML file, by the same table as its flags (config.h).
 *
 * Form     one mapping of keys, each a long option's name, to a value as on the command line
 *          ("tick: 250ms", "plain: true"); an option that may be given more than once takes a list.
 * Strict   an unknown key, a key twice, a value of another form, a row for the command line only
 *          (cli_only), a second document, an anchor or alias: errors.
 * Errors   "FILE:LINE: what is wrong with which key, and what is allowed".
 * Limits   CB_CONFIG_FILE_MAX bytes.
 */
#ifndef CB_LIB_CONFIG_FILE_H
#define CB_LIB_CONFIG_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "lib/cleanup.h"
#include "lib/config.h"

#define CB_CONFIG_FILE_MAX (1u << 20)

struct cb_err;

/* Called for every fault of a file, in its order; @text is one line. */
typedef void cb_config_fault(void *context, const char *text);

/* Read @path. With @fault every fault is told, and the first is the error; without it reading ends
 * with the first. -EINVAL; any errno of reading; -EFBIG; -ENOMEM. Values are checked, too. The
 * caller owns *@ret_file, whose strings the program's struct will point into. */
int cb_config_file_read(const char *path, const struct cb_opt *opts, cb_config_fault *fault,
                        void *context, struct cb_config_file **ret_file,
                        struct cb_err *err) cb_must_check;

/* The same of a text; @name stands for the file in errors. */
int cb_config_file_parse(const char *text, size_t size, const char *name, const struct cb_opt *opts,
                         cb_config_fault *fault, void *context, struct cb_config_file **ret_file,
                         struct cb_err *err) cb_must_check;

struct cb_config_file *cb_config_file_free(struct cb_config_file *file);

/* What is in force, as such a file. */
void cb_config_file_print(FILE *out, const struct cb_opt *opts, const void *config);

#endif
