/* SPDX-License-Identifier: Apache-2.0 */
/* sampler.c - see sampler.h. */
#include "sensor/sampler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/cputime.h"

#define LINGER_NS (3 * CB_NS_PER_S)
#define N_STATS (1 + CB_METRIC_COUNT) /* cpu_ns, and what metrics.h has */

struct target {
    uint32_t id;
    enum cb_target_kind kind;
    bool text_due;  /* the formula does not know its (new) text yet */
    bool text_open; /* docker has been asked and has not answered */
    bool gone;
    bool last_row; /* told with CB_TARGET_GONE in the frame that is out */
    uint64_t gone_ns;
    uint64_t last_cpu_ns; /* of cputime, for a target without counters */
    struct cb_count_target *count;
    struct cb_metrics_target *metrics; /* NULL: none */
    char *cgroup;
    char container_id[CB_CONTAINER_ID_SIZE];
    char *name, *image, *labels;
    char why[160]; /* it has no counters */
};

struct cb_sampler {
    struct cb_sampler_options options;
    struct cb_cputime cputime;
    struct target **targets;
    size_t n_targets, room;
    uint32_t last_id;
    uint64_t seq;
    uint64_t t0_ns;
    uint64_t last_self_ns;
    uint64_t metrics_due_ns;
    bool missed_said;
    uint64_t *busy_ns, *last_busy_ns; /* [n_sockets] */
    bool busy_known;
    uint64_t refused_targets; /* for lack of memory or room */
    const char *stat_names[N_STATS];
    struct cb_frame frame;
};

/* ---- buffers ---- */

static int grow_array(void *at, size_t count, size_t size)
{
    void **array = at;
    void *more = realloc(*array, count * size);

    if (!more)
        return -ENOMEM;
    *array = more;
    return 0;
}

/* Room for @targets targets in everything that is one row each. */
static int make_room(struct cb_sampler *s, size_t targets)
{
    struct cb_frame *f = &s->frame;
    size_t rows = targets + 1;
    size_t sockets = s->options.topology->n_sockets;

    if (targets <= s->room && s->targets)
        return 0;
    if (targets > CB_FRAME_MAX_TARGETS)
        return -ENOSPC;
    if (grow_array(&s->targets, rows, sizeof(struct target *)) < 0 ||
        grow_array(&f->targets, rows, sizeof(*f->targets)) < 0 ||
        grow_array(&f->counts, rows * sockets * f->n_events, sizeof(*f->counts)) < 0 ||
        grow_array(&f->enabled_ns, rows * sockets * f->n_groups, sizeof(*f->enabled_ns)) < 0 ||
        grow_array(&f->running_ns, rows * sockets * f->n_groups, sizeof(*f->running_ns)) < 0 ||
        grow_array(&f->stats, rows * N_STATS, sizeof(*f->stats)) < 0)
        return -ENOMEM;
    s->room = targets;
    return 0;
}

static int make_fixed(struct cb_sampler *s)
{
    const struct cb_sampler_options *o = &s->options;
    struct cb_frame *f = &s->frame;

    f->n_events = cb_perf_n_events(o->perf);
    f->n_groups = cb_perf_n_groups(o->perf);
    f->events = calloc(f->n_events, sizeof(*f->events));
    f->energies = calloc(cb_energy_n(o->energy) + 1, sizeof(*f->energies));
    f->counters = calloc(cb_machine_n(o->machine) + 1, sizeof(*f->counters));
    s->busy_ns = calloc(o->topology->n_sockets, sizeof(*s->busy_ns));
    s->last_busy_ns = calloc(o->topology->n_sockets, sizeof(*s->last_busy_ns));
    if (!f->events || !f->energies || !f->counters || !s->busy_ns || !s->last_busy_ns)
        return -ENOMEM;
    for (size_t i = 0; i < f->n_events; i++) {
        const struct cb_event *event = cb_perf_event(o->perf, i);

        f->events[i] =
            (struct cb_frame_event){.name = event->name, .pmu = event->pmu, .group = event->group};
    }
    s->stat_names[0] = "cpu_ns";
    for (size_t i = 0; i < CB_METRIC_COUNT; i++)
        s->stat_names[1 + i] = cb_metric_name(i);
    f->stat_names = s->stat_names;
    return make_room(s, 64);
}

