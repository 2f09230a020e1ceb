/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - see metrics.h. */
#include "sensor/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/err.h"
#include "lib/schema.h"
#include "sensor/metrics_parse.h"
#include "sensor/mounts.h"
#include "sensor/netdev.h"

#define TEXT_MAX 65536 /* io.stat has a line for each disk, net/dev one for each interface */
#define MAX_KEYS 5

/* One file of a cgroup. Where a controller is mounted as v1 its v1 files are used, else v2's. */
struct file {
    const char *controller; /* NULL: v2, whatever is mounted beside it */
    const char *name;
    cb_metrics_parser *parse;
    bool v1;
    struct cb_metrics_key keys[MAX_KEYS];
};

static const struct file files[] = {
    {"cpuacct", "cpuacct.usage", cb_metrics_parse_number, true, {{"", 1, CB_METRIC_CPU_USAGE}}},
    {"cpuacct", "cpuacct.usage_user", cb_metrics_parse_number, true, {{"", 1, CB_METRIC_CPU_USER}}},
    {"cpuacct",
     "cpuacct.usage_sys",
     cb_metrics_parse_number,
     true,
     {{"", 1, CB_METRIC_CPU_SYSTEM}}},
    {"cpu",
     "cpu.stat",
     cb_metrics_parse_keyed,
     true,
     {{"throttled_time", 1, CB_METRIC_CPU_THROTTLED}}},
    {"cpuacct",
     "cpu.stat",
     cb_metrics_parse_keyed,
     false,
     {{"usage_usec", 1000, CB_METRIC_CPU_USAGE},
      {"user_usec", 1000, CB_METRIC_CPU_USER},
      {"system_usec", 1000, CB_METRIC_CPU_SYSTEM},
      {"throttled_usec", 1000, CB_METRIC_CPU_THROTTLED}}},
    {"memory", "memory.usage_in_bytes", cb_metrics_parse_number, true, {{"", 1, CB_METRIC_MEMORY}}},
    {"memory",
     "memory.max_usage_in_bytes",
     cb_metrics_parse_number,
     true,
     {{"", 1, CB_METRIC_MEMORY_PEAK}}},
    {"memory",
     "memory.stat",
     cb_metrics_parse_keyed,
     true,
     {{"total_rss", 1, CB_METRIC_MEMORY_ANON},
      {"total_cache", 1, CB_METRIC_MEMORY_FILE},
      {"total_swap", 1, CB_METRIC_MEMORY_SWAP}}},
    {"memory",
     "memory.limit_in_bytes",
     cb_metrics_parse_number,
     true,
     {{"", 1, CB_METRIC_MEMORY_LIMIT}}},
    {"memory",
     "memory.oom_control",
     cb_metrics_parse_keyed,
     true,
     {{"oom_kill", 1, CB_METRIC_MEMORY_OOM_KILLS}}},
    {"memory", "memory.current", cb_metrics_parse_number, false, {{"", 1, CB_METRIC_MEMORY}}},
    {"memory", "memory.peak", cb_metrics_parse_number, false, {{"", 1, CB_METRIC_MEMORY_PEAK}}},
    {"memory",
     "memory.stat",
     cb_metrics_parse_keyed,
     false,
     {{"anon", 1, CB_METRIC_MEMORY_ANON}, {"file", 1, CB_METRIC_MEMORY_FILE}}},
    {"memory",
     "memory.swap.current",
     cb_metrics_parse_number,
     false,
     {{"", 1, CB_METRIC_MEMORY_SWAP}}},
    {"memory", "memory.max", cb_metrics_parse_number, false, {{"", 1, CB_METRIC_MEMORY_LIMIT}}},
    {"memory",
     "memory.events",
     cb_metrics_parse_keyed,
     false,
     {{"oom_kill", 1, CB_METRIC_MEMORY_OOM_KILLS}}},
    {"blkio",
     "blkio.bfq.io_service_bytes_recursive",
     cb_metrics_parse_blkio,
     true,
     {{"Read", 1, CB_METRIC_IO_READ_BYTES}, {"Write", 1, CB_METRIC_IO_WRITE_BYTES}}},
    {"blkio",
     "blkio.bfq.io_serviced_recursive",
     cb_metrics_parse_blkio,
     true,
     {{"Read", 1, CB_METRIC_IO_READ_OPS}, {"Write", 1, CB_METRIC_IO_WRITE_OPS}}},
    /* below the scheduler's, and preferred to them: they see every device that has a policy */
    {"blkio",
     "blkio.throttle.io_service_bytes_recursive",
     cb_metrics_parse_blkio,
     true,
     {{"Read", 1, CB_METRIC_IO_READ_BYTES}, {"Write", 1, CB_METRIC_IO_WRITE_BYTES}}},
    {"blkio",
     "blkio.throttle.io_serviced_recursive",
     cb_metrics_parse_blkio,
     true,
     {{"Read", 1, CB_METRIC_IO_READ_OPS}, {"Write", 1, CB_METRIC_IO_WRITE_OPS}}},
    {"blkio",
     "io.stat",
     cb_metrics_parse_nested,
     false,
     {{"rbytes", 1, CB_METRIC_IO_READ_BYTES},
      {"wbytes", 1, CB_METRIC_IO_WRITE_BYTES},
      {"rios", 1, CB_METRIC_IO_READ_OPS},
      {"wios", 1, CB_METRIC_IO_WRITE_OPS}}},
    {"pids", "pids.current", cb_metrics_parse_number, true, {{"", 1, CB_METRIC_PIDS}}},
    {"pids", "pids.current", cb_metrics_parse_number, false, {{"", 1, CB_METRIC_PIDS}}},
    {NULL,
     "cpu.pressure",
     cb_metrics_parse_pressure,
     false,
     {{"some", 1000, CB_METRIC_CPU_PRESSURE}}},
    {NULL,
     "memory.pressure",
     cb_metrics_parse_pressure,
     false,
     {{"some", 1000, CB_METRIC_MEMORY_PRESSURE}, {"full", 1000, CB_METRIC_MEMORY_PRESSURE_FULL}}},
    {NULL,
     "io.pressure",
     cb_metrics_parse_pressure,
     false,
     {{"some", 1000, CB_METRIC_IO_PRESSURE}, {"full", 1000, CB_METRIC_IO_PRESSURE_FULL}}},
};
#define N_FILES (sizeof(files) / sizeof(files[0]))
_Static_assert(N_FILES <= 64, "a bit for each file");

