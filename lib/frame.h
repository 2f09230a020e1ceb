/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - one tick of one machine: everything read in it, machine-wide and per target.
 *
 * Form     One BSON document (bsonspec.org), columns as little-endian binary; docs/frame.md gives
 *          every field. Format version CB_FRAME_VERSION; the decoder reads this one and the one
 *          before, and refuses every other by name.
 * Units    nanoseconds of CLOCK_BOOTTIME (t0, t1), of CLOCK_REALTIME (wall), microjoules, counts.
 *          Every count is a delta over [t0, t1]. A missed tick widens the interval; nothing is
 *          guessed.
 * Ownership  A frame to encode is filled by the caller, who owns every array and string.
 *          A decoded frame owns its arrays; its strings point into the encoded bytes, which must
 *          live as long as the frame.
 * Errors   -EBADMSG malformed (the text names the field), -EPROTONOSUPPORT format version unknown,
 *          -EMSGSIZE above CB_FRAME_MAX_BYTES or above a limit below, -ENOMEM.
 * Threads  no shared state.
 */
#ifndef CB_LIB_FRAME_H
#define CB_LIB_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/clock.h"

struct cb_err;

#define CB_FRAME_VERSION 1

#define CB_FRAME_MAX_BYTES (8u << 20)
#define CB_FRAME_MAX_SOCKETS 64
#define CB_FRAME_MAX_CPUS 4096
#define CB_FRAME_MAX_EVENTS 64
#define CB_FRAME_MAX_GROUPS 16
#define CB_FRAME_MAX_STATS 64
#define CB_FRAME_MAX_MACHINE_COUNTERS 1024
#define CB_FRAME_MAX_ENERGIES 512
#define CB_FRAME_MAX_TARGETS 20000
#define CB_FRAME_MAX_GAPS 256
#define CB_FRAME_MAX_TEXT 4096 /* bytes of one string; labels may have CB_FRAME_MAX_LABELS */
#define CB_FRAME_MAX_LABELS 65536

#define CB_NAME_SIZE 256    /* a sensor's name with its NUL */
#define CB_START_ID_SIZE 33 /* 32 hex digits and the NUL */

/* Domains as RAPL names them. CORE and UNCORE lie inside PACKAGE, everything inside PSYS: nested
 * domains are never summed (cb_domain_is_top()). */
enum cb_domain {
    CB_DOMAIN_PACKAGE,
    CB_DOMAIN_DRAM,
    CB_DOMAIN_CORE,
    CB_DOMAIN_UNCORE,
    CB_DOMAIN_PSYS,
    CB_DOMAIN_COUNT,
};

enum cb_source {
    CB_SOURCE_PERF,     /* the kernel's perf `power` PMU */
    CB_SOURCE_POWERCAP, /* /sys/class/powercap */
    CB_SOURCE_MSR,      /* model specific registers read directly */
    CB_SOURCE_ESTIMATE, /* not measured: a linear model of CPU use, labelled so wherever it shows */
    CB_SOURCE_COUNT,
};

const char *cb_domain_name(enum cb_domain domain); /* "package", "dram", "core", "uncore", "psys" */
const char *cb_source_name(enum cb_source source); /* "perf", "powercap", "msr", "estimate" */
int cb_domain_parse(const char *name, enum cb_domain *ret_domain) cb_must_check;
int cb_source_parse(const char *name, enum cb_source *ret_source) cb_must_check;

/* True for the domains that may be added up to a machine's total: package and dram. */
bool cb_domain_is_top(enum cb_domain domain);

struct cb_frame_energy {
    uint16_t socket;
    uint8_t domain;          /* enum cb_domain */
    uint8_t source;          /* enum cb_source */
    uint64_t energy_uj;      /* difference of the floored cumulative microjoules */
    uint64_t uncertainty_uj; /* half-width of the 95 % interval of energy_uj itself; for a counter
                                its quantum, for an estimate what its calibration data say */
};

/* Machine counters per socket that are no events: "tsc", "aperf", "mperf" (summed over the
 * socket's CPUs), "pcu_clockticks", "pcu_c0", "pcu_c3", "pcu_c6", "imc_read_bytes",
 * "imc_write_bytes", ... */
struct cb_frame_counter {
    const char *name;
    uint16_t socket;
    uint64_t value;
};

struct cb_frame_event {
    const char *name; /* as the user gave it: "cycles", "LLC_MISSES", "cpu-clock" */
    const char *pmu;  /* "cpu", "cpu_core", "cpu_atom", "msr", "software" */
    uint8_t group;    /* events of one group were counted together; index < n_groups */
};

enum cb_target_kind {
    CB_TARGET_CONTAINER,
    CB_TARGET_CGROUP, /* any other cgroup that is counted on its own */
};

enum cb_target_flag {
    CB_TARGET_TEXT = 1, /* cgroup, container_id, ... are filled: the dictionary entry */
    CB_TARGET_GONE = 2, /* the cgroup is gone; this is its last row */
};

