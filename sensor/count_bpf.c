/* SPDX-License-Identifier: Apache-2.0 */
/* count_bpf.c - see count_bpf.h. */
#include "sensor/count_bpf.h"

#include <errno.h>

#include "lib/err.h"

#if CB_HAVE_BPF

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <count.skel.h>

#include "sensor/bpf/count.h"
#include "sensor/fsread.h"

#define MAX_DEPTH 32 /* of cgroups below a target */

_Static_assert(CB_BPF_SLOTS == CB_BPF_MAX_SLOTS, "both sides have as many");

enum slot_state { SLOT_FREE, SLOT_USED, SLOT_COOLING }; /* a CPU may still charge to it */

struct group {
    size_t first;
    size_t size;
};

struct cb_bpf {
    struct cb_count_bpf *program;
    const struct cb_topology *topology;
    size_t n_events;
    size_t n_groups;
    struct group groups[CB_BPF_MAX_GROUPS];
    size_t record_size; /* bytes from one record to the next */
    size_t map_size;
    void *records; /* the kernel's, read only */
    uint8_t slots[CB_BPF_SLOTS];
    size_t n_cooling;
    uint32_t last_slot;
    uint8_t lacks[CB_FRAME_MAX_CPUS]; /* [cpu index] the program has none of its counters */
};

struct cb_bpf_target {
    uint32_t slot;
    uint32_t n_cpus;  /* in `before` */
    uint64_t *before; /* [cpu index][word]: the record as last read */
};

static char last_complaint[256]; /* libbpf's, for the error text; opening is one thread's */

__attribute__((format(printf, 2, 0))) static int complain(enum libbpf_print_level level,
                                                          const char *fmt, va_list ap)
{
    if (level != LIBBPF_WARN)
        return 0;
    (void)vsnprintf(last_complaint, sizeof(last_complaint), fmt, ap);
    last_complaint[strcspn(last_complaint, "\n")] = '\0';
    return 0;
}

static int bpf_failed(struct cb_err *err, int r, const char *what)
{
    if (r == -EPERM || r == -EACCES)
        return cb_err_set(err, EPERM,
                          "%s: no right to use BPF: run as root or with CAP_BPF and CAP_PERFMON",
                          what);
    return cb_err_set(err, -r, "%s: %s%s%s", what, strerror(-r), *last_complaint ? ": " : "",
                      last_complaint);
}

/* ---- opening ---- */

/* The number of v1's perf_event hierarchy: "11:perf_event:/" in /proc/self/cgroup. */
static int find_hierarchy(int root_fd, int *ret_id, struct cb_err *err)
{
    cb_auto_free char *text = NULL;
    int r = cb_fsread_all(root_fd, "proc/self/cgroup", 65536, &text, err);

    if (r < 0)
        return r;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *controllers = strchr(line, ':');
        int id = (int)strtol(line, NULL, 10);

        if (controllers && id > 0 && strncmp(controllers, ":perf_event:", 12) == 0) {
            *ret_id = id;
            return 0;
        }
    }
    return cb_err_set(err, ENOENT, "'/proc/self/cgroup' has no perf_event hierarchy");
}

static int take_events(struct cb_bpf *bpf, const struct cb_perf *perf, struct cb_err *err)
{
    bpf->n_events = cb_perf_n_events(perf);
    bpf->n_groups = cb_perf_n_groups(perf);
    if (bpf->n_events > CB_BPF_MAX_EVENTS || bpf->n_groups > CB_BPF_MAX_GROUPS)
        return cb_err_set(err, ENOTSUP, "at most %d events in %d groups can be counted by BPF",
                          CB_BPF_MAX_EVENTS, CB_BPF_MAX_GROUPS);
    for (size_t e = 0; e < bpf->n_events; e++) {
        struct group *group = &bpf->groups[cb_perf_event(perf, e)->group];

        if (group->size++ == 0)
            group->first = e;
    }
    return 0;
}

static size_t round_up(size_t size, size_t to)
{
    return (size + to - 1) / to * to;
}

