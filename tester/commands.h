/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h - the commands of cbtester. To add one: cmd_<name>.c with its function, its line here
 * and its row in main.c; its options in docs/man/cbtester.1 and docs/completion/cbtester.
 *
 * Each is given its own name as argv[0] and returns the exit code of the program.
 */
#ifndef CB_TESTER_COMMANDS_H
#define CB_TESTER_COMMANDS_H

#define CB_TESTER_USAGE "usage: cbtester [options] image [args...]"

enum {
    CB_TESTER_OK = 0,
    CB_TESTER_BAD_USAGE = 2,
    CB_TESTER_BROKEN = 125,
};

int cb_tester_run(int argc, char **argv);
int cb_tester_show(int argc, char **argv);

#endif
