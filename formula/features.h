/* SPDX-License-Identifier: Apache-2.0 */
/*
 * features.h - a frame's counter table as rates: per socket, one row per target and one for the
 * rest of the machine (`system`), one column per event the models use.
 *
 * Columns  An event keeps its column for the life of the table (CB_MODEL_EVENTS of them, by event
 *          name and PMU, in the order they were first seen). Time stamp counters are left out: they
 *          run whether or not there is work.
 * System   the machine's counts minus the targets', never below 0, event by event. Where the
 *          targets' counts add up to more than the machine's, their sum is the machine's.
 * Idle     A machine-wide CPU clock that counts idle time too is replaced by the CPU time the
 *          machine says it used (statistic "cpu_ns"), or left out where that is not known.
 * CPU time The weight of CPU-time sharing is the first of: PowerAPI's "time_running", a CPU clock
 *          event, the statistic "cpu_ns", the best clock column.
 * Busy     The share of the CPUs' time that was used: by the machine's "cpu_ns", else a CPU clock,
 *          else MPERF over TSC (MPERF runs at the TSC's rate, but not in idle states: Intel SDM vol.
 *          3, 15.2), where the two differ: in recordings without MPERF it was made up from TSC.
 * Missing  A row that was not counted (enabled > 0, running == 0) takes its share from what was
 *          counted of it (other events, CPU time). Where nothing was: `uncounted`.
 */
#ifndef CB_FORMULA_FEATURES_H
#define CB_FORMULA_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formula/model.h"
#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;

#define CB_COLUMN_NAME 96

struct cb_column {
    char name[CB_COLUMN_NAME]; /* "pmu/event", cut where longer */
    uint8_t rank;              /* as a clock: 0 none, 1 reference cycles, 2 CPU time, 3 cycles */
    bool memory;               /* its name says: misses of the last cache */
    bool weak;                 /* a software event that is no clock: hardly a cause of power */
    bool alive;                /* it was seen above 0 */
};

struct cb_column_table {
    size_t n;
    struct cb_column at[CB_MODEL_EVENTS];
};

enum cb_weight { CB_WEIGHT_NONE, CB_WEIGHT_CPU_TIME, CB_WEIGHT_CYCLES, CB_WEIGHTS };

struct cb_socket_features {
    double total[CB_MODEL_EVENTS];
    double total_cpu; /* of the CPU-time weight, all rows */
    double frequency; /* relative to nominal; 0: not known */
    bool counted;     /* the totals are good enough to learn from */
    bool uncounted;   /* of some target nothing is known: it hides in the system row */
};

struct cb_features {
    size_t n_sockets, n_rows, n_columns; /* row n_rows - 1 is the system's */
    uint32_t clocks; /* the columns to believe first: one rank, bit per column */
    uint32_t weak;   /* the columns of software events that are no clocks */
    uint32_t memory; /* the living columns that count accesses to memory: first for DRAM */
    double busy;     /* share of all CPUs' time; negative: not known */
    bool has_system;
    enum cb_weight weight;   /* what `cpu` is made of, */
    const char *weight_name; /* by name; NULL: nothing. From the frame or the table */
    struct cb_socket_features *sockets;
    double *rates; /* [(socket * n_rows + row) * n_columns + column], per second */
    double *cpu;   /* [socket * n_rows + row], CPU-time weight per second */
    bool *unknown; /* [socket * n_rows + row]: of this target nothing is known */
    size_t room_sockets, room_rows;
};

/* Add the frame's new events to @table. */
void cb_columns_update(struct cb_column_table *table, const struct cb_frame *frame);

/* Room grows only; a zeroed @features is fine to start with. -ENOMEM */
int cb_features_fill(struct cb_features *features, struct cb_column_table *table,
                     const struct cb_frame *frame, struct cb_err *err) cb_must_check;
void cb_features_clear(struct cb_features *features);

/* Index of the statistic, or SIZE_MAX. */
size_t cb_features_stat(const struct cb_frame *frame, const char *name);

#endif
