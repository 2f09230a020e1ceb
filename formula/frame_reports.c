/* SPDX-License-Identifier: Apache-2.0 */
/* frame_reports.c - see frame_reports.h. */
#include "formula/frame_reports.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"

#define SOCKET_TEXT 12 /* bytes of a socket's number */

static const char *const rapl_events[CB_DOMAIN_COUNT] = {
    [CB_DOMAIN_PACKAGE] = "RAPL_ENERGY_PKG", [CB_DOMAIN_DRAM] = "RAPL_ENERGY_DRAM",
    [CB_DOMAIN_CORE] = "RAPL_ENERGY_CORES",  [CB_DOMAIN_UNCORE] = "RAPL_ENERGY_GPU",
    [CB_DOMAIN_PSYS] = "RAPL_ENERGY_PSYS",
};

struct renamed {
    const char *ours, *theirs;
};

static const struct renamed msr_events[] = {
    {"tsc", "TSC"},
    {"aperf", "APERF"},
    {"mperf", "MPERF"},
};

static const struct renamed core_events[] = {
    {"cycles", "CPU_CLK_THREAD_UNHALTED:THREAD_P"},
    {"ref-cycles", "CPU_CLK_THREAD_UNHALTED:REF_P"},
    {"instructions", "INSTRUCTIONS_RETIRED"},
};

/* Frames that were made of reports (hwpc_frame.h) have their names already. */
static const char *their_name(const struct renamed *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].ours, name) == 0 || strcmp(table[i].theirs, name) == 0)
            return table[i].theirs;
    }
    return NULL;
}

/* A report's strings: they outlive the frame's. */
struct texts {
    size_t used;
    char bytes[];
};

static const char *put_text(struct texts *texts, const char *text)
{
    char *at = texts->bytes + texts->used;
    size_t size = strlen(text) + 1;

    memcpy(at, text, size);
    texts->used += size;
    return at;
}

static const char *put_socket(struct texts *texts, uint32_t socket)
{
    char text[SOCKET_TEXT];

    (void)snprintf(text, sizeof(text), "%u", socket);
    return put_text(texts, text);
}

/* Room for @n_counts; what is not sensor, target, socket or the name of an event is a literal. */
static struct cb_hwpc_report *new_report(const struct cb_frame *frame, const char *target,
                                         size_t n_counts, struct cb_err *err)
{
    size_t size = strlen(frame->sensor) + strlen(target) + 2 + SOCKET_TEXT * frame->n_sockets;
    struct cb_hwpc_report *report = calloc(1, sizeof(*report));
    struct texts *texts;

    for (size_t e = 0; e < frame->n_events; e++)
        size += strlen(frame->events[e].name) + 1;
    texts = malloc(sizeof(*texts) + size);
    if (report)
        report->counts = calloc(n_counts, sizeof(*report->counts));
    if (!report || !report->counts || !texts) {
        free(texts);
        report = cb_hwpc_report_free(report);
        (void)cb_err_set(err, ENOMEM, "out of memory for a report");
        return NULL;
    }
    texts->used = 0;
    report->owner = texts;
    report->release = free;
    report->timestamp_ms = (int64_t)(frame->wall_ns / 1000000);
    report->sensor = put_text(texts, frame->sensor);
    report->target = put_text(texts, target);
    return report;
}

static void add(struct cb_hwpc_report *report, const char *group, const char *socket,
                const char *event, double value)
{
    report->counts[report->n_counts++] = (struct cb_hwpc_count){group, socket, "0", event, value};
}

static int give_all(const struct cb_frame *frame, cb_frame_each_report *each, void *context,
                    struct cb_err *err)
{
    struct cb_hwpc_report *report =
        new_report(frame, CB_HWPC_ALL, 1 + frame->n_energies + frame->n_counters, err);
    const char *sockets[CB_FRAME_MAX_SOCKETS];