int cb_sampler_open(const struct cb_sampler_options *options, struct cb_sampler **ret_sampler,
                    struct cb_err *err)
{
    struct cb_sampler *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return cb_err_set(err, ENOMEM, "out of memory");
    s->options = *options;
    s->frame.sensor = options->sensor;
    s->frame.boot_id = options->boot_id;
    s->frame.start_id = options->start_id;
    s->frame.version = CB_VERSION;
    s->frame.n_sockets = options->topology->n_sockets;
    s->frame.n_cpus = options->topology->n_cpus;
    s->frame.has_machine_row = true;
    cb_cputime_init(&s->cputime, options->root_fd, options->counting_fd);
    r = make_fixed(s);
    if (r < 0) {
        (void)cb_sampler_close(s);
        return cb_err_set(err, -r, "out of memory");
    }
    *ret_sampler = s;
    return 0;
}

static void free_target(struct cb_sampler *s, struct target *t)
{
    t->count = cb_count_target_close(s->options.count, t->count);
    t->metrics = cb_metrics_target_close(s->options.metrics, t->metrics);
    free(t->cgroup);
    free(t->name);
    free(t->image);
    free(t->labels);
    free(t);
}

struct cb_sampler *cb_sampler_close(struct cb_sampler *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n_targets; i++)
        free_target(s, s->targets[i]);
    cb_cputime_fini(&s->cputime);
    free(s->targets);
    free(s->busy_ns);
    free(s->last_busy_ns);
    free(s->frame.events);
    free(s->frame.energies);
    free(s->frame.counters);
    free(s->frame.targets);
    free(s->frame.counts);
    free(s->frame.enabled_ns);
    free(s->frame.running_ns);
    free(s->frame.stats);
    free(s);
    return NULL;
}

/* ---- births and deaths ---- */

/* A cgroup's name may be any bytes; a frame's text is UTF-8: others become '?'. */
static char *copy_path(const char *path)
{
    char *copy = strndup(path, CB_FRAME_MAX_TEXT - 1);

    for (unsigned char *p = (unsigned char *)copy; p && *p; p++)
        if (*p >= 0x80 || *p < 0x20)
            *p = '?';
    return copy;
}

static void count_target(struct cb_sampler *s, struct target *t,
                         const struct cb_cgroup_found *found)
{
    struct cb_err err = {0};

    if (cb_count_target_open(s->options.count, found->dir_fd, &t->count, &err) == 0)
        return;
    (void)snprintf(t->why, sizeof(t->why), "not counted: %.140s", err.text);
    cb_log_debug("%s is not counted: %s", found->path, err.text);
    if (cb_cputime_read(&s->cputime, found->path, &t->last_cpu_ns, NULL) < 0)
        t->last_cpu_ns = 0;
}

static void measure_target(struct cb_sampler *s, struct target *t, const char *path)
{
    struct cb_err err = {0};

    if (s->options.metrics &&
        cb_metrics_target_open(s->options.metrics, path, s->t0_ns != 0, &t->metrics, &err) < 0)
        cb_log_debug("%s has no container metrics: %s", path, err.text);
}

/* A guest's path tells all there is to know of it. */
static void name_guest(struct target *t, const struct cb_cgroup_found *found)
{
    if (!found->runtime)
        return;
    t->name = strdup(found->name);
    if (asprintf(&t->labels, "{\"cbwatts.runtime\":\"%s\"}", found->runtime) < 0)
        t->labels = NULL;
}

void *cb_sampler_born(void *context, const struct cb_cgroup_found *found)
{
    struct cb_sampler *s = context;
    struct target *t;

    if (make_room(s, s->n_targets < s->room ? s->n_targets + 1 : s->room * 2) < 0 &&
        make_room(s, s->n_targets + 1) < 0) {
        s->refused_targets++;
        return NULL;
    }
    t = calloc(1, sizeof(*t));
    if (t)
        t->cgroup = copy_path(found->path);
    if (!t || !t->cgroup) {
        free(t);
        s->refused_targets++;
        return NULL;
    }
    t->id = ++s->last_id;
    t->kind = found->kind;
    t->text_due = true;
    memcpy(t->container_id, found->container_id, sizeof(t->container_id));
    name_guest(t, found);
    count_target(s, t, found);
    measure_target(s, t, found->path);
    if (t->container_id[0] && s->options.docker)
        t->text_open = cb_docker_ask(s->options.docker, t->container_id, t->cgroup);
    s->targets[s->n_targets++] = t;
    cb_log_debug("target %u has come: %s", t->id, t->cgroup);
    return t;
}

