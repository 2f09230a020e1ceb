/* SPDX-License-Identifier: Apache-2.0 */
/* busy.c - see busy.h. */
#include "sensor/busy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/fsread.h"
#include "sensor/mounts.h"

#define STAT_LINE_MAX 256 /* "cpu4095" and ten numbers of 20 digits */
#define NUMBER_MAX 21

struct cb_busy {
    const struct cb_topology *topology;
    int fd;
    bool percpu;
    uint64_t ns_per_step;
    uint64_t read_ns; /* when it was read last */
    size_t text_size;
    char *text;
    uint64_t *cpu_ns;    /* [cpu_limit] as read */
    uint64_t *before_ns; /* [cpu_limit] as read before; CB_BUSY_ABSENT: it was offline */
    int64_t *busy_ns;    /* [cpu_limit] since open; of idle time's steps, so it may go back a bit */
    uint64_t *last_ns;   /* [cpu_limit] highest busy time told */
    char source[PATH_MAX + 32];
};

static bool take_number(const char **text, uint64_t *ret_value)
{
    const char *p = *text;
    uint64_t value = 0;

    while (*p == ' ')
        p++;
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return false;
    *text = p;
    *ret_value = value;
    return true;
}

int cb_busy_parse_percpu(const char *text, size_t n_cpus, uint64_t *ret_values)
{
    size_t cpu = 0;
    uint64_t value;

    memset(ret_values, 0, n_cpus * sizeof(*ret_values));
    for (; take_number(&text, &value); cpu++)
        if (cpu < n_cpus)
            ret_values[cpu] = value;
    while (*text == ' ' || *text == '\n')
        text++;
    return *text || cpu == 0 ? -EINVAL : 0;
}

int cb_busy_parse_stat(const char *text, uint64_t ns_per_step, size_t n_cpus, uint64_t *ret_idle_ns)
{
    bool any = false;

    memset(ret_idle_ns, 0xff, n_cpus * sizeof(*ret_idle_ns));
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        const char *p = text + 3;
        uint64_t cpu;
        uint64_t idle = 0;
        uint64_t value = 0;

        if (strncmp(text, "cpu", 3) != 0)
            break; /* the lines of the CPUs come first */
        if (*p == ' ')
            continue; /* the sum of all */
        if (!take_number(&p, &cpu))
            return -EINVAL;
        for (int field = 0; field < 5; field++) { /* user nice system idle iowait */
            if (!take_number(&p, &value))
                return -EINVAL;
            if (field >= 3)
                idle += value;
        }
        if (cpu < n_cpus)
            ret_idle_ns[cpu] = idle * ns_per_step;
        any = true;
    }
    return any ? 0 : -EINVAL;
}

static int open_percpu(struct cb_busy *b, int root_fd)
{
    struct cb_mount mount;
    int r = cb_mounts_find_cgroup(root_fd, "cpuacct", &mount, NULL);

    if (r < 0 || strcmp(mount.root, "/") != 0)
        return -ENOENT;
    (void)snprintf(b->source, sizeof(b->source), "%s/cpuacct.usage_percpu", mount.point);
    b->fd = cb_fsread_open(root_fd, b->source + 1, NULL);
    b->percpu = b->fd >= 0;
    return b->fd < 0 ? b->fd : 0;
}

static int read_cpus(struct cb_busy *b, struct cb_err *err)
{
    size_t n = b->topology->cpu_limit;
    int r = cb_fsread_again(b->fd, b->text, b->text_size);

    if (r < 0)
        return cb_err_set(err, -r, "cannot read '%s': %s", b->source, strerror(-r));
    if (b->percpu) {
        r = cb_busy_parse_percpu(b->text, n, b->cpu_ns);
    } else {
        /* the text may end within a line that is not a CPU's */
        r = cb_busy_parse_stat(b->text, b->ns_per_step, n, b->cpu_ns);
    }
    if (r < 0)
        return cb_err_set(err, -r, "'%s' is not of the expected form", b->source);
    return 0;
}

