/* SPDX-License-Identifier: Apache-2.0 */
/* count.c - see count.h. */
#include "sensor/count.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/count_bpf.h"

#define SPARE_TARGETS 64 /* that may come without the descriptors running out */
#define AGAIN_NS CB_NS_PER_S
#define AGAIN_PART 100 /* of a CPU's time, at most, for that */

struct cb_count {
    struct cb_count_options options;
    struct cb_perf *perf;
    struct cb_perf_target *machine;
    struct cb_bpf *bpf; /* NULL: perf counts */
    bool bpf_refused;   /* tried in vain */
    uint64_t follow_ns; /* CPU time when the machine followed, 0: it has not */
    uint64_t again_ns;  /* not before: what bpf lacks */
    char reason[512];
};

/* One of the two, or none after cb_count_target_stop(). */
struct cb_count_target {
    struct cb_perf_target *perf;
    struct cb_bpf_target *bpf;
    uint64_t *carried; /* counts since the last read, before the change; or NULL */
};

/* Three quarters of the descriptors are for counters; sockets, logs and statistics have the rest.
 */
static bool is_budget_enough(const struct cb_count_options *o, uint64_t *ret_needed)
{
    uint64_t each = (uint64_t)o->topology->n_cpus * cb_perf_n_events(o->perf);

    *ret_needed = (o->n_targets + SPARE_TARGETS + 1) * each;
    return *ret_needed <= o->max_fds / 4 * 3;
}

static int open_bpf(struct cb_count *count, const struct cb_count_options *o, struct cb_err *err)
{
    struct statfs fs;

    if (fstatfs(o->counting_fd, &fs) < 0)
        return cb_err_set(err, errno, "cannot tell the cgroup hierarchy: %s", strerror(errno));
    return cb_bpf_open(o->root_fd, o->topology, o->perf, count->machine,
                       fs.f_type == CGROUP_SUPER_MAGIC, &count->bpf, err);
}

static int choose_auto(struct cb_count *count, const struct cb_count_options *o)
{
    struct cb_err err = {0};
    uint64_t needed;
    bool enough = is_budget_enough(o, &needed);
    int r = enough ? 0 : open_bpf(count, o, &err);

    if (r == -ENOMEM)
        return r;
    if (enough)
        (void)snprintf(count->reason, sizeof(count->reason),
                       "perf: %zu containers and as many as are likely to come need %" PRIu64
                       " descriptors of %" PRIu64,
                       o->n_targets, needed, o->max_fds);
    else if (r == 0)
        (void)snprintf(count->reason, sizeof(count->reason),
                       "bpf: perf would need %" PRIu64
                       " descriptors for %zu containers, and %" PRIu64
                       " are allowed (ulimit -Hn, LimitNOFILE=)",
                       needed, o->n_targets, o->max_fds);
    else
        (void)snprintf(count->reason, sizeof(count->reason),
                       "perf, though %" PRIu64 " descriptors would be needed and %" PRIu64
                       " are allowed (ulimit -Hn, LimitNOFILE=): %.200s",
                       needed, o->max_fds, err.text);
    return 0;
}

int cb_count_check(const char *wanted, struct cb_err *err)
{
    if (strcmp(wanted, "auto") == 0 || strcmp(wanted, "perf") == 0 || strcmp(wanted, "bpf") == 0)
        return 0;
    return cb_err_set(err, EINVAL, "unknown way to count '%s': auto, perf or bpf", wanted);
}

static int choose(struct cb_count *count, const struct cb_count_options *o, struct cb_err *err)
{
    int r = cb_count_check(o->wanted, err);

    if (r < 0)
        return r;
    if (strcmp(o->wanted, "auto") == 0) {
        r = choose_auto(count, o);
        return r < 0 ? cb_err_set(err, -r, "out of memory") : 0;
    }
    (void)snprintf(count->reason, sizeof(count->reason), "%s, as asked", o->wanted);
    return strcmp(o->wanted, "bpf") == 0 ? open_bpf(count, o, err) : 0;
}

int cb_count_open(const struct cb_count_options *options, struct cb_count **ret_count,
                  struct cb_err *err)
{
    struct cb_count *count = calloc(1, sizeof(*count));
    int r;

    if (!count)
        return cb_err_set(err, ENOMEM, "out of memory");
    count->options = *options;
    count->perf = options->perf;
    r = cb_perf_target_open(options->perf, -1, &count->machine, err);
    if (r == 0)
        r = choose(count, options, err);
    if (r < 0)
        (void)cb_count_close(count);
    else
        *ret_count = count;
    return r;
}