/* What must be known before the kernel sees the program. */
static int configure(struct cb_bpf *bpf, int hierarchy_id)
{
    struct cb_count_bpf *p = bpf->program;
    int n_cpus = libbpf_num_possible_cpus();
    int r;

    if (n_cpus < 0)
        return n_cpus;
    bpf_program__set_autoattach(p->progs.flush, false); /* it is run, see cb_bpf_flush() */
    p->rodata->n_slots = CB_BPF_SLOTS;
    p->rodata->n_events = (uint32_t)bpf->n_events;
    p->rodata->n_groups = (uint32_t)bpf->n_groups;
    p->rodata->hierarchy_id = hierarchy_id;
    for (size_t g = 0; g < bpf->n_groups; g++) {
        p->rodata->is_first[bpf->groups[g].first] = 1;
        for (size_t e = 0; e < bpf->groups[g].size; e++)
            p->rodata->group_of[bpf->groups[g].first + e] = (uint8_t)g;
    }
    /* whole cache lines: no two CPUs write into one */
    bpf->record_size = round_up(CB_BPF_WORDS(bpf->n_groups, bpf->n_events) * sizeof(uint64_t), 64);
    bpf->map_size =
        round_up(bpf->record_size * CB_BPF_SLOTS * (size_t)n_cpus, (size_t)sysconf(_SC_PAGESIZE));
    r = bpf_map__set_max_entries(p->maps.events, (uint32_t)((size_t)n_cpus * bpf->n_events));
    if (r == 0)
        r = bpf_map__set_value_size(p->maps.records, (uint32_t)bpf->record_size);
    if (r == 0)
        r = bpf_map__set_max_entries(p->maps.records, (uint32_t)n_cpus * CB_BPF_SLOTS);
    return r;
}

static uint32_t event_key(const struct cb_bpf *bpf, uint32_t c, size_t event)
{
    return bpf->topology->cpus[c] * (uint32_t)bpf->n_events + (uint32_t)event;
}

/* All of one CPU's, or none: what it counted would be less than a whole. */
static int give_cpu(struct cb_bpf *bpf, const struct cb_perf *perf,
                    const struct cb_perf_target *machine, uint32_t c)
{
    int map = bpf_map__fd(bpf->program->maps.events);
    int r = 0;

    for (size_t e = 0; e < bpf->n_events && r == 0; e++) {
        uint32_t key = event_key(bpf, c, e);
        int fd = cb_perf_target_fd(perf, machine, c, e);

        if (fd >= 0 && bpf_map_update_elem(map, &key, &fd, BPF_ANY) < 0)
            r = -errno;
    }
    for (size_t e = 0; e < bpf->n_events && r < 0; e++) {
        uint32_t key = event_key(bpf, c, e);

        (void)bpf_map_delete_elem(map, &key);
    }
    return r;
}

/* Those of the CPUs that are online. */
static int give_events(struct cb_bpf *bpf, const struct cb_perf *perf,
                       const struct cb_perf_target *machine)
{
    int result = 0;

    for (uint32_t c = 0; c < bpf->topology->n_cpus; c++) {
        bool online = cb_topology_is_online(bpf->topology, c);
        int r = online ? give_cpu(bpf, perf, machine, c) : 0;

        bpf->lacks[c] = r < 0;
        if (result == 0)
            result = r;
    }
    return result;
}

int cb_bpf_follow(struct cb_bpf *bpf, const struct cb_perf *perf,
                  const struct cb_perf_target *machine, struct cb_err *err)
{
    int r = give_events(bpf, perf, machine);

    return r < 0 ? bpf_failed(err, r, "cannot give the counters to BPF") : 0;
}

bool cb_bpf_lacks(const struct cb_bpf *bpf, uint32_t cpu_index)
{
    return bpf->lacks[cpu_index];
}

size_t cb_bpf_n_lacking(const struct cb_bpf *bpf)
{
    size_t n = 0;

    for (uint32_t c = 0; c < bpf->topology->n_cpus; c++)
        n += bpf->lacks[c];
    return n;
}

