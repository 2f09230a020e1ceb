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

#include "lib/err.h"

#define DEFAULT_HARDWARE "cycles,ref-cycles,instructions,LLC_MISSES"
#define DEFAULT_SOFTWARE "cpu-clock,context-switches,msr/tsc/"
#define CPU_CLOCK "cpu-clock"

struct cb_perf {
    const struct cb_topology *topology;
    size_t n_events;
    size_t n_groups;
    int cpu_clock;
    struct cb_event events[CB_FRAME_MAX_EVENTS]; /* those of one group lie together */
    size_t group_first[CB_FRAME_MAX_GROUPS];
    size_t group_size[CB_FRAME_MAX_GROUPS];
    uint64_t fds_used;
    struct cb_perf_reading reading; /* buffer of target_read */
    struct cb_perf_cpus cpus;       /* NULLs: not kept */
};

struct cb_perf_target {
    int *fds;         /* [cpu index * n_events + event]; a group's first is its leader */
    uint64_t *before; /* [cpu index][group]: enabled, running, values */
    size_t words;     /* of `before` for one CPU */
};

static int event_open(const struct cb_event *event, int cgroup_fd, uint32_t cpu, int leader_fd)
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

static int no_rights(struct cb_err *err)
{
    return cb_err_set(err, EACCES,
                      "no right to count events: run as root or give the program CAP_PERFMON "
                      "(setcap cap_perfmon,cap_dac_read_search+ep cbsensor), or set "
                      "kernel.perf_event_paranoid to 0 (sysctl kernel.perf_event_paranoid=0)");
}

static bool is_about_rights(int r)
{
    return r == -EACCES || r == -EPERM;
}

