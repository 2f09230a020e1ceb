/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sampler.c - one tick as one frame: rows, texts, births and deaths, that a tick allocates
 * nothing, and the loop that ticks (sensor/tick.c). Counts are the real software events of this
 * machine (skipped without the rights); the cgroups are real ones where they can be made.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/mounts.h"
#include "sensor/sampler.h"
#include "sensor/tick.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define BOOT_ID "259b3013-064c-4189-be36-baaba56f75e2"
#define START_ID "0123456789abcdef0123456789abcdef"

/* ---- every allocation of this thread, counted while armed ---- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 1
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static _Thread_local bool armed;
static _Thread_local size_t allocations;

void *malloc(size_t size)
{
    allocations += armed;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations += armed;
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    allocations += armed;
    return __libc_realloc(old, size);
}
#endif

/* ---- a sampler of this machine ---- */

struct parts {
    int root_fd;
    struct cb_topology topology;
    struct cb_gaps gaps;
    struct cb_perf *perf;
    struct cb_count *count;
    struct cb_machine *machine;
    struct cb_busy *busy;
    struct cb_energy *energy;
    struct cb_docker *docker;
    struct cb_metrics *metrics;
    struct cb_sampler *sampler;
    void *last;                 /* cookie of add_real_target() */
    char cgroup[PATH_MAX + 64]; /* the hierarchy that is counted in */
    int cgroup_fd;
    int children;
};