static int map_records(struct cb_bpf *bpf)
{
    void *at = mmap(NULL, bpf->map_size, PROT_READ, MAP_SHARED,
                    bpf_map__fd(bpf->program->maps.records), 0);

    if (at == MAP_FAILED)
        return -errno;
    bpf->records = at;
    return 0;
}

static int load(struct cb_bpf *bpf, const struct cb_perf *perf,
                const struct cb_perf_target *machine, int hierarchy_id, struct cb_err *err)
{
    int r;

    last_complaint[0] = '\0';
    (void)libbpf_set_print(complain);
    bpf->program = cb_count_bpf__open();
    if (!bpf->program)
        return bpf_failed(err, -errno, "cannot open the BPF program");
    r = configure(bpf, hierarchy_id);
    if (r == 0)
        r = cb_count_bpf__load(bpf->program);
    if (r < 0)
        return bpf_failed(err, r, "the kernel does not take the BPF program");
    r = give_events(bpf, perf, machine);
    if (r < 0)
        return bpf_failed(err, r, "cannot give the counters to BPF");
    r = map_records(bpf);
    if (r < 0)
        return bpf_failed(err, r, "cannot map the BPF records");
    r = cb_count_bpf__attach(bpf->program);
    return r < 0 ? bpf_failed(err, r, "cannot attach the BPF program") : 0;
}

int cb_bpf_open(int root_fd, const struct cb_topology *topology, struct cb_perf *perf,
                const struct cb_perf_target *machine, bool v1, struct cb_bpf **ret_bpf,
                struct cb_err *err)
{
    struct cb_bpf *bpf = calloc(1, sizeof(*bpf));
    int hierarchy_id = 0;
    int r;

    if (!bpf)
        return cb_err_set(err, ENOMEM, "out of memory");
    bpf->topology = topology;
    r = take_events(bpf, perf, err);
    if (r == 0 && v1)
        r = find_hierarchy(root_fd, &hierarchy_id, err);
    if (r == 0)
        r = load(bpf, perf, machine, hierarchy_id, err);
    if (r == 0)
        r = cb_bpf_flush(bpf, err); /* every CPU has a first reading */
    if (r < 0)
        (void)cb_bpf_close(bpf);
    else
        *ret_bpf = bpf;
    return r;
}

struct cb_bpf *cb_bpf_close(struct cb_bpf *bpf)
{
    if (!bpf)
        return NULL;
    if (bpf->records)
        (void)munmap(bpf->records, bpf->map_size);
    cb_count_bpf__destroy(bpf->program);
    free(bpf);
    return NULL;
}

size_t cb_bpf_n_incomplete(const struct cb_bpf *bpf)
{
    const uint8_t *incomplete = bpf->program->bss->incomplete;
    size_t n = 0;

    if (!memchr(incomplete, 1, CB_BPF_SLOTS)) /* at each tick, and nearly always */
        return 0;
    for (size_t i = 1; i < CB_BPF_SLOTS; i++)
        n += bpf->slots[i] == SLOT_USED && __atomic_load_n(&incomplete[i], __ATOMIC_RELAXED);
    return n;
}

uint64_t cb_bpf_missed_switches(const struct cb_bpf *bpf)
{
    return __atomic_load_n(&bpf->program->bss->missed_switches, __ATOMIC_RELAXED);
}

int cb_bpf_flush(struct cb_bpf *bpf, struct cb_err *err)
{
    int fd = bpf_program__fd(bpf->program->progs.flush);
    int result = 0;

    for (uint32_t c = 0; c < bpf->topology->n_cpus; c++) {
        LIBBPF_OPTS(bpf_test_run_opts, options, .flags = BPF_F_TEST_RUN_ON_CPU,
                    .cpu = bpf->topology->cpus[c]);
        int r = cb_topology_is_online(bpf->topology, c) ? bpf_prog_test_run_opts(fd, &options) : 0;

        if (r < 0)
            result = cb_err_set(err, -r, "BPF: cannot bring in what runs on CPU %u: %s",
                                bpf->topology->cpus[c], strerror(-r));
    }
    if (result < 0)
        return result;
    for (size_t i = 1; bpf->n_cooling > 0 && i < CB_BPF_SLOTS; i++)
        if (bpf->slots[i] == SLOT_COOLING) {
            bpf->slots[i] = SLOT_FREE;
            bpf->n_cooling--;
        }
    return 0;
}

