/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - one table per program: key, type, default, range, unit, help. It feeds the command
 * line, the environment, the file (config_file.h), --help and --print-config, so none of them can
 * disagree.
 *
 * Precedence  default < file < environment < command line.
 * Flags       --key value, --key=value, -k value; a bool is --key or --no-key; "--" ends options.
 *             The first argument that is no option ends them too (a program's own arguments
 * follow). Environment <PREFIX>_<KEY> with '-' as '_', upper case (CBSENSOR_STATE_DIR); a row may
 * name another variable (CBFORMULA_URL). Types       a member of the program's struct at `offset`:
 *             CB_OPT_BOOL bool, CB_OPT_U64 uint64_t, CB_OPT_DOUBLE double,
 *             CB_OPT_DURATION uint64_t ns ("1s", "250ms"), CB_OPT_STRING const char * (borrowed
 *             from argv, environ or the table, so never freed), CB_OPT_LIST struct cb_opt_list.
 * Errors      -EINVAL with one line that names the option, where it came from and what is allowed.
 */
#ifndef CB_LIB_CONFIG_H
#define CB_LIB_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/cleanup.h"

struct cb_err;

enum cb_opt_type {
    CB_OPT_BOOL,
    CB_OPT_U64,
    CB_OPT_DOUBLE,
    CB_OPT_DURATION,
    CB_OPT_STRING,
    CB_OPT_LIST, /* may be given more than once; from the environment: one entry */
};

#define CB_OPT_LIST_MAX 64
#define CB_OPT_MAX 128 /* rows of a table */

struct cb_opt_list {
    size_t n;
    const char *at[CB_OPT_LIST_MAX];
};

struct cb_opt {
    const char *key; /* long name without "--"; a NULL key ends the table */
    char short_key;  /* 0: none */
    bool secret;     /* never printed by --print-config */
    bool cli_only;   /* an action, not a setting: not for a file, a bool not for the environment */
    enum cb_opt_type type;
    size_t offset;    /* offsetof(struct ..., member) */
    const char *def;  /* default as text; NULL: false, empty list, NULL string */
    double min, max;  /* for numbers and durations (ns); both 0: no limit but the type's */
    const char *arg;  /* what --help calls the value: "DIR", "DURATION" */
    const char *env;  /* own environment variable; NULL: derived from the prefix */
    const char *help; /* one line; the default is appended by --help */
};

/*
 * Fill *@config from the defaults, the environment (@env_prefix "CBSENSOR"; NULL: only rows that
 * name a variable) and @argv[1..]. *@ret_next is the index of the first argument that is no option.
 * A key without value, an unknown key, a value out of range: -EINVAL.
 * "--help" and "--version" are rows of the caller's table like any other.
 */
int cb_config_parse(const struct cb_opt *opts, const char *env_prefix, int argc, char **argv,
                    void *config, int *ret_next, struct cb_err *err) cb_must_check;

struct cb_config_file;

/* The same with a file between the defaults and the environment (NULL: none), which has to live as
 * long as @config, for strings point into it. */
int cb_config_parse_with(const struct cb_opt *opts, const char *env_prefix,
                         const struct cb_config_file *file, int argc, char **argv, void *config,
                         int *ret_next, struct cb_err *err) cb_must_check;

/* The option part of --help, wrapped to 80 columns. */
void cb_config_help(FILE *out, const struct cb_opt *opts, const char *env_prefix);

/* "key = value" lines of what is in force. */
void cb_config_print(FILE *out, const struct cb_opt *opts, const void *config);

#endif