void cb_sampler_gone(void *context, void *cookie)
{
    struct target *t = cookie;

    (void)context;
    if (!t)
        return;
    t->gone = true;
    t->gone_ns = cb_clock_boot_ns();
    cb_log_debug("target %u has gone: %s", t->id, t->cgroup);
}

bool cb_sampler_has_container(const struct cb_sampler *s, const char *id)
{
    for (size_t i = 0; i < s->n_targets; i++)
        if (strcmp(s->targets[i]->container_id, id) == 0)
            return true;
    return false;
}

size_t cb_sampler_n_targets(const struct cb_sampler *s)
{
    return s->n_targets;
}

void cb_sampler_text(struct cb_sampler *s, struct cb_docker_answer *answer)
{
    for (size_t i = 0; i < s->n_targets; i++) {
        struct target *t = s->targets[i];

        if (strcmp(t->container_id, answer->id) != 0)
            continue;
        t->text_open = false;
        if (!answer->found)
            continue;
        free(t->name);
        free(t->image);
        free(t->labels);
        t->name = cb_take(answer->text.name);
        t->image = cb_take(answer->text.image);
        t->labels = cb_take(answer->text.labels);
        t->text_due = true;
        break;
    }
    cb_docker_answer_fini(answer);
}

void cb_sampler_ask_again(struct cb_sampler *s)
{
    for (size_t i = 0; s->options.docker && i < s->n_targets; i++) {
        struct target *t = s->targets[i];

        if (t->container_id[0] && !t->name && !t->text_open && !t->gone)
            t->text_open = cb_docker_ask(s->options.docker, t->container_id, t->cgroup);
    }
}

/* ---- reading ---- */

static void read_busy(struct cb_sampler *s)
{
    size_t n = s->options.topology->n_sockets;
    struct cb_err err = {0};

    /* the deltas are made in place: busy_ns is now - last */
    s->busy_known = cb_busy_read(s->options.busy, s->busy_ns, &err) == 0;
    if (!s->busy_known) {
        cb_gaps_add(s->options.gaps, "cpu", "%s", err.text);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t now_ns = s->busy_ns[i];

        s->busy_ns[i] = now_ns - s->last_busy_ns[i];
        s->last_busy_ns[i] = now_ns;
    }
}

static uint64_t sum_of_targets(const struct cb_frame *f, size_t socket, size_t event)
{
    uint64_t sum = 0;

    for (size_t row = 1; row <= f->n_targets; row++)
        sum += cb_frame_count(f, row, socket, event);
    return sum;
}

/* What a counter that ticks in idle too counted while something ran. */
static void take_out_idle(struct cb_sampler *s, uint64_t tick_ns)
{
    const struct cb_topology *t = s->options.topology;
    struct cb_frame *f = &s->frame;

    for (size_t socket = 0; socket < f->n_sockets; socket++) {
        uint64_t wall_ns = tick_ns * t->socket_cpus[socket];
        uint64_t busy_ns = s->busy_known ? s->busy_ns[socket] : 0;

        if (busy_ns > wall_ns)
            busy_ns = wall_ns;
        for (size_t e = 0; e < f->n_events; e++) {
            uint64_t *count = &cb_frame_count(f, (size_t)0, socket, e);
            uint64_t least;

            if (!cb_perf_event(s->options.perf, e)->ticks_in_idle)
                continue;
            *count = (uint64_t)((unsigned __int128)*count * busy_ns / wall_ns);
            least = sum_of_targets(f, socket, e);
            if (*count < least)
                *count = least;
        }
    }
}

static void read_machine(struct cb_sampler *s, uint64_t tick_ns)
{
    struct cb_frame *f = &s->frame;
    struct cb_err err = {0};

    if (cb_count_begin(s->options.count, &err) < 0)
        cb_gaps_add(s->options.gaps, "perf", "%s", err.text);
    if (cb_count_read(s->options.count, NULL, tick_ns, f->counts, f->enabled_ns, f->running_ns,
                      &err) < 0)
        cb_gaps_add(s->options.gaps, "perf:machine", "%s", err.text);
}

static void add_target_gap(struct cb_sampler *s, const struct target *t, const char *text)
{
    char source[112];

    (void)snprintf(source, sizeof(source), "perf:%.100s", t->cgroup);
    cb_gaps_add(s->options.gaps, source, "%s", text);
}

