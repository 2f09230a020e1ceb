/* SPDX-License-Identifier: Apache-2.0 */
/* perf.c - see perf.h. */
#include "sensor/perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/perf_private.h"

#define AGAIN_NS CB_NS_PER_S

int cb_perf_event_open(const struct cb_event *event, int cgroup_fd, uint32_t cpu, int leader_fd)
{
    struct perf_event_attr attr = {
        .size = sizeof(attr),
        .type = event->type,
        .config = event->config,
        .config1 = event->config1,
        .config2 = event->config2,
        .disabled = leader_fd < 0,
        .read_format =
            PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
    };
    unsigned long flags = PERF_FLAG_FD_CLOEXEC | (cgroup_fd >= 0 ? PERF_FLAG_PID_CGROUP : 0UL);
    long fd = syscall(SYS_perf_event_open, &attr, cgroup_fd, (int)cpu, leader_fd, flags);

    return fd < 0 ? -errno : (int)fd;
}

int cb_perf_no_rights(struct cb_err *err)
{
    return cb_err_set(err, EACCES,
                      "no right to count events: run as root or give the program CAP_PERFMON "
                      "(setcap cap_perfmon,cap_dac_read_search+ep cbsensor), or set "
                      "kernel.perf_event_paranoid to 0 (sysctl kernel.perf_event_paranoid=0)");
}

bool cb_perf_is_about_rights(int r)
{
    return r == -EACCES || r == -EPERM;
}

int cb_perf_probe(int cgroup_fd, uint32_t cpu, struct cb_err *err)
{
    const struct cb_event clock = {.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_CPU_CLOCK};
    cb_auto_close int fd = cb_perf_event_open(&clock, cgroup_fd, cpu, -1);

    if (cb_perf_is_about_rights(fd))
        return cb_perf_no_rights(err);
    if (fd < 0)
        return cb_err_set(err, -fd, "perf_event_open: %s", strerror(-fd));
    return 0;
}

uint64_t cb_perf_raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t soft = limit.rlim_cur;

        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            limit.rlim_cur = soft;
    }
    return limit.rlim_cur;
}

int cb_perf_open(const struct cb_perf_options *options, struct cb_perf **ret_perf,
                 struct cb_err *err)
{
    struct cb_perf *perf = calloc(1, sizeof(*perf));
    int r;

    if (!perf)
        return cb_err_set(err, ENOMEM, "out of memory");
    perf->topology = options->topology;
    perf->reading_by = options->reading_by;
    r = cb_perf_choose(perf, options, err);
    if (r < 0) {
        (void)cb_perf_close(perf);
        return r;
    }
    *ret_perf = perf;
    return 0;
}

struct cb_perf *cb_perf_close(struct cb_perf *perf)
{
    if (!perf)
        return NULL;
    perf->readers = cb_perf_readers_stop(perf->readers);
    for (size_t g = 0; g < perf->n_groups; g++)
        free(perf->group_cpus[g]);
    free(perf->stuck);
    free(perf);
    return NULL;
}

size_t cb_perf_n_events(const struct cb_perf *perf)
{
    return perf->n_events;
}

size_t cb_perf_n_groups(const struct cb_perf *perf)
{
    return perf->n_groups;
}

const struct cb_event *cb_perf_event(const struct cb_perf *perf, size_t event)
{
    return &perf->events[event];
}

int cb_perf_cpu_clock(const struct cb_perf *perf)
{
    return perf->cpu_clock;
}

/* ---- counting ---- */

static bool counts_on(const struct cb_perf *perf, size_t group, uint32_t cpu)
{
    return !perf->group_cpus[group] || perf->group_cpus[group][cpu];
}

/* The events [@first, @first + @n). Siblings before their leader: closing a leader first makes each
 * of them a leader. */
static void close_events(struct cb_perf *perf, int *fds, size_t first, size_t n)
{
    for (size_t i = first + n; i-- > first;)
        if (fds[i] >= 0) {
            (void)close(cb_take_fd(fds[i]));
            perf->fds_used--;
        }
}

