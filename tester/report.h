/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - a recap as docs/design.md describes it, read strictly.
 *
 * Nothing that does not sum is ever shown: in each domain
 *     energy_uj == dynamic_uj + others_uj + system_uj + idle_uj + unattributed_uj
 * must hold exactly and idle_share_uj must be part of idle_uj. Members that are not known are
 * ignored.
 * Errors   -EBADMSG not a recap (the text names the member), -ENOMEM.
 */
#ifndef CB_TESTER_REPORT_H
#define CB_TESTER_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;

struct cb_report_domain {
    unsigned socket;
    const char *domain; /* "package", "dram", ... */
    const char *source; /* "perf", ..., "estimate" */
    bool is_top;        /* may be added up to a total */
    bool is_estimate;
    uint64_t energy_uj; /* of the socket: the exact sum of the next five */
    uint64_t dynamic_uj, others_uj, system_uj, idle_uj, unattributed_uj;
    uint64_t uncertainty_uj; /* of dynamic_uj, half-width of the 95 % interval */
    uint64_t idle_share_uj;  /* this container's part of idle_uj, by the idle policy */
};

struct cb_report_phase {
    const char *phase; /* "warmup", "execution" */
    double seconds, covered_seconds;
    double cpu_seconds, machine_cpu_seconds; /* NAN: not known */
    size_t n_domains;
    struct cb_report_domain *domains;
};

struct cb_report_other {
    const char *name; /* "" when Docker did not say it */
    const char *id;   /* "" when it is not known */
    uint64_t dynamic_uj;
};

/* A recap that was not made by a tester has none (posted by wall times). */
#define CB_REPORT_NO_EXIT (-1)

struct cb_report {
    const char *name, *id, *image, *machine, *begin, *source, *idle_policy; /* never NULL */
    int exit_code; /* or CB_REPORT_NO_EXIT */
    size_t n_phases;
    struct cb_report_phase *phases;
    size_t n_others;
    struct cb_report_other *others;
    void *json; /* owns the texts */
};

/* One recap. */
int cb_report_parse(const char *text, size_t size, struct cb_report *ret_report,
                    struct cb_err *err) cb_must_check;
void cb_report_clear(struct cb_report *report);

struct cb_report_list {
    size_t n;
    struct cb_report *reports;
};

/* A recap, an array of recaps, or the {"recaps":[...]} of GET /api/v1/recaps: appended to *@list.
 */
int cb_report_list_parse(struct cb_report_list *list, const char *text, size_t size,
                         struct cb_err *err) cb_must_check;
void cb_report_list_clear(struct cb_report_list *list);

#endif
