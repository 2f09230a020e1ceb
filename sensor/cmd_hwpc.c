/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_hwpc.c - see cmd_hwpc.h.
 *
 * Start: command line, log, privileged descriptors, capabilities dropped, thread, loop. Stop: in
 * reverse.
 */
#include "sensor/cmd_hwpc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/cmd_pair.h"
#include "sensor/confine.h"
#include "sensor/hwpc_run.h"
#include "sensor/options.h"
#include "sensor/perf.h"
#include "sensor/place.h"
#include "sensor/rights.h"
#include "sensor/urgency.h"

#define EXIT_USAGE 2

struct state {
    struct cb_hwpc_options hwpc;
    struct cb_sensor_options own;
    int root_fd;
    int signal_fd;
    int base_fd; /* of -p; without it the place's */
    struct cb_topology topology;
    struct cb_place *place;
    struct cb_hwpc_run *run;
    bool with_formula; /* --formula was given */
    /* then: the sensor's own command line */
    int (*own_main)(int argc, char **argv);
    int own_argc;
    char **own_argv;
    char *made[CB_HWPC_MAX_GROUPS + 2]; /* the words of it that are ours to free */
    size_t n_made;
};

static void add_word(struct state *s, char *word)
{
    s->made[s->n_made++] = word;
    s->own_argv[s->own_argc++] = word;
    s->own_argv[s->own_argc] = NULL;
}

/* "--events=a,b" of one group; NULL: no memory. */
static char *events_word(const struct cb_hwpc_group *group)
{
    char *word = NULL;
    size_t size;
    FILE *out = open_memstream(&word, &size);

    if (!out)
        return NULL;
    (void)fputs("--events=", out);
    for (size_t i = 0; i < group->n_events; i++)
        (void)fprintf(out, "%s%s", i ? "," : "", group->events[i]);
    return fclose(out) == 0 ? word : NULL;
}

/* What theirs says in our words, behind ours. */
static int add_theirs(struct state *s)
{
    char *word = NULL;

    if (s->hwpc.name && asprintf(&word, "--name=%s", s->hwpc.name) < 0)
        return -ENOMEM;
    if (word)
        add_word(s, word);
    if (asprintf(&word, "--tick=%llums", (unsigned long long)(s->hwpc.tick_ns / 1000000)) < 0)
        return -ENOMEM;
    add_word(s, word);
    for (size_t i = 0; i < s->hwpc.cgroups.n; i++) {
        word = events_word(&s->hwpc.cgroups.at[i]);
        if (!word)
            return -ENOMEM;
        add_word(s, word);
    }
    return 0;
}

static bool has_formula(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--formula") == 0 || strncmp(argv[i], "--formula=", 10) == 0)
            return true;
    return false;
}

static int parse(int argc, char **argv, struct state *s, struct cb_err *err)
{
    int r;

    s->own_argv = calloc((size_t)argc + CB_HWPC_MAX_GROUPS + 3, sizeof(*s->own_argv));
    if (!s->own_argv)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = cb_hwpc_options_parse(argc, argv, &s->hwpc, &s->own_argc, s->own_argv, err);
    s->with_formula = r == 0 && has_formula(s->own_argc, s->own_argv);
    if (s->with_formula && add_theirs(s) < 0)
        r = cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = cb_sensor_options_parse(s->own_argc, s->own_argv, &s->own, err);
    if (r == 0 && (s->own.print_config || s->own.print_key || s->own.list_events))
        r = cb_err_set(err, EINVAL,
                       "--print-config, --print-key and --list-events do not go with hwpc-sensor's "
                       "options");
    if (r == 0 && !s->own.help && !s->own.version)
        r = cb_hwpc_options_check(&s->hwpc, s->with_formula, err);
    if (r == 0 && s->hwpc.verbose && s->own.level < CB_LOG_DEBUG)
        s->own.level = CB_LOG_DEBUG;
    return r;
}

static int open_signals(struct state *s, struct cb_err *err)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return cb_err_set(err, errno, "sigprocmask: %s", strerror(errno));
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd < 0 ? cb_err_set(err, errno, "signalfd: %s", strerror(errno)) : 0;
}

static int open_root(struct state *s, struct cb_err *err)
{
    assert(s->own.root); /* it has a default */
    s->root_fd = open(s->own.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd < 0)
        return cb_err_set(err, errno, "cannot open --root '%s': %s", s->own.root, strerror(errno));
    return cb_topology_init(&s->topology, s->root_fd, err);
}

/* -p: this directory and no other, if it can be counted in. */
static int open_base(struct state *s, struct cb_err *err)
{
    const char *path = s->hwpc.base_path;
    const char *below = path + strspn(path, "/");
    struct statfs fs;
    int r;

    s->base_fd = openat(s->root_fd, *below ? below : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->base_fd < 0)
        return cb_err_set(err, errno, "-p '%s': %s", path, strerror(errno));
    if (fstatfs(s->base_fd, &fs) < 0)
        return cb_err_set(err, errno, "-p '%s': %s", path, strerror(errno));
    if (fs.f_type == CGROUP2_SUPER_MAGIC) { /* may need to be made ready for counting */
        r = cb_place_open(s->root_fd, "v2", s->topology.cpus[0], &s->place, err);
        return r < 0 ? cb_err_prefix(err, r, "-p '%s'", path) : 0;
    }
    if (fs.f_type != CGROUP_SUPER_MAGIC)
        return cb_err_set(
            err, EINVAL,
            "-p '%s' is no cgroup file system: give /sys/fs/cgroup/perf_event (v1) or "
            "the cgroup2 mount, or leave -p out to have it found",
            path);
    r = cb_perf_probe(s->base_fd, s->topology.cpus[0], err);
    return r < 0 ? cb_err_prefix(err, r, "-p '%s' cannot be counted in (is it perf_event's?)", path)
                 : 0;
}