static int open_events(struct cb_perf *perf, int *fds, size_t group, int cgroup_fd, uint32_t cpu)
{
    size_t first = perf->group_first[group];
    int leader = -1;

    for (size_t i = first; i < first + perf->group_size[group]; i++) {
        int fd = cb_perf_event_open(&perf->events[i], cgroup_fd, cpu, leader);

        if (leader < 0 && (fd == -ENODEV || fd == -ENXIO))
            return 0;
        if (fd < 0)
            return fd;
        perf->fds_used++;
        fds[i] = fd;
        if (leader < 0)
            leader = fd;
    }
    return ioctl(leader, PERF_EVENT_IOC_ENABLE, 0) < 0 ? -errno : 0;
}

/* All of a group that is not open, or none. Not on a CPU that it does not count, nor on one that
 * has just gone: 0, and no descriptors. */
static int open_group(struct cb_perf *perf, int *fds, size_t group, int cgroup_fd, uint32_t cpu)
{
    size_t first = perf->group_first[group];
    int r = 0;

    if (counts_on(perf, group, cpu) && fds[first] < 0)
        r = open_events(perf, fds, group, cgroup_fd, cpu);
    if (r < 0)
        close_events(perf, fds, first, perf->group_size[group]);
    return r;
}

/* Counters may take three quarters of the descriptors: the rest of the sensor must go on. */
static uint64_t fd_budget(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 0 : limit.rlim_cur / 4 * 3;
}

static int no_descriptors(size_t needed, struct cb_err *err)
{
    return cb_err_set(err, EMFILE,
                      "no file descriptors left, %zu are needed for each container: raise the "
                      "limit (ulimit -Hn, LimitNOFILE=)",
                      needed);
}

static int open_cpu(struct cb_perf *perf, struct cb_perf_target *target, int cgroup_fd, uint32_t c,
                    struct cb_err *err)
{
    size_t needed = cb_topology_n_online(perf->topology) * perf->n_events;
    uint32_t cpu = perf->topology->cpus[c];

    for (size_t g = 0; g < perf->n_groups; g++) {
        int r = open_group(perf, target->fds + c * perf->n_events, g, cgroup_fd, cpu);

        if (cb_perf_is_about_rights(r))
            return cb_perf_no_rights(err);
        if (r == -EMFILE || r == -ENFILE)
            return no_descriptors(needed, err);
        if (r < 0)
            return cb_err_set(err, -r, "cannot count on CPU %u: %s", cpu, strerror(-r));
    }
    return 0;
}

static void close_cpu(struct cb_perf *perf, struct cb_perf_target *target, uint32_t c)
{
    close_events(perf, target->fds + c * perf->n_events, 0, perf->n_events);
    memset(target->before + c * target->words, 0, target->words * sizeof(*target->before));
    if (target->status)
        memset(target->status + c * perf->n_groups, 0, perf->n_groups * sizeof(*target->status));
}

static bool is_read_by_cpus(const struct cb_perf *perf)
{
    return perf->reading_by == CB_PERF_BY_CPUS ||
           (perf->reading_by == CB_PERF_BY_NEED && perf->topology->n_cpus > CB_PERF_PLAIN_CPUS);
}

/* The new elements are zeros. */
static int grow_array(void *at, size_t old, size_t count, size_t size)
{
    void **array = at;
    void *more = calloc(count, size);

    if (!more)
        return -ENOMEM;
    if (old)
        memcpy(more, *array, old * size);
    free(*array);
    *array = more;
    return 0;
}