struct cb_count *cb_count_close(struct cb_count *count)
{
    if (!count)
        return NULL;
    count->bpf = cb_bpf_close(count->bpf);
    count->machine = cb_perf_target_close(count->perf, count->machine);
    free(count);
    return NULL;
}

bool cb_count_uses_bpf(const struct cb_count *count)
{
    return count->bpf != NULL;
}

const char *cb_count_reason(const struct cb_count *count)
{
    return count->reason;
}

uint64_t cb_count_missed_switches(const struct cb_count *count)
{
    return count->bpf ? cb_bpf_missed_switches(count->bpf) : 0;
}

int cb_count_target_open(struct cb_count *count, int cgroup_fd, struct cb_count_target **ret_target,
                         struct cb_err *err)
{
    cb_auto_free struct cb_count_target *target = calloc(1, sizeof(*target));
    int r;

    if (!target)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = count->bpf ? cb_bpf_target_open(count->bpf, cgroup_fd, &target->bpf, err)
                   : cb_perf_target_open(count->perf, cgroup_fd, &target->perf, err);
    if (r < 0)
        return r;
    *ret_target = cb_take(target);
    return 0;
}

struct cb_count_target *cb_count_target_close(struct cb_count *count,
                                              struct cb_count_target *target)
{
    if (!target)
        return NULL;
    target->bpf = cb_bpf_target_close(count->bpf, target->bpf);
    target->perf = cb_perf_target_close(count->perf, target->perf);
    free(target->carried);
    free(target);
    return NULL;
}

/* ---- CPUs that come and go ---- */

static size_t n_lacking(const struct cb_count *count)
{
    return count->bpf ? cb_bpf_n_lacking(count->bpf) : 0;
}

static size_t n_incomplete(const struct cb_count *count)
{
    return count->bpf ? cb_bpf_n_incomplete(count->bpf) : 0;
}

static uint64_t cpu_ns(void)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

bool cb_count_is_stuck(const struct cb_count *count)
{
    return cb_perf_is_stuck(count->perf) || ((n_lacking(count) > 0 || n_incomplete(count) > 0) &&
                                             cb_clock_boot_ns() >= count->again_ns);
}

int cb_count_target_follow(struct cb_count *count, struct cb_count_target *target, int cgroup_fd,
                           struct cb_err *err)
{
    int r, given = 0;

    if (target && target->bpf)
        cb_bpf_target_follow(count->bpf, target->bpf, cgroup_fd);
    if (target)
        return target->perf ? cb_perf_target_follow(count->perf, target->perf, cgroup_fd, err) : 0;
    count->follow_ns = cpu_ns();
    for (uint32_t c = 0; n_lacking(count) > 0 && c < count->options.topology->n_cpus; c++)
        if (cb_bpf_lacks(count->bpf, c))
            cb_perf_tell_away(count->perf, c); /* so that its counters are new */
    r = cb_perf_target_follow(count->perf, count->machine, -1, err);
    if (count->bpf)
        given = cb_bpf_follow(count->bpf, count->perf, count->machine, r < 0 ? NULL : err);
    return r < 0 ? r : given;
}

void cb_count_followed(struct cb_count *count)
{
    uint64_t took_ns = count->follow_ns ? cpu_ns() - count->follow_ns : 0;
    uint64_t rest_ns = took_ns * AGAIN_PART;

    cb_perf_followed(count->perf);
    count->follow_ns = 0;
    count->again_ns = cb_clock_boot_ns() + (rest_ns > AGAIN_NS ? rest_ns : AGAIN_NS);
}

/* ---- retreat ---- */

enum cb_count_retreat cb_count_retreat(struct cb_count *count, char *ret_why, size_t size)
{
    char name[CB_EVENT_NAME_SIZE];
    struct cb_err err = {0};

    if (count->bpf) {
        (void)snprintf(ret_why, size, "BPF counts no more cgroups");
        return CB_COUNT_STAYS;
    }
    if (strcmp(count->options.wanted, "auto") == 0 && !count->bpf_refused) {
        if (open_bpf(count, &count->options, &err) == 0) {
            (void)snprintf(ret_why, size, "descriptors have run out: counting by bpf from now on");
            (void)snprintf(count->reason, sizeof(count->reason), "bpf: descriptors ran out");
            return CB_COUNT_BY_BPF;
        }
        count->bpf_refused = true;
    }
    if (!cb_perf_drop_event(count->perf, name)) {
        (void)snprintf(ret_why, size,
                       "descriptors have run out (ulimit -Hn, LimitNOFILE=): of further containers "
                       "only the CPU time is known");
        return CB_COUNT_STAYS;
    }
    (void)snprintf(ret_why, size,
                   "descriptors have run out (ulimit -Hn, LimitNOFILE=): %s is not counted any "
                   "more%s%s",
                   name, *err.text ? "; bpf: " : "", err.text);
    return CB_COUNT_FEWER_EVENTS;
}

