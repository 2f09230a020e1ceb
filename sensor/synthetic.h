/* SPDX-License-Identifier: Apache-2.0 */
/*
 * synthetic.h - for tests of the way from the sensor to the stores: a made-up machine in place of
 * the sources, whose every microjoule is written down. Spool, link and all that follows are real.
 *
 * Never a measurement: its energies have the source `estimate` with an uncertainty as large as they
 * are, every frame carries the gap "synthetic", containers and images are named synthetic, and the
 * sensor's name must begin with "synthetic", so that every row anywhere says so.
 *
 * Seed     draws the machine: 1 or 2 sockets with package and dram, watts of each container, how
 *          long it lives (5 to 60 s; another one follows at once). The energy of a frame is watts
 *          times the time that really passed; cumulative, floored, so nothing drifts.
 * Ledger   one line a frame, appended with one write(2) before the frame is handed over, so it has
 *          every frame that any other place can have:
 *            start_id seq t0_ns t1_ns spooled total_uj containers_uj
 *          spooled: so many frames of this start were on the spool's disk or further by then.
 *          total_uj: of all energies of the frame. containers_uj: what the containers really used.
 * Threads  one.
 */
#ifndef CB_SENSOR_SYNTHETIC_H
#define CB_SENSOR_SYNTHETIC_H

#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "sensor/outbox.h"

struct cb_err;

#define CB_SYNTHETIC_PREFIX "synthetic"
#define CB_SYNTHETIC_MAX_CONTAINERS 2000

struct cb_synthetic_spec {
    uint64_t seed;
    uint32_t containers;
    char ledger[4096]; /* "": none */
};

/* "seed=N,containers=N,ledger=FILE", each at most once; 50 containers where none are given. */
int cb_synthetic_parse(const char *text, struct cb_synthetic_spec *ret_spec,
                       struct cb_err *err) cb_must_check;

/* The boot id of the made-up machine: no two seeds share one. */
void cb_synthetic_boot_id(const struct cb_synthetic_spec *spec, char ret_id[CB_BOOT_ID_SIZE]);

struct cb_synthetic_options { /* borrowed for the call */
    const struct cb_synthetic_spec *spec;
    const char *sensor, *boot_id, *start_id;
    struct cb_outbox *outbox;
    uint64_t tick_ns;
    uint64_t frames;              /* stop after so many; 0: never */
    int signal_fd;                /* readable: stop */
    void (*ready)(void *context); /* called after the first frame */
    void *context;
};

/* The loop of tick.h on the made-up machine, until it is told to stop. */
int cb_synthetic_run(const struct cb_synthetic_options *options, struct cb_err *err) cb_must_check;

#endif
