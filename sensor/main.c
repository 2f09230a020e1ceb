/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - cbsensor: count what every container does and what the machine's energy is, and send it
 * to cbformula, one frame a tick.
 *
 * Start: arguments, configuration, log, privileged descriptors, capabilities dropped, threads,
 * loop. Stop: in reverse.
 */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/config_file.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/keys.h"
#include "lib/log.h"
#include "sensor/cmd_doctor.h"
#include "sensor/cmd_events.h"
#include "sensor/cmd_hwpc.h"
#include "sensor/confine.h"
#include "sensor/hwpc_options.h"
#include "sensor/options.h"
#include "sensor/place.h"
#include "sensor/rights.h"
#include "sensor/state.h"
#include "sensor/synthetic.h"
#include "sensor/tick.h"
#include "sensor/urgency.h"

#define EXIT_USAGE 2 /* a wrong command line */
#define SYNC_NS (CB_NS_PER_S / 10)
#define DRAIN_NS (2 * CB_NS_PER_S)
#define MAX_SAID 32 /* uncounted containers that are named one by one */

struct sensor {
    struct cb_sensor_options options;
    char boot_id[CB_BOOT_ID_SIZE];
    char start_id[CB_START_ID_SIZE];
    struct cb_gaps gaps;
    struct cb_keys keys;
    char formula_key[CB_KEY_SIZE];
    int root_fd;
    int signal_fd;
    FILE *dump;
    struct cb_state state;
    struct cb_topology topology;
    struct cb_place *place;
    struct cb_perf *perf;
    struct cb_count *count;
    struct cb_machine *machine;
    struct cb_busy *busy;
    struct cb_energy *energy;
    struct cb_docker *docker;
    struct cb_metrics *metrics;
    uint64_t max_fds;
    struct cb_sampler *sampler;
    struct cb_cgroup_watch *watch;
    struct cb_outbox *outbox;
    size_t n_said;
    char said[MAX_SAID][CB_CONTAINER_ID_SIZE];
};

static void print_help(void)
{
    (void)printf("usage: cbsensor [option...]\n"
                 "       cbsensor doctor [--json]    what this machine can measure\n"
                 "       cbsensor HWPC-SENSOR'S OPTIONS [option...]    PowerAPI's reports\n\n"
                 "Measures the energy of this machine and the work of each of its containers,\n"
                 "and sends both to cbformula.\n\n");
    cb_config_help(stdout, cb_sensor_opts, CB_SENSOR_ENV);
    (void)printf(
        "\nEvery option but those that print something and exit is also an environment "
        "variable:\nCBSENSOR_ and its name in capitals, '-' as '_' (CBSENSOR_STATE_DIR).\n");
    (void)printf("\nhwpc-sensor's options (cbsensor(1), docs/hwpc.md):\n"
                 "  -n NAME, -f MS, -p DIR, -v, -x FILE.json\n"
                 "  -s GROUP | -c GROUP, [-o], -e EVENT...   of the machine, of each cgroup\n"
                 "  -r null | csv -U DIR | socket -U HOST -P PORT |\n"
                 "     mongodb -U URI -D DATABASE -C COLLECTION\n"
                 "  --config-file, --perf-sampling-interval, --cgroup-discovery-interval\n");
}

/* ---- opening: each step returns 0 or -errno; close_all() copes with any part of it ---- */

static int open_signals(struct sensor *s, struct cb_err *err)
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
    if (s->signal_fd < 0)
        return cb_err_set(err, errno, "signalfd: %s", strerror(errno));
    return 0;
}