/* Room for every CPU of the topology. */
static int make_room(const struct cb_perf *perf, struct cb_perf_target *t, struct cb_err *err)
{
    size_t old = t->n_cpus;
    size_t n = perf->topology->n_cpus;
    size_t events = perf->n_events;
    size_t groups = perf->n_groups;

    if (n == old)
        return 0;
    if (grow_array(&t->fds, old * events, n * events, sizeof(*t->fds)) < 0 ||
        grow_array(&t->before, old * t->words, n * t->words, sizeof(*t->before)) < 0 ||
        (is_read_by_cpus(perf) &&
         (grow_array(&t->now, t->now ? old * t->words : 0, n * t->words, sizeof(*t->now)) < 0 ||
          grow_array(&t->status, t->status ? old * groups : 0, n * groups, sizeof(*t->status)) <
              0)))
        return cb_err_set(err, ENOMEM, "out of memory");
    for (size_t i = old * events; i < n * events; i++)
        t->fds[i] = -1;
    t->n_cpus = (uint32_t)n;
    return 0;
}

static void chain(struct cb_perf *perf, struct cb_perf_target *target)
{
    target->next = perf->targets;
    target->link = &perf->targets;
    if (target->next)
        target->next->link = &target->next;
    perf->targets = target;
}

static int open_all(struct cb_perf *perf, struct cb_perf_target *target, int cgroup_fd,
                    struct cb_err *err)
{
    size_t needed = cb_topology_n_online(perf->topology) * perf->n_events;
    int r = make_room(perf, target, err);

    if (r == 0 && perf->fds_used + needed > fd_budget())
        r = no_descriptors(needed, err);
    for (uint32_t c = 0; r == 0 && c < target->n_cpus; c++)
        if (cb_topology_is_online(perf->topology, c))
            r = open_cpu(perf, target, cgroup_fd, c, err);
    return r;
}

int cb_perf_target_open(struct cb_perf *perf, int cgroup_fd, struct cb_perf_target **ret_target,
                        struct cb_err *err)
{
    struct cb_perf_target *target = calloc(1, sizeof(*target));
    int r;

    if (!target)
        return cb_err_set(err, ENOMEM, "out of memory");
    target->words = 2 * perf->n_groups + perf->n_events;
    target->is_machine = cgroup_fd < 0;
    chain(perf, target);
    r = open_all(perf, target, cgroup_fd, err);
    if (r < 0) {
        (void)cb_perf_target_close(perf, target);
        return r;
    }
    *ret_target = target;
    return 0;
}

struct cb_perf_target *cb_perf_target_close(struct cb_perf *perf, struct cb_perf_target *target)
{
    if (!target)
        return NULL;
    for (uint32_t c = 0; c < target->n_cpus; c++)
        close_cpu(perf, target, c);
    *target->link = target->next;
    if (target->next)
        target->next->link = target->link;
    free(target->fds);
    free(target->before);
    free(target->now);
    free(target->status);
    free(target);
    return NULL;
}

/* ---- CPUs that come and go ---- */

/* Every group that counts it. */
static bool is_open(const struct cb_perf *perf, const struct cb_perf_target *target, uint32_t c)
{
    const int *fds = target->fds + c * perf->n_events;

    for (size_t g = 0; g < perf->n_groups; g++)
        if (counts_on(perf, g, perf->topology->cpus[c]) && fds[perf->group_first[g]] < 0)
            return false;
    return true;
}

bool cb_perf_is_stuck(const struct cb_perf *perf)
{
    return perf->stuck || (perf->again && cb_clock_boot_ns() >= perf->again_ns);
}

bool cb_perf_was_away(const struct cb_perf *perf, uint32_t cpu_index)
{
    return perf->stuck && perf->stuck[cpu_index];
}

int cb_perf_target_follow(struct cb_perf *perf, struct cb_perf_target *target, int cgroup_fd,
                          struct cb_err *err)
{
    const struct cb_topology *t = perf->topology;
    int result = make_room(perf, target, err);