int cb_perf_probe(int cgroup_fd, uint32_t cpu, struct cb_err *err)
{
    const struct cb_event clock = {.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_CPU_CLOCK};
    cb_auto_close int fd = event_open(&clock, cgroup_fd, cpu, -1);

    if (is_about_rights(fd))
        return no_rights(err);
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

/* ---- choosing the events ---- */

/* The events of one list as far as they are chosen: the leaders' descriptors on the first CPU. */
struct trial {
    int fds[CB_FRAME_MAX_EVENTS];
    int leader;
};

static void trial_end(struct cb_perf *perf, struct trial *trial)
{
    for (size_t i = 0; i < perf->n_events; i++)
        if (trial->fds[i] >= 0)
            (void)close(trial->fds[i]);
}

static int add_event(struct cb_perf *perf, struct trial *trial, const struct cb_event *event,
                     bool new_group, int fd)
{
    if (perf->n_events == CB_FRAME_MAX_EVENTS ||
        (new_group && perf->n_groups == CB_FRAME_MAX_GROUPS)) {
        (void)close(fd);
        return -ENOSPC;
    }
    if (new_group) {
        perf->group_first[perf->n_groups++] = perf->n_events;
        trial->leader = fd;
    }
    perf->events[perf->n_events] = *event;
    perf->events[perf->n_events].group = (uint8_t)(perf->n_groups - 1);
    perf->group_size[perf->n_groups - 1]++;
    trial->fds[perf->n_events++] = fd;
    return 0;
}

/* Open @event in the current group, else alone as the first of a new one. */
static int try_event(struct cb_perf *perf, struct trial *trial, const struct cb_event *event,
                     bool may_split)
{
    uint32_t cpu = perf->topology->cpus[0];
    int fd = trial->leader >= 0 ? event_open(event, -1, cpu, trial->leader) : -EINVAL;
    bool new_group = fd < 0;

    if (fd < 0 && (may_split || trial->leader < 0))
        fd = event_open(event, -1, cpu, -1);
    return fd < 0 ? fd : add_event(perf, trial, event, new_group, fd);
}

/* Take the first encoding of @name that opens. -ENOENT: the CPU or the kernel lacks it. */
static int choose_event(struct cb_perf *perf, const struct cb_perf_options *options,
                        struct trial *trial, const char *name, struct cb_err *err)
{
    int opened = -ENOENT;

    for (unsigned attempt = 0;; attempt++) {
        struct cb_event event;
        int r = (options->machine_only ? cb_event_resolve_machine : cb_event_resolve)(
            options->root_fd, perf->topology->vendor, name, attempt, &event, err);

        if (r < 0 && attempt > 0)
            return cb_err_set(err, ENOENT, "this CPU or kernel cannot count it%s: %s",
                              trial->leader >= 0 && options->strict ? " beside those before it"
                                                                    : "",
                              strerror(-opened));
        if (r < 0)
            return r;
        opened = try_event(perf, trial, &event, !options->strict);
        if (opened == 0)
            return 0;
        if (opened == -ENOSPC)
            return cb_err_set(err, ENOSPC, "too many events");
        if (is_about_rights(opened))
            return no_rights(err);
    }
}

static bool has_event(const struct cb_perf *perf, const char *name)
{
    for (size_t i = 0; i < perf->n_events; i++)
        if (strcmp(perf->events[i].name, name) == 0)
            return true;
    return false;
}

static int choose_list(struct cb_perf *perf, const struct cb_perf_options *options,
                       struct trial *trial, const char *list, struct cb_err *err)
{
    char name[CB_EVENT_NAME_SIZE];
    int r;

    trial->leader = -1;
    for (const char *p = list; (r = cb_event_next_name(&p, name)) > 0;) {
        struct cb_err why = {0};

        if (has_event(perf, name))
            continue;
        r = choose_event(perf, options, trial, name, &why);
        if (r == -EACCES || r == -ENOSPC || (r < 0 && options->strict)) {
            if (err)
                *err = why;
            return options->strict ? cb_err_prefix(err, r, "event '%s'", name) : r;
        }
        if (r < 0 && options->gaps) {
            char source[CB_EVENT_NAME_SIZE + 8];

            (void)snprintf(source, sizeof(source), "event:%s", name);
            cb_gaps_add_standing(options->gaps, source, "left out: %s", why.text);
        }
    }
    if (r < 0)
        return cb_err_set(err, EINVAL, "'%.80s' is not a list of events", list);
    return 0;
}

/* Has this CPU a counter for cycles that we may use? */
static int has_hardware(struct cb_perf *perf, struct cb_err *err)
{
    const struct cb_event cycles = {.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_CPU_CYCLES};
    cb_auto_close int fd = event_open(&cycles, -1, perf->topology->cpus[0], -1);

    if (is_about_rights(fd))
        return no_rights(err);
    return fd >= 0;
}

static int choose_all(struct cb_perf *perf, const struct cb_perf_options *options,
                      struct trial *trial, struct cb_err *err)
{
    int r = 0;

    if (options->n_lists == 0) {
        r = has_hardware(perf, err);
        if (r < 0)
            return r;
        r = choose_list(perf, options, trial, r ? DEFAULT_HARDWARE : DEFAULT_SOFTWARE, err);
    }
    for (size_t i = 0; r == 0 && i < options->n_lists; i++)
        r = choose_list(perf, options, trial, options->lists[i], err);
    if (r < 0 || options->strict || has_event(perf, CPU_CLOCK))
        return r;
    /* into the first group when it is the only one, so that one read gives all */
    trial->leader = perf->n_groups == 1 ? trial->fds[0] : -1;
    return choose_event(perf, options, trial, CPU_CLOCK, err);
}

int cb_perf_open(const struct cb_perf_options *options, struct cb_perf **ret_perf,
                 struct cb_err *err)
{
    cb_auto_free struct cb_perf *perf = calloc(1, sizeof(*perf));
    struct trial trial = {.leader = -1};
    int r;

    if (!perf)
        return cb_err_set(err, ENOMEM, "out of memory");
    perf->topology = options->topology;
    r = choose_all(perf, options, &trial, err);
    trial_end(perf, &trial);
    if (r < 0)
        return r;
    perf->cpu_clock = -1;
    for (size_t i = 0; i < perf->n_events; i++)
        if (strcmp(perf->events[i].name, CPU_CLOCK) == 0)
            perf->cpu_clock = (int)i;
    *ret_perf = cb_take(perf);
    return 0;
}

struct cb_perf *cb_perf_close(struct cb_perf *perf)
{
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

static int open_group(struct cb_perf *perf, int *fds, size_t group, int cgroup_fd, uint32_t cpu)
{
    size_t first = perf->group_first[group];
    int leader = -1;

    for (size_t i = first; i < first + perf->group_size[group]; i++) {
        int fd = event_open(&perf->events[i], cgroup_fd, cpu, leader);

        if (fd < 0)
            return fd;
        perf->fds_used++;
        fds[i] = fd;
        if (leader < 0)
            leader = fd;
    }
    return ioctl(leader, PERF_EVENT_IOC_ENABLE, 0) < 0 ? -errno : 0;
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

static int open_all(struct cb_perf *perf, struct cb_perf_target *target, int cgroup_fd,
                    struct cb_err *err)
{
    const struct cb_topology *t = perf->topology;
    size_t needed = t->n_cpus * perf->n_events;

    if (perf->fds_used + needed > fd_budget())
        return no_descriptors(needed, err);
    for (uint32_t c = 0; c < t->n_cpus; c++)
        for (size_t g = 0; g < perf->n_groups; g++) {
            int r = open_group(perf, target->fds + c * perf->n_events, g, cgroup_fd, t->cpus[c]);

            if (is_about_rights(r))
                return no_rights(err);
            if (r == -EMFILE || r == -ENFILE)
                return no_descriptors(needed, err);
            if (r < 0)
                return cb_err_set(err, -r, "cannot count on CPU %u: %s", t->cpus[c], strerror(-r));
        }
    return 0;
}

int cb_perf_target_open(struct cb_perf *perf, int cgroup_fd, struct cb_perf_target **ret_target,
                        struct cb_err *err)
{
    size_t n_fds = perf->topology->n_cpus * perf->n_events;
    struct cb_perf_target *target = calloc(1, sizeof(*target));
    int r = -ENOMEM;

    if (!target)
        return cb_err_set(err, ENOMEM, "out of memory");
    target->words = 2 * perf->n_groups + perf->n_events;
    target->fds = calloc(n_fds, sizeof(*target->fds));
    target->before = calloc(perf->topology->n_cpus * target->words, sizeof(*target->before));
    if (target->fds && target->before) {
        for (size_t i = 0; i < n_fds; i++)
            target->fds[i] = -1;
        r = open_all(perf, target, cgroup_fd, err);
    } else {
        (void)cb_err_set(err, ENOMEM, "out of memory");
        free(target->fds);
        target->fds = NULL;
    }
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
    /* siblings before their leader: closing a leader first makes each of them a leader */
    for (size_t i = target->fds ? perf->topology->n_cpus * perf->n_events : 0; i-- > 0;)
        if (target->fds[i] >= 0) {
            (void)close(target->fds[i]);
            perf->fds_used--;
        }
    free(target->fds);
    free(target->before);
    free(target);
    return NULL;
}

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

static int read_group(int fd, size_t n, struct cb_perf_reading *reading)
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

/* Add what one group of one CPU counted since @words were written; they become the new reading. */
static int add_group(struct cb_perf *perf, int fd, uint64_t *words, size_t cpu, size_t group,
                     uint64_t tick_ns, uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns)
{
    size_t n = perf->group_size[group];
    struct cb_perf_reading before;
    uint64_t enabled = 0, running = 0;
    int r = read_group(fd, n, &perf->reading);

    if (r < 0 && perf->cpus.counts)
        keep_group(perf, cpu, group, NULL, 0, 0);
    if (r < 0)
        return r;
    before.enabled_ns = words[0];
    before.running_ns = words[1];
    memcpy(before.values, words + 2, n * sizeof(*words));
    cb_perf_add_delta(&before, &perf->reading, tick_ns, counts, &enabled, &running);
    *enabled_ns += enabled;
    *running_ns += running;
    if (perf->cpus.counts)
        keep_group(perf, cpu, group, &before, enabled, running);
    words[0] = perf->reading.enabled_ns;
    words[1] = perf->reading.running_ns;
    memcpy(words + 2, perf->reading.values, n * sizeof(*words));
    return 0;
}

int cb_perf_target_read(struct cb_perf *perf, struct cb_perf_target *target, uint64_t tick_ns,
                        uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns,
                        struct cb_err *err)
{
    const struct cb_topology *t = perf->topology;
    int result = 0;

    memset(counts, 0, t->n_sockets * perf->n_events * sizeof(*counts));
    memset(enabled_ns, 0, t->n_sockets * perf->n_groups * sizeof(*enabled_ns));
    memset(running_ns, 0, t->n_sockets * perf->n_groups * sizeof(*running_ns));
    for (uint32_t c = 0; c < t->n_cpus; c++) {
        const int *fds = target->fds + c * perf->n_events;
        uint64_t *words = target->before + c * target->words;
        size_t socket = t->socket[c];

        for (size_t g = 0; g < perf->n_groups; g++) {
            size_t first = perf->group_first[g];
            int r = add_group(
                perf, fds[first], words, c, g, tick_ns, counts + socket * perf->n_events + first,
                enabled_ns + socket * perf->n_groups + g, running_ns + socket * perf->n_groups + g);

            words += 2 + perf->group_size[g];
            if (r < 0)
                result = cb_err_set(err, -r, "cannot read the counters of CPU %u: %s", t->cpus[c],
                                    strerror(-r));
        }
    }
    return result;
}