/* ---- one cgroup ---- */

/* 0: none left. Round the table, so that a slot rests as long as can be. */
static uint32_t take_slot(struct cb_bpf *bpf)
{
    for (uint32_t i = 0; i < CB_BPF_SLOTS; i++) {
        uint32_t slot = (bpf->last_slot + 1 + i) % CB_BPF_SLOTS;

        if (slot != 0 && bpf->slots[slot] == SLOT_FREE) {
            bpf->slots[slot] = SLOT_USED;
            bpf->last_slot = slot;
            return slot;
        }
    }
    return 0;
}

/* Something below could not be registered, unless @code says that it has just gone. */
static void note_missing(struct cb_bpf *bpf, uint32_t slot, int code)
{
    if (code == 0 || code == ENOENT || code == ENODEV)
        return;
    __atomic_store_n(&bpf->program->bss->incomplete[slot], 1, __ATOMIC_RELAXED);
}

/* Is the directory no more that was read to its end? readdir(3) tells that as any other end. */
static bool is_gone(int dir_fd)
{
    struct dirent64 more;

    return getdents64(dir_fd, &more, sizeof(more)) < 0 && errno == ENOENT;
}

/* Register the cgroup @fd and then what is below it: what is made below from now on, the kernel's
 * side registers itself. @slot 0: they have none from now on. */
static int register_all(struct cb_bpf *bpf, int fd, uint32_t slot, unsigned depth)
{
    int map = bpf_map__fd(bpf->program->maps.slots);
    struct stat st;
    uint64_t id;
    int copy;
    DIR *dir;

    if (fstat(fd, &st) < 0)
        return -errno;
    id = st.st_ino;
    if (slot == 0)
        (void)bpf_map_delete_elem(map, &id);
    else if (bpf_map_update_elem(map, &id, &slot, BPF_ANY) < 0)
        return -errno;
    if (depth == MAX_DEPTH)
        return 0; /* deeper than anybody builds */
    copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        note_missing(bpf, slot, errno);
        if (copy >= 0)
            (void)close(copy);
        return 0;
    }
    for (struct dirent *entry; errno = 0, (entry = readdir(dir));) {
        cb_auto_close int child = -1;
        int r;

        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        child = openat(copy, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = child < 0 ? -errno : register_all(bpf, child, slot, depth + 1);
        note_missing(bpf, slot, -r);
    }
    note_missing(bpf, slot, errno);
    if (is_gone(copy)) /* the kernel's side takes out what goes, but not what comes after that */
        (void)bpf_map_delete_elem(map, &id);
    (void)closedir(dir);
    return 0;
}

static const uint64_t *record_of(const struct cb_bpf *bpf, uint32_t cpu, uint32_t slot)
{
    size_t index = (size_t)cpu * CB_BPF_SLOTS + slot;

    return (const void *)((const char *)bpf->records + index * bpf->record_size);
}

/* One record as a whole: the CPU that writes it does so in well under a microsecond. */
static void read_record(const uint64_t *record, size_t n_words, uint64_t *ret_words)
{
    for (;;) {
        uint64_t seq = __atomic_load_n(&record[0], __ATOMIC_ACQUIRE);

        /* acquire: the second look at the sequence number comes after all of them */
        for (size_t i = 1; i < n_words; i++)
            ret_words[i] = __atomic_load_n(&record[i], __ATOMIC_ACQUIRE);
        ret_words[0] = seq;
        if (!(seq & 1) && __atomic_load_n(&record[0], __ATOMIC_RELAXED) == seq)
            return;
    }
}

static void free_target(struct cb_bpf_target *target)
{
    free(target->before);
    free(target);
}

