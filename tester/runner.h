/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner.h - one test from beginning to end: look that everything is there, take the machine's
 * lock, run the container, tell the formula, fetch the recap.
 *
 * Promise  Whatever happens after the container was made (an error, a signal, the formula gone),
 * the container is removed before cb_runner_run() returns; one that a tester killed by SIGKILL left
 * behind is removed by the next run of the same user. Needs    cb_interrupt_open() was called.
 */
#ifndef CB_TESTER_RUNNER_H
#define CB_TESTER_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include "tester/docker_client.h"

struct cb_err;

enum cb_runner_exit {
    CB_RUNNER_TIMEOUT = 124, /* the container was ended by --timeout */
    CB_RUNNER_FAILED = 125,  /* the tester, Docker or the formula failed */
    CB_RUNNER_NOT_EXECUTABLE = 126,
    CB_RUNNER_NOT_FOUND = 127,
    CB_RUNNER_SIGNAL = 128, /* plus the signal's number */
};

/* What the user may want to know while it runs: one line of text each. */
enum cb_runner_note_kind {
    CB_RUNNER_PROGRESS, /* for a terminal only */
    CB_RUNNER_NOTICE,   /* always */
};
typedef void cb_runner_note(enum cb_runner_note_kind kind, const char *text);

struct cb_runner_options {
    const char *docker_host, *formula_url;
    const char *test_name;
    struct cb_docker_client_spec spec; /* names and labels are filled by the runner */
    const char *idle;                  /* "none", "proportional", "equal" */
    const char *lock_path;             /* NULL: no lock */
    uint64_t timeout_ns;               /* 0: none */
    uint64_t recap_timeout_ns;
    bool pull;
    int output_fd; /* where the container's output goes; -1: nowhere */
    cb_runner_note *note;
};

/*
 * Returns the exit code of the program, 0 to 255, and in *@ret_recap the recap's JSON text (free()
 * it), NULL when there is none: then *@err says why in one line.
 */
int cb_runner_run(const struct cb_runner_options *options, char **ret_recap,
                  struct cb_err *err) cb_must_check;

#endif
