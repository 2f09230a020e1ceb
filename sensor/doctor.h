/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.h - what this machine can measure, and for every gap why and what would cure it.
 *
 * Source    the same modules that measure, opened for a moment, and the files that explain why one
 *           of them does not open. Nothing is changed: no mount, nothing written.
 * Rights    none needed; without them the findings say which are missing.
 */
#ifndef CB_SENSOR_DOCTOR_H
#define CB_SENSOR_DOCTOR_H

#include <stddef.h>

#include "lib/cleanup.h"

struct cb_err;

enum cb_finding_state {
    CB_FINDING_OK,
    CB_FINDING_LIMITED, /* works, with something missing */
    CB_FINDING_MISSING,
};

struct cb_finding {
    const char *name; /* "energy", "counters" */
    enum cb_finding_state state;
    char found[700];
    char remedy[500]; /* "" where there is nothing to do */
};

#define CB_DOCTOR_MAX_FINDINGS 16

struct cb_doctor_options {
    int root_fd;
    const char *docker_host;
};

/* "ok", "limited", "missing". */
const char *cb_finding_state_name(enum cb_finding_state state);

/* Into @findings[CB_DOCTOR_MAX_FINDINGS]; returns how many, or the error of finding out which CPUs
 * there are. */
int cb_doctor_examine(const struct cb_doctor_options *options, struct cb_finding *findings,
                      struct cb_err *err) cb_must_check;

#endif