    perf->not_ready = perf->not_ready || result < 0;
    for (uint32_t c = 0; c < target->n_cpus; c++) {
        int r = 0;

        if (cb_perf_was_away(perf, c) || !cb_topology_is_online(t, c))
            close_cpu(perf, target, c);
        if (!cb_topology_is_online(t, c))
            continue;
        if (target->is_machine || cgroup_fd >= 0)
            r = open_cpu(perf, target, target->is_machine ? -1 : cgroup_fd, c,
                         result < 0 ? NULL : err);
        if (result == 0)
            result = r;
        perf->not_ready = perf->not_ready || !is_open(perf, target, c);
    }
    return result;
}

void cb_perf_followed(struct cb_perf *perf)
{
    free(perf->stuck);
    perf->stuck = NULL;
    perf->again = perf->not_ready;
    perf->again_ns = cb_clock_boot_ns() + AGAIN_NS;
    perf->not_ready = false;
}

/* A machine-wide cpu-clock that stands still or cannot be read is one of a CPU that was offline
 * meanwhile: the kernel takes its counters away and never gives them back. */
void cb_perf_tell_away(struct cb_perf *perf, uint32_t cpu_index)
{
    if (!cb_topology_is_online(perf->topology, cpu_index))
        return;
    if (!perf->stuck)
        perf->stuck = calloc(CB_FRAME_MAX_CPUS, 1);
    if (perf->stuck)
        perf->stuck[cpu_index] = 1;
}

/* ---- fewer events ---- */

/* The one to give up: of the last group that has more than its first; else the last group but the
 * first and cpu-clock's. -1: none. */
static int find_dispensable(const struct cb_perf *perf)
{
    for (size_t i = perf->n_events; i-- > 0;)
        if ((int)i != perf->cpu_clock && i != perf->group_first[perf->events[i].group])
            return (int)i;
    for (size_t i = perf->n_events; i-- > 1;)
        if ((int)i != perf->cpu_clock && perf->group_size[perf->events[i].group] == 1)
            return (int)i;
    return -1;
}

/* Take one element out of each of @n rows of @width: the rows move together. */
static void squeeze(void *array, size_t size, size_t n, size_t width, size_t at)
{
    char *from = array;
    char *to = array;

    for (size_t row = 0; row < n; row++)
        for (size_t i = 0; i < width; i++, from += size)
            if (i != at) {
                memmove(to, from, size);
                to += size;
            }
}

static void drop_from_target(struct cb_perf *perf, struct cb_perf_target *t, size_t event)
{
    size_t group = perf->events[event].group;
    size_t at = 2 * (group + 1) + event;

    for (uint32_t c = 0; c < t->n_cpus; c++) {
        int fd = t->fds[c * perf->n_events + event];

        if (fd >= 0) {
            (void)close(fd);
            perf->fds_used--;
        }
    }
    squeeze(t->fds, sizeof(*t->fds), t->n_cpus, perf->n_events, event);
    squeeze(t->before, sizeof(*t->before), t->n_cpus, t->words, at);
    t->words--;
    if (perf->group_size[group] == 1) { /* its times, too */
        squeeze(t->before, sizeof(*t->before), t->n_cpus, t->words, at - 1);
        squeeze(t->before, sizeof(*t->before), t->n_cpus, t->words - 1, at - 2);
        t->words -= 2;
    }
    if (t->status) /* what a reader has left there is of another form now */
        memset(t->status, 0, t->n_cpus * perf->n_groups * sizeof(*t->status));
}

static void drop_group(struct cb_perf *perf, size_t group)
{
    free(perf->group_cpus[group]);
    perf->n_groups--;
    for (size_t g = group; g < perf->n_groups; g++) {
        perf->group_first[g] = perf->group_first[g + 1];
        perf->group_size[g] = perf->group_size[g + 1];
        perf->group_cpus[g] = perf->group_cpus[g + 1];
    }
    perf->group_cpus[perf->n_groups] = NULL;
    for (size_t i = 0; i < perf->n_events; i++)
        perf->events[i].group -= perf->events[i].group > group;
}

