/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_serve.c - the server. Everything that can be refused is opened before the first thread runs:
 * arguments, state directory and its lock, keys, store, the other stores' addresses, link port,
 * HTTP port. Stop in reverse.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "formula/cmd.h"
#include "formula/http.h"
#include "formula/keeper.h"
#include "formula/known.h"
#include "formula/powerapi_inputs.h"
#include "formula/powerapi_mongodb.h"
#include "formula/receiver.h"
#include "formula/recorder.h"
#include "formula/sink.h"
#include "formula/store.h"
#include "formula/streams.h"
#include "formula/totals.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/keys.h"
#include "lib/link.h"
#include "lib/log.h"

/* The promise of docs/design.md: at most 100 ms. */
#define COMMIT_NS (UINT64_C(100) * 1000 * 1000)
#define HOUR_NS 3600e9

struct config {
    const char *state_dir;
    const char *listen;
    const char *http;
    bool plain;
    bool insecure;
    const char *model;
    struct cb_streams_config streams;
    const char *metrics_names;
    uint64_t retention_ns;
    uint64_t coarse_ns;
    uint64_t recaps_ns;
    struct cb_powerapi_config powerapi;
    const char *record;
    uint64_t record_mib;
    const char *log_level;
    bool log_json;
    bool print_config;
    bool version;
    bool help;
};

#define AT(member) .offset = offsetof(struct config, member)

const struct cb_opt cb_serve_options[] = {
    {.key = "state-dir",
     .type = CB_OPT_STRING,
     AT(state_dir),
     .def = CB_DEFAULT_FORMULA_STATE,
     .arg = "DIR",
     .help = "database, keys and the list of known sensors"},
    {.key = "listen",
     .type = CB_OPT_STRING,
     AT(listen),
     .def = CB_DEFAULT_LINK_BIND,
     .arg = "ENDPOINT",
     .help = "where the sensors connect; tcp://0.0.0.0:" CB_DEFAULT_LINK_PORT " for every machine"},
    {.key = "http",
     .type = CB_OPT_STRING,
     AT(http),
     .def = CB_DEFAULT_HTTP_BIND,
     .arg = "ADDR:PORT",
     .help = "JSON API and /metrics; there is no authentication, so keep it on loopback or behind "
             "a proxy"},
    {.key = "plain",
     .type = CB_OPT_BOOL,
     AT(plain),
     .help = "no CURVE on the link: every local process may send"},
    {.key = "insecure", .type = CB_OPT_BOOL, AT(insecure), .help = "allow --plain beyond loopback"},
    {.key = "model",
     .type = CB_OPT_STRING,
     AT(model),
     .def = "cbwatts",
     .arg = "MODEL",
     .help = "cbwatts: fitted online to the counters; cputime: by CPU time"},
    {.key = "metrics-names",
     .type = CB_OPT_STRING,
     AT(metrics_names),
     .def = "cbwatts",
     .arg = "WHOSE",
     .help = "names in /metrics: cbwatts, kepler (for what Kepler has a name for) or both"},
    CB_STREAMS_OPTIONS(struct config, streams),
    {.key = "retention",
     .type = CB_OPT_DURATION,
     AT(retention_ns),
     .def = "720h",
     .min = 0,
     .max = 87600 * HOUR_NS,
     .arg = "DURATION",
     .help = "keep every tick so long (at least 1h; 0: for ever); recaps stay"},
    {.key = "retention-coarse",
     .type = CB_OPT_DURATION,
     AT(coarse_ns),
     .def = "8760h",
     .min = 0,
     .max = 876000 * HOUR_NS,
     .arg = "DURATION",
     .help = "then as exact sums of a minute, until they are so old; 0: not at all"},
    {.key = "recap-retention",
     .type = CB_OPT_DURATION,
     AT(recaps_ns),
     .def = "0",
     .min = 0,
     .max = 876000 * HOUR_NS,
     .arg = "DURATION",
     .help = "keep tests and their recaps so long (0: for ever)"},
    {.key = "powerapi-socket",
     .type = CB_OPT_STRING,
     AT(powerapi.socket),
     .arg = "[ADDR:]PORT",
     .help = "let PowerAPI's sensor in here (-r socket; its usual port is 9080): plain TCP, on "
             "127.0.0.1 unless ADDR says otherwise"},
    {.key = "powerapi-mongodb",
     .secret = true,
     .type = CB_OPT_STRING,
     AT(powerapi.mongodb),
     .arg = "URI",
     .help = "read what PowerAPI's sensor writes to this MongoDB: mongodb://HOST/DATABASE"},
    {.key = "powerapi-collection",
     .type = CB_OPT_STRING,
     AT(powerapi.collection),
     .def = CB_POWERAPI_COLLECTION,
     .arg = "NAME",
     .help = "its collection"},
    {.key = "powerapi-csv",
     .type = CB_OPT_STRING,
     AT(powerapi.csv),
     .arg = "DIR",
     .help = "follow the CSV files that PowerAPI's sensor writes to DIR"},
    {.key = "powerapi-deadline",
     .type = CB_OPT_DURATION,
     AT(powerapi.deadline_ns),
     .def = "5s",
     .min = 1e6,
     .max = 3600e9,
     .arg = "DURATION",
     .help = "its reports of one tick wait so long for each other"},
    {.key = "powerapi-period",
     .type = CB_OPT_DURATION,
     AT(powerapi.period_ns),
     .def = "1s",
     .min = 1e6,
     .max = 3600e9,
     .arg = "DURATION",
     .help = "its period, where its reports do not say how long a tick was"},
    {.key = "record",
     .type = CB_OPT_STRING,
     AT(record),
     .arg = "DIR",
     .help = "record the frames that are stored in DIR, for cbformula replay"},
    {.key = "record-keep",
     .type = CB_OPT_U64,
     AT(record_mib),
     .def = "1024",
     .min = 1,
     .max = 1e8,
     .arg = "MIB",
     .help = "keep so much of it; the oldest goes"},
    {.key = "log-level",
     .type = CB_OPT_STRING,
     AT(log_level),
     .def = "info",
     .arg = "LEVEL",
     .help = "err, warn, info or debug"},
    {.key = "log-json", .type = CB_OPT_BOOL, AT(log_json), .help = "log lines as JSON"},
    {.key = "print-config",
     .cli_only = true,
     .type = CB_OPT_BOOL,
     AT(print_config),
     .help = "print what is in force and end"},
    {.key = "version",
     .cli_only = true,
     .type = CB_OPT_BOOL,
     AT(version),
     .help = "print the version and end"},
    {.key = "help",
     .short_key = 'h',
     .cli_only = true,
     .type = CB_OPT_BOOL,
     AT(help),
     .help = "this text"},
    {.key = NULL},
};

