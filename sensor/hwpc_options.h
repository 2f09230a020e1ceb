/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_options.h - the command line and the JSON file of PowerAPI's hwpc-sensor, as it reads them.
 *
 * Order    strictly left to right: -e and -o belong to the last -s or -c, -U -D -C -P to the -r
 *          before them; what follows -x overrides the file or adds to it. A group that is named
 *          again is selected again.
 * Ours     cbsensor's own long options may stand among them; they are handed back.
 * Errors   -EINVAL, one line with the option and the remedy.
 */
#ifndef CB_SENSOR_HWPC_OPTIONS_H
#define CB_SENSOR_HWPC_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;

#define CB_HWPC_MAX_GROUPS CB_FRAME_MAX_GROUPS

enum cb_hwpc_storage {
    CB_HWPC_UNSET,
    CB_HWPC_NULL,
    CB_HWPC_CSV,
    CB_HWPC_SOCKET,
    CB_HWPC_MONGODB,
};

struct cb_hwpc_group {
    char *name;
    bool one_cpu; /* -o: one CPU of each package stands for it */
    size_t n_events;
    char *events[CB_FRAME_MAX_EVENTS];
};

struct cb_hwpc_groups {
    size_t n;
    struct cb_hwpc_group at[CB_HWPC_MAX_GROUPS];
};

/* Every string is owned by it. */
struct cb_hwpc_options {
    char *name;      /* NULL: the host's */
    char *base_path; /* NULL: where this machine can count */
    uint64_t tick_ns;
    uint64_t discovery_ns;
    bool verbose;
    struct cb_hwpc_groups system;  /* of the machine, target "all" */
    struct cb_hwpc_groups cgroups; /* of each cgroup */
    enum cb_hwpc_storage storage;
    char *where; /* -U: directory, host or URI */
    char *port;
    char *database;
    char *collection;
};

/* Does this command line speak hwpc-sensor's language? One of its options is enough. */
bool cb_hwpc_options_are_meant(int argc, char **argv);

/* *@ret_rest_argc and @rest_argv[@argc + 1]: argv[0] and what is cbsensor's own, NULL-terminated,
 * borrowed from @argv. *@ret_options is filled, also on failure, and released by
 * cb_hwpc_options_fini(). */
int cb_hwpc_options_parse(int argc, char **argv, struct cb_hwpc_options *ret_options,
                          int *ret_rest_argc, char **rest_argv, struct cb_err *err) cb_must_check;

/* Is it complete? @with_formula: frames go to cbformula, so that no -r is needed. */
int cb_hwpc_options_check(const struct cb_hwpc_options *options, bool with_formula,
                          struct cb_err *err) cb_must_check;

void cb_hwpc_options_fini(struct cb_hwpc_options *options);

/* One text of the JSON form; @where names it in errors. What is there is added to @options. */
int cb_hwpc_options_json(const char *text, size_t size, const char *where,
                         struct cb_hwpc_options *options, struct cb_err *err) cb_must_check;

/* Used by both forms; they select or make a group and add to it. */
int cb_hwpc_options_group(struct cb_hwpc_groups *groups, const char *name,
                          struct cb_hwpc_group **ret_group, struct cb_err *err) cb_must_check;
int cb_hwpc_options_event(struct cb_hwpc_group *group, const char *event,
                          struct cb_err *err) cb_must_check;
int cb_hwpc_options_storage(struct cb_hwpc_options *options, const char *name,
                            struct cb_err *err) cb_must_check;
int cb_hwpc_options_period(const char *what, uint64_t ms, uint64_t *ret_ns,
                           struct cb_err *err) cb_must_check;
/* Replace an owned string. */
int cb_hwpc_options_text(char **to, const char *text, struct cb_err *err) cb_must_check;

const char *cb_hwpc_storage_name(enum cb_hwpc_storage storage);

#endif