static size_t n_counts(const struct cb_count *count)
{
    return count->options.topology->n_sockets * cb_perf_n_events(count->perf);
}

static size_t n_times(const struct cb_count *count)
{
    return count->options.topology->n_sockets * cb_perf_n_groups(count->perf);
}

int cb_count_target_move(struct cb_count *count, struct cb_count_target *target, int cgroup_fd,
                         struct cb_err *err)
{
    size_t counts = n_counts(count);
    size_t times = n_times(count);
    cb_auto_free uint64_t *carried = calloc(counts + 2 * times, sizeof(*carried));
    int r;

    if (!carried)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = cb_bpf_target_open(count->bpf, cgroup_fd, &target->bpf, err);
    if (r < 0)
        return r;
    /* what runs now is perf's until here and BPF's from here on; without the flush BPF would not
     * know it before it is switched or the next tick begins; times are of no use */
    (void)!cb_perf_target_read(count->perf, target->perf, 0, carried, carried + counts,
                               carried + counts + times, NULL);
    (void)!cb_bpf_flush(count->bpf, NULL);
    target->perf = cb_perf_target_close(count->perf, target->perf);
    target->carried = cb_take(carried);
    return 0;
}

int cb_count_target_stop(struct cb_count *count, struct cb_count_target *target, int cgroup_fd,
                         struct cb_err *err)
{
    size_t counts = n_counts(count);
    size_t times = n_times(count);
    uint64_t *last = calloc(counts + 2 * times, sizeof(*last));

    if (!last)
        return cb_err_set(err, ENOMEM, "out of memory");
    if (target->bpf)
        (void)!cb_bpf_flush(count->bpf, NULL); /* what runs until here */
    (void)!cb_count_read(count, target, 0, last, last + counts, last + counts + times, NULL);
    if (target->bpf)
        cb_bpf_target_release(count->bpf, cgroup_fd);
    target->bpf = cb_bpf_target_close(count->bpf, target->bpf);
    target->perf = cb_perf_target_close(count->perf, target->perf);
    target->carried = last;
    return 0;
}

static void add_up(uint64_t *sums, const uint64_t *more, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sums[i] += more[i];
}

static void add_carried(struct cb_count_target *target, size_t n, uint64_t *counts)
{
    add_up(counts, target->carried, n);
    free(target->carried);
    target->carried = NULL;
}

/* ---- reading ---- */

int cb_count_begin(struct cb_count *count, struct cb_err *err)
{
    int r;

    if (!count->bpf)
        return cb_perf_sweep(count->perf, err);
    r = cb_bpf_flush(count->bpf, err);
    if (r == 0 && n_incomplete(count) > 0)
        r = cb_err_set(err, ENOSPC,
                       "cgroups inside %zu containers are not counted: there are too many, or no "
                       "descriptors; trying again",
                       n_incomplete(count));
    if (r == 0 && n_lacking(count) > 0)
        r = cb_err_set(err, EAGAIN,
                       "containers are not counted on %zu CPUs, whose counters could not be given "
                       "to BPF: trying again",
                       n_lacking(count));
    return r;
}

static void read_nothing(const struct cb_count *count, uint64_t *counts, uint64_t *enabled_ns,
                         uint64_t *running_ns)
{
    memset(counts, 0, n_counts(count) * sizeof(*counts));
    memset(enabled_ns, 0, n_times(count) * sizeof(*enabled_ns));
    memset(running_ns, 0, n_times(count) * sizeof(*running_ns));
}

int cb_count_read(struct cb_count *count, struct cb_count_target *target, uint64_t tick_ns,
                  uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns, struct cb_err *err)
{
    struct cb_perf_target *perf = target ? target->perf : count->machine;

    if (perf)
        return cb_perf_target_read(count->perf, perf, tick_ns, counts, enabled_ns, running_ns, err);
    assert(target);
    if (target->bpf)
        cb_bpf_target_read(count->bpf, target->bpf, tick_ns, counts, enabled_ns, running_ns);
    else
        read_nothing(count, counts, enabled_ns, running_ns);
    if (target->carried)
        add_carried(target, n_counts(count), counts);
    return 0;
}
