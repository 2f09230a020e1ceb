/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.h - the commands of cbformula, one cmd_*.c each.
 *
 * To add a command: a function in a file of its own, a line here, a row in the table of commands.c,
 * a section in docs/man/cbformula.1. It gets argv[0] and what follows its name, with the options
 * that stood before its name in front. It returns the exit status: 0 well, 1 failed, 2 wrong usage,
 * and prints one line on stderr when it fails.
 */
#ifndef CB_FORMULA_CMD_H
#define CB_FORMULA_CMD_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/config.h"

struct cb_err;
struct cb_store;

#define CB_CMD_FAILED 1
#define CB_CMD_USAGE 2

int cb_cmd_serve(int argc, char **argv);
int cb_cmd_keys(int argc, char **argv);
int cb_cmd_query(int argc, char **argv);
int cb_cmd_recap(int argc, char **argv);
int cb_cmd_power(int argc, char **argv);
int cb_cmd_energy(int argc, char **argv);
int cb_cmd_schema(int argc, char **argv);
int cb_cmd_replay(int argc, char **argv);
int cb_cmd_evaluate(int argc, char **argv);
int cb_cmd_record(int argc, char **argv);

/* The options of the server, which may also stand before a command. */
extern const struct cb_opt cb_serve_options[];
/* Room for cb_serve_options to fill. */
size_t cb_serve_options_size(void);

/* Find the command and run it: what main() does. */
int cb_cmd_run(int argc, char **argv);

/* The list of commands, for --help. */
void cb_cmd_list(void);

/* "cbformula: TEXT" on stderr; returns @status. */
int cb_cmd_fail(int status, const struct cb_err *err);

/* Open the state directory; @make: make it (mode 0700) and its parents when missing, and make sure
 * that it can be written. The errors name --state-dir. Returns the descriptor. */
int cb_state_open(const char *path, bool make, struct cb_err *err);
/* One server for each state directory: -EBUSY. Held as long as @dir_fd is open. */
int cb_state_lock(int dir_fd, const char *path, struct cb_err *err);
/* <path>/cbwatts.sqlite into @ret_path. */
int cb_state_database(const char *path, char *ret_path, size_t size, struct cb_err *err);
/* Open that database to read it beside a running server. */
int cb_state_read(const char *path, struct cb_store **ret_store, struct cb_err *err);

#endif