/* A target that perf cannot count: say so in the table, and give its CPU time all the same. */
static void read_uncounted(struct cb_sampler *s, struct target *t, size_t row, uint64_t tick_ns)
{
    struct cb_frame *f = &s->frame;
    size_t counts = f->n_sockets * f->n_events;
    size_t times = f->n_sockets * f->n_groups;
    uint64_t now_ns = 0;
    bool known = !t->gone && cb_cputime_read(&s->cputime, t->cgroup, &now_ns, NULL) == 0;

    memset(f->counts + row * counts, 0, counts * sizeof(*f->counts));
    memset(f->running_ns + row * times, 0, times * sizeof(*f->running_ns));
    for (size_t i = 0; i < times; i++)
        f->enabled_ns[row * times + i] = tick_ns;
    f->stats[row * f->n_stats] =
        known ? (now_ns > t->last_cpu_ns ? now_ns - t->last_cpu_ns : 0) : CB_STAT_ABSENT;
    if (known)
        t->last_cpu_ns = now_ns;
    add_target_gap(s, t, t->why);
}

static uint64_t cpu_time(const struct cb_frame *f, size_t row, int cpu_clock)
{
    uint64_t sum = 0;

    if (cpu_clock < 0)
        return CB_STAT_ABSENT;
    for (size_t socket = 0; socket < f->n_sockets; socket++)
        sum += cb_frame_count(f, row, socket, (size_t)cpu_clock);
    return sum;
}

static void read_target(struct cb_sampler *s, struct target *t, size_t row, uint64_t tick_ns)
{
    struct cb_frame *f = &s->frame;
    size_t counts = row * f->n_sockets * f->n_events;
    size_t times = row * f->n_sockets * f->n_groups;
    struct cb_err err = {0};

    if (cb_count_read(s->options.count, t->count, tick_ns, f->counts + counts,
                      f->enabled_ns + times, f->running_ns + times, &err) < 0)
        add_target_gap(s, t, err.text);
}

static void fill_target(struct target *t, struct cb_frame_target *to, bool dictionary,
                        uint64_t t1_ns)
{
    *to = (struct cb_frame_target){.id = t->id, .kind = (uint8_t)t->kind};
    t->last_row = t->gone && (!t->text_open || t1_ns - t->gone_ns > LINGER_NS);
    if (t->last_row)
        to->flags |= CB_TARGET_GONE;
    if (!dictionary && !t->text_due)
        return;
    to->flags |= CB_TARGET_TEXT;
    to->cgroup = t->cgroup;
    to->container_id = t->container_id;
    to->name = t->name;
    to->image = t->image;
    to->labels = t->labels;
}

static uint64_t self_ns(void)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* The columns of the container metrics are in the frames in which they are due, one each period. */
static bool begin_metrics(struct cb_sampler *s, uint64_t now_ns)
{
    const struct cb_sampler_options *o = &s->options;
    bool due = o->metrics && now_ns >= s->metrics_due_ns;

    s->frame.n_stats = due ? N_STATS : 1;
    if (due)
        s->metrics_due_ns = now_ns - (now_ns - s->metrics_due_ns) % o->metrics_ns + o->metrics_ns;
    return due;
}

static void read_metrics(struct cb_sampler *s, struct target *t, size_t row)
{
    uint64_t *values = &s->frame.stats[row * s->frame.n_stats + 1];

    if (t && t->metrics) {
        cb_metrics_target_read(s->options.metrics, t->metrics, values);
        return;
    }
    for (size_t i = 0; i < CB_METRIC_COUNT; i++)
        values[i] = CB_STAT_ABSENT;
}

/* Said once, for good. */
static void say_missed_switches(struct cb_sampler *s)
{
    if (s->missed_said || cb_count_missed_switches(s->options.count) == 0)
        return;
    s->missed_said = true;
    cb_gaps_add_standing(s->options.gaps, "bpf",
                         "this kernel does not show every switch between processes: one that is "
                         "missed charges one slice of CPU time to a wrong cgroup (--count perf "
                         "does not need them)");
}

/* Everything that energy is shared by, one right after the other and nothing in between: whatever
 * runs between two readings is in the one and not in the other. Returns their moment, t1. */
