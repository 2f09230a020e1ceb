/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h. */
#include "sensor/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/config_file.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/link_wire.h"
#include "sensor/count.h"
#include "sensor/docker.h"
#include "sensor/energy.h"
#include "sensor/place.h"

#define AT(member) offsetof(struct cb_sensor_options, member)

const struct cb_opt cb_sensor_opts[] = {
    {.key = "config",
     .cli_only = true,
     .type = CB_OPT_STRING,
     .offset = AT(config),
     .arg = "FILE",
     .help =
         "YAML with these options' names as keys (tick: 250ms); the environment and the command "
         "line go before it"},
    {.key = "name",
     .type = CB_OPT_STRING,
     .offset = AT(name),
     .arg = "NAME",
     .help = "name of this machine in all results (default: its host name)"},
    {.key = "tick",
     .type = CB_OPT_DURATION,
     .offset = AT(tick_ns),
     .def = CB_DEFAULT_TICK,
     .min = 1e6,
     .max = 60e9,
     .arg = "DURATION",
     .help = "time between two frames (10 ms or shorter: read with real-time priority)"},
    {.key = "formula",
     .type = CB_OPT_STRING,
     .offset = AT(formula),
     .def = CB_DEFAULT_LINK_CONNECT,
     .arg = "ENDPOINT",
     .help = "where cbformula listens"},
    {.key = "formula-key",
     .type = CB_OPT_STRING,
     .offset = AT(formula_key),
     .arg = "KEY|FILE",
     .help = "public key of cbformula, or the file that holds it (default: "
             "../formula/" CB_FILE_FORMULA_PUBLIC " beside the state directory)"},
    {.key = "plain",
     .type = CB_OPT_BOOL,
     .offset = AT(plain),
     .help = "no encryption and no keys; on loopback only"},
    {.key = "insecure",
     .type = CB_OPT_BOOL,
     .offset = AT(insecure),
     .help = "with --plain: also beyond loopback, where anybody can read and forge"},
    {.key = "state-dir",
     .type = CB_OPT_STRING,
     .offset = AT(state_dir),
     .def = CB_DEFAULT_SENSOR_STATE,
     .arg = "DIR",
     .help = "the sensor's key and the frames that are not acknowledged yet"},
    {.key = "spool-max",
     .type = CB_OPT_U64,
     .offset = AT(spool_max_bytes),
     .def = "268435456",
     .min = 1 << 20,
     .max = 1e15,
     .arg = "BYTES",
     .help = "disk for frames while cbformula is away; the oldest go when it is full"},
    {.key = "energy",
     .type = CB_OPT_STRING,
     .offset = AT(energy),
     .def = "auto",
     .arg = "SOURCE",
     .help = "auto, perf, powercap, msr or estimate; auto takes the first of them that works"},
    {.key = "no-estimate",
     .type = CB_OPT_BOOL,
     .offset = AT(no_estimate),
     .help = "without RAPL rather no energy at all than an estimate"},
    {.key = "estimate-idle-watts",
     .type = CB_OPT_DOUBLE,
     .offset = AT(idle_watts),
     .def = "0",
     .min = 0,
     .max = 1e5,
     .arg = "W",
     .help = "for the estimate: power of all packages when idle (0: 1.3 W for each CPU)"},
    {.key = "estimate-max-watts",
     .type = CB_OPT_DOUBLE,
     .offset = AT(max_watts),
     .def = "0",
     .min = 0,
     .max = 1e5,
     .arg = "W",
     .help = "for the estimate: power of all packages at full load (0: 6.4 W for each CPU)"},
    {.key = "events",
     .type = CB_OPT_LIST,
     .offset = AT(events),
     .arg = "LIST",
     .help = "counter events, comma-separated, as libpfm4, sysfs (pmu/event/) or rUUEE name them; "
             "each --events is a group that is counted together (default: cycles, instructions, "
             "LLC_MISSES, on Intel ref-cycles, on AMD RETIRED_OPS; without hardware counters "
             "cpu-clock, context-switches, msr/tsc/)"},
    {.key = "count",
     .type = CB_OPT_STRING,
     .offset = AT(count),
     .def = "auto",
     .arg = "HOW",
     .help =
         "how to count cgroups: perf (a descriptor for each container, CPU and event), bpf (none, "
         "and cheaper, but it needs CAP_BPF), or auto: perf as long as the descriptors suffice"},
    {.key = "cgroup",
     .type = CB_OPT_LIST,
     .offset = AT(cgroups),
     .arg = "PATTERN",
     .help =
         "also count plain cgroups whose path matches, as 'work/*' or 'system.slice/*.service'; "
         "may be given more than once"},
    {.key = "hierarchy",
     .type = CB_OPT_STRING,
     .offset = AT(hierarchy),
     .def = "auto",
     .arg = "KIND",
     .help = "where to count cgroups: auto, v1 (a mounted perf_event), v2, or mount (mount "
             "perf_event, unmount it at exit); auto takes the first of them that works"},
    {.key = "hwpc-names",
     .type = CB_OPT_STRING,
     .offset = AT(hwpc_names),
     .def = "raw",
     .arg = "FORM",
     .help =
         "with hwpc-sensor's options: targets are raw (the cgroup's path, as since 1.7) or docker "
         "(the container's name where there is one, as before)"},
    {.key = "metrics",
     .type = CB_OPT_DURATION,
     .offset = AT(metrics_ns),
     .def = "10s",
     .min = 0,
     .max = 3600e9,
     .arg = "DURATION",
     .help = "time between two readings of the containers' CPU, memory, disk, network, process and "
             "pressure statistics; 0: none"},
    {.key = "docker-host",
     .type = CB_OPT_STRING,
     .offset = AT(docker_host),
     .def = CB_DEFAULT_DOCKER_HOST,
     .arg = "unix://PATH",
     .env = CB_ENV_DOCKER_HOST,
     .help = "Docker engine to ask for names, images and labels; empty: files only"},
    {.key = "root",
     .type = CB_OPT_STRING,
     .offset = AT(root),
     .def = "/",
     .arg = "DIR",
     .help = "open /proc, /sys and /var/lib/docker below DIR"},
    {.key = "frames",
     .type = CB_OPT_U64,
     .offset = AT(frames),
     .def = "0",
     .arg = "N",
     .help = "stop after N frames; 0: never"},
    {.key = "output",
     .type = CB_OPT_STRING,
     .offset = AT(output),
     .arg = "FILE",
     .help = "write the frames as JSON lines to FILE (- is standard output) instead of sending "
             "them"},
    {.key = "synthetic",
     .type = CB_OPT_STRING,
     .offset = AT(synthetic),
     .arg = "SPEC",
     .help = "for tests of the way to the stores: measure nothing, make up containers and energy "
             "(seed=N,containers=50,ledger=FILE); the name must begin with '" CB_SYNTHETIC_PREFIX
             "', the figures say estimate"},
    {.key = "no-seccomp",
     .type = CB_OPT_BOOL,
     .offset = AT(no_seccomp),
     .help = "do not give up the system calls that a running sensor never needs"},
    {.key = "log-level",
     .type = CB_OPT_STRING,
     .offset = AT(log_level),
     .def = "info",
     .arg = "LEVEL",
     .help = "err, warn, info or debug"},
    {.key = "log-json", .type = CB_OPT_BOOL, .offset = AT(log_json), .help = "log as JSON lines"},
    {.key = "print-key",
     .cli_only = true,
     .type = CB_OPT_BOOL,
     .offset = AT(print_key),
     .help = "print this sensor's public key, making it if need be, and exit"},
    {.key = "print-config",
     .cli_only = true,
     .type = CB_OPT_BOOL,
     .offset = AT(print_config),
     .help = "print what is in force, as such a file, and exit"},
    {.key = "check-config",
     .cli_only = true,
     .type = CB_OPT_BOOL,
     .offset = AT(check_config),
     .help = "say everything that is wrong with --config, and exit; 0: nothing is"},
    {.key = "list-events",
     .cli_only = true,
     .type = CB_OPT_BOOL,
     .offset = AT(list_events),
     .help = "print the counter events that this machine has a name for, and exit"},
    {.key = "json",
     .cli_only = true,
     .type = CB_OPT_BOOL,
     .offset = AT(json),
     .help = "with --list-events: as JSON"},
    {.key = "version",
     .cli_only = true,
     .short_key = 'V',
     .type = CB_OPT_BOOL,
     .offset = AT(version),
     .help = "print the version and exit"},
    {.key = "help",
     .cli_only = true,
     .short_key = 'h',
     .type = CB_OPT_BOOL,
     .offset = AT(help),
     .help = "print this and exit"},
    {.key = NULL},
};