static int start(struct cb_busy *b, int root_fd, struct cb_err *err)
{
    size_t n = b->topology->cpu_limit;
    long hz = sysconf(_SC_CLK_TCK);

    b->text_size = STAT_LINE_MAX * (n + 2);
    b->text = malloc(b->text_size);
    b->cpu_ns = calloc(n, sizeof(*b->cpu_ns));
    b->before_ns = calloc(n, sizeof(*b->before_ns));
    b->busy_ns = calloc(n, sizeof(*b->busy_ns));
    b->last_ns = calloc(n, sizeof(*b->last_ns));
    if (!b->text || !b->cpu_ns || !b->before_ns || !b->busy_ns || !b->last_ns)
        return cb_err_set(err, ENOMEM, "out of memory");
    b->ns_per_step = CB_NS_PER_S / (uint64_t)(hz > 0 ? hz : 100);
    if (open_percpu(b, root_fd) < 0) {
        (void)snprintf(b->source, sizeof(b->source), "/proc/stat");
        b->fd = cb_fsread_open(root_fd, "proc/stat", err);
        if (b->fd < 0)
            return b->fd;
    }
    b->read_ns = cb_clock_boot_ns();

    int r = read_cpus(b, err);

    if (r == 0)
        memcpy(b->before_ns, b->cpu_ns, n * sizeof(*b->before_ns));
    return r;
}

int cb_busy_open(int root_fd, const struct cb_topology *topology, struct cb_busy **ret_busy,
                 struct cb_err *err)
{
    struct cb_busy *busy = calloc(1, sizeof(*busy));
    int r;

    if (!busy)
        return cb_err_set(err, ENOMEM, "out of memory");
    busy->topology = topology;
    busy->fd = -1;
    r = start(busy, root_fd, err);
    if (r < 0)
        (void)cb_busy_close(busy);
    else
        *ret_busy = busy;
    return r;
}

/* One CPU that was online all the time since the last read. */
static void advance(struct cb_busy *b, uint32_t cpu, uint64_t elapsed_ns)
{
    uint64_t now_ns = b->cpu_ns[cpu];
    uint64_t since_ns = now_ns > b->before_ns[cpu] ? now_ns - b->before_ns[cpu] : 0;

    b->busy_ns[cpu] += b->percpu ? (int64_t)since_ns : (int64_t)elapsed_ns - (int64_t)since_ns;
    if (b->busy_ns[cpu] > (int64_t)b->last_ns[cpu])
        b->last_ns[cpu] = (uint64_t)b->busy_ns[cpu];
}

int cb_busy_read(struct cb_busy *busy, uint64_t *ret_ns, struct cb_err *err)
{
    const struct cb_topology *t = busy->topology;
    int r = read_cpus(busy, err);
    uint64_t now_ns = cb_clock_boot_ns();

    if (r < 0)
        return r;
    memset(ret_ns, 0, t->n_sockets * sizeof(*ret_ns));
    for (uint32_t i = 0; i < t->n_cpus; i++) {
        uint32_t cpu = t->cpus[i];

        if (!cb_topology_is_online(t, i))
            busy->cpu_ns[cpu] = CB_BUSY_ABSENT;
        if (busy->cpu_ns[cpu] != CB_BUSY_ABSENT && busy->before_ns[cpu] != CB_BUSY_ABSENT)
            advance(busy, cpu, now_ns - busy->read_ns);
        busy->before_ns[cpu] = busy->cpu_ns[cpu];
        ret_ns[t->socket[i]] += busy->last_ns[cpu];
    }
    busy->read_ns = now_ns;
    return 0;
}

const char *cb_busy_source(const struct cb_busy *busy)
{
    return busy->source;
}

struct cb_busy *cb_busy_close(struct cb_busy *busy)
{
    if (!busy)
        return NULL;
    if (busy->fd >= 0)
        (void)close(busy->fd);
    free(busy->text);
    free(busy->cpu_ns);
    free(busy->before_ns);
    free(busy->busy_ns);
    free(busy->last_ns);
    free(busy);
    return NULL;
}