static int open_place(struct state *s, struct cb_err *err)
{
    int r;

    if (s->hwpc.cgroups.n == 0)
        return 0;
    if (s->hwpc.base_path)
        return open_base(s, err);
    r = cb_place_open(s->root_fd, s->own.hierarchy, s->topology.cpus[0], &s->place, err);
    if (r == 0)
        cb_log_info("counting in %s", cb_place_how(s->place));
    return r;
}

static int open_run(struct state *s, struct cb_err *err)
{
    const char *base = s->hwpc.base_path;
    const struct cb_hwpc_run_options options = {
        .root_fd = s->root_fd,
        .topology = &s->topology,
        .options = &s->hwpc,
        .name = s->hwpc.name ? s->hwpc.name : s->own.name,
        .base_fd = s->base_fd >= 0 ? s->base_fd
                   : s->place      ? cb_place_dir_fd(s->place)
                                   : -1,
        .leading_slash = !base || base[strlen(base) - 1] != '/',
        .docker_names = s->own.docker_names,
        .signal_fd = s->signal_fd,
        .ticks = s->own.frames,
    };

    return cb_hwpc_run_open(&options, &s->run, err);
}

static int drop_rights(struct state *s, struct cb_err *err)
{
    const struct cb_rights_needs needs = {
        .cpu = s->topology.cpus[0],
        .will_unmount = s->place && cb_place_is_mounted_by_us(s->place),
    };
    char kept[256];
    int r = cb_rights_drop(&needs, kept, sizeof(kept), err);

    if (r == 0)
        cb_log_debug("capabilities kept: %s", kept);
    if (r < 0 || s->own.no_seccomp)
        return r;
    r = cb_confine(needs.will_unmount, err);
    if (r != -ENOTSUP)
        return r;
    cb_log_warn("%s: it runs without", err->text);
    *err = (struct cb_err){0};
    return 0;
}

static void raise_urgency(uint64_t tick_ns)
{
    if (cb_urgency_raise(NULL) < 0 ||
        (tick_ns <= CB_URGENCY_OFTEN_NS && cb_urgency_raise_more(NULL) < 0))
        cb_log_debug("ticks may be late on a busy machine");
}

static int open_all(struct state *s, struct cb_err *err)
{
    int r = open_signals(s, err);

    if (r == 0)
        r = open_root(s, err);
    if (r < 0)
        return r;
    (void)cb_perf_raise_limit();
    r = open_place(s, err);
    if (r == 0)
        r = open_run(s, err);
    if (r < 0)
        return r;
    raise_urgency(s->hwpc.tick_ns);
    return drop_rights(s, err);
}

static int close_all(struct state *s)
{
    struct cb_err err = {0};
    int result = cb_hwpc_run_close(s->run, &err);
    int r;

    if (result < 0)
        cb_log_err("%s", err.text);
    r = cb_place_close(s->place, &err);
    if (r == -EBUSY) /* nothing that we could do about */
        cb_log_warn("%s", err.text);
    else if (r < 0)
        cb_log_err("%s", err.text);
    cb_topology_fini(&s->topology);
    for (size_t i = 0; i < 3; i++) {
        int fd = (const int[]){s->base_fd, s->signal_fd, s->root_fd}[i];

        if (fd >= 0)
            (void)close(fd);
    }
    return result < 0 ? result : r == -EBUSY ? 0 : r;
}

static int run_reports(void *context)
{
    struct state *s = context;
    struct cb_err err = {0};
    int r = open_all(s, &err);

    if (r == 0)
        r = cb_hwpc_run(s->run, &err);
    if (r < 0)
        cb_log_err("%s", err.text);
    if (close_all(s) < 0)
        r = -EIO;
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_own(void *context)
{
    struct state *s = context;

    return s->own_main(s->own_argc, s->own_argv);
}

static int run(struct state *s)
{
    int (*const halves[])(void *) = {run_own, run_reports};
    struct cb_err err = {0};
    int status;

    if (!s->with_formula)
        return run_reports(s);
    if (s->hwpc.storage == CB_HWPC_UNSET)
        return run_own(s);
    status = cb_cmd_pair(halves, s, &err);
    if (status < 0)
        cb_log_err("%s", err.text);
    return status < 0 ? EXIT_FAILURE : status;
}

static void fini(struct state *s)
{
    for (size_t i = 0; i < s->n_made; i++)
        free(s->made[i]);
    free(s->own_argv);
    cb_sensor_options_fini(&s->own);
    cb_hwpc_options_fini(&s->hwpc);
}

int cb_cmd_hwpc(int argc, char **argv, void (*print_help)(void), int (*own)(int argc, char **argv))
{
    struct state s = {.root_fd = -1, .signal_fd = -1, .base_fd = -1, .own_main = own};
    struct cb_err err = {0};
    int status = EXIT_USAGE;

    if (parse(argc, argv, &s, &err) < 0) {
        cb_log_err("%s", err.text);
    } else if (s.own.help || s.own.version) {
        if (s.own.help)
            print_help();
        else
            (void)printf("cbsensor %s\n", CB_VERSION);
        status = EXIT_SUCCESS;
    } else if (s.own.check_config) {
        status = EXIT_SUCCESS; /* the line is in order */
    } else {
        cb_log_init("cbsensor", s.own.level, s.own.log_json);
        status = run(&s);
    }
    fini(&s);
    return status;
}