    if (!report)
        return -ENOMEM;
    for (uint32_t s = 0; s < frame->n_sockets; s++) {
        sockets[s] = put_socket(report->owner, s);
        for (size_t i = 0; i < frame->n_energies; i++) {
            const struct cb_frame_energy *energy = &frame->energies[i];

            if (energy->socket == s && energy->source != CB_SOURCE_ESTIMATE)
                add(report, "rapl", sockets[s], rapl_events[energy->domain],
                    floor(ldexp((double)energy->energy_uj, 32) / 1e6));
        }
    }
    for (uint32_t s = 0; s < frame->n_sockets; s++) {
        for (size_t i = 0; i < frame->n_counters; i++) {
            const struct cb_frame_counter *counter = &frame->counters[i];
            const char *event =
                their_name(msr_events, sizeof(msr_events) / sizeof(msr_events[0]), counter->name);

            if (event && counter->socket == s)
                add(report, "msr", sockets[s], event, (double)counter->value);
        }
    }
    return each(context, report, err);
}

/* @values: socket by socket, event by event. */
static int give_target(const struct cb_frame *frame, const char *target, const uint64_t *values,
                       cb_frame_each_report *each, void *context, struct cb_err *err)
{
    struct cb_hwpc_report *report =
        new_report(frame, target, 1 + (size_t)frame->n_sockets * frame->n_events, err);
    const char *events[CB_FRAME_MAX_EVENTS]; /* NULL: none of the group */

    if (!report)
        return -ENOMEM;
    for (size_t e = 0; e < frame->n_events; e++) {
        const struct cb_frame_event *event = &frame->events[e];

        events[e] =
            their_name(core_events, sizeof(core_events) / sizeof(core_events[0]), event->name);
        if (strcmp(event->pmu, "software") == 0)
            events[e] = NULL;
        else if (!events[e])
            events[e] = put_text(report->owner, event->name);
    }
    for (uint32_t s = 0; s < frame->n_sockets; s++) {
        const char *socket = put_socket(report->owner, s);

        for (size_t e = 0; e < frame->n_events; e++) {
            if (events[e])
                add(report, "core", socket, events[e], (double)values[s * frame->n_events + e]);
        }
    }
    return each(context, report, err);
}

static bool named_before(const char *const *names, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (strcmp(names[i], names[at]) == 0)
            return true;
    }
    return false;
}

/* The counts of all targets that have the name of target @at. */
static void sum_named(const struct cb_frame *frame, const char *const *names, size_t at,
                      uint64_t *ret_values)
{
    size_t width = (size_t)frame->n_sockets * frame->n_events;

    memcpy(ret_values, frame->counts + (1 + at) * width, width * sizeof(*ret_values));
    for (size_t i = at + 1; i < frame->n_targets; i++) {
        if (strcmp(names[i], names[at]) != 0)
            continue;
        for (size_t k = 0; k < width; k++)
            ret_values[k] += frame->counts[(1 + i) * width + k];
    }
}

/* The machine's counts beyond those of its targets. */
static void rest_of(const struct cb_frame *frame, uint64_t *ret_values)
{
    size_t width = (size_t)frame->n_sockets * frame->n_events;

    memcpy(ret_values, frame->counts, width * sizeof(*ret_values));
    for (size_t i = 0; i < frame->n_targets; i++) {
        for (size_t k = 0; k < width; k++) {
            uint64_t count = frame->counts[(1 + i) * width + k];

            ret_values[k] -= count < ret_values[k] ? count : ret_values[k];
        }
    }
}

int cb_frame_reports(const struct cb_frame *frame, const char *const *names,
                     cb_frame_each_report *each, void *context, struct cb_err *err)
{
    cb_auto_free uint64_t *values =
        calloc(1 + (size_t)frame->n_sockets * frame->n_events, sizeof(*values));
    int r;

    if (!values)
        return cb_err_set(err, ENOMEM, "out of memory for a report");
    r = give_all(frame, each, context, err);
    for (size_t i = 0; i < frame->n_targets && r == 0 && frame->n_events > 0; i++) {
        if (named_before(names, i))
            continue;
        sum_named(frame, names, i, values);
        r = give_target(frame, names[i], values, each, context, err);
    }
    if (r == 0 && frame->has_machine_row && frame->n_events > 0) {
        rest_of(frame, values);
        r = give_target(frame, CB_FRAME_REPORTS_REST, values, each, context, err);
    }
    return r;
}