static const struct cb_metrics_key net_keys[] = {
    {"rx_bytes", 1, CB_METRIC_NET_RX_BYTES},
    {"tx_bytes", 1, CB_METRIC_NET_TX_BYTES},
    {"rx_packets", 1, CB_METRIC_NET_RX_PACKETS},
    {"tx_packets", 1, CB_METRIC_NET_TX_PACKETS},
    {0},
};

struct cb_metrics {
    int root_fd;
    size_t max_fds;
    size_t n_fds;
    int dirs[N_FILES];   /* the hierarchy of each file; -1: the file is not used here */
    uint64_t host_net;   /* inode of the host's net/dev; 0: unknown */
    char text[TEXT_MAX]; /* buffer of target_read */
};

#define MAX_TRIES 3 /* of a file that is not there: the hierarchies get a new cgroup one by one */

struct cb_metrics_target {
    unsigned tries;
    uint64_t missing; /* files that are not tried again, a bit each */
    int fds[N_FILES]; /* -1: not kept open */
    int net_fd;
    uint64_t last[CB_METRIC_COUNT]; /* of the counters; CB_STAT_ABSENT: none yet */
    char path[];                    /* below a hierarchy, without the leading '/' */
};

/* The schema has them in the same order. */
static const struct cb_schema_metric *schema_of(enum cb_metric metric)
{
    return cb_schema((enum cb_schema_id)(CB_SCHEMA_CPU_USAGE_NS + (int)metric));
}

const char *cb_metric_name(enum cb_metric metric)
{
    return schema_of(metric)->name;
}

bool cb_metric_is_counter(enum cb_metric metric)
{
    return schema_of(metric)->kind == CB_SCHEMA_COUNTER;
}

/* ---- the machine ---- */