size_t cb_serve_options_size(void)
{
    return sizeof(struct config);
}

#define MAX_SINKS 4

struct server {
    const struct config *config;
    enum cb_model_kind model;
    char database[PATH_MAX];
    int dir_fd;
    struct cb_keys keys;
    bool made_key, knows_nobody;
    struct cb_known *known;
    struct cb_store *store;
    struct cb_totals *totals;
    struct cb_notify notify;
    struct cb_ingest_stats stats;
    struct cb_link_server *link;
    char link_address[256];
    int http_fd;
    bool http_loopback;
    char http_address[64];
    size_t n_sinks;
    struct cb_sink *sinks[MAX_SINKS];
    const char *sink_names[MAX_SINKS];
    struct cb_streams streams;
    unsigned metrics_names;
    struct cb_keeper *keeper;
    struct cb_http *http;
    struct cb_powerapi_inputs *powerapi;
    struct cb_recorder *recorder;
    struct cb_receiver *receiver;
};

/* ---- what is opened before anything runs ---- */

static int check_config(const struct config *config, struct server *server, struct cb_err *err)
{
    enum cb_log_level level;

    if (cb_log_level_parse(config->log_level, &level) < 0)
        return cb_err_set(err, EINVAL,
                          "option --log-level: '%.20s' is not err, warn, info or debug",
                          config->log_level);
    cb_log_init("cbformula", level, config->log_json);
    if (strcmp(config->model, "cbwatts") == 0)
        server->model = CB_MODEL_CBWATTS;
    else if (strcmp(config->model, "cputime") == 0)
        server->model = CB_MODEL_CPUTIME;
    else
        return cb_err_set(err, EINVAL, "option --model: '%.20s' is not cbwatts or cputime",
                          config->model);
    if (config->retention_ns > 0 && (double)config->retention_ns < HOUR_NS)
        return cb_err_set(err, EINVAL, "option --retention: at least 1h, or 0 for ever");
    if (cb_metrics_names_parse(config->metrics_names, &server->metrics_names, err) < 0)
        return cb_err_prefix(err, -EINVAL, "option --metrics-names");
    return cb_streams_check(&config->streams, err);
}

static int open_state(struct server *server, struct cb_err *err)
{
    const char *path = server->config->state_dir;
    int r;

    server->dir_fd = cb_state_open(path, true, err);
    if (server->dir_fd < 0)
        return server->dir_fd;
    r = cb_state_lock(server->dir_fd, path, err);
    if (r == 0)
        r = cb_state_database(path, server->database, sizeof(server->database), err);
    return r;
}

