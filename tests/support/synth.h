/* SPDX-License-Identifier: Apache-2.0 */
/*
 * synth.h - a made-up machine whose every joule is known: frames as a sensor would send them, and
 * beside them what each container really used.
 *
 * Of socket s, container j at frequency ratio f:
 *
 *     cycles = busy * f * base     instructions = cycles * ipc     misses = instructions * mpki
 *     d_j = own_j * (e_cycle * f^2 * cycles + e_instruction * instructions + e_miss * misses)
 *     total = D * (1 + bend * (1 - D / most)), D the sum over containers and system, shared as D is
 *     package = idle * (1 + leak * (temperature - 40)) + total + noise
 *     DRAM = idle + sum of own_dram_j * e_dram * misses + noise
 *
 * own_j and own_dram_j are what no counter tells (vector units and data; the writes and prefetches
 * that are no misses): the model cannot know them. The temperature follows the power with a lag,
 * the frequency its governor; containers come, go, burst and change their phase. All of it is drawn
 * from the seed.
 */
#ifndef CB_TESTS_SYNTH_H
#define CB_TESTS_SYNTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/frame.h"

#define SYNTH_SOCKETS 2
#define SYNTH_TARGETS 12
#define SYNTH_EVENTS 5
#define SYNTH_DOMAINS 2 /* package, dram */

enum synth_load {
    SYNTH_STAGGERED, /* containers start and stop: the split can be learnt */
    SYNTH_CONSTANT,  /* a constant mix from the first tick on: it cannot */
};

struct synth_options {
    uint64_t seed;
    enum synth_load load;
    bool linear;   /* no bend, no own factor, no leakage, no noise */
    bool powerapi; /* as PowerAPI's sensor reports it: no CPU clock, no statistics, no number of
                      CPUs, so how busy they are is not known */
};

struct synth_container {
    double ipc, mpki;
    double own, own_dram;  /* factors of their power */
    double busy;           /* CPUs in use while it runs */
    double burst;          /* 0: steady; else the relative size of its random walk */
    unsigned start, end;   /* ticks; runs in [start, end) */
    unsigned phase_length; /* 0: one phase; else it alternates between two signatures */
    double other_ipc, other_mpki;
};

struct synth {
    struct synth_options options;
    uint64_t random;
    unsigned tick;
    size_t n_sockets, n_targets;
    double cpus, base_hz;
    double idle_w, e_cycle, e_instruction, e_miss, bend, most_w, leak, noise_w;
    double dram_idle_w, e_dram;
    int governor; /* 0: fixed, 1: follows the load, 2: jumps */
    double temperature[SYNTH_SOCKETS], frequency[SYNTH_SOCKETS];
    double energy_j[SYNTH_SOCKETS][SYNTH_DOMAINS];        /* cumulative, for the floor */
    struct synth_container containers[SYNTH_TARGETS + 1]; /* the last one is the system */
    double level[SYNTH_TARGETS + 1];
    /* the truth of the last tick, in joules */
    double idle_j[SYNTH_SOCKETS][SYNTH_DOMAINS];
    double dynamic_j[SYNTH_SOCKETS][SYNTH_DOMAINS][SYNTH_TARGETS + 1];
    /* the frame of the last tick and what it points to */
    struct cb_frame frame;
    struct cb_frame_energy energies[SYNTH_SOCKETS * SYNTH_DOMAINS];
    struct cb_frame_counter counters[SYNTH_SOCKETS * 2];
    struct cb_frame_event events[SYNTH_EVENTS];
    struct cb_frame_target targets[SYNTH_TARGETS];
    uint64_t counts[(SYNTH_TARGETS + 1) * SYNTH_SOCKETS * SYNTH_EVENTS];
    uint64_t times[(SYNTH_TARGETS + 1) * SYNTH_SOCKETS];
    const char *stat_names[1];
    uint64_t stats[SYNTH_TARGETS + 1];
};

void synth_init(struct synth *synth, const struct synth_options *options);

/* The next tick into synth->frame and the truth beside it. */
void synth_tick(struct synth *synth);

#endif