static uint64_t read_counters(struct cb_sampler *s)
{
    const struct cb_sampler_options *o = &s->options;
    struct cb_frame *f = &s->frame;
    uint64_t t1_ns = cb_clock_boot_ns();
    uint64_t tick_ns = t1_ns - s->t0_ns;

    f->n_energies =
        cb_energy_read(o->energy, tick_ns, s->busy_known ? s->busy_ns : NULL, f->energies, o->gaps);
    read_machine(s, tick_ns);
    for (size_t i = 0; i < s->n_targets; i++)
        if (s->targets[i]->count)
            read_target(s, s->targets[i], i + 1, tick_ns);
    return t1_ns;
}

/* What may take its time: texts, files. */
static void read_rest(struct cb_sampler *s, uint64_t tick_ns, bool with_metrics)
{
    const struct cb_sampler_options *o = &s->options;
    struct cb_frame *f = &s->frame;
    int cpu_clock = cb_perf_cpu_clock(o->perf);

    for (size_t i = 0; i < s->n_targets; i++)
        if (s->targets[i]->count)
            f->stats[(i + 1) * f->n_stats] = cpu_time(f, i + 1, cpu_clock);
        else
            read_uncounted(s, s->targets[i], i + 1, tick_ns);
    take_out_idle(s, tick_ns);
    f->stats[0] = cpu_time(f, 0, cpu_clock);
    for (size_t row = 0; with_metrics && row <= s->n_targets; row++)
        read_metrics(s, row ? s->targets[row - 1] : NULL, row);
}

static void tell_self(struct cb_sampler *s)
{
    const struct cb_sampler_options *o = &s->options;
    uint64_t now_ns = self_ns();

    if (s->refused_targets)
        cb_gaps_add(o->gaps, "cgroup", "%llu cgroups could not be added",
                    (unsigned long long)s->refused_targets);
    s->frame.self_cpu_ns = now_ns - s->last_self_ns;
    s->last_self_ns = now_ns;
    s->frame.n_gaps = o->gaps->n;
    s->frame.gaps = o->gaps->at;
}

/* Returns t1. */
static uint64_t read_all(struct cb_sampler *s, bool dictionary)
{
    const struct cb_sampler_options *o = &s->options;
    struct cb_frame *f = &s->frame;
    bool with_metrics = begin_metrics(s, cb_clock_boot_ns());
    uint64_t t1_ns;

    cb_gaps_reset(o->gaps);
    say_missed_switches(s);
    f->n_targets = s->n_targets;
    read_busy(s);
    f->n_counters = cb_machine_read(o->machine, f->counters, o->gaps);
    f->wall_ns = cb_clock_wall_ns();
    t1_ns = read_counters(s);
    for (size_t i = 0; i < s->n_targets; i++)
        fill_target(s->targets[i], &f->targets[i], dictionary, t1_ns);
    read_rest(s, t1_ns - s->t0_ns, with_metrics);
    tell_self(s);
    return t1_ns;
}

void cb_sampler_start(struct cb_sampler *s)
{
    s->t0_ns = cb_clock_boot_ns() - 1;
    s->metrics_due_ns = s->t0_ns + s->options.metrics_ns;
    /* what was counted until here belongs to no interval, and none is of no length */
    s->t0_ns = read_all(s, false);
    cb_sampler_done(s, false);
}

uint64_t cb_sampler_t0_ns(const struct cb_sampler *s)
{
    return s->t0_ns;
}

int cb_sampler_read(struct cb_sampler *s, bool dictionary, struct cb_frame **ret_frame,
                    struct cb_err *err)
{
    struct cb_frame *f = &s->frame;

    if (cb_clock_boot_ns() <= s->t0_ns)
        return cb_err_set(err, EAGAIN, "no time has passed");
    f->seq = ++s->seq;
    f->t0_ns = s->t0_ns;
    f->t1_ns = read_all(s, dictionary);
    f->dictionary = true;
    for (size_t i = 0; i < f->n_targets; i++)
        f->dictionary = f->dictionary && (f->targets[i].flags & CB_TARGET_TEXT);
    f->dictionary = f->dictionary && (dictionary || s->seq == 1);
    s->t0_ns = f->t1_ns;
    *ret_frame = f;
    return 0;
}

void cb_sampler_done(struct cb_sampler *s, bool delivered)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->n_targets; i++) {
        struct target *t = s->targets[i];

        if (delivered && s->frame.targets[i].flags & CB_TARGET_TEXT)
            t->text_due = false;
        if (t->last_row)
            free_target(s, t);
        else
            s->targets[kept++] = t;
    }
    s->n_targets = kept;
}
