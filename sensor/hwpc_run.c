/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_run.c - see hwpc_run.h. */
#include "sensor/hwpc_run.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/hwpc.h"
#include "lib/log.h"
#include "sensor/hwpc_hotplug.h"
#include "sensor/hwpc_queue.h"
#include "sensor/hwpc_set.h"
#include "sensor/hwpc_sink.h"
#include "sensor/hwpc_targets.h"
#include "sensor/urgency.h"

#define LOG_NS (60 * CB_NS_PER_S)
#define DRAIN_NS (5 * CB_NS_PER_S)

struct cb_hwpc_run {
    struct cb_hwpc_run_options o;
    struct cb_hwpc_set *system, *cgroups;
    struct cb_hwpc_target *machine;
    struct cb_hwpc_targets *targets;
    struct cb_hwpc_hotplug *hotplug;
    struct cb_hwpc_sink *sink;
    struct cb_hwpc_queue *queue; /* NULL: the sink is written at once */
    struct cb_hwpc_batch batch;  /* then this one is filled */
    int timer_fd;
    uint64_t t0_ns, next_discovery_ns;
    uint64_t ticks, missed, lost;
    struct cb_log_limit missed_limit, lost_limit, machine_limit, discovery_limit;
};

/* ---- opening ---- */

static int open_sets(struct cb_hwpc_run *run, struct cb_err *err)
{
    const struct cb_hwpc_run_options *o = &run->o;
    int r = cb_hwpc_set_open(o->root_fd, o->topology, &o->options->system, true, &run->system, err);

    if (r == 0)
        r = cb_hwpc_set_open(o->root_fd, o->topology, &o->options->cgroups, false, &run->cgroups,
                             err);
    if (r == 0)
        r = cb_hwpc_target_open(run->system, -1, &run->machine, err);
    return r;
}

static int open_targets(struct cb_hwpc_run *run, struct cb_err *err)
{
    const struct cb_hwpc_targets_options options = {
        .root_fd = run->o.root_fd,
        .base_fd = run->o.base_fd,
        .leading_slash = run->o.leading_slash,
        .docker_names = run->o.docker_names,
        .set = run->cgroups,
    };
    int r = 0;

    if (run->o.options->cgroups.n == 0)
        return 0;
    r = cb_hwpc_targets_open(&options, &run->targets, err);
    return r < 0 ? r : cb_hwpc_targets_discover(run->targets, err);
}

int cb_hwpc_run_close(struct cb_hwpc_run *run, struct cb_err *err)
{
    int r;

    if (!run)
        return 0;
    run->lost += cb_hwpc_queue_close(run->queue, DRAIN_NS);
    r = cb_hwpc_sink_close(run->sink, err);
    if (r == 0 && run->lost)
        r = cb_err_set(err, EIO, "%llu reports could not be written",
                       (unsigned long long)run->lost);
    run->hotplug = cb_hwpc_hotplug_close(run->hotplug);
    run->targets = cb_hwpc_targets_close(run->targets);
    run->machine = run->system ? cb_hwpc_target_close(run->system, run->machine) : NULL;
    run->system = cb_hwpc_set_close(run->system);
    run->cgroups = cb_hwpc_set_close(run->cgroups);
    cb_hwpc_batch_fini(&run->batch);
    if (run->timer_fd >= 0)
        (void)close(run->timer_fd);
    free(run);
    return r;
}

int cb_hwpc_run_open(const struct cb_hwpc_run_options *options, struct cb_hwpc_run **ret_run,
                     struct cb_err *err)
{
    struct cb_hwpc_run *run = calloc(1, sizeof(*run));
    int r;

    if (!run)
        return cb_err_set(err, ENOMEM, "out of memory");
    run->o = *options;
    run->timer_fd = -1;
    r = open_sets(run, err);
    if (r == 0)
        r = cb_hwpc_sink_open(
            &(struct cb_hwpc_sink_options){
                .options = options->options,
                .forms = {cb_hwpc_set_form(run->system), cb_hwpc_set_form(run->cgroups)}},
            &run->sink, err);
    if (r == 0)
        r = open_targets(run, err);
    if (r == 0)
        r = cb_hwpc_hotplug_open(&(struct cb_hwpc_hotplug_options){.root_fd = options->root_fd,
                                                                   .topology = options->topology,
                                                                   .system = run->system,
                                                                   .cgroups = run->cgroups,
                                                                   .machine = run->machine,
                                                                   .targets = run->targets},
                                 &run->hotplug, err);
    if (r == 0)
        *ret_run = run;
    else if (cb_hwpc_run_close(run, NULL) < 0)
        return r; /* the first error is the one to tell */
    return r;
}

/* ---- a tick ---- */

static void lose(struct cb_hwpc_run *run, size_t reports, const char *why)
{
    run->lost += reports;
    cb_log_limited(&run->lost_limit, LOG_NS, CB_LOG_ERR, "%zu reports are lost: %s", reports, why);
}

static void read_machine(struct cb_hwpc_run *run, uint64_t tick_ns, struct cb_hwpc_batch *batch)
{
    struct cb_err err = {0};
    uint64_t *values;

    if (run->o.options->system.n == 0)
        return;
    if (cb_hwpc_batch_add(batch, cb_hwpc_set_form(run->system), CB_HWPC_ALL, &values) < 0)
        lose(run, 1, "out of memory");
    else if (cb_hwpc_target_read(run->system, run->machine, tick_ns, values, &err) < 0)
        cb_log_limited(&run->machine_limit, LOG_NS, CB_LOG_WARN, "machine: %s", err.text);
}