static void find_hierarchy(struct parts *p)
{
    struct cb_mount mount;

    p->cgroup_fd = -1;
    if (cb_mounts_find_cgroup(p->root_fd, "perf_event", &mount, NULL) < 0 &&
        cb_mounts_find_cgroup(p->root_fd, NULL, &mount, NULL) < 0)
        return;
    (void)snprintf(p->cgroup, sizeof(p->cgroup), "%s", mount.point);
    p->cgroup_fd = open(p->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool open_counters(struct parts *p, const char *list)
{
    const char *const lists[] = {list};
    const struct cb_perf_options perf = {.root_fd = p->root_fd,
                                         .topology = &p->topology,
                                         .n_lists = 1,
                                         .lists = lists,
                                         .gaps = &p->gaps};
    struct cb_count_options count = {.root_fd = p->root_fd,
                                     .topology = &p->topology,
                                     .wanted = "perf",
                                     .counting_fd = p->cgroup_fd,
                                     .max_fds = 1024};
    int r = cb_perf_open(&perf, &p->perf, NULL);

    if (r == -EACCES)
        return false;
    assert_int_equal(r, 0);
    count.perf = p->perf;
    assert_int_equal(cb_count_open(&count, &p->count, NULL), 0);
    assert_int_equal(cb_machine_open(p->root_fd, &p->topology, &p->machine, NULL), 0);
    assert_int_equal(cb_busy_open(p->root_fd, &p->topology, &p->busy, NULL), 0);
    return true;
}

static void open_sampler(struct parts *p, struct cb_busy *busy, struct cb_sampler **ret_sampler)
{
    const struct cb_energy_options energy = {
        .root_fd = p->root_fd, .topology = &p->topology, .wanted = "estimate"};
    struct cb_sampler_options options = {
        .root_fd = p->root_fd,
        .counting_fd = p->cgroup_fd,
        .sensor = "test",
        .boot_id = BOOT_ID,
        .start_id = START_ID,
        .topology = &p->topology,
        .gaps = &p->gaps,
    };

    if (!p->energy)
        assert_int_equal(cb_energy_open(&energy, &p->energy, NULL), 0);
    options.perf = p->perf;
    options.count = p->count;
    options.machine = p->machine;
    options.busy = busy;
    options.energy = p->energy;
    options.docker = p->docker;
    options.metrics = p->metrics;
    options.metrics_ns = 1;
    assert_int_equal(cb_sampler_open(&options, ret_sampler, NULL), 0);
}

static int setup(void **state)
{
    struct parts *p = calloc(1, sizeof(*p));

    if (!p)
        return -1;
    *state = p;
    p->root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    find_hierarchy(p);
    if (cb_topology_init(&p->topology, p->root_fd, NULL) < 0)
        return -1;
    if (open_counters(p, "cpu-clock,context-switches"))
        open_sampler(p, p->busy, &p->sampler);
    return 0;
}

static void close_all(struct parts *p)
{
    p->sampler = cb_sampler_close(p->sampler);
    p->metrics = cb_metrics_close(p->metrics);
    p->energy = cb_energy_close(p->energy);
    p->busy = cb_busy_close(p->busy);
    p->machine = cb_machine_close(p->machine);
    p->count = cb_count_close(p->count);
    p->perf = cb_perf_close(p->perf);
}

static int teardown(void **state)
{
    struct parts *p = *state;

    close_all(p);
    cb_topology_fini(&p->topology);
    for (int i = 0; i < p->children; i++) {
        char name[64];

        (void)snprintf(name, sizeof(name), "cbtest.%d.%d", (int)getpid(), i);
        (void)unlinkat(p->cgroup_fd, name, AT_REMOVEDIR);
    }
    if (p->cgroup_fd >= 0)
        (void)close(p->cgroup_fd);
    (void)close(p->root_fd);
    free(p);
    return 0;
}

static struct parts *parts_or_skip(void **state)
{
    struct parts *p = *state;

    if (!p->sampler) {
        print_message("no right to count events\n");
        skip();
    }
    return p;
}

static void pause_ms(long ms)
{
    const struct timespec pause = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&pause, NULL);
}

static struct cb_frame *read_frame(struct parts *p, bool dictionary)
{
    struct cb_frame *frame = NULL;

    pause_ms(2);
    assert_int_equal(cb_sampler_read(p->sampler, dictionary, &frame, NULL), 0);
    return frame;
}

/* A target with a cgroup of its own, or (@fake) one whose counters cannot be opened. */
static void *add_target(struct parts *p, const char *id, bool fake)
{
    struct cb_cgroup_found found = {.path = "/docker/x", .kind = CB_TARGET_CONTAINER};
    char name[64];
    void *cookie;
    int fd;

    (void)snprintf(found.container_id, sizeof(found.container_id), "%s", id);
    if (fake) {
        found.dir_fd = p->root_fd; /* no cgroup */
        return cb_sampler_born(p->sampler, &found);
    }
    (void)snprintf(name, sizeof(name), "cbtest.%d.%d", (int)getpid(), p->children);
    if (p->cgroup_fd < 0 || mkdirat(p->cgroup_fd, name, 0755) < 0) {
        print_message("no cgroup can be made\n");
        skip();
    }
    p->children++;
    fd = openat(p->cgroup_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    found.dir_fd = fd;
    cookie = cb_sampler_born(p->sampler, &found);
    (void)close(fd);
    assert_non_null(cookie);
    return cookie;
}

/* ---- tests ---- */

static void frames_follow_each_other_without_a_gap(void **state)
{
    struct parts *p = parts_or_skip(state);
    uint64_t last_t1_ns = 0;

    cb_sampler_start(p->sampler);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        struct cb_frame *f = read_frame(p, false);

        assert_int_equal(f->seq, seq);
        assert_true(f->t0_ns < f->t1_ns);
        assert_true(seq == 1 || f->t0_ns == last_t1_ns);
        assert_string_equal(f->start_id, START_ID);
        assert_int_equal(f->dictionary, seq == 1);
        last_t1_ns = f->t1_ns;
        cb_sampler_done(p->sampler, true);
    }
}

static void the_machines_row_is_what_ran(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame *f;
    uint64_t sum_ns = 0;

    cb_sampler_start(p->sampler);
    pause_ms(100);
    f = read_frame(p, false);
    assert_true(f->has_machine_row);
    for (size_t s = 0; s < f->n_sockets; s++)
        sum_ns += cb_frame_count(f, 0, s, 0);
    /* the counters are read a little after the clock, on a loaded machine also later */
    assert_in_range(sum_ns, 1, (f->t1_ns - f->t0_ns) * f->n_cpus + 500000000);
    assert_int_equal(f->stats[0], sum_ns);
    assert_int_equal(f->n_energies, f->n_sockets);
    assert_int_equal(f->energies[0].source, CB_SOURCE_ESTIMATE);
    assert_true(f->energies[0].energy_uj > 0);
    assert_true(f->self_cpu_ns > 0);
    cb_sampler_done(p->sampler, true);
}

/* A CPU-wide cpu-clock counts all the time there is; the row holds what ran, here by a file that
 * says so, and with it the part of the estimate that is not idle. */
static void idle_time_is_not_in_the_machines_row(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_sampler *sampler = NULL;
    struct cb_busy *busy = NULL;
    struct fake_root *root;
    struct cb_frame *f;
    void *fake;
    uint64_t sum_ns = 0;

    assert_int_equal(fake_root_setup(&fake), 0);
    root = fake;
    fake_root_put(root, "proc/1/mountinfo", "33 31 0:30 / /c rw - cgroup cgroup rw,cpuacct\n");
    fake_root_put(root, "c/cpuacct.usage_percpu", "0 0\n");
    assert_int_equal(cb_busy_open(root->fd, &p->topology, &busy, NULL), 0);
    open_sampler(p, busy, &sampler);
    cb_sampler_start(sampler);
    pause_ms(50);
    fake_root_put(root, "c/cpuacct.usage_percpu", "7000000 0\n");
    assert_int_equal(cb_sampler_read(sampler, false, &f, NULL), 0);
    for (size_t s = 0; s < f->n_sockets; s++)
        sum_ns += cb_frame_count(f, 0, s, 0);
    assert_in_range(sum_ns, 6900000, 14000000); /* 7 ms, and the skew of the clocks */
    assert_int_equal(f->stats[0], sum_ns);
    cb_sampler_done(sampler, true);
    sampler = cb_sampler_close(sampler);
    busy = cb_busy_close(busy);
    (void)fake_root_teardown(&fake);
}

/* Spin for 30 ms of CPU time in the first cgroup of add_target(). */
static void spin_in_cgroup(const struct parts *p)
{
    char path[64];
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct timespec now = {0};
        int fd;

        (void)snprintf(path, sizeof(path), "cbtest.%d.0/cgroup.procs", (int)getppid());
        fd = openat(p->cgroup_fd, path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1)
            _exit(1);
        while (now.tv_sec == 0 && now.tv_nsec < 30000000)
            (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* The file of busy times may lag behind the counters; what the containers used was busy for sure.
 */
static void the_machine_did_at_least_what_its_containers_did(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_sampler *sampler = NULL;
    struct cb_sampler *first = p->sampler;
    struct cb_busy *busy = NULL;
    struct fake_root *root;
    struct cb_frame *f;
    void *fake;

    assert_int_equal(fake_root_setup(&fake), 0);
    root = fake;
    fake_root_put(root, "proc/1/mountinfo", "33 31 0:30 / /c rw - cgroup cgroup rw,cpuacct\n");
    fake_root_put(root, "c/cpuacct.usage_percpu", "0 0\n"); /* and it stays so */
    assert_int_equal(cb_busy_open(root->fd, &p->topology, &busy, NULL), 0);
    open_sampler(p, busy, &sampler);
    p->sampler = sampler;
    (void)add_target(p, A, false);
    p->sampler = first;
    cb_sampler_start(sampler);
    spin_in_cgroup(p);
    assert_int_equal(cb_sampler_read(sampler, false, &f, NULL), 0);
    assert_true(f->stats[f->n_stats] >= 15000000);
    assert_true(f->stats[0] == f->stats[f->n_stats]);
    cb_sampler_done(sampler, true);
    sampler = cb_sampler_close(sampler);
    busy = cb_busy_close(busy);
    (void)fake_root_teardown(&fake);
}

static void a_target_is_told_with_its_text_once(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame *f;

    cb_sampler_start(p->sampler);
    cb_sampler_done(p->sampler, true);
    f = read_frame(p, false);
    cb_sampler_done(p->sampler, true);
    (void)add_target(p, A, false);
    assert_true(cb_sampler_has_container(p->sampler, A));
    f = read_frame(p, false);
    assert_int_equal(f->n_targets, 1);
    assert_int_equal(f->targets[0].flags, CB_TARGET_TEXT);
    assert_string_equal(f->targets[0].cgroup, "/docker/x");
    assert_string_equal(f->targets[0].container_id, A);
    assert_false(f->dictionary);
    cb_sampler_done(p->sampler, false); /* the frame was lost */
    f = read_frame(p, false);
    assert_int_equal(f->targets[0].flags, CB_TARGET_TEXT);
    cb_sampler_done(p->sampler, true);
    f = read_frame(p, false);
    assert_int_equal(f->targets[0].flags, 0);
    cb_sampler_done(p->sampler, true);
    f = read_frame(p, true); /* the other side asks for all of it */
    assert_int_equal(f->targets[0].flags, CB_TARGET_TEXT);
    assert_true(f->dictionary);
    cb_sampler_done(p->sampler, true);
}

static void a_name_that_comes_later_is_told_again(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_docker_answer answer = {.id = A, .found = true};
    struct cb_docker_answer none = {.id = A};
    struct cb_frame *f;

    (void)add_target(p, A, false);
    cb_sampler_start(p->sampler);
    f = read_frame(p, false);
    assert_null(f->targets[0].name);
    cb_sampler_done(p->sampler, true);
    answer.text.name = strdup("web");
    answer.text.image = strdup("cb/busy");
    cb_sampler_text(p->sampler, &answer);
    f = read_frame(p, false);
    assert_int_equal(f->targets[0].flags, CB_TARGET_TEXT);
    assert_string_equal(f->targets[0].name, "web");
    assert_string_equal(f->targets[0].image, "cb/busy");
    cb_sampler_done(p->sampler, true);
    cb_sampler_text(p->sampler, &none); /* nothing new */
    f = read_frame(p, false);
    assert_int_equal(f->targets[0].flags, 0);
    cb_sampler_done(p->sampler, true);
}

/* Take what was found for the questions that wait. */
static void take_answers(struct parts *p)
{
    for (int i = 0; i < 20; i++) {
        struct cb_docker_answer answer;

        pause_ms(5);
        while (cb_docker_take(p->docker, &answer))
            cb_sampler_text(p->sampler, &answer);
    }
}

static void one_answer_is_for_the_container_that_stops_and_the_one_started_again(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_docker_answer renamed = {.id = A, .found = true};
    struct fake_root *root;
    struct cb_frame *f;
    void *fake;

    assert_int_equal(fake_root_setup(&fake), 0);
    root = fake;
    fake_root_put(root, "var/lib/docker/containers/" A "/config.v2.json", "{\"Name\":\"/web\"}");
    assert_int_equal(cb_docker_open(root->fd, "", &p->docker, NULL), 0);
    p->sampler = cb_sampler_close(p->sampler);
    open_sampler(p, p->busy, &p->sampler);
    cb_sampler_start(p->sampler);
    cb_sampler_gone(p->sampler, add_target(p, A, true));
    (void)add_target(p, A, true); /* before the question was answered */
    take_answers(p);
    f = read_frame(p, false);
    assert_int_equal(f->n_targets, 2);
    assert_int_equal(f->targets[0].flags, CB_TARGET_TEXT | CB_TARGET_GONE);
    assert_string_equal(f->targets[0].name, "web");
    assert_int_equal(f->targets[1].flags, CB_TARGET_TEXT);
    assert_non_null(f->targets[1].name);
    assert_string_equal(f->targets[1].name, "web");
    cb_sampler_done(p->sampler, true);
    cb_sampler_ask_again(p->sampler);
    take_answers(p);
    f = read_frame(p, false);
    assert_int_equal(f->n_targets, 1);
    assert_int_equal(f->targets[0].flags, 0); /* nothing was left to ask */
    cb_sampler_done(p->sampler, true);
    renamed.text.name = strdup("web2");
    cb_sampler_text(p->sampler, &renamed);
    f = read_frame(p, false);
    assert_string_equal(f->targets[0].name, "web2");
    cb_sampler_done(p->sampler, true);
    p->sampler = cb_sampler_close(p->sampler);
    p->docker = cb_docker_close(p->docker);
    (void)fake_root_teardown(&fake);
}

static void a_target_that_is_gone_has_one_last_row(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame *f;
    void *cookie;
    uint32_t id;

    cookie = add_target(p, A, false);
    cb_sampler_start(p->sampler);
    f = read_frame(p, false);
    id = f->targets[0].id;
    assert_true(id >= 1);
    cb_sampler_done(p->sampler, true);
    cb_sampler_gone(p->sampler, cookie);
    f = read_frame(p, false);
    assert_int_equal(f->n_targets, 1);
    assert_int_equal(f->targets[0].id, id);
    assert_int_equal(f->targets[0].flags, CB_TARGET_GONE);
    cb_sampler_done(p->sampler, true);
    f = read_frame(p, false);
    assert_int_equal(f->n_targets, 0);
    cb_sampler_done(p->sampler, true);
    (void)add_target(p, A, false);
    f = read_frame(p, false);
    assert_true(f->targets[0].id != id); /* an id is never used again */
    cb_sampler_done(p->sampler, true);
}

static void a_target_that_cannot_be_counted_is_told_as_such(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame *f;
    size_t n_gaps;

    cb_sampler_start(p->sampler);
    n_gaps = p->gaps.n_standing;
    (void)add_target(p, A, true);
    f = read_frame(p, false);
    assert_int_equal(f->n_targets, 1);
    for (size_t s = 0; s < f->n_sockets; s++) {
        assert_int_equal(f->enabled_ns[(f->n_sockets + s) * f->n_groups], f->t1_ns - f->t0_ns);
        assert_int_equal(f->running_ns[(f->n_sockets + s) * f->n_groups], 0);
        assert_int_equal(cb_frame_count(f, 1, s, 0), 0);
    }
    assert_true(f->stats[f->n_stats] == CB_STAT_ABSENT);
    assert_int_equal(f->n_gaps, n_gaps + 1);
    assert_string_equal(f->gaps[n_gaps].source, "perf:/docker/x");
    assert_non_null(strstr(f->gaps[n_gaps].reason, "not counted"));
    cb_sampler_done(p->sampler, true);
}

static void every_frame_can_be_encoded_and_read_back(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame_encoder *encoder = cb_frame_encoder_new();
    struct cb_frame *f;
    struct cb_frame back;
    const uint8_t *bytes;
    size_t size;

    (void)add_target(p, A, false);
    (void)add_target(p, "", true);
    cb_sampler_start(p->sampler);
    f = read_frame(p, false);
    assert_int_equal(cb_frame_encode(encoder, f, &bytes, &size, NULL), 0);
    assert_int_equal(cb_frame_decode(bytes, size, &back, NULL), 0);
    assert_int_equal(back.n_targets, 2);
    assert_int_equal(back.t1_ns, f->t1_ns);
    assert_memory_equal(back.counts, f->counts,
                        3 * f->n_sockets * f->n_events * sizeof(*f->counts));
    cb_frame_clear(&back);
    cb_sampler_done(p->sampler, true);
    encoder = cb_frame_encoder_free(encoder);
}

/* ---- more texts than a frame holds ---- */

static bool has_gap(const struct cb_frame *f, const char *source, const char *text)
{
    for (size_t i = 0; i < f->n_gaps; i++)
        if (strcmp(f->gaps[i].source, source) == 0 && strstr(f->gaps[i].reason, text))
            return true;
    return false;
}

#define MANY 2000

struct crowd {
    struct cb_frame_encoder *encoder;
    char *labels;
    bool told[MANY + 2]; /* by target id: with its labels */
    bool gone[MANY + 2];
    size_t n_told;
};

static void add_labelled(struct parts *p, struct crowd *crowd, int i)
{
    struct cb_docker_answer answer = {.found = true};

    (void)snprintf(answer.id, sizeof(answer.id), "%064x", i);
    assert_non_null(add_target(p, answer.id, true));
    answer.text.name = strdup("web");
    answer.text.labels = strdup(crowd->labels);
    cb_sampler_text(p->sampler, &answer);
}

static void open_crowd(struct parts *p, struct crowd *crowd)
{
    crowd->encoder = cb_frame_encoder_new();
    crowd->labels = malloc(CB_FRAME_MAX_LABELS + 1);
    assert_non_null(crowd->labels);
    memset(crowd->labels, 'x', CB_FRAME_MAX_LABELS);
    memcpy(crowd->labels, "{\"a\":\"", 6);
    memcpy(crowd->labels + CB_FRAME_MAX_LABELS - 2, "\"}", 3);
    for (int i = 0; i < MANY; i++)
        add_labelled(p, crowd, i);
    cb_sampler_start(p->sampler);
}

static void close_crowd(struct crowd *crowd)
{
    crowd->encoder = cb_frame_encoder_free(crowd->encoder);
    free(crowd->labels);
}

/* One frame on its way to the other side: all of its counts are there, of its texts a portion. */
static void send_portion(struct parts *p, struct crowd *crowd, bool dictionary, size_t n_targets)
{
    struct cb_frame *f = read_frame(p, dictionary);
    struct cb_err err = {0};
    struct cb_frame back;
    const uint8_t *bytes;
    size_t size;

    if (cb_frame_encode(crowd->encoder, f, &bytes, &size, &err) < 0)
        fail_msg("%s", err.text);
    assert_in_range(size, 1, 3u << 20);
    assert_int_equal(cb_frame_decode(bytes, size, &back, NULL), 0);
    assert_int_equal(back.n_targets, n_targets);
    assert_int_equal(back.n_energies, back.n_sockets);
    assert_memory_equal(back.counts, f->counts,
                        (1 + n_targets) * f->n_sockets * f->n_events * sizeof(*f->counts));
    assert_false(back.dictionary);
    for (size_t i = 0; i < back.n_targets; i++) {
        const struct cb_frame_target *t = &back.targets[i];

        if (t->flags & CB_TARGET_TEXT && strcmp(t->labels, crowd->labels) == 0) {
            crowd->n_told += !crowd->told[t->id];
            crowd->told[t->id] = true;
        }
        crowd->gone[t->id] = crowd->gone[t->id] || t->flags & CB_TARGET_GONE;
    }
    cb_frame_clear(&back);
    cb_sampler_done(p->sampler, true);
}

static void texts_that_do_not_fit_follow_in_later_frames(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct crowd crowd = {0};
    size_t frames = 0;

    open_crowd(p, &crowd);
    for (; crowd.n_told < MANY && frames < MANY; frames++)
        send_portion(p, &crowd, false, MANY);
    assert_int_equal(crowd.n_told, MANY);
    assert_in_range(frames, MANY / 16, MANY / 15 + 1);
    memset(crowd.told, 0, sizeof(crowd.told)); /* a server that knows nothing */
    crowd.n_told = 0;
    send_portion(p, &crowd, true, MANY);
    for (frames = 1; frames < MANY / 30; frames++)
        send_portion(p, &crowd, false, MANY);
    send_portion(p, &crowd, true, MANY); /* another one: each target has its turn all the same */
    for (frames++; crowd.n_told < MANY && frames < MANY; frames++)
        send_portion(p, &crowd, false, MANY);
    assert_int_equal(crowd.n_told, MANY);
    assert_in_range(frames, MANY / 16, MANY / 15 + 1);
    close_crowd(&crowd);
}

static void a_short_text_does_not_wait_behind_long_ones(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct crowd crowd = {0};
    struct cb_frame *f;

    open_crowd(p, &crowd);
    send_portion(p, &crowd, false, MANY);
    (void)add_target(p, A, true);
    f = read_frame(p, false);
    assert_int_equal(f->n_targets, MANY + 1);
    assert_int_equal(f->targets[MANY].flags, CB_TARGET_TEXT);
    assert_string_equal(f->targets[MANY].container_id, A);
    cb_sampler_done(p->sampler, true);
    close_crowd(&crowd);
}

static void a_last_row_waits_for_its_text(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct crowd crowd = {0};
    struct cb_cgroup_found found = {
        .path = "/docker/x", .kind = CB_TARGET_CONTAINER, .container_id = A, .dir_fd = p->root_fd};
    struct cb_docker_answer answer = {.id = A, .found = true};
    size_t n_targets = MANY + 1;
    void *cookie;

    open_crowd(p, &crowd);
    cookie = cb_sampler_born(p->sampler, &found);
    answer.text.labels = strdup(crowd.labels);
    cb_sampler_text(p->sampler, &answer);
    cb_sampler_gone(p->sampler, cookie);
    for (size_t frames = 0; !crowd.gone[MANY + 1] && frames < MANY; frames++) {
        assert_false(crowd.told[MANY + 1]);
        send_portion(p, &crowd, false, n_targets);
    }
    assert_true(crowd.told[MANY + 1]);
    send_portion(p, &crowd, false, MANY);
    close_crowd(&crowd);
}

static void labels_that_are_too_many_are_told_once(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_docker_answer answer = {.id = A, .found = true, .text = {.labels_cut = true}};

    (void)add_target(p, A, true);
    cb_sampler_start(p->sampler);
    cb_sampler_text(p->sampler, &answer);
    assert_true(has_gap(read_frame(p, false), "labels:/docker/x", "left out"));
    cb_sampler_done(p->sampler, false); /* lost: once more */
    assert_true(has_gap(read_frame(p, false), "labels:/docker/x", "left out"));
    cb_sampler_done(p->sampler, true);
    assert_false(has_gap(read_frame(p, false), "labels:/docker/x", ""));
    cb_sampler_done(p->sampler, true);
}

/* ---- more counts than a frame holds ---- */

/* A machine of 8 sockets, most of which have no CPU of this one. */
static void pretend_8_sockets(struct parts *p)
{
    struct cb_topology *t = &p->topology;
    uint32_t *cpus = calloc(8, sizeof(*cpus));
    int32_t *ids = calloc(8, sizeof(*ids));

    assert_true(cpus && ids && t->n_sockets <= 8);
    close_all(p);
    for (uint32_t i = 0; i < 8; i++) {
        cpus[i] = i < t->n_sockets ? t->socket_cpus[i] : 1;
        ids[i] = i < t->n_sockets ? t->socket_ids[i] : (int32_t)i + 1000;
    }
    free(t->socket_cpus);
    free(t->socket_ids);
    t->socket_cpus = cpus;
    t->socket_ids = ids;
    t->n_sockets = 8;
    assert_true(open_counters(p, "cpu-clock,task-clock,page-faults,minor-faults,major-faults,"
                                 "context-switches,cpu-migrations,alignment-faults,"
                                 "emulation-faults"));
}

/* As many as there is room for; three are refused. */
static size_t fill(struct parts *p)
{
    struct cb_docker_answer answer = {.id = A, .found = true};
    size_t n = 1;

    assert_non_null(add_target(p, A, true));
    while (n <= CB_FRAME_MAX_TARGETS && add_target(p, "", true))
        n++;
    assert_null(add_target(p, "", true));
    assert_null(add_target(p, "", true));
    answer.text.labels = calloc(1, CB_FRAME_MAX_LABELS + 1);
    assert_non_null(answer.text.labels);
    memset(answer.text.labels, 'x', CB_FRAME_MAX_LABELS);
    cb_sampler_text(p->sampler, &answer);
    return n;
}

/* Every frame is one, and the texts get through, the longest as well. */
static void send_full_frames(struct parts *p, size_t n)
{
    struct cb_frame_encoder *encoder = cb_frame_encoder_new();
    size_t told = 0;

    for (int i = 0; i < 20 && told < n; i++) {
        struct cb_frame *f = read_frame(p, false);
        struct cb_err err = {0};
        struct cb_frame back;
        const uint8_t *bytes;
        size_t size;

        if (cb_frame_encode(encoder, f, &bytes, &size, &err) < 0)
            fail_msg("%s", err.text);
        assert_in_range(size, 6u << 20, CB_FRAME_MAX_BYTES); /* as many as can be */
        assert_int_equal(cb_frame_decode(bytes, size, &back, NULL), 0);
        assert_int_equal(back.n_targets, n);
        assert_int_equal(back.n_gaps, CB_FRAME_MAX_GAPS);
        assert_true(has_gap(&back, "cgroup", "3 cgroups could not be added"));
        assert_true(has_gap(&back, "cgroup", "fewer --events"));
        for (size_t t = 0; t < n; t++)
            told += back.targets[t].flags & CB_TARGET_TEXT;
        cb_frame_clear(&back);
        cb_sampler_done(p->sampler, true);
    }
    assert_int_equal(told, n);
    encoder = cb_frame_encoder_free(encoder);
}

static void targets_that_no_frame_could_hold_are_refused(void **state)
{
    struct parts *p = parts_or_skip(state);
    size_t n;

    pretend_8_sockets(p);
    open_sampler(p, p->busy, &p->sampler);
    cb_sampler_start(p->sampler);
    n = fill(p);
    assert_in_range(n, 2001, CB_FRAME_MAX_TARGETS - 1);
    send_full_frames(p, n);
}

static void one_that_was_refused_has_the_place_of_one_that_ended(void **state)
{
    struct parts *p = parts_or_skip(state);
    void *cookie;

    pretend_8_sockets(p);
    open_sampler(p, p->busy, &p->sampler);
    cb_sampler_start(p->sampler);
    cookie = add_target(p, "", true);
    (void)fill(p);
    cb_sampler_gone(p->sampler, cookie);
    for (int i = 0; i < 3; i++) { /* until its text was told */
        assert_true(has_gap(read_frame(p, false), "cgroup", "3 cgroups could not be added"));
        cb_sampler_done(p->sampler, true);
    }
    cb_sampler_gone(p->sampler, NULL);
    assert_non_null(add_target(p, "", true));
    cb_sampler_gone(p->sampler, NULL);
    assert_null(add_target(p, "", true));
    assert_true(has_gap(read_frame(p, false), "cgroup", "2 cgroups could not be added"));
    cb_sampler_done(p->sampler, true);
    cb_sampler_gone(p->sampler, NULL);
    cb_sampler_gone(p->sampler, NULL);
    assert_false(has_gap(read_frame(p, false), "cgroup", ""));
    cb_sampler_done(p->sampler, true);
}

static void container_metrics_take_their_part_of_a_frame(void **state)
{
    struct parts *p = parts_or_skip(state);
    size_t n;

    pretend_8_sockets(p);
    assert_int_equal(cb_metrics_open(p->root_fd, 100, &p->metrics, NULL), 0);
    open_sampler(p, p->busy, &p->sampler);
    cb_sampler_start(p->sampler);
    n = fill(p);
    assert_in_range(n, 2001, CB_FRAME_MAX_TARGETS - 1);
    send_full_frames(p, n);
}

#ifdef COUNTS_ALLOCATIONS /* sanitizers have an allocator of their own */
static void a_tick_allocates_nothing(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame_encoder *encoder = cb_frame_encoder_new();

    for (int i = 0; i < 100; i++) /* more than there is room for at first */
        (void)add_target(p, i ? "" : A, i > 8);
    cb_sampler_start(p->sampler);
    for (int tick = 0; tick < 20; tick++) {
        const uint8_t *bytes;
        struct cb_frame *f;
        size_t size;

        armed = tick >= 2; /* the first frame carries the texts */
        f = read_frame(p, false);
        assert_int_equal(cb_frame_encode(encoder, f, &bytes, &size, NULL), 0);
        cb_sampler_done(p->sampler, true);
        armed = false;
    }
    assert_int_equal(allocations, 0);
    encoder = cb_frame_encoder_free(encoder);
}
#endif

/* ---- the loop ---- */

struct loop {
    struct cb_cgroup_watch *watch;
    struct cb_tick_options options;
    struct fake_root *root; /* stands for the hierarchy */
    void *fake;
    FILE *dump;
    size_t ready;
    pthread_t thread;
};

static void be_ready(void *context)
{
    struct loop *l = context;

    l->ready++;
}

static void open_loop(struct parts *p, struct loop *l, uint64_t tick_ns, uint64_t frames)
{
    struct cb_cgroup_options watch = {
        .born = cb_sampler_born, .gone = cb_sampler_gone, .context = p->sampler};

    *l = (struct loop){0};
    assert_int_equal(fake_root_setup(&l->fake), 0);
    l->root = l->fake;
    watch.dir_fd = l->root->fd;
    assert_int_equal(cb_cgroup_watch_open(&watch, &l->watch, NULL), 0);
    l->dump = tmpfile();
    assert_non_null(l->dump);
    l->options = (struct cb_tick_options){
        .sampler = p->sampler,
        .watch = l->watch,
        .dump = l->dump,
        .tick_ns = tick_ns,
        .frames = frames,
        .signal_fd = eventfd(0, EFD_CLOEXEC),
        .ready = be_ready,
        .context = l,
    };
}

static void close_loop(struct loop *l)
{
    l->watch = cb_cgroup_watch_close(l->watch);
    (void)close(l->options.signal_fd);
    (void)fclose(l->dump);
    (void)fake_root_teardown(&l->fake);
}

/* How many lines the dump has, and how many of them hold @text. */
static size_t count_lines(struct loop *l, const char *text, size_t *ret_with)
{
    static char line[1 << 20];
    size_t n = 0;

    *ret_with = 0;
    rewind(l->dump);
    while (fgets(line, sizeof(line), l->dump)) {
        n++;
        *ret_with += strstr(line, text) != NULL;
    }
    return n;
}

static void ticks_as_often_as_it_was_told(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct loop l;
    uint64_t begin_ns = cb_clock_boot_ns();
    uint64_t took_ns;
    size_t with;

    open_loop(p, &l, 20000000, 5);
    assert_int_equal(cb_tick_run(&l.options, NULL), 0);
    took_ns = cb_clock_boot_ns() - begin_ns;
    assert_int_equal(count_lines(&l, "\"missed_ticks\":", &with), 5);
    assert_int_equal(with, 5);
    assert_int_equal(l.ready, 1);
    assert_in_range(took_ns, 90000000, UINT64_C(5000000000));
    close_loop(&l);
}

static void *live_and_stop(void *context)
{
    const uint64_t one = 1;
    struct loop *l = context;

    pause_ms(100);
    (void)mkdirat(l->root->fd, A, 0755);
    pause_ms(200);
    (void)unlinkat(l->root->fd, A, AT_REMOVEDIR);
    pause_ms(200);
    (void)!write(l->options.signal_fd, &one, sizeof(one));
    return NULL;
}

/* Ticks of a minute: @live ends the loop before the first is over. */
static void run_for_a_minute(struct parts *p, struct loop *l, void *(*live)(void *))
{
    open_loop(p, l, 60 * CB_NS_PER_S, 0);
    assert_int_equal(pthread_create(&l->thread, NULL, live, l), 0);
    assert_int_equal(cb_tick_run(&l->options, NULL), 0);
    (void)pthread_join(l->thread, NULL);
}

static void a_birth_and_a_death_close_the_tick_early(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct loop l;
    size_t with;

    run_for_a_minute(p, &l, live_and_stop);
    /* one ends at the birth, one at the death, one at the stop: the minute's tick never came */
    assert_int_equal(count_lines(&l, "\"container_id\":\"" A "\"", &with), 3);
    assert_int_equal(with, 1);
    (void)count_lines(&l, "\"gone\":true", &with);
    assert_int_equal(with, 1);
    close_loop(&l);
}

static void limit_descriptors(rlim_t n, struct rlimit *ret_before)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_before), 0);
    limit = *ret_before;
    limit.rlim_cur = n;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void *live_without_descriptors_and_stop(void *context)
{
    const uint64_t one = 1;
    struct loop *l = context;
    struct rlimit before;

    pause_ms(50);
    limit_descriptors(4, &before); /* as many as poll(2) is given */
    (void)mkdirat(l->root->fd, A, 0755);
    pause_ms(100);
    (void)setrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < 15; i++)
        pause_ms(100);
    (void)!write(l->options.signal_fd, &one, sizeof(one));
    return NULL;
}