static int open_keys(struct server *server, struct cb_err *err)
{
    const char *path = server->config->state_dir;
    int r;

    if (server->config->plain)
        return 0;
    r = cb_keys_open(server->dir_fd, CB_FILE_FORMULA_SECRET, CB_FILE_FORMULA_PUBLIC, &server->keys,
                     &server->made_key, err);
    if (r == 0)
        r = cb_known_open(server->dir_fd, &server->known, err);
    if (r < 0)
        return cb_err_prefix(err, r, "state directory '%s'", path);
    server->knows_nobody = cb_known_count(server->known) == 0;
    return 0;
}

static int open_store(struct server *server, struct cb_err *err)
{
    int r = cb_store_open(server->database, CB_STORE_OWNER, &server->store, err);

    if (r == 0) {
        server->totals = cb_totals_new();
        r = server->totals ? 0 : cb_err_set(err, ENOMEM, "out of memory");
    }
    return r;
}

static int open_link(struct server *server, struct cb_err *err)
{
    const struct config *config = server->config;
    struct cb_link_server_options options = {
        .endpoint = config->listen,
        .keys = config->plain ? NULL : &server->keys,
        .insecure = config->insecure,
        .admit = cb_receiver_admit,
        .admit_context = server->known,
    };
    int r = cb_link_server_open(&options, &server->link, err);

    if (r == -EADDRINUSE)
        return cb_err_set(err, EADDRINUSE,
                          "link address %.100s is in use: stop what listens there or give another "
                          "one with --listen",
                          config->listen);
    if (r < 0)
        return cb_err_prefix(err, r, "--listen");
    (void)snprintf(server->link_address, sizeof(server->link_address), "%s",
                   cb_link_server_endpoint(server->link));
    return 0;
}

/* ---- threads ---- */

static int start_sinks(struct server *server, struct cb_err *err)
{
    const struct {
        const struct cb_sink_ops *ops;
        const char *uri;
    } all[] = {{&cb_sink_mongodb, server->config->streams.mongodb}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct cb_sink_options options = {.ops = all[i].ops,
                                          .uri = all[i].uri,
                                          .database = server->database,
                                          .notify = &server->notify};
        int r;

        if (!all[i].uri || !all[i].uri[0])
            continue;
        r = cb_sink_start(&options, &server->sinks[server->n_sinks], err);
        if (r < 0)
            return r;
        server->sink_names[server->n_sinks++] = all[i].ops->name;
    }
    return 0;
}

static int start_keeper(struct server *server, struct cb_err *err)
{
    struct cb_keeper_options options = {.database = server->database,
                                        .notify = &server->notify,
                                        .retention_ns = server->config->retention_ns,
                                        .coarse_ns = server->config->coarse_ns,
                                        .recaps_ns = server->config->recaps_ns,
                                        .sinks = server->sink_names,
                                        .n_sinks = server->n_sinks};

    return cb_keeper_start(&options, &server->keeper, err);
}

static int start_receiver(struct server *server, struct cb_err *err)
{
    struct cb_ingest_options options = {.store = server->store,
                                        .known = server->known,
                                        .totals = server->totals,
                                        .notify = &server->notify,
                                        .stats = &server->stats,
                                        .recorder = server->recorder,
                                        .model = server->model,
                                        .commit_ns = COMMIT_NS};

    return cb_receiver_start(server->link, cb_powerapi_inputs_inbox(server->powerapi), &options,
                             &server->receiver, err);
}

static int start_http(struct server *server, struct cb_err *err)
{
    struct cb_http_options options = {.listen_fd = cb_take_fd(server->http_fd),
                                      .loopback = server->http_loopback,
                                      .database = server->database,
                                      .notify = &server->notify,
                                      .totals = server->totals,
                                      .stats = &server->stats,
                                      .sink_names = server->sink_names,
                                      .sinks = server->sinks,
                                      .n_sinks = server->n_sinks,
                                      .streams = &server->streams,
                                      .metrics_names = server->metrics_names};

    return cb_http_start(&options, &server->http, err);
}

