/* SPDX-License-Identifier: Apache-2.0 */
/* synth.c - see synth.h. */
#include "tests/support/synth.h"

#include <math.h>
#include <string.h>

#define TICK_NS UINT64_C(1000000000)

static double uniform(struct synth *synth)
{
    uint64_t x = synth->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static double between(struct synth *synth, double low, double high)
{
    return low + (high - low) * uniform(synth);
}

static double normal(struct synth *synth)
{
    double sum = 0;

    for (int i = 0; i < 12; i++)
        sum += uniform(synth);
    return sum - 6;
}

static void draw_container(struct synth *synth, size_t i)
{
    struct synth_container *c = &synth->containers[i];
    bool memory = uniform(synth) < 0.4;
    double room = synth->cpus * (double)synth->n_sockets / (double)synth->n_targets;

    c->ipc = memory ? between(synth, 0.2, 0.8) : between(synth, 0.9, 3);
    c->mpki = memory ? between(synth, 5, 30) : between(synth, 0.01, 1);
    c->other_ipc = between(synth, 0.4, 2.5);
    c->other_mpki = between(synth, 0.02, 12);
    c->own = synth->options.linear ? 1 : fmin(fmax(1 + 0.05 * normal(synth), 0.85), 1.15);
    c->busy = between(synth, 0.1, 1) * room;
    c->burst = uniform(synth) < 0.5 ? 0 : between(synth, 0.1, 0.6);
    c->phase_length = uniform(synth) < 0.3 ? (unsigned)between(synth, 8, 40) : 0;
    c->start = (unsigned)between(synth, 0, 60);
    c->end = c->start + (unsigned)between(synth, 20, 200);
    synth->level[i] = 1;
    if (synth->options.load == SYNTH_CONSTANT) {
        c->start = 0;
        c->end = UINT32_MAX;
        c->burst = 0;
        c->phase_length = 0;
    }
}

/* Idle shares of the full power and how it bends are drawn about those of eleven measured servers
 * (docs/model.md, Prior): package 0.08 to 0.4, DRAM 0.4 to 0.85. */
static void draw_power(struct synth *synth)
{
    double watts_per_cpu = between(synth, 2, 8); /* of an average instruction mix */
    double idle_share = between(synth, 0.08, 0.4), dram_share = between(synth, 0.4, 0.85);

    synth->e_cycle = 0.6 * watts_per_cpu / synth->base_hz;
    synth->e_instruction = 0.3 * watts_per_cpu / synth->base_hz;
    synth->e_miss = between(synth, 5, 30) * 1e-9;
    synth->most_w = 1.5 * watts_per_cpu * synth->cpus;
    synth->idle_w = idle_share / (1 - idle_share) * synth->most_w;
    synth->bend = between(synth, 0, 0.6);
    synth->leak = between(synth, 0, 0.004);
    synth->noise_w = between(synth, 0.002, 0.01) * synth->most_w;
    synth->e_dram = between(synth, 10, 60) * 1e-9;
    synth->dram_idle_w =
        dram_share / (1 - dram_share) * synth->e_dram * 0.004 * synth->base_hz * synth->cpus;
    if (synth->options.linear)
        synth->bend = synth->leak = synth->noise_w = 0;
}

static void init_frame(struct synth *synth)
{
    static const char *const names[SYNTH_EVENTS] = {"cycles", "ref-cycles", "instructions",
                                                    "LLC-misses", "cpu-clock"};

    synth->stat_names[0] = "cpu_ns";
    for (size_t e = 0; e < SYNTH_EVENTS; e++)
        synth->events[e] = (struct cb_frame_event){names[e], e < 4 ? "cpu" : "software", 0};
    synth->frame = (struct cb_frame){
        .sensor = "synthetic",
        .boot_id = "00000000-0000-0000-0000-000000000000",
        .start_id = "00000000000000000000000000000000",
        .version = "0",
        .t1_ns = 1000 * TICK_NS,
        .wall_ns = UINT64_C(1700000000) * TICK_NS,
        .n_sockets = (uint32_t)synth->n_sockets,
        .n_cpus = (uint32_t)(synth->cpus * (double)synth->n_sockets),
        .energies = synth->energies,
        .counters = synth->counters,
        .has_machine_row = true,
        .n_events = SYNTH_EVENTS,
        .events = synth->events,
        .n_groups = 1,
        .targets = synth->targets,
        .counts = synth->counts,
        .enabled_ns = synth->times,
        .running_ns = synth->times,
        .n_stats = 1,
        .stat_names = synth->stat_names,
        .stats = synth->stats,
    };
    if (synth->options.powerapi) {
        synth->frame.n_cpus = synth->frame.n_stats = 0;
        synth->frame.n_events = SYNTH_EVENTS - 1; /* the last one is the CPU clock */
    }
}

void synth_init(struct synth *synth, const struct synth_options *options)
{
    memset(synth, 0, sizeof(*synth));
    synth->options = *options;
    synth->random = options->seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    synth->n_sockets = uniform(synth) < 0.5 ? 1 : 2;
    synth->cpus = floor(between(synth, 4, 33));
    synth->base_hz = between(synth, 1.8e9, 3e9);
    synth->n_targets = (size_t)between(synth, 2, 10);
    synth->governor = (int)(uniform(synth) * 3);
    draw_power(synth);
    for (size_t i = 0; i <= synth->n_targets; i++)
        draw_container(synth, i);
    for (size_t i = 0; i <= synth->n_targets; i++)
        synth->containers[i].own_dram =
            options->linear ? 1 : fmin(fmax(1 + 0.1 * normal(synth), 0.6), 1.4);
    /* the system runs always, a little */
    synth->containers[synth->n_targets].start = 0;
    synth->containers[synth->n_targets].end = UINT32_MAX;
    synth->containers[synth->n_targets].busy = between(synth, 0.01, 0.15);
    for (size_t s = 0; s < SYNTH_SOCKETS; s++) {
        synth->temperature[s] = 40;
        synth->frequency[s] = 1;
    }
    init_frame(synth);
}

static bool runs(const struct synth *synth, size_t i)
{
    return synth->tick >= synth->containers[i].start && synth->tick < synth->containers[i].end;
}

static void walk(struct synth *synth)
{
    for (size_t i = 0; i <= synth->n_targets; i++) {
        const struct synth_container *c = &synth->containers[i];

        if (c->burst > 0)
            synth->level[i] =
                fmin(fmax(synth->level[i] + c->burst * 0.5 * normal(synth), 0.05), 1.5);
    }
}

static void govern(struct synth *synth, size_t socket, double load)
{
    if (synth->governor == 1)
        synth->frequency[socket] = 0.5 + 0.8 * fmin(load, 1);
    if (synth->governor == 2 && uniform(synth) < 0.1)
        synth->frequency[socket] = 0.5 + 0.1 * floor(between(synth, 0, 9));
    if (synth->options.load == SYNTH_CONSTANT)
        synth->frequency[socket] = 1;
}

/* Containers lean to one socket or the other by their number. */
static double busy_of(const struct synth *synth, size_t i, size_t socket)
{
    double busy = runs(synth, i) ? synth->containers[i].busy * synth->level[i] : 0;

    if (synth->n_sockets == 1)
        return fmin(busy, synth->cpus);
    return fmin(busy * ((i + socket) % 2 ? 0.3 : 0.7), synth->cpus);
}

static void set_row(struct synth *synth, size_t row, size_t socket, const double *counts)
{
    for (size_t e = 0; e < synth->frame.n_events; e++) {
        uint64_t count = (uint64_t)counts[e];

        cb_frame_count(&synth->frame, row, socket, e) += count;
        cb_frame_count(&synth->frame, 0, socket, e) += count;
    }
}

/* The row of a running container in the frame; the system has none of its own. */
static size_t row_of(const struct synth *synth, size_t i)
{
    for (size_t t = 0; t < synth->frame.n_targets; t++) {
        if (synth->targets[t].id == i + 1)
            return t + 1;
    }
    return 0;
}

static void tick_socket(struct synth *synth, size_t s, double seconds)
{
    double dynamic_w[SYNTH_TARGETS + 1] = {0}, misses_w[SYNTH_TARGETS + 1] = {0};
    double load = 0, sum_w = 0, total_w, idle_w, dram_w = synth->dram_idle_w, power_w[2];
    double f;

    for (size_t i = 0; i <= synth->n_targets; i++)
        load += busy_of(synth, i, s) / synth->cpus;
    govern(synth, s, load);
    f = synth->frequency[s];
    for (size_t i = 0; i <= synth->n_targets; i++) {
        const struct synth_container *c = &synth->containers[i];
        bool other = c->phase_length > 0 && synth->tick / c->phase_length % 2;
        double busy = busy_of(synth, i, s) / fmax(load, 1);
        double cycles = busy * f * synth->base_hz;
        double instructions = cycles * (other ? c->other_ipc : c->ipc);
        double misses = instructions * (other ? c->other_mpki : c->mpki) / 1000;
        const double counts[SYNTH_EVENTS] = {cycles * seconds, busy * synth->base_hz * seconds,
                                             instructions * seconds, misses * seconds,
                                             busy * 1e9 * seconds};
        size_t row = row_of(synth, i);

        dynamic_w[i] = c->own * (synth->e_cycle * f * f * cycles +
                                 synth->e_instruction * instructions + synth->e_miss * misses);
        misses_w[i] = c->own_dram * synth->e_dram * misses;
        sum_w += dynamic_w[i];
        dram_w += misses_w[i];
        if (row > 0) {
            set_row(synth, row, s, counts);
            synth->stats[row] += (uint64_t)counts[4];
        } else { /* the system's counts are in the machine's row only */
            for (size_t e = 0; e < synth->frame.n_events; e++)
                cb_frame_count(&synth->frame, 0, s, e) += (uint64_t)counts[e];
        }
        synth->stats[0] += (uint64_t)counts[4];
    }
    total_w = sum_w * (1 + synth->bend * (1 - fmin(sum_w / synth->most_w, 1)));
    idle_w = synth->idle_w * (1 + synth->leak * (synth->temperature[s] - 40));
    power_w[0] = fmax(idle_w + total_w + synth->noise_w * normal(synth), 0.1);
    power_w[1] =
        fmax(dram_w + 0.02 * (synth->noise_w > 0) * synth->dram_idle_w * normal(synth), 0.05);
    synth->temperature[s] += 0.03 * (40 + 0.25 * total_w - synth->temperature[s]);
    synth->idle_j[s][0] = idle_w * seconds;
    synth->idle_j[s][1] = synth->dram_idle_w * seconds;
    for (size_t i = 0; i <= synth->n_targets; i++) {
        synth->dynamic_j[s][0][i] = sum_w > 0 ? total_w * dynamic_w[i] / sum_w * seconds : 0;
        synth->dynamic_j[s][1][i] = misses_w[i] * seconds;
    }
    for (size_t d = 0; d < SYNTH_DOMAINS; d++) {
        double before = floor(synth->energy_j[s][d] * 1e6);

        synth->energy_j[s][d] += power_w[d] * seconds;
        synth->energies[synth->frame.n_energies++] = (struct cb_frame_energy){
            .socket = (uint16_t)s,
            .domain = d ? CB_DOMAIN_DRAM : CB_DOMAIN_PACKAGE,
            .source = CB_SOURCE_PERF,
            .energy_uj = (uint64_t)(floor(synth->energy_j[s][d] * 1e6) - before),
            .uncertainty_uj = 61,
        };
    }
    synth->counters[synth->frame.n_counters++] =
        (struct cb_frame_counter){"aperf", (uint16_t)s, (uint64_t)(f * 1e9)};
    synth->counters[synth->frame.n_counters++] =
        (struct cb_frame_counter){"mperf", (uint16_t)s, 1000000000};
}

void synth_tick(struct synth *synth)
{
    struct cb_frame *frame = &synth->frame;
    uint64_t length = (uint64_t)((double)TICK_NS * (1 + 0.01 * normal(synth)));

    if (synth->tick > 0 || frame->seq > 0)
        synth->tick++;
    walk(synth);
    memset(synth->counts, 0, sizeof(synth->counts));
    memset(synth->stats, 0, sizeof(synth->stats));
    memset(synth->dynamic_j, 0, sizeof(synth->dynamic_j));
    frame->seq++;
    frame->t0_ns = frame->t1_ns;
    frame->t1_ns += length;
    frame->wall_ns += length;
    frame->n_energies = frame->n_counters = frame->n_targets = 0;
    for (size_t i = 0; i < synth->n_targets; i++) {
        if (runs(synth, i))
            synth->targets[frame->n_targets++] = (struct cb_frame_target){.id = (uint32_t)i + 1};
    }
    for (size_t s = 0; s < synth->n_sockets; s++)
        tick_socket(synth, s, (double)length / 1e9);
}