/* Room for every CPU of the topology; a new one has counted nothing for any slot. */
static int make_room(const struct cb_bpf *bpf, struct cb_bpf_target *target)
{
    size_t n_words = CB_BPF_WORDS(bpf->n_groups, bpf->n_events);
    uint32_t n = bpf->topology->n_cpus;
    uint64_t *more;

    if (n == target->n_cpus)
        return 0;
    more = realloc(target->before, n * n_words * sizeof(*more));
    if (!more)
        return -ENOMEM;
    memset(more + target->n_cpus * n_words, 0, (n - target->n_cpus) * n_words * sizeof(*more));
    target->before = more;
    target->n_cpus = n;
    return 0;
}

int cb_bpf_target_open(struct cb_bpf *bpf, int cgroup_fd, struct cb_bpf_target **ret_target,
                       struct cb_err *err)
{
    size_t n_words = CB_BPF_WORDS(bpf->n_groups, bpf->n_events);
    struct cb_bpf_target *target = calloc(1, sizeof(*target));
    int r = target ? make_room(bpf, target) : -ENOMEM;

    if (r < 0) {
        free(target);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    target->slot = take_slot(bpf);
    if (target->slot == 0) {
        r = cb_err_set(err, ENOSPC, "BPF counts %d cgroups at most", CB_BPF_SLOTS - 1);
        free_target(target);
        return r;
    }
    for (uint32_t c = 0; c < target->n_cpus; c++)
        read_record(record_of(bpf, bpf->topology->cpus[c], target->slot), n_words,
                    target->before + c * n_words);
    bpf->program->bss->incomplete[target->slot] = 0;
    r = register_all(bpf, cgroup_fd, target->slot, 0);
    if (r < 0) {
        bpf->slots[target->slot] = SLOT_FREE;
        free_target(target);
        if (r == -E2BIG)
            return cb_err_set(err, ENOSPC, "BPF counts %d cgroups at most, with those inside them",
                              CB_BPF_MAX_IDS);
        return cb_err_set(err, -r, "BPF: cannot register the cgroup: %s", strerror(-r));
    }
    *ret_target = target;
    return 0;
}

void cb_bpf_target_follow(struct cb_bpf *bpf, struct cb_bpf_target *target, int cgroup_fd)
{
    uint8_t *incomplete = &bpf->program->bss->incomplete[target->slot];

    if (cgroup_fd < 0 || !__atomic_load_n(incomplete, __ATOMIC_RELAXED))
        return;
    __atomic_store_n(incomplete, 0, __ATOMIC_SEQ_CST); /* first: the kernel may set it again */
    note_missing(bpf, target->slot, -register_all(bpf, cgroup_fd, target->slot, 0));
}

struct cb_bpf_target *cb_bpf_target_close(struct cb_bpf *bpf, struct cb_bpf_target *target)
{
    if (!target)
        return NULL;
    bpf->slots[target->slot] = SLOT_COOLING;
    bpf->n_cooling++;
    free_target(target);
    return NULL;
}

void cb_bpf_target_release(struct cb_bpf *bpf, int cgroup_fd)
{
    (void)register_all(bpf, cgroup_fd, 0, 0);
}

/* Add what one CPU counted for the slot since @before, which becomes the new reading. */
static void add_cpu(const struct cb_bpf *bpf, const uint64_t *record, uint64_t *before,
                    uint64_t tick_ns, uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns)
{
    size_t first_count = 1 + 2 * bpf->n_groups;
    uint64_t now[CB_BPF_MAX_WORDS];

    if (__atomic_load_n(&record[0], __ATOMIC_RELAXED) == before[0])
        return; /* nothing ran */
    read_record(record, first_count + bpf->n_events, now);
    for (size_t g = 0; g < bpf->n_groups; g++) {
        const struct group *group = &bpf->groups[g];
        struct cb_perf_reading a = {.enabled_ns = before[1 + 2 * g],
                                    .running_ns = before[2 + 2 * g]};
        struct cb_perf_reading b = {
            .n = group->size, .enabled_ns = now[1 + 2 * g], .running_ns = now[2 + 2 * g]};

        memcpy(a.values, before + first_count + group->first, group->size * sizeof(uint64_t));
        memcpy(b.values, now + first_count + group->first, group->size * sizeof(uint64_t));
        cb_perf_add_delta(&a, &b, tick_ns, counts + group->first, enabled_ns + g, running_ns + g);
    }
    memcpy(before, now, (first_count + bpf->n_events) * sizeof(uint64_t));
}

void cb_bpf_target_read(struct cb_bpf *bpf, struct cb_bpf_target *target, uint64_t tick_ns,
                        uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns)
{
    const struct cb_topology *t = bpf->topology;
    size_t n_words = CB_BPF_WORDS(bpf->n_groups, bpf->n_events);

    memset(counts, 0, t->n_sockets * bpf->n_events * sizeof(*counts));
    memset(enabled_ns, 0, t->n_sockets * bpf->n_groups * sizeof(*enabled_ns));
    memset(running_ns, 0, t->n_sockets * bpf->n_groups * sizeof(*running_ns));
    (void)make_room(bpf, target); /* without memory those that came are left out */
    for (uint32_t c = 0; c < target->n_cpus; c++)
        add_cpu(bpf, record_of(bpf, t->cpus[c], target->slot), target->before + c * n_words,
                tick_ns, counts + t->socket[c] * bpf->n_events,
                enabled_ns + t->socket[c] * bpf->n_groups,
                running_ns + t->socket[c] * bpf->n_groups);
}

#else /* built without BPF: it cannot be opened, so nothing else is ever called with one */

int cb_bpf_open(int root_fd, const struct cb_topology *topology, struct cb_perf *perf,
                const struct cb_perf_target *machine, bool v1, struct cb_bpf **ret_bpf,
                struct cb_err *err)
{
    (void)root_fd, (void)topology, (void)perf, (void)machine, (void)v1, (void)ret_bpf;
    return cb_err_set(err, ENOTSUP,
                      "this program was built without BPF (clang, bpftool or libbpf-dev was "
                      "missing then)");
}

struct cb_bpf *cb_bpf_close(struct cb_bpf *bpf)
{
    return bpf;
}

int cb_bpf_flush(struct cb_bpf *bpf, struct cb_err *err)
{
    (void)bpf;
    return cb_err_set(err, ENOTSUP, "built without BPF");
}

int cb_bpf_follow(struct cb_bpf *bpf, const struct cb_perf *perf,
                  const struct cb_perf_target *machine, struct cb_err *err)
{
    (void)bpf, (void)perf, (void)machine;
    return cb_err_set(err, ENOTSUP, "built without BPF");
}

bool cb_bpf_lacks(const struct cb_bpf *bpf, uint32_t cpu_index)
{
    (void)bpf, (void)cpu_index;
    return false;
}

size_t cb_bpf_n_lacking(const struct cb_bpf *bpf)
{
    (void)bpf;
    return 0;
}

size_t cb_bpf_n_incomplete(const struct cb_bpf *bpf)
{
    (void)bpf;
    return 0;
}

uint64_t cb_bpf_missed_switches(const struct cb_bpf *bpf)
{
    (void)bpf;
    return 0;
}

int cb_bpf_target_open(struct cb_bpf *bpf, int cgroup_fd, struct cb_bpf_target **ret_target,
                       struct cb_err *err)
{
    (void)bpf, (void)cgroup_fd, (void)ret_target;
    return cb_err_set(err, ENOTSUP, "built without BPF");
}

struct cb_bpf_target *cb_bpf_target_close(struct cb_bpf *bpf, struct cb_bpf_target *target)
{
    (void)bpf;
    return target;
}

void cb_bpf_target_follow(struct cb_bpf *bpf, struct cb_bpf_target *target, int cgroup_fd)
{
    (void)bpf, (void)target, (void)cgroup_fd;
}

void cb_bpf_target_release(struct cb_bpf *bpf, int cgroup_fd)
{
    (void)bpf, (void)cgroup_fd;
}

void cb_bpf_target_read(struct cb_bpf *bpf, struct cb_bpf_target *target, uint64_t tick_ns,
                        uint64_t *counts, uint64_t *enabled_ns, uint64_t *running_ns)
{
    (void)bpf, (void)target, (void)tick_ns, (void)counts, (void)enabled_ns, (void)running_ns;
}

#endif