static void what_was_not_found_for_lack_of_descriptors_is_found_a_second_later(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct loop l;
    size_t with;

    run_for_a_minute(p, &l, live_without_descriptors_and_stop);
    (void)count_lines(&l, "\"container_id\":\"" A "\"", &with);
    assert_int_equal(with, 1);
    close_loop(&l);
}

static void *live_a_lot_and_stop(void *context)
{
    const uint64_t one = 1;
    struct loop *l = context;
    uint64_t end_ns = cb_clock_boot_ns() + 500000000;

    while (cb_clock_boot_ns() < end_ns) {
        (void)mkdirat(l->root->fd, A, 0755);
        pause_ms(2);
        (void)unlinkat(l->root->fd, A, AT_REMOVEDIR);
    }
    (void)!write(l->options.signal_fd, &one, sizeof(one));
    return NULL;
}

static void early_ticks_come_at_most_20_times_a_second(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct loop l;
    size_t with;

    run_for_a_minute(p, &l, live_a_lot_and_stop);
    assert_in_range(count_lines(&l, "\"gone\":true", &with), 2, 60);
    assert_true(with >= 1);
    close_loop(&l);
}

static void a_tick_that_was_missed_is_counted_and_widens_the_interval(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct loop l;
    size_t with;

    open_loop(p, &l, 1000000, 50);
    for (int i = 0; i < 400; i++) /* so many rows of JSON take longer than a millisecond */
        (void)add_target(p, "", true);
    assert_int_equal(cb_tick_run(&l.options, NULL), 0);
    assert_int_equal(count_lines(&l, "\"missed_ticks\":0,", &with), 50);
    assert_in_range(with, 0, 49);
    close_loop(&l);
}