bool cb_perf_drop_event(struct cb_perf *perf, char ret_name[CB_EVENT_NAME_SIZE])
{
    int event = find_dispensable(perf);
    size_t group;

    if (event < 0)
        return false;
    group = perf->events[event].group;
    memcpy(ret_name, perf->events[event].name, CB_EVENT_NAME_SIZE);
    for (struct cb_perf_target *t = perf->targets; t; t = t->next)
        drop_from_target(perf, t, (size_t)event);
    perf->n_events--;
    memmove(&perf->events[event], &perf->events[event + 1],
            (perf->n_events - (size_t)event) * sizeof(perf->events[0]));
    for (size_t g = 0; g < perf->n_groups; g++)
        perf->group_first[g] -= perf->group_first[g] > (size_t)event;
    perf->group_size[group]--;
    if (perf->group_size[group] == 0)
        drop_group(perf, group);
    perf->cpu_clock -= perf->cpu_clock > event;
    return true;
}

/* ---- reading ---- */

int cb_perf_target_fd(const struct cb_perf *perf, const struct cb_perf_target *target,
                      uint32_t cpu_index, size_t event)
{
    return target->fds[cpu_index * perf->n_events + event];
}

static uint64_t scaled(uint64_t count, uint64_t enabled, uint64_t running)
{
    return (uint64_t)((unsigned __int128)count * enabled / running);
}

static uint64_t delta(uint64_t before, uint64_t now)
{
    return now > before ? now - before : 0;
}

void cb_perf_add_delta(const struct cb_perf_reading *before, const struct cb_perf_reading *now,
                       uint64_t tick_ns, uint64_t *counts, uint64_t *enabled_ns,
                       uint64_t *running_ns)
{
    uint64_t enabled = delta(before->enabled_ns, now->enabled_ns);
    uint64_t running = delta(before->running_ns, now->running_ns);

    if (running > enabled)
        running = enabled;
    for (uint64_t i = 0; i < now->n; i++) {
        uint64_t count = delta(before->values[i], now->values[i]);

        if (enabled > running)
            count = running ? scaled(count, enabled, running) : 0;
        counts[i] += count;
    }
    if (enabled > tick_ns) {
        running = scaled(tick_ns, running, enabled);
        enabled = tick_ns;
    }
    *enabled_ns += enabled;
    *running_ns += running;
}

int cb_perf_read_group(int fd, size_t n, struct cb_perf_reading *reading)
{
    size_t size = offsetof(struct cb_perf_reading, values) + n * sizeof(reading->values[0]);
    ssize_t got = read(fd, reading, size);

    if (got < 0)
        return -errno;
    return (size_t)got == size && reading->n == n ? 0 : -EIO;
}

void cb_perf_keep_cpus(struct cb_perf *perf, const struct cb_perf_cpus *cpus)
{
    perf->cpus = *cpus;
}

/* @before is zeros when nothing could be read. */
static void keep_group(struct cb_perf *perf, size_t cpu, size_t group,
                       const struct cb_perf_reading *before, uint64_t enabled_ns,
                       uint64_t running_ns)
{
    uint64_t *counts = perf->cpus.counts + cpu * perf->n_events + perf->group_first[group];

    for (size_t i = 0; i < perf->group_size[group]; i++)
        counts[i] = before ? delta(before->values[i], perf->reading.values[i]) : 0;
    perf->cpus.enabled_ns[cpu * perf->n_groups + group] = enabled_ns;
    perf->cpus.running_ns[cpu * perf->n_groups + group] = running_ns;
}