/* The root of v1's @controller, or of v2 (NULL); -ENOENT: not mounted. */
static int open_hierarchy(int root_fd, const char *controller, struct cb_err *err)
{
    struct cb_mount mount;
    int r = cb_mounts_find_cgroup(root_fd, controller, &mount, err);
    int fd;

    if (r < 0)
        return r;
    fd =
        openat(root_fd, mount.point[1] ? mount.point + 1 : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cb_err_set(err, errno, "cannot open '%.256s': %s", mount.point, strerror(errno));
    return fd;
}

/* A descriptor of its own for each file keeps the life of them simple. */
static int open_hierarchies(struct cb_metrics *m, struct cb_err *err)
{
    bool any = false;

    for (size_t i = 0; i < N_FILES; i++) {
        const struct file *file = &files[i];
        cb_auto_close int v1 =
            file->controller ? open_hierarchy(m->root_fd, file->controller, err) : -ENOENT;
        int dir = -ENOENT;

        if (v1 < 0 && v1 != -ENOENT)
            return v1;
        if (file->v1)
            dir = cb_take_fd(v1);
        else if (v1 < 0)
            dir = open_hierarchy(m->root_fd, NULL, err);
        if (dir < 0 && dir != -ENOENT)
            return dir;
        m->dirs[i] = dir < 0 ? -1 : dir;
        any = any || dir >= 0;
    }
    return any ? 0 : cb_err_set(err, ENOENT, "no cgroup hierarchy is mounted");
}

int cb_metrics_open(int root_fd, size_t max_fds, struct cb_metrics **ret_metrics,
                    struct cb_err *err)
{
    struct cb_metrics *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return cb_err_set(err, ENOMEM, "out of memory");
    m->root_fd = root_fd;
    m->max_fds = max_fds;
    memset(m->dirs, -1, sizeof(m->dirs));
    r = open_hierarchies(m, err);
    if (r < 0) {
        (void)cb_metrics_close(m);
        return r;
    }
    m->host_net = cb_netdev_host(root_fd);
    *ret_metrics = m;
    return 0;
}

struct cb_metrics *cb_metrics_close(struct cb_metrics *metrics)
{
    if (!metrics)
        return NULL;
    for (size_t i = 0; i < N_FILES; i++)
        if (metrics->dirs[i] >= 0)
            (void)close(metrics->dirs[i]);
    free(metrics);
    return NULL;
}

size_t cb_metrics_n_fds(const struct cb_metrics *metrics)
{
    return metrics->n_fds;
}

/* ---- one cgroup ---- */

/* A cgroup's file into m->text: the kernel makes it in one piece. */
static int read_text(struct cb_metrics *m, int fd)
{
    ssize_t n = pread(fd, m->text, TEXT_MAX - 1, 0);

    if (n < 0)
        return -errno;
    m->text[n] = '\0';
    return 0;
}

/* The same of net/dev: a read gives only some of its lines. */
static int read_lines(struct cb_metrics *m, int fd)
{
    size_t done = 0;

    while (done < TEXT_MAX - 1) {
        ssize_t n = pread(fd, m->text + done, TEXT_MAX - 1 - done, (off_t)done);

        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    m->text[done] = '\0';
    return 0;
}

static int open_file(const struct cb_metrics *m, const struct cb_metrics_target *target, size_t i)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s", target->path, files[i].name);

    if (n < 0 || (size_t)n >= sizeof(path))
        return -1;
    return openat(m->dirs[i], path, O_RDONLY | O_CLOEXEC);
}

/* Keep *@fd open within the budget, as *@kept. */
static void keep(struct cb_metrics *m, int *fd, int *kept)
{
    if (m->n_fds == m->max_fds)
        return;
    *kept = cb_take_fd(*fd);
    m->n_fds++;
}

static void forget(struct cb_metrics *m, int *kept)
{
    if (*kept < 0)
        return;
    (void)close(cb_take_fd(*kept));
    m->n_fds--;
}

static void read_file(struct cb_metrics *m, struct cb_metrics_target *target, size_t i,
                      uint64_t *values)
{
    cb_auto_close int opened = -1;
    int fd = target->fds[i];

    if (fd < 0 && !(target->missing & UINT64_C(1) << i))
        fd = opened = open_file(m, target, i);
    if (fd < 0) {
        if (target->tries >= MAX_TRIES)
            target->missing |= UINT64_C(1) << i;
        return;
    }
    if (read_text(m, fd) < 0) {
        forget(m, &target->fds[i]); /* the cgroup may be made again under this path */
        return;
    }
    files[i].parse(m->text, files[i].keys, values);
    if (opened >= 0)
        keep(m, &opened, &target->fds[i]);
}

static bool is_same_hierarchy(const struct file *a, const struct file *b)
{
    return a && a->v1 == b->v1 && (!a->v1 || strcmp(a->controller, b->controller) == 0);
}

/* net/dev of the container's own network, by the first hierarchy that has its processes; -1: none.
 */
static int open_net(struct cb_metrics *m, const struct cb_metrics_target *target,
                    const uint64_t *values)
{
    const struct file *last = NULL; /* those of a hierarchy follow each other */
    bool any = false;
    int fd = -1;

    if (m->host_net == 0 || values[CB_METRIC_PIDS] == 0)
        return -1;
    for (size_t i = 0; i < N_FILES && fd < 0 && !any; i++) {
        if (m->dirs[i] < 0)
            continue;
        if (!is_same_hierarchy(last, &files[i]))
            fd = cb_netdev_open(m->root_fd, m->host_net, m->dirs[i], target->path, &any);
        last = &files[i];
    }
    return fd;
}

static void read_net(struct cb_metrics *m, struct cb_metrics_target *target, uint64_t *values)
{
    cb_auto_close int opened = target->net_fd < 0 ? open_net(m, target, values) : -1;
    int fd = opened >= 0 ? opened : target->net_fd;

    if (fd < 0)
        return;
    if (read_lines(m, fd) < 0) {
        forget(m, &target->net_fd);
        return;
    }
    cb_metrics_parse_netdev(m->text, net_keys, values);
    if (opened >= 0)
        keep(m, &opened, &target->net_fd);
}

/* The values as the files have them. */
static void read_raw(struct cb_metrics *m, struct cb_metrics_target *target, uint64_t *values)
{
    for (size_t i = 0; i < CB_METRIC_COUNT; i++)
        values[i] = CB_STAT_ABSENT;
    target->tries++;
    for (size_t i = 0; i < N_FILES; i++)
        if (m->dirs[i] >= 0)
            read_file(m, target, i, values);
    read_net(m, target, values);
}

/* A network namespace may be older than the cgroup: its counters always start at the first read. */
static bool is_network(size_t metric)
{
    return metric >= CB_METRIC_NET_RX_BYTES && metric <= CB_METRIC_NET_TX_PACKETS;
}

int cb_metrics_target_open(struct cb_metrics *metrics, const char *path, bool is_new,
                           struct cb_metrics_target **ret_target, struct cb_err *err)
{
    const char *relative = path + strspn(path, "/");
    size_t size = strlen(relative) + 2;
    struct cb_metrics_target *target;
    uint64_t now[CB_METRIC_COUNT];

    if (size > PATH_MAX)
        return cb_err_set(err, ENAMETOOLONG, "the path of cgroup '%.80s' is too long", path);
    target = calloc(1, sizeof(*target) + size);
    if (!target)
        return cb_err_set(err, ENOMEM, "out of memory");
    memcpy(target->path, *relative ? relative : ".", *relative ? size - 1 : 2);
    memset(target->fds, -1, sizeof(target->fds));
    target->net_fd = -1;
    read_raw(metrics, target, now);
    for (size_t i = 0; i < CB_METRIC_COUNT; i++)
        target->last[i] = is_new && !is_network(i) ? 0 : now[i];
    *ret_target = target;
    return 0;
}

struct cb_metrics_target *cb_metrics_target_close(struct cb_metrics *metrics,
                                                  struct cb_metrics_target *target)
{
    if (!target)
        return NULL;
    for (size_t i = 0; i < N_FILES; i++)
        forget(metrics, &target->fds[i]);
    forget(metrics, &target->net_fd);
    free(target);
    return NULL;
}

void cb_metrics_target_read(struct cb_metrics *metrics, struct cb_metrics_target *target,
                            uint64_t *values)
{
    read_raw(metrics, target, values);
    for (size_t i = 0; i < CB_METRIC_COUNT; i++) {
        uint64_t now = values[i];
        uint64_t last = target->last[i];

        if (!cb_metric_is_counter(i) || now == CB_STAT_ABSENT)
            continue;
        values[i] = last == CB_STAT_ABSENT || now < last ? CB_STAT_ABSENT : now - last;
        target->last[i] = now;
    }
}