/* ---- many CPUs ---- */

static long n_pauses(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_THREAD, &usage), 0);
    return usage.ru_nvcsw;
}

/* For a thread that goes before all others there is a limit to that. */
static void where_there_are_many_cpus_few_targets_are_opened_without_a_pause(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_topology *t = &p->topology;
    uint32_t n = t->n_cpus;
    long before;

    t->cpus = realloc(t->cpus, 512 * sizeof(*t->cpus));
    t->socket = realloc(t->socket, 512 * sizeof(*t->socket));
    free(t->online);
    t->online = calloc(512, sizeof(*t->online));
    assert_true(t->cpus && t->socket && t->online);
    for (uint32_t c = 0; c < 512; c++) {
        t->online[c] = c < n;
        t->cpus[c] = c < n ? t->cpus[c] : c;
        t->socket[c] = c < n ? t->socket[c] : 0;
    }
    t->n_cpus = 512;
    (void)add_target(p, "", true);
    before = n_pauses();
    for (int i = 0; i < 8; i++)
        (void)add_target(p, "", true);
    assert_in_range(n_pauses() - before, 8, 1000);
}

/* ---- descriptors run out ---- */

/* Returns its row. */
static size_t add_target_at(struct parts *p, const char *path)
{
    struct cb_cgroup_found found = {.path = path, .kind = CB_TARGET_CGROUP};

    if (p->cgroup_fd < 0 || mkdirat(p->cgroup_fd, path + 1, 0755) < 0) {
        print_message("no cgroup can be made\n");
        skip();
    }
    found.dir_fd = openat(p->cgroup_fd, path + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    p->last = cb_sampler_born(p->sampler, &found);
    assert_non_null(p->last);
    (void)close(found.dir_fd);
    return cb_sampler_n_targets(p->sampler);
}

/* Under its own path, so that it can be found again. Returns its row. */
static size_t add_real_target(struct parts *p)
{
    char path[64];
    size_t row;

    (void)snprintf(path, sizeof(path), "/cbtest.%d.%d", (int)getpid(), p->children);
    row = add_target_at(p, path);
    p->children++;
    return row;
}

static bool is_counted(const struct cb_frame *f, size_t row)
{
    return f->running_ns[row * f->n_sockets * f->n_groups] ==
           f->enabled_ns[row * f->n_sockets * f->n_groups];
}

static void without_descriptors_events_are_given_up_and_then_cpu_time_is_left(void **state)
{
    struct parts *p = parts_or_skip(state);
    size_t n_cpus = p->topology.n_cpus;
    struct rlimit before;
    struct cb_frame *f = NULL;
    size_t fewer = 0, uncounted = 0;

    cb_sampler_start(p->sampler);
    limit_descriptors((rlim_t)(n_cpus * 2 * 20), &before); /* three quarters: 15 of two events */
    for (size_t i = 1; i <= 40 && !uncounted; i++) {
        size_t row = add_real_target(p);

        f = read_frame(p, false); /* the one in which it is not counted yet */
        cb_sampler_done(p->sampler, true);
        f = read_frame(p, false);
        if (!fewer && f->n_events == 1)
            fewer = i;
        if (!is_counted(f, row))
            uncounted = i;
        if (fewer == i) {
            assert_true(has_gap(f, "descriptors", "context-switches is not counted any more"));
            assert_string_equal(f->events[0].name, "cpu-clock");
        }
        if (!uncounted) {
            assert_true(is_counted(f, 1));
            assert_true(cb_frame_count(f, 0, 0, (size_t)f->n_events - 1) > 0);
        }
        cb_sampler_done(p->sampler, true);
    }
    assert_in_range(fewer, 12, 16);
    assert_in_range(uncounted, 24, 32);
    f = read_frame(p, true);
    assert_true(has_gap(f, "descriptors", "only the CPU time"));
    assert_true(is_counted(f, uncounted - 1));
    assert_true(f->stats[uncounted] != CB_STAT_ABSENT);
    cb_sampler_done(p->sampler, true);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    cb_sampler_ask_again(p->sampler); /* now there are enough */
    f = read_frame(p, true);
    assert_true(is_counted(f, uncounted));
    cb_sampler_done(p->sampler, true);
}

/* The CPU goes when the leader of a group is there and its sibling is not yet. */
static long take_the_cpu_away(long number, const long args[6])
{
    if (number != SYS_perf_event_open || (int)args[3] < 0)
        return fault_real_syscall(number, args);
    errno = ENODEV;
    return -1;
}

static void who_comes_while_a_cpu_goes_is_counted_soon(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame *f;
    size_t row;

    cb_sampler_start(p->sampler);
    fault_syscall = take_the_cpu_away;
    row = add_real_target(p);
    fault_syscall = NULL;
    f = read_frame(p, false);
    assert_false(is_counted(f, row));
    assert_non_null(strstr(f->gaps[f->n_gaps - 1].reason, "not counted"));
    cb_sampler_done(p->sampler, true);
    cb_sampler_ask_again(p->sampler);
    f = read_frame(p, false);
    assert_true(is_counted(f, row));
    cb_sampler_done(p->sampler, true);
}

static long have_no_memory(long number, const long args[6])
{
    if (number != SYS_perf_event_open)
        return fault_real_syscall(number, args);
    errno = ENOMEM;
    return -1;
}

static void who_comes_while_memory_is_short_is_counted_soon(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame *f;
    size_t row;

    cb_sampler_start(p->sampler);
    fault_syscall = have_no_memory;
    row = add_real_target(p);
    cb_sampler_ask_again(p->sampler);
    fault_syscall = NULL;
    f = read_frame(p, false);
    assert_false(is_counted(f, row));
    cb_sampler_done(p->sampler, true);
    cb_sampler_ask_again(p->sampler);
    f = read_frame(p, false);
    assert_true(is_counted(f, row));
    cb_sampler_done(p->sampler, true);
}

/* The kernel takes any bytes for a name, a frame UTF-8 only. */
static void a_cgroup_with_any_name_is_found_again(void **state)
{
    static const char *const ends[] = {"\xc3\xa4", "\xe4\t"};
    static const char *const told[] = {"\xc3\xa4", "? "};
    struct parts *p = parts_or_skip(state);

    cb_sampler_start(p->sampler);
    for (size_t i = 0; i < 2; i++) {
        char path[64], text[64];
        struct cb_frame *f;
        size_t row;

        (void)snprintf(path, sizeof(path), "/cbtest.%d.%s", (int)getpid(), ends[i]);
        (void)snprintf(text, sizeof(text), "/cbtest.%d.%s", (int)getpid(), told[i]);
        fault_syscall = take_the_cpu_away;
        row = add_target_at(p, path);
        fault_syscall = NULL;
        f = read_frame(p, false);
        assert_string_equal(f->targets[row - 1].cgroup, text);
        cb_sampler_done(p->sampler, true);
        cb_sampler_ask_again(p->sampler);
        f = read_frame(p, false);
        assert_int_equal(unlinkat(p->cgroup_fd, path + 1, AT_REMOVEDIR), 0);
        assert_true(is_counted(f, row));
        cb_sampler_done(p->sampler, true);
    }
}

/* A child in the cgroup runs for @ms of CPU time. */
static void spin_for(const struct parts *p, int cgroup, unsigned ms)
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct timespec now = {0};
        char path[80];
        int fd;

        (void)snprintf(path, sizeof(path), "cbtest.%d.%d/cgroup.procs", (int)getppid(), cgroup);
        fd = openat(p->cgroup_fd, path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1)
            _exit(1);
        while ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 < ms)
            (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void one_that_is_gone_while_its_cgroup_lives_counts_no_further(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_frame *f;

    cb_sampler_start(p->sampler);
    (void)add_real_target(p);
    spin_for(p, 0, 50);
    cb_sampler_gone(p->sampler, p->last);
    spin_for(p, 0, 200);
    f = read_frame(p, false);
    assert_int_equal(f->n_targets, 1);
    assert_int_equal(f->targets[0].flags, CB_TARGET_TEXT | CB_TARGET_GONE);
    assert_true(is_counted(f, 1));
    assert_in_range(f->stats[f->n_stats], 30000000, 150000000); /* stolen time is counted */
    cb_sampler_done(p->sampler, true);
}

static void without_descriptors_bpf_takes_over_and_nothing_is_lost(void **state)
{
    struct parts *p = parts_or_skip(state);
    struct cb_count_options count = {.root_fd = p->root_fd,
                                     .topology = &p->topology,
                                     .perf = p->perf,
                                     .wanted = "auto",
                                     .counting_fd = p->cgroup_fd,
                                     .max_fds = 20000};
    struct rlimit before;
    struct cb_frame *f = NULL;
    uint64_t ns = 0;

    p->sampler = cb_sampler_close(p->sampler);
    p->count = cb_count_close(p->count);
    assert_int_equal(cb_count_open(&count, &p->count, NULL), 0);
    assert_false(cb_count_uses_bpf(p->count));
    open_sampler(p, p->busy, &p->sampler);
    cb_sampler_start(p->sampler);
    assert_int_equal(add_real_target(p), 1);
    spin_for(p, 0, 50);
    limit_descriptors((rlim_t)(p->topology.n_cpus * 2 * 40), &before);
    for (int i = 0; i < 32; i++)
        (void)add_real_target(p);
    for (int round = 0; round < 4; round++) {
        f = read_frame(p, false);
        ns += f->stats[f->n_stats];
        cb_sampler_done(p->sampler, true); /* the first goes over to bpf */
        if (round == 0)
            assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (round == 0 && !cb_count_uses_bpf(p->count)) {
            print_message("BPF cannot be used here\n");
            skip();
        }
        if (round == 1)
            spin_for(p, 0, 50);
    }
    assert_true(has_gap(f, "descriptors", "counting by bpf from now on"));
    assert_int_equal(f->n_events, 2);
    for (size_t row = 1; row <= f->n_targets; row++)
        assert_true(is_counted(f, row));
    /* stolen time is counted; a switch that this kernel hides costs up to a whole slice */
    assert_in_range(ns, 60000000, 400000000);
}

/* ---- container metrics in the pauses ---- */

static void metrics_of_short_ticks_are_read_between_them(void **state)
{
    struct parts *p = parts_or_skip(state);
    const struct cb_sampler_options options = {
        .root_fd = p->root_fd,
        .counting_fd = p->cgroup_fd,
        .sensor = "test",
        .boot_id = BOOT_ID,
        .start_id = START_ID,
        .topology = &p->topology,
        .perf = p->perf,
        .count = p->count,
        .machine = p->machine,
        .busy = p->busy,
        .energy = p->energy,
        .gaps = &p->gaps,
        .metrics_ns = 1,
        .tick_ns = 1000, /* so short that one container takes all of it */
    };
    struct cb_sampler_options with_metrics = options;
    struct cb_frame *f;
    bool any = false;

    p->sampler = cb_sampler_close(p->sampler);
    assert_int_equal(cb_metrics_open(p->root_fd, 100, &with_metrics.metrics, NULL), 0);
    assert_int_equal(cb_sampler_open(&with_metrics, &p->sampler, NULL), 0);
    cb_sampler_start(p->sampler);
    (void)add_real_target(p);
    (void)add_real_target(p);
    for (int round = 0; round < 2; round++) {
        f = read_frame(p, false);
        assert_int_equal(f->n_stats, 1);
        cb_sampler_done(p->sampler, true);
        assert_true(cb_sampler_work(p->sampler, 0)); /* no time: all is left */
        assert_true(cb_sampler_work(p->sampler, 1)); /* one of two */
        f = read_frame(p, false);
        assert_int_equal(f->n_stats, 1);
        cb_sampler_done(p->sampler, true);
        assert_false(cb_sampler_work(p->sampler, CB_NS_PER_S));
        f = read_frame(p, false);
        assert_int_equal(f->n_stats, 1 + CB_METRIC_COUNT);
        for (size_t i = 1; i < f->n_stats; i++) {
            assert_true(f->stats[i] == CB_STAT_ABSENT); /* the machine */
            any = any || f->stats[f->n_stats + i] != CB_STAT_ABSENT;
        }
        assert_true(any);
        cb_sampler_done(p->sampler, true);
    }
    p->sampler = cb_sampler_close(p->sampler);
    with_metrics.metrics = cb_metrics_close(with_metrics.metrics);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(frames_follow_each_other_without_a_gap),
        TEST(the_machines_row_is_what_ran),
        TEST(idle_time_is_not_in_the_machines_row),
        TEST(the_machine_did_at_least_what_its_containers_did),
        TEST(a_target_is_told_with_its_text_once),
        TEST(a_name_that_comes_later_is_told_again),
        TEST(one_answer_is_for_the_container_that_stops_and_the_one_started_again),
        TEST(a_target_that_is_gone_has_one_last_row),
        TEST(a_target_that_cannot_be_counted_is_told_as_such),
        TEST(without_descriptors_events_are_given_up_and_then_cpu_time_is_left),
        TEST(where_there_are_many_cpus_few_targets_are_opened_without_a_pause),
        TEST(who_comes_while_a_cpu_goes_is_counted_soon),
        TEST(who_comes_while_memory_is_short_is_counted_soon),
        TEST(one_that_is_gone_while_its_cgroup_lives_counts_no_further),
        TEST(a_cgroup_with_any_name_is_found_again),
        TEST(without_descriptors_bpf_takes_over_and_nothing_is_lost),
        TEST(metrics_of_short_ticks_are_read_between_them),
        TEST(every_frame_can_be_encoded_and_read_back),
        TEST(texts_that_do_not_fit_follow_in_later_frames),
        TEST(a_short_text_does_not_wait_behind_long_ones),
        TEST(a_last_row_waits_for_its_text),
        TEST(labels_that_are_too_many_are_told_once),
        TEST(targets_that_no_frame_could_hold_are_refused),
        TEST(one_that_was_refused_has_the_place_of_one_that_ended),
        TEST(container_metrics_take_their_part_of_a_frame),
#ifdef COUNTS_ALLOCATIONS
        TEST(a_tick_allocates_nothing),
#endif
        TEST(ticks_as_often_as_it_was_told),
        TEST(a_birth_and_a_death_close_the_tick_early),
        TEST(what_was_not_found_for_lack_of_descriptors_is_found_a_second_later),
        TEST(early_ticks_come_at_most_20_times_a_second),
        TEST(a_tick_that_was_missed_is_counted_and_widens_the_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
