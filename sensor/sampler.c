/* SPDX-License-Identifier: Apache-2.0 */
/* sampler.c - see sampler.h. */
#include "sensor/sampler.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/utf8.h"
#include "sensor/cputime.h"
#include "sensor/fsread.h"
#include "sensor/moment.h"
#include "sensor/urgency.h"

#define LINGER_NS (3 * CB_NS_PER_S)
#define LOG_NS (60 * CB_NS_PER_S)
#define TEXTS_BYTES (1u << 20)        /* of a frame, for texts */
#define REST_BYTES (1u << 20)         /* of a frame, for all but its rows; the longest text fits */
#define SHORT_BYTES 4096              /* a text that others do not wait behind */
#define METRICS_COST_NS 50000         /* of one target, before it is known */
#define PAUSE_CPUS 512                /* to open the counters of more takes part of a second */
#define N_STATS (1 + CB_METRIC_COUNT) /* cpu_ns, and what metrics.h has */

struct target {
    uint32_t id;
    enum cb_target_kind kind;
    bool text_due;   /* the formula does not know its (new) text yet */
    bool text_open;  /* docker has been asked and has not answered */
    bool labels_cut; /* they are left out, and that has not been told */
    bool twin;       /* another one has its container id, or had: one that was started again */
    bool gone;
    bool last_row;          /* told with CB_TARGET_GONE in the frame that is out */
    bool short_of_fds;      /* that is why it has no counters */
    bool try_again;         /* so is what passes: no memory, a CPU that went meanwhile */
    uint64_t metrics_round; /* in which `values` were read */
    uint64_t *values;       /* [CB_METRIC_COUNT]; NULL: they are read in the tick */
    uint64_t gone_ns;
    uint64_t last_cpu_ns; /* of cputime, for a target without counters */
    struct cb_count_target *count;
    struct cb_metrics_target *metrics; /* NULL: none */
    char *path;                        /* below the hierarchy, as the kernel has it */
    char *cgroup;                      /* the same as a frame may have it; often that very text */
    char container_id[CB_CONTAINER_ID_SIZE];
    char *name, *image, *labels;
    size_t text_bytes; /* all of them, in a frame */
    char why[160];     /* it has no counters */
};