static bool is_name(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n >= CB_NAME_SIZE)
        return false;
    for (; *name; name++)
        if (*name <= ' ' || *name >= 0x7f || *name == '/' || *name == '"' || *name == '\\')
            return false;
    return true;
}

/* Nobody may take it for a measurement: every row of every store has the name. */
static int check_synthetic(struct cb_sensor_options *o, struct cb_err *err)
{
    int r = cb_synthetic_parse(o->synthetic, &o->synthetic_spec, err);

    if (r < 0)
        return cb_err_prefix(err, r, "option --synthetic");
    if (strncmp(o->name, CB_SYNTHETIC_PREFIX, strlen(CB_SYNTHETIC_PREFIX)) != 0)
        return cb_err_set(err, EINVAL,
                          "--synthetic makes figures up: --name must begin with '%s', so that they "
                          "are never taken for a measurement",
                          CB_SYNTHETIC_PREFIX);
    if (o->output)
        return cb_err_set(err, EINVAL, "--synthetic and --output exclude each other");
    return 0;
}

static int check_root(const char *path, struct cb_err *err)
{
    cb_auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? cb_err_set(err, EINVAL, "cannot open '%.200s': %s", path, strerror(errno)) : 0;
}

/* What measuring would refuse sooner or later. */
static int check_measuring(const struct cb_sensor_options *o, struct cb_err *err)
{
    const struct cb_energy_options energy = {.wanted = o->energy,
                                             .no_estimate = o->no_estimate,
                                             .idle_watts = o->idle_watts,
                                             .max_watts = o->max_watts};
    int r = cb_energy_check(&energy, err);

    if (r < 0)
        return cb_err_prefix(err, r, "option --energy");
    r = cb_count_check(o->count, err);
    if (r < 0)
        return cb_err_prefix(err, r, "option --count");
    r = cb_place_check(o->hierarchy, err);
    if (r < 0)
        return cb_err_prefix(err, r, "option --hierarchy");
    r = check_root(o->root, err);
    return r < 0 ? cb_err_prefix(err, r, "option --root") : 0;
}

