/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_hotplug.c - see hwpc_hotplug.h. */
#include "sensor/hwpc_hotplug.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/perf.h"

#define LOOK_NS (CB_NS_PER_S / 10)
#define LOG_NS (60 * CB_NS_PER_S)

struct cb_hwpc_hotplug {
    struct cb_hwpc_hotplug_options o;
    struct cb_perf *clocks;
    struct cb_perf_target *clock;
    uint64_t looked_ns;
    bool changed; /* CPUs came or went, and the targets have not followed */
    bool chosen;  /* the sets know */
    struct cb_log_limit limit;
};

int cb_hwpc_hotplug_open(const struct cb_hwpc_hotplug_options *options,
                         struct cb_hwpc_hotplug **ret_hotplug, struct cb_err *err)
{
    static const char *const lists[] = {"cpu-clock"};
    const struct cb_perf_options perf = {.root_fd = options->root_fd,
                                         .topology = options->topology,
                                         .n_lists = 1,
                                         .lists = lists,
                                         .strict = true,
                                         .reading_by = CB_PERF_BY_CALLER};
    struct cb_hwpc_hotplug *h = calloc(1, sizeof(*h));
    int r;

    if (!h)
        return cb_err_set(err, ENOMEM, "out of memory");
    h->o = *options;
    r = cb_perf_open(&perf, &h->clocks, err);
    if (r == 0)
        r = cb_perf_target_open(h->clocks, -1, &h->clock, err);
    if (r < 0) {
        (void)cb_hwpc_hotplug_close(h);
        return r;
    }
    *ret_hotplug = h;
    return 0;
}

struct cb_hwpc_hotplug *cb_hwpc_hotplug_close(struct cb_hwpc_hotplug *h)
{
    if (h) {
        h->clock = cb_perf_target_close(h->clocks, h->clock);
        h->clocks = cb_perf_close(h->clocks);
    }
    free(h);
    return NULL;
}

static void read_clocks(struct cb_hwpc_hotplug *h)
{
    const struct cb_topology *t = h->o.topology;
    uint64_t counts[CB_FRAME_MAX_SOCKETS];
    uint64_t enabled_ns[CB_FRAME_MAX_SOCKETS], running_ns[CB_FRAME_MAX_SOCKETS];

    /* one that cannot be read was away, and is told so below */
    (void)!cb_perf_target_read(h->clocks, h->clock, UINT64_MAX, counts, enabled_ns, running_ns,
                               NULL);
    for (uint32_t i = 0; i < t->n_cpus; i++)
        if (cb_perf_was_away(h->clocks, i)) {
            cb_hwpc_set_tell_away(h->o.system, t->cpus[i]);
            cb_hwpc_set_tell_away(h->o.cgroups, t->cpus[i]);
        }
}

void cb_hwpc_hotplug_look(struct cb_hwpc_hotplug *h, uint64_t now_ns)
{
    struct cb_err err = {0};
    int r;

    if (now_ns < h->looked_ns + LOOK_NS)
        return;
    h->looked_ns = now_ns;
    r = cb_topology_refresh(h->o.topology, h->o.root_fd, &err);
    h->changed = h->changed || r > 0;
    if (r >= 0 && h->changed)
        r = cb_hwpc_set_look(h->o.system, h->o.root_fd, &err);
    if (r >= 0 && h->changed)
        r = cb_hwpc_set_look(h->o.cgroups, h->o.root_fd, &err);
    h->chosen = r >= 0;
    if (r < 0)
        cb_log_debug("cannot look for CPUs: %s", err.text);
    read_clocks(h);
}

void cb_hwpc_hotplug_follow(struct cb_hwpc_hotplug *h)
{
    struct cb_err err = {0};
    int clock, machine;

    if (h->changed && !h->chosen)
        return;
    if (!h->changed && !cb_perf_is_stuck(h->clocks) && !cb_hwpc_set_is_stuck(h->o.system) &&
        !cb_hwpc_set_is_stuck(h->o.cgroups))
        return;
    if (h->changed)
        cb_log_info("%u CPUs are online now", cb_topology_n_online(h->o.topology));
    clock = cb_perf_target_follow(h->clocks, h->clock, -1, &err);
    machine = cb_hwpc_target_follow(h->o.system, h->o.machine, -1, clock < 0 ? NULL : &err);
    if (clock < 0 || machine < 0)
        cb_log_limited(&h->limit, LOG_NS, CB_LOG_WARN,
                       "the machine is not counted on every CPU: %s", err.text);
    cb_perf_followed(h->clocks);
    cb_hwpc_set_followed(h->o.system);
    if (h->o.targets)
        cb_hwpc_targets_follow(h->o.targets);
    h->changed = false;
}