struct cb_sampler {
    struct cb_sampler_options options;
    struct cb_cputime cputime;
    struct target **targets;
    size_t n_targets, room;
    uint32_t last_id;
    uint32_t unpaused;  /* CPUs of targets that were opened or closed since the last pause */
    uint32_t last_told; /* its text was the last that found room */
    uint64_t seq;
    uint64_t t0_ns;
    struct cb_moment *moment;
    uint64_t last_self_ns;
    uint64_t metrics_due_ns;
    uint64_t metrics_cost_ns; /* of one target, about */
    uint64_t metrics_round;   /* that is running or was the last */
    size_t metrics_next;      /* target to read in it */
    bool metrics_running, metrics_ready;
    bool cpus_changed;
    bool short_of_fds, retreat_over;
    bool taken_said;
    struct cb_log_limit uncounted_limit, machine_limit, refused_limit;
    bool missed_said;
    uint64_t *busy_ns, *last_busy_ns; /* [n_sockets] */
    bool busy_known;
    uint64_t refused_targets; /* that are there, for lack of memory or room */
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

/* So many that their counts, with everything else, fit into a frame. */
static size_t most_targets(const struct cb_sampler *s)
{
    struct cb_frame f = s->frame;
    size_t most;

    f.n_stats = s->options.metrics ? N_STATS : 1;
    most = (CB_FRAME_MAX_BYTES - REST_BYTES) / cb_frame_row_bound(&f) - 1;
    return most < CB_FRAME_MAX_TARGETS ? most : CB_FRAME_MAX_TARGETS;
}

/* Room for @targets targets in everything that is one row each. */
static int make_room(struct cb_sampler *s, size_t targets)
{
    struct cb_frame *f = &s->frame;
    size_t rows = targets + 1;
    size_t sockets = s->options.topology->n_sockets;

    if (targets <= s->room && s->targets)
        return 0;
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

/* They are never more than at the start. */
static void tell_events(struct cb_sampler *s)
{
    const struct cb_perf *perf = s->options.perf;
    struct cb_frame *f = &s->frame;

    f->n_events = cb_perf_n_events(perf);
    f->n_groups = cb_perf_n_groups(perf);
    for (size_t i = 0; i < f->n_events; i++) {
        const struct cb_event *event = cb_perf_event(perf, i);

        f->events[i] =
            (struct cb_frame_event){.name = event->name, .pmu = event->pmu, .group = event->group};
    }
}

static bool read_machine(void *context, uint64_t tick_ns, struct cb_moment_reading *reading);

static int make_fixed(struct cb_sampler *s)
{
    const struct cb_sampler_options *o = &s->options;
    struct cb_frame *f = &s->frame;

    f->events = calloc(cb_perf_n_events(o->perf), sizeof(*f->events));
    f->energies = calloc(cb_energy_n(o->energy) + 1, sizeof(*f->energies));
    f->counters = calloc(cb_machine_n(o->machine) + 1, sizeof(*f->counters));
    s->busy_ns = calloc(o->topology->n_sockets, sizeof(*s->busy_ns));
    s->last_busy_ns = calloc(o->topology->n_sockets, sizeof(*s->last_busy_ns));
    if (!f->events || !f->energies || !f->counters || !s->busy_ns || !s->last_busy_ns)
        return -ENOMEM;
    tell_events(s);
    s->stat_names[0] = "cpu_ns";
    for (size_t i = 0; i < CB_METRIC_COUNT; i++)
        s->stat_names[1 + i] = cb_metric_name(i);
    f->stat_names = s->stat_names;
    s->moment =
        cb_moment_open(&(struct cb_moment_options){.n_energies = cb_energy_n(o->energy),
                                                   .n_counts = o->topology->n_sockets * f->n_events,
                                                   .n_times = o->topology->n_sockets * f->n_groups,
                                                   .read = read_machine,
                                                   .context = s});
    return s->moment ? make_room(s, 64) : -ENOMEM;
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
    s->metrics_cost_ns = METRICS_COST_NS;
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

static void free_paths(struct target *t)
{
    if (t->cgroup != t->path)
        free(t->cgroup);
    free(t->path);
}

static void free_target(struct cb_sampler *s, struct target *t)
{
    t->count = cb_count_target_close(s->options.count, t->count);
    t->metrics = cb_metrics_target_close(s->options.metrics, t->metrics);
    free_paths(t);
    free(t->name);
    free(t->image);
    free(t->labels);
    free(t->values);
    free(t);
}

struct cb_sampler *cb_sampler_close(struct cb_sampler *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n_targets; i++)
        free_target(s, s->targets[i]);
    cb_cputime_fini(&s->cputime);
    s->moment = cb_moment_close(s->moment);
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

/* A cgroup's name may be any bytes; a frame's text is UTF-8. False: no memory. */
static bool copy_path(struct target *t, const char *path)
{
    t->path = strdup(path);
    t->cgroup = strndup(path, CB_FRAME_MAX_TEXT - 1);
    if (!t->path || !t->cgroup)
        return false;
    cb_utf8_clean(t->cgroup);
    if (strcmp(t->cgroup, t->path) == 0) {
        free(t->cgroup);
        t->cgroup = t->path;
    }
    return true;
}

/* Counting goes where perf_event is mounted, and there is only one such place (place.h). */
static bool is_taken_by_v1(const struct cb_sampler *s)
{
    static const char name[] = "\nperf_event\t";
    cb_auto_free char *text = NULL;
    struct statfs fs;
    const char *line;

    if (fstatfs(s->options.counting_fd, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC ||
        cb_fsread_all(s->options.root_fd, "proc/cgroups", 65536, &text, NULL) < 0)
        return false;
    line = strstr(text, name);
    return line && line[strlen(name)] != '0';
}

static void say_not_counted(struct cb_sampler *s, const struct target *t, int r,
                            const struct cb_err *err)
{
    cb_log_debug("%s is not counted: %s", t->cgroup, err->text);
    if (r == -ENOENT && is_taken_by_v1(s))
        cb_log_limited(&s->uncounted_limit, LOG_NS, CB_LOG_WARN,
                       "%s and others are not counted: perf_event has been mounted as cgroup v1 "
                       "meanwhile; unmount it, or restart cbsensor to count there",
                       t->cgroup);
    else if (r != -EMFILE)
        cb_log_limited(&s->uncounted_limit, LOG_NS, CB_LOG_WARN, "%s is not counted: %s", t->cgroup,
                       err->text);
}

static int count_in(struct cb_sampler *s, struct target *t, int dir_fd)
{
    struct cb_err err = {0};
    int r = cb_count_target_open(s->options.count, dir_fd, &t->count, &err);

    t->short_of_fds = r == -EMFILE || r == -ENFILE || r == -ENOSPC;
    t->try_again = r == -ENODEV || r == -ENXIO || r == -ENOMEM;
    s->short_of_fds = s->short_of_fds || t->short_of_fds;
    if (r < 0) {
        (void)snprintf(t->why, sizeof(t->why), "not counted: %.140s", err.text);
        say_not_counted(s, t, r, &err);
    }
    return r;
}

static void count_target(struct cb_sampler *s, struct target *t,
                         const struct cb_cgroup_found *found)
{
    if (count_in(s, t, found->dir_fd) < 0 &&
        cb_cputime_read(&s->cputime, found->path, &t->last_cpu_ns, NULL) < 0)
        t->last_cpu_ns = 0;
}

static void measure_target(struct cb_sampler *s, struct target *t, const char *path)
{
    struct cb_err err = {0};

    if (!s->options.metrics)
        return;
    if (cb_metrics_target_open(s->options.metrics, path, s->t0_ns != 0, &t->metrics, &err) < 0) {
        cb_log_debug("%s has no container metrics: %s", path, err.text);
        return;
    }
    if (s->options.tick_ns)
        t->values = calloc(CB_METRIC_COUNT, sizeof(*t->values));
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

static void put_text(const struct target *t, struct cb_frame_target *to)
{
    to->cgroup = t->cgroup;
    to->container_id = t->container_id;
    to->name = t->name;
    to->image = t->image;
    to->labels = t->labels;
}

/* It is to be told, for it is new or another one. */
static void tell_text(struct target *t)
{
    struct cb_frame_target text = {0};

    put_text(t, &text);
    t->text_bytes = cb_frame_text_bound(&text);
    t->text_due = true;
}

/* Ask for its text. An answer is for all who wait for it, so one question will do. */
static void ask(struct cb_sampler *s, struct target *t)
{
    for (size_t i = 0; t->twin && i < s->n_targets && !t->text_open; i++)
        t->text_open =
            s->targets[i]->text_open && strcmp(s->targets[i]->container_id, t->container_id) == 0;
    if (!t->text_open)
        t->text_open = cb_docker_ask(s->options.docker, t->container_id, t->cgroup);
}

static void find_twins(struct cb_sampler *s, struct target *t)
{
    for (size_t i = 0; i < s->n_targets; i++)
        if (strcmp(s->targets[i]->container_id, t->container_id) == 0)
            s->targets[i]->twin = t->twin = true;
}

static bool has_room(struct cb_sampler *s)
{
    return s->n_targets < most_targets(s) &&
           (make_room(s, s->n_targets < s->room ? s->n_targets + 1 : s->room * 2) == 0 ||
            make_room(s, s->n_targets + 1) == 0);
}

static void *refuse(struct cb_sampler *s, const char *path)
{
    s->refused_targets++;
    cb_log_limited(
        &s->refused_limit, LOG_NS, CB_LOG_WARN,
        "%s cannot be added: there is no memory, or no room in a frame, which has it for "
        "%zu cgroups with these events; fewer --events leave room for more",
        path, most_targets(s));
    return NULL;
}

/* After one of many whose counters are opened or closed. */
static void pause_when_due(struct cb_sampler *s)
{
    s->unpaused += s->options.topology->n_cpus;
    if (s->unpaused < PAUSE_CPUS)
        return;
    s->unpaused = 0;
    cb_urgency_pause();
}

void *cb_sampler_born(void *context, const struct cb_cgroup_found *found)
{
    struct cb_sampler *s = context;
    struct target *t;

    if (!has_room(s))
        return refuse(s, found->path);
    t = calloc(1, sizeof(*t));
    if (!t || !copy_path(t, found->path)) {
        if (t)
            free_paths(t);
        free(t);
        return refuse(s, found->path);
    }
    t->id = ++s->last_id;
    t->kind = found->kind;
    memcpy(t->container_id, found->container_id, sizeof(t->container_id));
    name_guest(t, found);
    tell_text(t);
    count_target(s, t, found);
    measure_target(s, t, found->path);
    if (t->container_id[0] && s->options.docker) {
        find_twins(s, t);
        ask(s, t);
    }
    s->targets[s->n_targets++] = t;
    pause_when_due(s);
    cb_log_debug("target %u has come: %s", t->id, t->cgroup);
    return t;
}

/* Its cgroup's directory; -1: it is gone. */
static int open_target_dir(const struct cb_sampler *s, const struct target *t)
{
    return t->gone ? -1
                   : openat(s->options.counting_fd, t->path[1] ? t->path + 1 : ".",
                            O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* One whose cgroup is still there is not over: others count what is in it from now on. */
static void stop_counting(struct cb_sampler *s, struct target *t)
{
    cb_auto_close int dir_fd = t->count ? open_target_dir(s, t) : -1;
    struct cb_err err = {0};

    if (dir_fd >= 0 && cb_count_target_stop(s->options.count, t->count, dir_fd, &err) < 0)
        cb_log_debug("%s counts until its last row: %s", t->cgroup, err.text);
}

void cb_sampler_gone(void *context, void *cookie)
{
    struct cb_sampler *s = context;
    struct target *t = cookie;

    if (!t) {
        s->refused_targets--;
        return;
    }
    stop_counting(s, t);
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

static void set_text(char **text, const char *from)
{
    free(*text);
    *text = from ? strdup(from) : NULL; /* no memory: unknown */
}

static void take_text(struct target *t, const struct cb_docker_answer *answer)
{
    t->text_open = false;
    if (!answer->found)
        return;
    set_text(&t->name, answer->text.name);
    set_text(&t->image, answer->text.image);
    set_text(&t->labels, answer->text.labels);
    t->labels_cut = answer->text.labels_cut;
    tell_text(t);
}

static bool is_awaited(const struct cb_sampler *s, const char *id)
{
    for (size_t i = 0; i < s->n_targets; i++)
        if (s->targets[i]->text_open && strcmp(s->targets[i]->container_id, id) == 0)
            return true;
    return false;
}

void cb_sampler_text(struct cb_sampler *s, struct cb_docker_answer *answer)
{
    bool awaited = is_awaited(s, answer->id); /* else it is news: a rename */

    for (size_t i = 0; i < s->n_targets; i++) {
        struct target *t = s->targets[i];

        if (strcmp(t->container_id, answer->id) == 0 && (t->text_open || !awaited))
            take_text(t, answer);
    }
    cb_docker_answer_fini(answer);
}

/* Those whose counters could not be opened then; false: there are still no descriptors. */
static bool count_uncounted(struct cb_sampler *s)
{
    for (size_t i = 0; i < s->n_targets; i++) {
        struct target *t = s->targets[i];
        cb_auto_close int dir_fd = -1;

        if (t->count || !(t->short_of_fds || t->try_again) || t->gone)
            continue;
        dir_fd = open_target_dir(s, t);
        if (dir_fd < 0 && errno != EMFILE && errno != ENFILE)
            continue; /* it has just gone */
        if (dir_fd < 0 || (count_in(s, t, dir_fd) < 0 && t->short_of_fds))
            return false;
        pause_when_due(s);
    }
    return true;
}

void cb_sampler_ask_again(struct cb_sampler *s)
{
    if (!s->taken_said && is_taken_by_v1(s)) {
        s->taken_said = true;
        cb_log_warn("perf_event has been mounted as cgroup v1: containers are not counted any "
                    "more; unmount it, or restart cbsensor to count there");
    }
    (void)count_uncounted(s);
    s->short_of_fds = false; /* said already, or room again */
    for (size_t i = 0; s->options.docker && i < s->n_targets; i++) {
        struct target *t = s->targets[i];

        if (t->container_id[0] && !t->name && !t->text_open && !t->gone)
            ask(s, t);
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

    int cpu_clock = cb_perf_cpu_clock(s->options.perf);

    for (size_t socket = 0; socket < f->n_sockets; socket++) {
        /* the clocks know which CPUs were there for how long */
        uint64_t clocks_ns =
            cpu_clock < 0 ? 0 : cb_frame_count(f, (size_t)0, socket, (size_t)cpu_clock);
        uint64_t wall_ns = clocks_ns ? clocks_ns : tick_ns * t->socket_cpus[socket] + 1;
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

/* cb_moment_options.read */
static bool read_machine(void *context, uint64_t tick_ns, struct cb_moment_reading *reading)
{
    struct cb_sampler *s = context;
    const struct cb_sampler_options *o = &s->options;
    size_t gaps = o->gaps->n;
    struct cb_err err = {0};

    reading->n_energies = cb_energy_read(o->energy, tick_ns, s->busy_known ? s->busy_ns : NULL,
                                         reading->energies, o->gaps);
    if (cb_count_begin(o->count, &err) < 0)
        cb_gaps_add(o->gaps, "perf", "%s", err.text);
    if (cb_count_read(o->count, NULL, tick_ns, reading->counts, reading->enabled_ns,
                      reading->running_ns, &err) < 0)
        cb_gaps_add(o->gaps, "perf:machine", "%s", err.text);
    return o->gaps->n == gaps && reading->n_energies > 0 &&
           reading->energies[0].source != CB_SOURCE_ESTIMATE;
}

static void add_target_gap(struct cb_sampler *s, const struct target *t, const char *what,
                           const char *text)
{
    char source[112];

    (void)snprintf(source, sizeof(source), "%s:%.100s", what, t->cgroup);
    cb_gaps_add(s->options.gaps, source, "%s", text);
}

/* A target that perf cannot count: say so in the table, and give its CPU time all the same. */
static void read_uncounted(struct cb_sampler *s, struct target *t, size_t row, uint64_t tick_ns)
{
    struct cb_frame *f = &s->frame;
    size_t counts = f->n_sockets * f->n_events;
    size_t times = f->n_sockets * f->n_groups;
    uint64_t now_ns = 0;
    bool known = !t->gone && cb_cputime_read(&s->cputime, t->path, &now_ns, NULL) == 0;

    memset(f->counts + row * counts, 0, counts * sizeof(*f->counts));
    memset(f->running_ns + row * times, 0, times * sizeof(*f->running_ns));
    for (size_t i = 0; i < times; i++)
        f->enabled_ns[row * times + i] = tick_ns;
    f->stats[row * f->n_stats] =
        known ? (now_ns > t->last_cpu_ns ? now_ns - t->last_cpu_ns : 0) : CB_STAT_ABSENT;
    if (known)
        t->last_cpu_ns = now_ns;
    add_target_gap(s, t, "perf", t->why);
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
        add_target_gap(s, t, "perf", err.text);
}

/* ---- texts ---- */

/* The first target after the one that was told last, so that each has its turn. */
static size_t next_to_tell(const struct cb_sampler *s)
{
    size_t i = 0;

    while (i < s->n_targets && s->targets[i]->id <= s->last_told)
        i++;
    return i;
}

/* Those of the texts due that are short, or those that are not, while there is @room. */
static void tell_some(struct cb_sampler *s, size_t first, bool are_short, size_t *room)
{
    for (size_t n = 0; n < s->n_targets; n++) {
        size_t i = (first + n) % s->n_targets;
        const struct target *t = s->targets[i];

        if (!t->text_due || (t->text_bytes <= SHORT_BYTES) != are_short || t->text_bytes > *room)
            continue;
        s->frame.targets[i].flags |= CB_TARGET_TEXT;
        put_text(t, &s->frame.targets[i]);
        *room -= t->text_bytes;
        s->last_told = t->id;
    }
}

/* Whatever the texts are, the counts find their place: all else is in the frame by now. */
static void tell_texts(struct cb_sampler *s)
{
    size_t used = cb_frame_bound(&s->frame);
    size_t room = used < CB_FRAME_MAX_BYTES ? CB_FRAME_MAX_BYTES - used : 0;
    size_t first = next_to_tell(s);

    if (room > TEXTS_BYTES)
        room = TEXTS_BYTES;
    tell_some(s, first, true, &room);
    tell_some(s, first, false, &room);
}

static void tell_last_rows(struct cb_sampler *s, uint64_t t1_ns)
{
    for (size_t i = 0; i < s->n_targets; i++) {
        struct target *t = s->targets[i];
        struct cb_frame_target *to = &s->frame.targets[i];
        bool is_told = !t->text_due || to->flags & CB_TARGET_TEXT;

        t->last_row = t->gone && is_told && (!t->text_open || t1_ns - t->gone_ns > LINGER_NS);
        if (t->last_row)
            to->flags |= CB_TARGET_GONE;
    }
}

static uint64_t self_ns(void)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ---- container metrics ---- */

/* Would they take so much of a tick that the next one could be late? */
static bool is_spread(const struct cb_sampler *s)
{
    return s->metrics_cost_ns * s->n_targets > s->options.tick_ns / 8;
}

static void next_period(struct cb_sampler *s, uint64_t now_ns)
{
    uint64_t period_ns = s->options.metrics_ns;

    s->metrics_due_ns = now_ns - (now_ns - s->metrics_due_ns) % period_ns + period_ns;
}

/* The columns of the container metrics are in the frames in which they are due, one each period. */
static bool begin_metrics(struct cb_sampler *s, uint64_t now_ns)
{
    const struct cb_sampler_options *o = &s->options;
    bool in_tick = o->metrics && !s->metrics_running && !s->metrics_ready &&
                   now_ns >= s->metrics_due_ns && (!o->tick_ns || !is_spread(s));

    if (in_tick)
        next_period(s, now_ns);
    s->frame.n_stats = in_tick || s->metrics_ready ? N_STATS : 1;
    return in_tick || s->metrics_ready;
}

static void read_metrics(struct cb_sampler *s, struct target *t, size_t row)
{
    uint64_t *values = &s->frame.stats[row * s->frame.n_stats + 1];

    if (t && t->metrics && !s->metrics_ready) {
        cb_metrics_target_read(s->options.metrics, t->metrics, values);
        return;
    }
    for (size_t i = 0; i < CB_METRIC_COUNT; i++)
        values[i] =
            t && t->values && t->metrics_round == s->metrics_round ? t->values[i] : CB_STAT_ABSENT;
}

static void read_all_metrics(struct cb_sampler *s)
{
    uint64_t begin_ns = cb_clock_boot_ns();

    for (size_t row = 0; row <= s->n_targets; row++)
        read_metrics(s, row ? s->targets[row - 1] : NULL, row);
    if (!s->metrics_ready && s->n_targets)
        s->metrics_cost_ns = (cb_clock_boot_ns() - begin_ns) / s->n_targets;
    s->metrics_ready = false;
}

static bool is_round_due(struct cb_sampler *s)
{
    uint64_t now_ns = cb_clock_boot_ns();

    if (!s->options.metrics || !s->options.tick_ns || s->metrics_running || s->metrics_ready ||
        now_ns < s->metrics_due_ns || !is_spread(s))
        return false;
    next_period(s, now_ns);
    s->metrics_running = true;
    s->metrics_round++;
    s->metrics_next = 0;
    return true;
}

bool cb_sampler_work(struct cb_sampler *s, uint64_t for_ns)
{
    uint64_t begin_ns;
    uint64_t now_ns;
    size_t n = 0;

    if (!s->metrics_running && !is_round_due(s))
        return false;
    begin_ns = now_ns = cb_clock_boot_ns();
    for (; s->metrics_next < s->n_targets && now_ns - begin_ns < for_ns; s->metrics_next++) {
        struct target *t = s->targets[s->metrics_next];

        if (!t->metrics || !t->values || t->metrics_round == s->metrics_round)
            continue;
        cb_metrics_target_read(s->options.metrics, t->metrics, t->values);
        t->metrics_round = s->metrics_round;
        n++;
        now_ns = cb_clock_boot_ns();
    }
    if (n)
        s->metrics_cost_ns = (now_ns - begin_ns) / n;
    if (s->metrics_next < s->n_targets)
        return true;
    s->metrics_running = false;
    s->metrics_ready = true;
    return false;
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

/* Before those of single targets, which may be more than there is room for. */
static void say_left_out(struct cb_sampler *s)
{
    const struct cb_sampler_options *o = &s->options;

    if (o->topology->n_strange)
        cb_gaps_add(o->gaps, "cpu",
                    "%u CPUs of a socket that came later are not counted: restart "
                    "cbsensor",
                    o->topology->n_strange);
    if (s->refused_targets)
        cb_gaps_add(
            o->gaps, "cgroup",
            "%llu cgroups could not be added and count as system: a frame has room for "
            "%zu with these events (fewer --events leave room for more), or memory is short",
            (unsigned long long)s->refused_targets, most_targets(s));
}

/* Everything that energy is shared by, one right after the other and nothing in between: whatever
 * runs between two readings is in the one and not in the other. Returns their moment, t1. */
static uint64_t read_counters(struct cb_sampler *s)
{
    struct cb_frame *f = &s->frame;
    struct cb_moment_reading reading = {.energies = f->energies,
                                        .counts = f->counts,
                                        .enabled_ns = f->enabled_ns,
                                        .running_ns = f->running_ns};
    uint64_t t1_ns = cb_moment_read(s->moment, s->t0_ns, &reading);
    uint64_t tick_ns = t1_ns - s->t0_ns;

    f->n_energies = reading.n_energies;
    f->wall_ns = cb_clock_wall_ns();
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
    if (with_metrics)
        read_all_metrics(s);
}

static void tell_self(struct cb_sampler *s)
{
    const struct cb_sampler_options *o = &s->options;
    uint64_t now_ns = self_ns();

    for (size_t i = 0; i < s->n_targets; i++)
        if (s->targets[i]->labels_cut)
            add_target_gap(s, s->targets[i], "labels", "more than 64 KiB of labels: all left out");
    s->frame.self_cpu_ns = now_ns - s->last_self_ns;
    s->last_self_ns = now_ns;
    s->frame.n_gaps = o->gaps->n;
    s->frame.gaps = o->gaps->at;
}

/* Returns t1. */
static uint64_t read_all(struct cb_sampler *s)
{
    const struct cb_sampler_options *o = &s->options;
    struct cb_frame *f = &s->frame;
    bool with_metrics = begin_metrics(s, cb_clock_boot_ns());
    uint64_t t1_ns;

    cb_gaps_reset(o->gaps);
    say_missed_switches(s);
    say_left_out(s);
    f->n_cpus = cb_topology_n_online(o->topology);
    f->n_targets = s->n_targets;
    read_busy(s);
    f->n_counters = cb_machine_read(o->machine, f->counters, o->gaps);
    t1_ns = read_counters(s);
    for (size_t i = 0; i < s->n_targets; i++)
        f->targets[i] =
            (struct cb_frame_target){.id = s->targets[i]->id, .kind = (uint8_t)s->targets[i]->kind};
    read_rest(s, t1_ns - s->t0_ns, with_metrics);
    tell_self(s);
    tell_texts(s);
    tell_last_rows(s, t1_ns);
    return t1_ns;
}

void cb_sampler_start(struct cb_sampler *s)
{
    s->t0_ns = cb_clock_boot_ns() - 1;
    s->metrics_due_ns = s->t0_ns + s->options.metrics_ns;
    /* what was counted until here belongs to no interval, and none is of no length */
    s->t0_ns = read_all(s);
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

    for (size_t i = 0; dictionary && i < s->n_targets; i++)
        s->targets[i]->text_due = true;
    if (cb_clock_boot_ns() <= s->t0_ns)
        return cb_err_set(err, EAGAIN, "no time has passed");
    f->seq = ++s->seq;
    f->t0_ns = s->t0_ns;
    f->t1_ns = read_all(s);
    f->dictionary = true;
    for (size_t i = 0; i < f->n_targets; i++)
        f->dictionary = f->dictionary && (f->targets[i].flags & CB_TARGET_TEXT);
    f->dictionary = f->dictionary && (dictionary || s->seq == 1);
    s->t0_ns = f->t1_ns;
    *ret_frame = f;
    return 0;
}

/* ---- between frames ---- */

bool cb_sampler_look(struct cb_sampler *s)
{
    struct cb_err err = {0};
    int r = cb_topology_refresh(s->options.topology, s->options.root_fd, &err);

    if (r < 0)
        cb_log_debug("cannot look for CPUs: %s", err.text);
    if (r <= 0)
        return false;
    s->cpus_changed = true;
    return true;
}

static void follow_target(struct cb_sampler *s, struct target *t)
{
    cb_auto_close int dir_fd = t->count ? open_target_dir(s, t) : -1;
    struct cb_err err = {0};

    if (t->count && cb_count_target_follow(s->options.count, t->count, dir_fd, &err) < 0)
        cb_log_limited(&s->uncounted_limit, LOG_NS, CB_LOG_WARN,
                       "%s is not counted on every CPU: %s", t->cgroup, err.text);
}

/* CPUs came or went; what those that went have counted is in the frame that has just been read. */
static void follow_cpus(struct cb_sampler *s)
{
    const struct cb_sampler_options *o = &s->options;
    struct cb_err err = {0};
    int counters, clocks;

    if (!s->cpus_changed && !cb_count_is_stuck(o->count) && !cb_machine_is_stuck(o->machine))
        return;
    if (s->cpus_changed)
        cb_log_info("%u CPUs are online now", cb_topology_n_online(o->topology));
    counters = cb_count_target_follow(o->count, NULL, -1, &err);
    clocks = cb_machine_follow(o->machine, counters < 0 ? NULL : &err);
    if (counters < 0 || clocks < 0)
        cb_log_limited(&s->machine_limit, LOG_NS, CB_LOG_WARN,
                       "the machine or its containers are not counted on every CPU: %s", err.text);
    for (size_t i = 0; i < s->n_targets; i++)
        follow_target(s, s->targets[i]);
    cb_count_followed(o->count);
    s->cpus_changed = false;
}

static void move_to_bpf(struct cb_sampler *s)
{
    for (size_t i = 0; i < s->n_targets; i++) {
        struct target *t = s->targets[i];
        cb_auto_close int dir_fd = t->count ? open_target_dir(s, t) : -1;
        struct cb_err err = {0};

        if (dir_fd >= 0 && cb_count_target_move(s->options.count, t->count, dir_fd, &err) < 0)
            cb_log_debug("%s stays with perf: %s", t->cgroup, err.text);
        pause_when_due(s);
    }
}

/* One step after the other until there are descriptors for all, or nothing is left to give up. */
static void retreat(struct cb_sampler *s)
{
    enum cb_count_retreat step = CB_COUNT_BY_BPF;
    char why[256];

    while (s->short_of_fds && !s->retreat_over && step != CB_COUNT_STAYS) {
        step = cb_count_retreat(s->options.count, why, sizeof(why));
        s->retreat_over = step == CB_COUNT_STAYS;
        cb_log_warn("%s", why);
        cb_gaps_reset(s->options.gaps);
        cb_gaps_add_standing(s->options.gaps, "descriptors", "%s", why);
        if (step == CB_COUNT_BY_BPF)
            move_to_bpf(s);
        if (step == CB_COUNT_FEWER_EVENTS)
            tell_events(s);
        s->short_of_fds = !count_uncounted(s);
    }
    s->short_of_fds = false;
}

void cb_sampler_done(struct cb_sampler *s, bool delivered)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->n_targets; i++) {
        struct target *t = s->targets[i];

        if (delivered && s->frame.targets[i].flags & CB_TARGET_TEXT)
            t->text_due = false;
        t->labels_cut = t->labels_cut && !delivered;
        if (t->last_row)
            free_target(s, t);
        else
            s->targets[kept++] = t;
    }
    if (kept < s->n_targets)
        s->metrics_next = 0; /* those that were read know it */
    s->n_targets = kept;
    follow_cpus(s);
    retreat(s);
}