static int check_start(struct cb_sensor_options *o, struct cb_err *err)
{
    int r = o->synthetic ? check_synthetic(o, err) : check_measuring(o, err);

    if (r < 0 || o->output)
        return r;
    r = cb_link_wire_check_endpoint(o->formula, false, o->plain, o->insecure, err);
    return r < 0 ? cb_err_prefix(err, r, "option --formula") : 0;
}

static int check(struct cb_sensor_options *o, struct cb_err *err)
{
    if (cb_log_level_parse(o->log_level, &o->level) < 0)
        return cb_err_set(err, EINVAL, "option --log-level: '%s' is not err, warn, info or debug",
                          o->log_level);
    if (!o->name || !*o->name) {
        if (gethostname(o->host_name, sizeof(o->host_name) - 1) < 0)
            o->host_name[0] = '\0';
        o->name = o->host_name;
    }
    if (!is_name(o->name))
        return cb_err_set(err, EINVAL,
                          "the name '%.60s' is empty, too long or holds other than printable "
                          "ASCII: set --name",
                          o->name);
    o->docker_names = strcmp(o->hwpc_names, "docker") == 0;
    if (!o->docker_names && strcmp(o->hwpc_names, "raw") != 0)
        return cb_err_set(err, EINVAL, "option --hwpc-names: '%.60s' is not raw or docker",
                          o->hwpc_names);
    if (o->insecure && !o->plain)
        return cb_err_set(err, EINVAL, "--insecure goes with --plain only");
    /* these start nothing */
    return o->help || o->version || o->print_key || o->print_config || o->list_events
               ? 0
               : check_start(o, err);
}

/* Once more, now that the file is known. */
static int parse_with_file(int argc, char **argv, struct cb_sensor_options *options, int *next,
                           struct cb_err *err)
{
    struct cb_config_file *file = NULL;
    int r = cb_config_file_read(options->config, cb_sensor_opts, NULL, NULL, &file, err);

    if (r < 0)
        return r;
    *options = (struct cb_sensor_options){0};
    r = cb_config_parse_with(cb_sensor_opts, CB_SENSOR_ENV, file, argc, argv, options, next, err);
    options->file = file;
    return r;
}

int cb_sensor_options_parse(int argc, char **argv, struct cb_sensor_options *ret_options,
                            struct cb_err *err)
{
    int next = argc;
    int r;

    *ret_options = (struct cb_sensor_options){0};
    r = cb_config_parse(cb_sensor_opts, CB_SENSOR_ENV, argc, argv, ret_options, &next, err);
    if (r == 0 && ret_options->config && *ret_options->config)
        r = parse_with_file(argc, argv, ret_options, &next, err);
    if (r == 0 && next < argc)
        r = cb_err_set(err, EINVAL, "unexpected argument '%.60s', see --help", argv[next]);
    return r < 0 ? r : check(ret_options, err);
}

void cb_sensor_options_fini(struct cb_sensor_options *options)
{
    options->file = cb_config_file_free(options->file);
}