static int make_start_id(char ret_id[CB_START_ID_SIZE], struct cb_err *err)
{
    unsigned char bytes[(CB_START_ID_SIZE - 1) / 2];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return cb_err_set(err, errno, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

static int open_root(struct sensor *s, struct cb_err *err)
{
    int r;

    s->root_fd = open(s->options.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd < 0)
        return cb_err_set(err, errno, "cannot open --root '%s': %s", s->options.root,
                          strerror(errno));
    r = cb_clock_boot_id(s->root_fd, s->boot_id, err);
    if (r == 0)
        r = make_start_id(s->start_id, err);
    return r < 0 ? r : cb_topology_init(&s->topology, s->root_fd, err);
}

static int open_output(struct sensor *s, struct cb_err *err)
{
    const char *path = s->options.output;

    s->dump = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    if (!s->dump)
        return cb_err_set(err, errno, "cannot write --output '%s': %s", path, strerror(errno));
    return 0;
}

static int open_state(struct sensor *s, struct cb_err *err)
{
    const char *path = s->options.state_dir;
    int r = cb_state_open(&s->state, path, err);

    return r < 0 ? r : cb_state_lock(&s->state, path, err);
}

static int read_formula_key(struct sensor *s, struct cb_err *err)
{
    char beside[4096];
    const char *key = s->options.formula_key;
    int r;

    if (!key || !*key) {
        (void)snprintf(beside, sizeof(beside), "%s/../formula/%s", s->options.state_dir,
                       CB_FILE_FORMULA_PUBLIC);
        key = beside;
        if (access(key, F_OK) < 0)
            return cb_err_set(err, ENOENT,
                              "the public key of cbformula is not known: give --formula-key the "
                              "text of its formula.pub, or start cbformula first where both run on "
                              "one machine (no '%s')",
                              key);
    }
    r = cb_keys_public(key, s->formula_key, err);
    return r < 0 ? cb_err_prefix(err, r, "option --formula-key") : 0;
}

static int open_keys(struct sensor *s, struct cb_err *err)
{
    bool made = false;
    int r;

    if (s->options.plain)
        return 0;
    r = read_formula_key(s, err);
    if (r == 0)
        r = cb_keys_open(s->state.dir_fd, CB_FILE_SENSOR_SECRET, CB_FILE_SENSOR_PUBLIC, &s->keys,
                         &made, err);
    if (r == 0 && made)
        cb_log_info("made this sensor's key, public half %s; cbformula must know it",
                    s->keys.public_key);
    return r;
}

static void *count_target(void *context, const struct cb_cgroup_found *found)
{
    size_t *n = context;

    (void)found;
    (*n)++;
    return NULL;
}

static void ignore_target(void *context, void *cookie)
{
    (void)context;
    (void)cookie;
}

/* How many targets there are now decides how they are counted. */
static int count_targets(struct sensor *s, size_t *ret_n, struct cb_err *err)
{
    const struct cb_cgroup_options options = {
        .dir_fd = cb_place_dir_fd(s->place),
        .n_patterns = s->options.cgroups.n,
        .patterns = s->options.cgroups.at,
        .born = count_target,
        .gone = ignore_target,
        .context = ret_n,
    };
    struct cb_cgroup_watch *watch = NULL;
    int r = cb_cgroup_watch_open(&options, &watch, err);

    watch = cb_cgroup_watch_close(watch);
    return r;
}

static int open_count(struct sensor *s, struct cb_err *err)
{
    struct cb_count_options options = {
        .root_fd = s->root_fd,
        .topology = &s->topology,
        .perf = s->perf,
        .wanted = s->options.count,
        .counting_fd = cb_place_dir_fd(s->place),
        .max_fds = s->max_fds,
    };
    int r = count_targets(s, &options.n_targets, err);

    if (r == 0)
        r = cb_count_open(&options, &s->count, err);
    if (r < 0)
        return cb_err_prefix(err, r, "option --count %s", s->options.count);
    cb_log_info("counting by %s", cb_count_reason(s->count));
    return 0;
}

static int open_counting(struct sensor *s, struct cb_err *err)
{
    const struct cb_perf_options options = {
        .root_fd = s->root_fd,
        .topology = &s->topology,
        .n_lists = s->options.events.n,
        .lists = s->options.events.at,
        .gaps = &s->gaps,
    };
    int r;

    s->max_fds = cb_perf_raise_limit();
    r = cb_place_open(s->root_fd, s->options.hierarchy, s->topology.cpus[0], &s->place, err);
    if (r < 0)
        return r;
    cb_log_info("counting in %s", cb_place_how(s->place));
    r = cb_perf_open(&options, &s->perf, err);
    if (r == 0)
        r = open_count(s, err);
    if (r == 0)
        r = cb_machine_open(s->root_fd, &s->topology, &s->machine, err);
    if (r == 0)
        r = cb_busy_open(s->root_fd, &s->topology, &s->busy, err);
    return r;
}

static void log_events(const struct sensor *s)
{
    char text[1024] = "";

    for (size_t i = 0; i < cb_perf_n_events(s->perf); i++) {
        const struct cb_event *event = cb_perf_event(s->perf, i);
        bool same = i > 0 && cb_perf_event(s->perf, i - 1)->group == event->group;
        size_t n = strlen(text);

        (void)snprintf(text + n, sizeof(text) - n, "%s%s",
                       i == 0 ? ""
                       : same ? ","
                              : "; ",
                       event->name);
    }
    cb_log_info("events: %s", text);
    for (size_t i = 0; i < s->gaps.n_standing; i++)
        cb_log_warn("%s %s", s->gaps.source[i], s->gaps.reason[i]);
}

static int open_energy(struct sensor *s, struct cb_err *err)
{
    const struct cb_energy_options options = {
        .root_fd = s->root_fd,
        .topology = &s->topology,
        .wanted = s->options.energy,
        .no_estimate = s->options.no_estimate,
        .idle_watts = s->options.idle_watts,
        .max_watts = s->options.max_watts,
    };
    int r = cb_energy_open(&options, &s->energy, err);

    if (r < 0)
        return r;
    cb_log_info("energy source: %s (%s)", cb_energy_name(s->energy), cb_energy_reason(s->energy));
    if (strcmp(cb_energy_name(s->energy), "estimate") == 0 ||
        strcmp(cb_energy_name(s->energy), "none") == 0)
        cb_gaps_add_standing(&s->gaps, "rapl", "%s", cb_energy_reason(s->energy));
    return 0;
}

/* The counters have the first claim on descriptors: without one they count nothing, while a
 * statistics file is then opened for each reading. */
static int open_metrics(struct sensor *s, struct cb_err *err)
{
    if (s->options.metrics_ns == 0)
        return 0;
    return cb_metrics_open(s->root_fd, s->max_fds / 4, &s->metrics, err);
}

static int open_sampler(struct sensor *s, struct cb_err *err)
{
    const struct cb_sampler_options options = {
        .root_fd = s->root_fd,
        .counting_fd = cb_place_dir_fd(s->place),
        .sensor = s->options.name,
        .boot_id = s->boot_id,
        .start_id = s->start_id,
        .topology = &s->topology,
        .perf = s->perf,
        .count = s->count,
        .machine = s->machine,
        .busy = s->busy,
        .energy = s->energy,
        .docker = s->docker,
        .metrics = s->metrics,
        .metrics_ns = s->options.metrics_ns,
        .tick_ns = s->options.tick_ns,
        .gaps = &s->gaps,
    };

    return cb_sampler_open(&options, &s->sampler, err);
}

static int open_watch(struct sensor *s, struct cb_err *err)
{
    const struct cb_cgroup_options options = {
        .dir_fd = cb_place_dir_fd(s->place),
        .n_patterns = s->options.cgroups.n,
        .patterns = s->options.cgroups.at,
        .born = cb_sampler_born,
        .gone = cb_sampler_gone,
        .context = s->sampler,
    };

    return cb_cgroup_watch_open(&options, &s->watch, err);
}

static int open_docker(struct sensor *s, struct cb_err *err)
{
    int r = cb_docker_open(s->root_fd, s->options.docker_host, &s->docker, err);

    if (r != -EINVAL)
        return r;
    cb_log_warn("%s; names of containers come from files only", err->text);
    *err = (struct cb_err){0};
    return cb_docker_open(s->root_fd, "", &s->docker, err);
}

static int open_outbox(struct sensor *s, struct cb_err *err)
{
    const struct cb_outbox_options options = {
        .spool_dir_fd = s->state.spool_fd,
        .spool_max_bytes = s->options.spool_max_bytes,
        .sync_ns = SYNC_NS,
        .link =
            {
                .endpoint = s->options.formula,
                .keys = s->options.plain ? NULL : &s->keys,
                .server_key = s->options.plain ? NULL : s->formula_key,
                .insecure = s->options.insecure,
                .sensor = s->options.name,
                .boot_id = s->boot_id,
                .start_id = s->start_id,
                .version = CB_VERSION,
            },
    };

    int r = cb_outbox_open(&options, &s->outbox, err);

    return r < 0 ? cb_err_prefix(err, r, "link to cbformula (--formula, --plain, --insecure)") : 0;
}

static int drop_rights(struct sensor *s, struct cb_err *err)
{
    const struct cb_rights_needs needs = {
        .cpu = s->topology.cpus[0],
        .will_unmount = cb_place_is_mounted_by_us(s->place),
        .may_use_bpf = strcmp(s->options.count, "perf") != 0,
        .reads_registers = cb_energy_reads_registers(s->energy),
    };
    char kept[256];
    char user[64];
    int r = cb_rights_drop(&needs, kept, sizeof(kept), err);

    if (r < 0)
        return r;
    cb_rights_user(user, sizeof(user));
    cb_log_info("running as %s with the capabilities %s", user, kept);
    if (s->options.no_seccomp)
        return 0;
    r = cb_confine(needs.will_unmount, err);
    if (r == -ENOTSUP) {
        cb_log_warn("%s: it runs without", err->text);
        *err = (struct cb_err){0};
        return 0;
    }
    return r;
}

static void raise_urgency(uint64_t tick_ns)
{
    struct cb_err err = {0};
    int r = cb_urgency_raise(&err);

    if (r == 0 && tick_ns <= CB_URGENCY_OFTEN_NS)
        r = cb_urgency_raise_more(&err);
    if (r < 0)
        cb_log_debug("%s: ticks may be late on a busy machine", err.text);
}

/* A container that some hierarchy has and ours has not. */
static void say_uncounted(void *context, const char *id, const char *path)
{
    struct sensor *s = context;
    char source[112];

    if (cb_sampler_has_container(s->sampler, id))
        return;
    for (size_t i = 0; i < s->n_said; i++)
        if (strcmp(s->said[i], id) == 0)
            return;
    if (s->n_said == MAX_SAID)
        return;
    (void)snprintf(s->said[s->n_said++], CB_CONTAINER_ID_SIZE, "%s", id);
    (void)snprintf(source, sizeof(source), "perf:%.100s", path);
    cb_gaps_add_standing(&s->gaps, source, "not counted: it is not in %s", cb_place_path(s->place));
    cb_log_warn("container %.12s (%s) is not counted: it was started before %s was mounted; "
                "restart it to count it",
                id, path, cb_place_path(s->place));
}

/* Nothing of this machine is read: state, keys and link only. */
static int open_synthetic(struct sensor *s, struct cb_err *err)
{
    int r = open_signals(s, err);

    cb_synthetic_boot_id(&s->options.synthetic_spec, s->boot_id);
    if (r == 0)
        r = make_start_id(s->start_id, err);
    if (r == 0)
        r = open_state(s, err);
    if (r == 0)
        r = open_keys(s, err);
    if (r == 0)
        r = open_outbox(s, err);
    return r;
}

static int open_all(struct sensor *s, struct cb_err *err)
{
    bool link = !s->options.output;
    int r = open_signals(s, err);

    if (r == 0)
        r = open_root(s, err);
    if (r == 0)
        r = link ? open_state(s, err) : open_output(s, err);
    if (r == 0 && link)
        r = open_keys(s, err);
    if (r == 0)
        r = open_counting(s, err);
    if (r < 0)
        return r;
    log_events(s);
    r = open_energy(s, err);
    if (r < 0)
        return r;
    raise_urgency(s->options.tick_ns);
    r = drop_rights(s, err);
    if (r == 0 && link)
        r = cb_state_check(&s->state, s->options.state_dir, err);
    if (r == 0)
        r = open_docker(s, err);
    if (r == 0)
        r = open_metrics(s, err);
    if (r == 0)
        r = open_sampler(s, err);
    if (r == 0)
        r = open_watch(s, err);
    if (r == 0 && link)
        r = open_outbox(s, err);
    if (r == 0)
        cb_place_each_container(s->root_fd, s->place, say_uncounted, s);
    return r;
}

/* 0, or -errno when something stays behind. */
static int close_all(struct sensor *s)
{
    struct cb_err err = {0};
    int r;

    s->outbox = cb_outbox_close(s->outbox, DRAIN_NS);
    s->watch = cb_cgroup_watch_close(s->watch);
    s->sampler = cb_sampler_close(s->sampler);
    s->metrics = cb_metrics_close(s->metrics);
    s->docker = cb_docker_close(s->docker);
    s->energy = cb_energy_close(s->energy);
    s->busy = cb_busy_close(s->busy);
    s->machine = cb_machine_close(s->machine);
    s->count = cb_count_close(s->count);
    s->perf = cb_perf_close(s->perf);
    r = cb_place_close(s->place, &err);
    if (r == -EBUSY) { /* nothing that we could do about */
        cb_log_warn("%s", err.text);
        r = 0;
    } else if (r < 0) {
        cb_log_err("%s", err.text);
    }
    cb_topology_fini(&s->topology);
    cb_state_close(&s->state);
    if (s->dump && s->dump != stdout && fclose(s->dump) != 0)
        r = -EIO;
    if (s->signal_fd >= 0)
        (void)close(s->signal_fd);
    if (s->root_fd >= 0)
        (void)close(s->root_fd);
    return r;
}

static void say_ready(void *context)
{
    const struct sensor *s = context;

    cb_log_info("ready: '%s', %zu containers, %u CPUs on %u sockets, energy by %s, to %s",
                s->options.name, cb_sampler_n_targets(s->sampler), s->topology.n_cpus,
                s->topology.n_sockets, cb_energy_name(s->energy),
                s->options.output ? s->options.output : s->options.formula);
}

static void say_synthetic(void *context)
{
    const struct sensor *s = context;

    cb_log_warn("ready: '%s' is synthetic (%s): %u containers and all their energy are made up, "
                "nothing is measured",
                s->options.name, s->options.synthetic, s->options.synthetic_spec.containers);
}

static int run_synthetic(struct sensor *s, struct cb_err *err)
{
    const struct cb_synthetic_options options = {
        .spec = &s->options.synthetic_spec,
        .sensor = s->options.name,
        .boot_id = s->boot_id,
        .start_id = s->start_id,
        .outbox = s->outbox,
        .tick_ns = s->options.tick_ns,
        .frames = s->options.frames,
        .signal_fd = s->signal_fd,
        .ready = say_synthetic,
        .context = s,
    };

    return cb_synthetic_run(&options, err);
}

static int run(struct sensor *s, struct cb_err *err)
{
    const struct cb_tick_options options = {
        .sampler = s->sampler,
        .watch = s->watch,
        .docker = s->docker,
        .outbox = s->outbox,
        .dump = s->dump,
        .tick_ns = s->options.tick_ns,
        .frames = s->options.frames,
        .signal_fd = s->signal_fd,
        .ready = say_ready,
        .context = s,
    };

    return cb_tick_run(&options, err);
}

static int print_key(const struct cb_sensor_options *options, struct cb_err *err)
{
    struct cb_state state;
    struct cb_keys keys;
    bool made = false;
    int r = cb_state_open(&state, options->state_dir, err);

    if (r == 0)
        r = cb_keys_open(state.dir_fd, CB_FILE_SENSOR_SECRET, CB_FILE_SENSOR_PUBLIC, &keys, &made,
                         err);
    if (r == 0)
        (void)printf("%s\n", keys.public_key);
    cb_state_close(&state);
    return r;
}

static void say_fault(void *context, const char *text)
{
    bool *said = context;

    *said = true;
    cb_log_err("%s", text);
}

/* --check-config says all that is wrong with a file; true when that was said. */
static bool check_config(const struct cb_sensor_options *options)
{
    struct cb_config_file *file = NULL;
    bool said = false;

    if (options->check_config && options->config &&
        cb_config_file_read(options->config, cb_sensor_opts, say_fault, &said, &file, NULL) == 0)
        (void)cb_config_file_free(file);
    return said;
}

static int fail(const struct cb_err *err)
{
    cb_log_err("%s", err->text);
    return EXIT_FAILURE;
}

/* The sensor with its own command line. */
static int run_sensor(int argc, char **argv)
{
    static struct sensor sensor = {
        .root_fd = -1, .signal_fd = -1, .state = {.dir_fd = -1, .lock_fd = -1, .spool_fd = -1}};
    struct cb_err err = {0};
    bool synthetic;
    int r;

    if (cb_sensor_options_parse(argc, argv, &sensor.options, &err) < 0) {
        if (!check_config(&sensor.options))
            (void)fail(&err);
        return EXIT_USAGE;
    }
    cb_log_init("cbsensor", sensor.options.level, sensor.options.log_json);
    if (sensor.options.help) {
        print_help();
        return EXIT_SUCCESS;
    }
    if (sensor.options.version) {
        (void)printf("cbsensor %s\n", CB_VERSION);
        return EXIT_SUCCESS;
    }
    if (sensor.options.print_config) {
        cb_config_file_print(stdout, cb_sensor_opts, &sensor.options);
        cb_sensor_options_fini(&sensor.options);
        return EXIT_SUCCESS;
    }
    if (sensor.options.check_config) {
        cb_sensor_options_fini(&sensor.options);
        return EXIT_SUCCESS;
    }
    if (sensor.options.list_events)
        return cb_cmd_events(sensor.options.root, sensor.options.json);
    if (sensor.options.print_key)
        return print_key(&sensor.options, &err) < 0 ? fail(&err) : EXIT_SUCCESS;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return EXIT_FAILURE;
    synthetic = sensor.options.synthetic != NULL;
    r = synthetic ? open_synthetic(&sensor, &err) : open_all(&sensor, &err);
    if (r == 0)
        r = synthetic ? run_synthetic(&sensor, &err) : run(&sensor, &err);
    if (r < 0)
        cb_log_err("%s", err.text);
    if (close_all(&sensor) < 0)
        r = -EIO;
    cb_sensor_options_fini(&sensor.options);
    curl_global_cleanup();
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    cb_log_init("cbsensor", CB_LOG_INFO, false);
    if (argc > 1 && strcmp(argv[1], "doctor") == 0)
        return cb_cmd_doctor(argc - 1, argv + 1);
    if (cb_hwpc_options_are_meant(argc, argv))
        return cb_cmd_hwpc(argc, argv, print_help, run_sensor);
    return run_sensor(argc, argv);
}