struct cb_frame_target {
    uint32_t id;   /* >= 1, unique within one sensor start, never used again in it */
    uint8_t kind;  /* enum cb_target_kind */
    uint8_t flags; /* enum cb_target_flag */
    /* With CB_TARGET_TEXT; NULL or "" means unknown. */
    const char *cgroup;       /* path below the hierarchy's root, with the leading '/' */
    const char *container_id; /* 64 hex digits for Docker */
    const char *name;
    const char *image;
    const char *labels; /* a JSON object of strings */
};

/* What could not be read in this tick, or is not measured at all, and why. */
struct cb_frame_gap {
    const char *source; /* "rapl", "perf:/docker/ab12", "docker" */
    const char *reason;
};

struct cb_frame {
    /* who and when */
    const char *sensor;    /* the sensor's name: one per machine */
    const char *boot_id;   /* 36 characters, /proc/sys/kernel/random/boot_id */
    const char *start_id;  /* random for each start of the sensor, 32 hex digits */
    uint64_t seq;          /* 1, 2, 3, ... within start_id */
    uint64_t t0_ns, t1_ns; /* BOOTTIME; t0 < t1; t0 is the t1 of the frame before */
    uint64_t wall_ns;      /* REALTIME of t1 */
    bool dictionary;       /* every target of this frame carries its text */
    const char *version;   /* of the sensor program */

    /* topology */
    uint32_t n_sockets;
    uint32_t n_cpus; /* 0: not known */

    /* energy of the interval, one entry per (socket, domain); none when nothing can be had */
    size_t n_energies;
    struct cb_frame_energy *energies;

    size_t n_counters;
    struct cb_frame_counter *counters;

    /* the counter table. Row 0 is the whole machine, row 1 + i is targets[i].
     *   counts[(row * n_sockets + socket) * n_events + event]
     *   enabled_ns/running_ns[(row * n_sockets + socket) * n_groups + group]
     * counts are already scaled where enabled > running > 0; enabled > 0 with running == 0 means
     * "not counted" (the count is 0 and stands for nothing). Equal times (0 included): exact. */
    bool has_machine_row; /* false: row 0 is all zeros and means nothing */
    size_t n_events;
    struct cb_frame_event *events;
    size_t n_groups;
    size_t n_targets;
    struct cb_frame_target *targets;
    uint64_t *counts;
    uint64_t *enabled_ns;
    uint64_t *running_ns;

    /* cgroup statistics: stats[row * n_stats + stat], the same rows; names in lib/schema.
     * CB_STAT_ABSENT where a file could not be read. "cpu_ns": CPU time used in the interval. The
     * other columns have a period of their own (sensor/metrics.h): frames between do not have
     * them, and their counters are deltas since the frame before that had them. */
    size_t n_stats;
    const char **stat_names;
    uint64_t *stats;

    /* honesty */
    size_t n_gaps;
    struct cb_frame_gap *gaps;
    uint64_t lost_frames;  /* dropped from a full spool since the sensor started */
    uint64_t missed_ticks; /* timer expirations that came too late, since the sensor started */
    uint64_t self_cpu_ns;  /* CPU time of the sensor itself in this interval */

    void *arena; /* decoder's own; NULL in a frame to encode */
};

#define CB_STAT_ABSENT UINT64_MAX

#define cb_frame_count(frame, row, socket, event)                                                  \
    ((frame)->counts[((row) * (frame)->n_sockets + (socket)) * (frame)->n_events + (event)])

/* An encoder keeps one growing buffer: after the first frames it allocates nothing. */
struct cb_frame_encoder;
struct cb_frame_encoder *cb_frame_encoder_new(void);
struct cb_frame_encoder *cb_frame_encoder_free(struct cb_frame_encoder *encoder);

/* *@ret_bytes points into the encoder and is valid until its next call. -EINVAL names the field
 * that breaks a rule above. */
int cb_frame_encode(struct cb_frame_encoder *encoder, const struct cb_frame *frame,
                    const uint8_t **ret_bytes, size_t *ret_size, struct cb_err *err) cb_must_check;

/* A frame is refused when this is above CB_FRAME_MAX_BYTES: its bytes encoded are at most so many.
 * The numbers of targets, events, ... must be within their limits. */
size_t cb_frame_bound(const struct cb_frame *frame);
/* What each target adds to that, without its text. */
size_t cb_frame_row_bound(const struct cb_frame *frame);
/* What CB_TARGET_TEXT adds to that for this target. */
size_t cb_frame_text_bound(const struct cb_frame_target *target);

/* Strict: every field present once, of its type, within its limits, sizes that fit each other,
 * strings valid UTF-8 without NUL, t0 < t1, ids unique. @frame is overwritten; after a success it
 * is released by cb_frame_clear(), after a failure there is nothing to release. */
int cb_frame_decode(const uint8_t *bytes, size_t size, struct cb_frame *ret_frame,
                    struct cb_err *err) cb_must_check;

/* Release what decode allocated and zero the frame. A zeroed frame is fine. */
void cb_frame_clear(struct cb_frame *frame);

#endif