static void deliver(struct cb_hwpc_run *run, struct cb_hwpc_batch *batch)
{
    struct cb_err err = {0};

    if (run->queue)
        cb_hwpc_queue_push(run->queue, batch);
    else if (cb_hwpc_sink_write(run->sink, batch, &err) < 0)
        lose(run, batch->n, err.text);
}

static void take_tick(struct cb_hwpc_run *run, uint64_t now_ns)
{
    struct cb_hwpc_batch *batch = run->queue ? cb_hwpc_queue_take(run->queue) : &run->batch;
    uint64_t tick_ns = now_ns - run->t0_ns;
    size_t lost;

    if (!batch) { /* its counts are in the next one */
        cb_log_limited(&run->lost_limit, LOG_NS, CB_LOG_ERR, "a tick is put off: out of memory");
        return;
    }
    run->t0_ns = now_ns;
    run->ticks++;
    cb_hwpc_hotplug_look(run->hotplug, now_ns);
    cb_hwpc_batch_reset(batch, run->o.name, (int64_t)(cb_clock_wall_ns() / (CB_NS_PER_S / 1000)));
    read_machine(run, tick_ns, batch);
    lost = run->targets ? cb_hwpc_targets_read(run->targets, tick_ns, batch) : 0;
    if (lost)
        lose(run, lost, "out of memory");
    deliver(run, batch);
    cb_hwpc_hotplug_follow(run->hotplug);
}

static void discover(struct cb_hwpc_run *run, uint64_t now_ns)
{
    struct cb_err err = {0};

    run->next_discovery_ns = now_ns + run->o.options->discovery_ns;
    if (run->targets && cb_hwpc_targets_discover(run->targets, &err) < 0)
        cb_log_limited(&run->discovery_limit, LOG_NS, CB_LOG_ERR, "%s", err.text);
}

static bool take_timer(struct cb_hwpc_run *run)
{
    uint64_t expirations = 0;

    if (read(run->timer_fd, &expirations, sizeof(expirations)) != (ssize_t)sizeof(expirations))
        return false;
    cb_urgency_look();
    if (expirations > 1) {
        run->missed += expirations - 1;
        cb_log_limited(&run->missed_limit, LOG_NS, CB_LOG_WARN,
                       "%llu ticks missed so far: the machine is too slow for this -f; the reports "
                       "after them cover them, nothing is lost",
                       (unsigned long long)run->missed);
    }
    return true;
}

static int start_timer(struct cb_hwpc_run *run, struct cb_err *err)
{
    uint64_t ns = run->o.options->tick_ns;
    const struct timespec period = {.tv_sec = (time_t)(ns / CB_NS_PER_S),
                                    .tv_nsec = (long)(ns % CB_NS_PER_S)};
    const struct itimerspec spec = {.it_interval = period, .it_value = period};

    run->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (run->timer_fd < 0 || timerfd_settime(run->timer_fd, 0, &spec, NULL) < 0)
        return cb_err_set(err, errno, "cannot start the timer: %s", strerror(errno));
    return 0;
}

/* What was counted while everything was opened belongs to no tick. */
static void begin(struct cb_hwpc_run *run)
{
    struct cb_hwpc_batch batch = {0};

    read_machine(run, 1, &batch);
    cb_hwpc_batch_fini(&batch);
    if (run->targets)
        cb_hwpc_targets_start(run->targets);
    run->t0_ns = cb_clock_boot_ns();
    run->next_discovery_ns = run->t0_ns + run->o.options->discovery_ns;
}

static void say_ready(const struct cb_hwpc_run *run)
{
    const struct cb_hwpc_options *o = run->o.options;

    cb_log_info(
        "ready: '%s', %zu cgroups, groups of events: %zu of the machine, %zu of cgroups; to %s%s%s",
        run->o.name, run->targets ? cb_hwpc_targets_n(run->targets) : 0, o->system.n, o->cgroups.n,
        cb_hwpc_storage_name(o->storage),
        o->storage == CB_HWPC_CSV || o->storage == CB_HWPC_SOCKET ? " " : "",
        o->storage == CB_HWPC_CSV || o->storage == CB_HWPC_SOCKET ? o->where : "");
}

static int wait_and_tick(struct cb_hwpc_run *run, bool *ret_stop, struct cb_err *err)
{
    struct pollfd fds[] = {{.fd = run->timer_fd, .events = POLLIN},
                           {.fd = run->o.signal_fd, .events = POLLIN}};
    uint64_t now_ns;

    if (poll(fds, 2, -1) < 0)
        return errno == EINTR ? 0 : cb_err_set(err, errno, "poll: %s", strerror(errno));
    *ret_stop = fds[1].revents != 0;
    if (!fds[0].revents || !take_timer(run))
        return 0;
    now_ns = cb_clock_boot_ns();
    take_tick(run, now_ns);
    if (now_ns >= run->next_discovery_ns)
        discover(run, now_ns);
    *ret_stop = *ret_stop || (run->o.ticks && run->ticks >= run->o.ticks);
    return 0;
}

int cb_hwpc_run(struct cb_hwpc_run *run, struct cb_err *err)
{
    bool stop = false;
    int r = 0;

    if (cb_hwpc_sink_may_wait(run->sink))
        r = cb_hwpc_queue_open(run->sink, &run->queue, err);
    if (r == 0)
        r = start_timer(run, err);
    if (r < 0)
        return r;
    begin(run);
    say_ready(run);
    while (r == 0 && !stop)
        r = wait_and_tick(run, &stop, err);
    return r;
}
