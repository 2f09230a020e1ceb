/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf_reader.c - a thread for each CPU reads the counters of that CPU, where they are: reading a
 * group that runs on another CPU interrupts it.
 *
 * The tick's thread lets all of them go and waits for the last; it touches the targets only while
 * they wait, they only while it waits. A CPU that goes offline has its thread moved elsewhere by
 * the kernel: slower, and still right.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "sensor/perf_private.h"
#include "sensor/urgency.h"

#define STACK_BYTES (64u << 10)

struct reader {
    struct cb_perf_readers *all;
    uint32_t cpu_index;
    pthread_t thread;
    sem_t go;
    struct cb_perf_reading reading;
};

struct cb_perf_readers {
    struct cb_perf *perf;
    uint32_t n;
    struct reader **at; /* by CPU index */
    bool stop;
    atomic_uint n_busy;
    sem_t done;
};

static void read_target(const struct cb_perf *perf, struct cb_perf_target *target,
                        struct reader *reader)
{
    uint32_t c = reader->cpu_index;
    uint64_t *words;

    if (c >= target->n_cpus || !target->now)
        return;
    words = target->now + c * target->words;
    for (size_t g = 0; g < perf->n_groups; g++) {
        size_t n = perf->group_size[g];
        int fd = target->fds[c * perf->n_events + perf->group_first[g]];
        int r = fd < 0 ? 0 : cb_perf_read_group(fd, n, &reader->reading);

        target->status[c * perf->n_groups + g] = fd < 0 ? 0 : r < 0 ? r : 1;
        words[0] = reader->reading.enabled_ns;
        words[1] = reader->reading.running_ns;
        memcpy(words + 2, reader->reading.values, n * sizeof(*words));
        words += 2 + n;
    }
}

static void pin(uint32_t cpu)
{
    size_t size = CPU_ALLOC_SIZE(cpu + 1);
    cpu_set_t *set = CPU_ALLOC(cpu + 1);

    if (!set)
        return;
    CPU_ZERO_S(size, set);
    CPU_SET_S(cpu, size, set);
    (void)sched_setaffinity(0, size, set); /* not there, it reads from where it is */
    CPU_FREE(set);
}

static void *run(void *context)
{
    struct reader *reader = context;
    struct cb_perf_readers *all = reader->all;

    pin(all->perf->topology->cpus[reader->cpu_index]);
    for (;;) {
        cb_urgency_follow();
        while (sem_wait(&reader->go) < 0)
            continue;
        if (all->stop)
            return NULL;
        for (struct cb_perf_target *t = all->perf->targets; t; t = t->next)
            read_target(all->perf, t, reader);
        if (atomic_fetch_sub(&all->n_busy, 1) == 1)
            (void)sem_post(&all->done);
    }
}

static int start(struct cb_perf_readers *all, uint32_t cpu_index)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    pthread_attr_t attr;
    sigset_t every, old;
    char name[16];
    int r;

    if (!reader)
        return -ENOMEM;
    reader->all = all;
    reader->cpu_index = cpu_index;
    (void)sem_init(&reader->go, 0, 0);
    (void)sigfillset(&every);
    (void)pthread_sigmask(SIG_SETMASK, &every, &old);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    r = -pthread_create(&reader->thread, &attr, run, reader);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r < 0) {
        (void)sem_destroy(&reader->go);
        free(reader);
        return r;
    }
    (void)snprintf(name, sizeof(name), "reader%u", all->perf->topology->cpus[cpu_index]);
    (void)pthread_setname_np(reader->thread, name);
    all->at[all->n++] = reader;
    return 0;
}

/* One for each CPU of the topology, which may have grown. */
static int start_missing(struct cb_perf *perf)
{
    struct cb_perf_readers *all = perf->readers;
    uint32_t n_cpus = perf->topology->n_cpus;
    struct reader **more;
    int r = 0;

    if (!all) {
        all = perf->readers = calloc(1, sizeof(*all));
        if (!all)
            return -ENOMEM;
        all->perf = perf;
        (void)sem_init(&all->done, 0, 0);
    }
    if (all->n >= n_cpus)
        return 0;
    more = realloc(all->at, n_cpus * sizeof(struct reader *));
    if (!more)
        return -ENOMEM;
    all->at = more;
    while (r == 0 && all->n < n_cpus)
        r = start(all, all->n);
    return r;
}

int cb_perf_readers_sweep(struct cb_perf *perf, struct cb_err *err)
{
    int r = start_missing(perf);
    uint32_t n = 0;

    if (r < 0)
        return cb_err_set(err, -r, "cannot start a reader for each CPU: %s", strerror(-r));
    for (uint32_t i = 0; i < perf->readers->n; i++)
        n += cb_topology_is_online(perf->topology, i);
    if (n == 0)
        return 0;
    atomic_store(&perf->readers->n_busy, n);
    for (uint32_t i = 0; i < perf->readers->n; i++)
        if (cb_topology_is_online(perf->topology, i))
            (void)sem_post(&perf->readers->at[i]->go);
    while (sem_wait(&perf->readers->done) < 0)
        continue;
    return 0;
}

struct cb_perf_readers *cb_perf_readers_stop(struct cb_perf_readers *all)
{
    if (!all)
        return NULL;
    all->stop = true; /* they wait, and the post orders it before what they see */
    for (uint32_t i = 0; i < all->n; i++) {
        (void)sem_post(&all->at[i]->go);
        (void)pthread_join(all->at[i]->thread, NULL);
        (void)sem_destroy(&all->at[i]->go);
        free(all->at[i]);
    }
    (void)sem_destroy(&all->done);
    free(all->at);
    free(all);
    return NULL;
}