/* One group's reading into perf->reading: what a reader left, else now. */
static int take_reading(struct cb_perf *perf, struct cb_perf_target *target, int fd, uint32_t cpu,
                        size_t group, const uint64_t *words)
{
    int *status = target->status ? &target->status[cpu * perf->n_groups + group] : NULL;
    size_t n = perf->group_size[group];
    const uint64_t *now;
    int r = status ? *status : 0;

    if (r == 0)
        return cb_perf_read_group(fd, n, &perf->reading);
    *status = 0;
    if (r < 0)
        return r;
    now = target->now + (words - target->before);
    perf->reading.n = n;
    perf->reading.enabled_ns = now[0];
    perf->reading.running_ns = now[1];
    memcpy(perf->reading.values, now + 2, n * sizeof(*now));
    return 0;
}

/* Where a target's read adds up to. */
struct sums {
    uint64_t tick_ns;
    uint64_t *counts, *enabled_ns, *running_ns;
};

/* Add what one group of one CPU counted since @words were written; they become the new reading. */
static int add_group(struct cb_perf *perf, struct cb_perf_target *target, uint64_t *words,
                     uint32_t cpu, size_t group, const struct sums *sums)
{
    size_t n = perf->group_size[group];
    size_t first = perf->group_first[group];
    size_t socket = perf->topology->socket[cpu];
    int fd = target->fds[cpu * perf->n_events + first];
    struct cb_perf_reading before;
    uint64_t enabled = 0, running = 0;
    int r = fd < 0 ? -ENODEV : take_reading(perf, target, fd, cpu, group, words);

    if (r < 0 && perf->cpus.counts)
        keep_group(perf, cpu, group, NULL, 0, 0);
    if (r < 0 && fd >= 0 && target->is_machine)
        cb_perf_tell_away(perf, cpu);
    if (r < 0) /* a group that this CPU does not count, or a CPU that has gone, is no fault */
        return fd < 0 || !cb_topology_is_online(perf->topology, cpu) ? 0 : r;
    before.enabled_ns = words[0];
    before.running_ns = words[1];
    memcpy(before.values, words + 2, n * sizeof(*words));
    if (target->is_machine && perf->cpu_clock >= (int)first && perf->cpu_clock < (int)(first + n) &&
        perf->reading.values[(size_t)perf->cpu_clock - first] ==
            before.values[(size_t)perf->cpu_clock - first])
        cb_perf_tell_away(perf, cpu);
    cb_perf_add_delta(&before, &perf->reading, sums->tick_ns,
                      sums->counts + socket * perf->n_events + first, &enabled, &running);
    sums->enabled_ns[socket * perf->n_groups + group] += enabled;
    sums->running_ns[socket * perf->n_groups + group] += running;
    if (perf->cpus.counts)
        keep_group(perf, cpu, group, &before, enabled, running);
    words[0] = perf->reading.enabled_ns;
    words[1] = perf->reading.running_ns;
    memcpy(words + 2, perf->reading.values, n * sizeof(*words));
    return 0;
}

int cb_perf_sweep(struct cb_perf *perf, struct cb_err *err)
{
    return is_read_by_cpus(perf) ? cb_perf_readers_sweep(perf, err) : 0;
}

int cb_perf_target_read(struct cb_perf *perf, struct cb_perf_target *target, uint64_t tick_ns,
                        uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns,
                        struct cb_err *err)
{
    const struct cb_topology *t = perf->topology;
    const struct sums sums = {tick_ns, counts, enabled_ns, running_ns};
    int result = 0;

    memset(counts, 0, t->n_sockets * perf->n_events * sizeof(*counts));
    memset(enabled_ns, 0, t->n_sockets * perf->n_groups * sizeof(*enabled_ns));
    memset(running_ns, 0, t->n_sockets * perf->n_groups * sizeof(*running_ns));
    for (uint32_t c = 0; c < target->n_cpus; c++) {
        uint64_t *words = target->before + c * target->words;

        for (size_t g = 0; g < perf->n_groups; g++) {
            int r = add_group(perf, target, words, c, g, &sums);

            words += 2 + perf->group_size[g];
            if (r < 0)
                result = cb_err_set(err, -r, "cannot read the counters of CPU %u: %s", t->cpus[c],
                                    strerror(-r));
        }
    }
    return result;
}