static int start(struct server *server, struct cb_err *err)
{
    int r = open_state(server, err);

    if (r == 0)
        r = open_keys(server, err);
    if (r == 0)
        r = open_store(server, err);
    if (r == 0)
        r = open_link(server, err);
    if (r == 0)
        r = cb_http_listen(server->config->http, &server->http_fd, &server->http_loopback,
                           server->http_address, err);
    if (r == 0)
        r = cb_powerapi_inputs_open(&server->config->powerapi, server->store, &server->powerapi,
                                    err);
    if (r == 0 && server->config->record && server->config->record[0])
        r = cb_recorder_open(server->config->record, server->config->record_mib << 20,
                             &server->recorder, err);
    if (r == 0)
        r = start_sinks(server, err);
    if (r == 0)
        r = cb_streams_start(&server->config->streams, server->store, server->database,
                             &server->notify, &server->streams, err);
    if (r == 0)
        r = start_keeper(server, err);
    if (r == 0)
        r = start_receiver(server, err);
    if (r == 0)
        r = cb_powerapi_inputs_start(server->powerapi, err);
    if (r == 0)
        r = start_http(server, err);
    return r;
}

static void stop(struct server *server)
{
    cb_notify_stop(&server->notify);
    server->http = cb_http_stop(server->http);
    cb_powerapi_inputs_stop(server->powerapi);
    server->receiver = cb_receiver_stop(server->receiver);
    server->powerapi = cb_powerapi_inputs_free(server->powerapi);
    server->recorder = cb_recorder_close(server->recorder);
    server->keeper = cb_keeper_stop(server->keeper);
    for (size_t i = 0; i < server->n_sinks; i++)
        server->sinks[i] = cb_sink_stop(server->sinks[i]);
    cb_streams_stop(&server->streams);
    cb_close_at(&server->http_fd);
    server->link = cb_link_server_close(server->link);
    server->totals = cb_totals_free(server->totals);
    server->store = cb_store_close(server->store);
    server->known = cb_known_close(server->known);
    cb_close_at(&server->dir_fd);
}

/* Only now: what is refused is refused in one line. */
static void say_ready(const struct server *server)
{
    const struct config *config = server->config;

    if (server->made_key)
        cb_log_info("made this server's key; its public half is in %s/%s", config->state_dir,
                    CB_FILE_FORMULA_PUBLIC);
    if (server->knows_nobody)
        cb_log_warn("no sensor is let in yet: cbformula keys add NAME KEY");
    if (!server->http_loopback)
        cb_log_warn("http://%s can be reached from other machines, and there is no authentication",
                    server->http_address);
    cb_powerapi_inputs_tell(server->powerapi);
    cb_log_info("ready: link %s%s, http://%s, database %s", server->link_address,
                config->plain ? " (plain)" : "", server->http_address, server->database);
}

/* A connection of a sensor needs a descriptor, and a thousand of them are meant to fit. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        cb_log_debug("the limit of open files stays as it is");
}

static int serve(struct server *server, struct cb_err *err)
{
    sigset_t signals;
    int signal = 0;
    int r;

    /* Threads inherit the mask; a signal waits until everything is up. */
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    r = start(server, err);
    if (r == 0) {
        say_ready(server);
        do
            (void)sigwait(&signals, &signal);
        while (signal == SIGHUP); /* nothing to read again: the list of sensors is followed */
        cb_log_info("stopping");
    }
    stop(server);
    return r;
}

static int print_help(void)
{
    (void)puts("usage: cbformula [OPTION...] [COMMAND ...]\n\n"
               "Receives the frames of cbsensor, finds the energy of every container, stores it, "
               "and answers\nquestions about it over HTTP.\n");
    cb_cmd_list();
    (void)puts("\nOptions of the server:");
    cb_config_help(stdout, cb_serve_options, "CBFORMULA");
    (void)puts("\nEvery option can be given in the environment: CBFORMULA_STATE_DIR and so on.");
    return 0;
}

int cb_cmd_serve(int argc, char **argv)
{
    struct config config = {.help = false};
    struct server server = {.config = &config, .dir_fd = -1, .http_fd = -1};
    struct cb_err err = {0};
    int next = 1;
    int r = cb_config_parse(cb_serve_options, "CBFORMULA", argc, argv, &config, &next, &err);

    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    if (config.help)
        return print_help();
    if (config.version)
        return puts("cbformula " CB_VERSION) < 0;
    if (next < argc) {
        (void)cb_err_set(&err, EINVAL, "unexpected argument '%.60s', see --help", argv[next]);
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    }
    if (check_config(&config, &server, &err) < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    if (config.print_config) {
        cb_config_print(stdout, cb_serve_options, &config);
        return 0;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    cb_notify_init(&server.notify);
    r = serve(&server, &err);
    cb_notify_fini(&server.notify);
    return r < 0 ? cb_cmd_fail(CB_CMD_FAILED, &err) : 0;
}
