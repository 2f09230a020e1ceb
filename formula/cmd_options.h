/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_options.h - what the commands that read the store have in common: rows of their option
 * tables, arguments between options, times, rows of CSV.
 *
 * A row's macro takes the command's own struct, which has the member named in its comment.
 */
#ifndef CB_FORMULA_CMD_OPTIONS_H
#define CB_FORMULA_CMD_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formula/recap.h"
#include "lib/cleanup.h"
#include "lib/config.h"
#include "lib/defaults.h"

struct cb_err;

/* const char *state_dir */
#define CB_CMD_STATE_DIR(of)                                                                       \
    {                                                                                              \
        .key = "state-dir", .type = CB_OPT_STRING, .offset = offsetof(of, state_dir),              \
        .def = CB_DEFAULT_FORMULA_STATE, .arg = "DIR", .env = "CBFORMULA_STATE_DIR",               \
        .help = "the server's directory"                                                           \
    }
/* const char *machine */
#define CB_CMD_MACHINE(of)                                                                         \
    {                                                                                              \
        .key = "machine", .type = CB_OPT_STRING, .offset = offsetof(of, machine), .arg = "NAME",   \
        .help = "only this machine"                                                                \
    }
/* const char *from, *to */
#define CB_CMD_FROM(of)                                                                            \
    {                                                                                              \
        .key = "from", .type = CB_OPT_STRING, .offset = offsetof(of, from), .arg = "TIME",         \
        .help = "2026-11-22T14:00:00Z (UTC) or seconds since 1970"                                 \
    }
#define CB_CMD_TO(of)                                                                              \
    {                                                                                              \
        .key = "to", .type = CB_OPT_STRING, .offset = offsetof(of, to), .arg = "TIME",             \
        .help = "the same; what happens then is not part of it"                                    \
    }
/* const char *idle */
#define CB_CMD_IDLE(of)                                                                            \
    {                                                                                              \
        .key = "idle", .type = CB_OPT_STRING, .offset = offsetof(of, idle), .def = "none",         \
        .arg = "POLICY",                                                                           \
        .help = "what to show as a container's share of the idle energy: none, proportional, "     \
                "equal"                                                                            \
    }
/* bool csv, json, help */
#define CB_CMD_CSV(of)                                                                             \
    {                                                                                              \
        .key = "csv", .type = CB_OPT_BOOL, .offset = offsetof(of, csv),                            \
        .help = "comma separated values"                                                           \
    }
#define CB_CMD_JSON(of)                                                                            \
    {                                                                                              \
        .key = "json", .type = CB_OPT_BOOL, .offset = offsetof(of, json), .help = "a JSON array"   \
    }
#define CB_CMD_HELP(of)                                                                            \
    {                                                                                              \
        .key = "help", .short_key = 'h', .type = CB_OPT_BOOL, .offset = offsetof(of, help),        \
        .help = "this text"                                                                        \
    }

/* Parse the options and at most one argument (*@ret_argument: NULL when there is none), which may
 * stand before, between or behind them. */
int cb_cmd_parse(const struct cb_opt *options, int argc, char **argv, void *config,
                 const char **ret_argument, struct cb_err *err) cb_must_check;

/* --idle, --from and --to as they were given. A time that is NULL becomes @def. */
int cb_cmd_idle(const char *text, enum cb_idle_policy *ret_policy,
                struct cb_err *err) cb_must_check;
int cb_cmd_time(const char *option, const char *text, uint64_t def, uint64_t *ret_wall_ns,
                struct cb_err *err) cb_must_check;
/* Both, in order; without them all of time. */
int cb_cmd_times(const char *from, const char *to, uint64_t *ret_from_wall_ns,
                 uint64_t *ret_to_wall_ns, struct cb_err *err) cb_must_check;

/* --csv or --json, not both. */
int cb_cmd_form(bool csv, bool json, struct cb_err *err) cb_must_check;

/* Print an array of flat objects as CSV (the columns in the order of their first appearance) or as
 * JSON. */
void cb_cmd_rows(const json_t *rows, bool csv);

/* A field of CSV on stdout: quoted when it must be. */
void cb_cmd_csv(const char *text);

#endif
