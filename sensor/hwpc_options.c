/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_options.c - see hwpc_options.h. The JSON form is in hwpc_json.c. */
#include "sensor/hwpc_options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/fsread.h"
#include "sensor/options.h"

#define WITH_VALUE "nfpscerUDCPx"
#define WITHOUT "ov"
#define MAX_FILE (1 << 20)
#define MAX_MS (UINT64_C(24) * 3600 * 1000)
#define NS_PER_MS (CB_NS_PER_S / 1000)
#define DEFAULT_DISCOVERY_MS 5000

static const struct {
    const char *name;
    char key;
} long_names[] = {
    {"config-file", 'x'},
    {"perf-sampling-interval", 'f'},
    {"cgroup-discovery-interval", 'd'}, /* has no letter of its own */
};

/* Own options that say what one of theirs says. */
static const struct {
    const char *own, *theirs;
} doubled[] = {{"name", "-n"},   {"tick", "-f"},  {"events", "-s, -c and -e"},
               {"cgroup", "-p"}, {"count", "-c"}, {"output", "-r"},
               {"config", "-x"}};

struct parser {
    struct cb_hwpc_options *o;
    struct cb_hwpc_group *group; /* the last -s or -c; NULL: none yet */
};

const char *cb_hwpc_storage_name(enum cb_hwpc_storage storage)
{
    static const char *const names[] = {"none", "null", "csv", "socket", "mongodb"};

    return names[storage];
}

int cb_hwpc_options_text(char **to, const char *text, struct cb_err *err)
{
    char *copy = strdup(text);

    if (!copy)
        return cb_err_set(err, ENOMEM, "out of memory");
    free(*to);
    *to = copy;
    return 0;
}

int cb_hwpc_options_period(const char *what, uint64_t ms, uint64_t *ret_ns, struct cb_err *err)
{
    if (ms == 0 || ms > MAX_MS)
        return cb_err_set(err, EINVAL, "%s: milliseconds from 1 to %llu", what,
                          (unsigned long long)MAX_MS);
    *ret_ns = ms * NS_PER_MS;
    return 0;
}

/* As there: any base that C knows. */
static int set_period(const char *what, const char *text, uint64_t *ret_ns, struct cb_err *err)
{
    char *end;
    unsigned long long ms;

    errno = 0;
    ms = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return cb_err_set(err, EINVAL, "%s: '%.40s' is not a number of milliseconds", what, text);
    return cb_hwpc_options_period(what, ms, ret_ns, err);
}

int cb_hwpc_options_group(struct cb_hwpc_groups *groups, const char *name,
                          struct cb_hwpc_group **ret_group, struct cb_err *err)
{
    struct cb_hwpc_group *group;
    int r;

    for (size_t i = 0; i < groups->n; i++)
        if (strcmp(groups->at[i].name, name) == 0) {
            *ret_group = &groups->at[i];
            return 0;
        }
    if (!*name || strpbrk(name, "/,\"\n"))
        return cb_err_set(err, EINVAL, "'%.60s' is no name for a group of events", name);
    if (groups->n == CB_HWPC_MAX_GROUPS)
        return cb_err_set(err, EINVAL, "more than %d groups of events", CB_HWPC_MAX_GROUPS);
    group = &groups->at[groups->n];
    r = cb_hwpc_options_text(&group->name, name, err);
    if (r < 0)
        return r;
    groups->n++;
    *ret_group = group;
    return 0;
}

int cb_hwpc_options_event(struct cb_hwpc_group *group, const char *event, struct cb_err *err)
{
    int r;

    if (!*event)
        return cb_err_set(err, EINVAL, "an event of group '%s' has no name", group->name);
    for (size_t i = 0; i < group->n_events; i++)
        if (strcmp(group->events[i], event) == 0)
            return 0;
    if (group->n_events == CB_FRAME_MAX_EVENTS)
        return cb_err_set(err, EINVAL, "more than %d events in group '%s'", CB_FRAME_MAX_EVENTS,
                          group->name);
    r = cb_hwpc_options_text(&group->events[group->n_events], event, err);
    group->n_events += r == 0;
    return r;
}

int cb_hwpc_options_storage(struct cb_hwpc_options *options, const char *name, struct cb_err *err)
{
    for (int i = CB_HWPC_NULL; i <= CB_HWPC_MONGODB; i++)
        if (strcmp(name, cb_hwpc_storage_name((enum cb_hwpc_storage)i)) == 0) {
            options->storage = (enum cb_hwpc_storage)i;
            return 0;
        }
    return cb_err_set(err, EINVAL, "storage '%.40s' is not null, csv, socket or mongodb", name);
}

/* -U -D -C -P: which of them a storage knows. */
static int set_parameter(struct cb_hwpc_options *o, char key, const char *value, struct cb_err *err)
{
    static const char *const known[] = {"", "UDCP", "U", "UP", "UDC"};
    char **to = key == 'U'   ? &o->where
                : key == 'P' ? &o->port
                : key == 'D' ? &o->database
                             : &o->collection;

    if (o->storage == CB_HWPC_UNSET)
        return cb_err_set(err, EINVAL, "-%c comes after -r, which says what it is for", key);
    if (!strchr(known[o->storage], key))
        return cb_err_set(err, EINVAL, "-%c: the storage '%s' has no such parameter", key,
                          cb_hwpc_storage_name(o->storage));
    return cb_hwpc_options_text(to, value, err);
}

static int read_file(struct cb_hwpc_options *o, const char *path, struct cb_err *err)
{
    cb_auto_free char *text = NULL;
    size_t n = strlen(path);
    int r;

    if (n < 5 || strcasecmp(path + n - 5, ".json") != 0)
        return cb_err_set(err, EINVAL,
                          "-x '%.80s': hwpc-sensor's file is JSON and its name ends in .json "
                          "(cbsensor's own is --config FILE)",
                          path);
    r = cb_fsread_all(AT_FDCWD, path, MAX_FILE, &text, err);
    return r < 0 ? cb_err_prefix(err, r, "-x")
                 : cb_hwpc_options_json(text, strlen(text), path, o, err);
}

static int set_value(struct parser *p, char key, const char *value, struct cb_err *err)
{
    struct cb_hwpc_options *o = p->o;

    switch (key) {
    case 'n':
        return cb_hwpc_options_text(&o->name, value, err);
    case 'p':
        return cb_hwpc_options_text(&o->base_path, value, err);
    case 'f':
        return set_period("-f", value, &o->tick_ns, err);
    case 'd':
        return set_period("--cgroup-discovery-interval", value, &o->discovery_ns, err);
    case 's':
        return cb_hwpc_options_group(&o->system, value, &p->group, err);
    case 'c':
        return cb_hwpc_options_group(&o->cgroups, value, &p->group, err);
    case 'e':
        return p->group
                   ? cb_hwpc_options_event(p->group, value, err)
                   : cb_err_set(err, EINVAL, "-e %.60s comes after the -s or -c it is for", value);
    case 'r':
        return cb_hwpc_options_storage(o, value, err);
    case 'x':
        return read_file(o, value, err);
    default:
        return set_parameter(o, key, value, err);
    }
}

static int set_flag(struct parser *p, char key, struct cb_err *err)
{
    if (key == 'v') {
        p->o->verbose = true;
        return 0;
    }
    if (!p->group)
        return cb_err_set(err, EINVAL, "-o comes after the -s or -c it is for");
    p->group->one_cpu = true;
    return 0;
}

/* The letter of one of their long options, or '\0'. */
static char long_key(const char *arg)
{
    size_t n = strcspn(arg, "=");

    for (size_t i = 0; i < sizeof(long_names) / sizeof(long_names[0]); i++)
        if (strlen(long_names[i].name) == n && strncmp(arg, long_names[i].name, n) == 0)
            return long_names[i].key;
    return '\0';
}

/* Does the value of one of our own options stand in the next argument? */
static bool has_value_behind(const char *arg)
{
    for (const struct cb_opt *opt = cb_sensor_opts; opt->key; opt++)
        if (strcmp(opt->key, arg) == 0)
            return opt->type != CB_OPT_BOOL;
    return false;
}

bool cb_hwpc_options_are_meant(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *arg = argv[i];

        if (arg[0] != '-')
            continue;
        if (arg[1] == '-' && long_key(arg + 2))
            return true;
        if (arg[1] == '-')
            i += has_value_behind(arg + 2);
        else if (arg[1] && strchr(WITH_VALUE WITHOUT, arg[1]))
            return true;
    }
    return false;
}

static int need_value(const char *option, struct cb_err *err)
{
    return cb_err_set(err, EINVAL, "option '%.60s' needs a value, see --help", option);
}

/* "-oe EVENT", "-fNUMBER", "-v": as getopt(3) has them. */
static int take_letters(struct parser *p, char **argv, int *i, struct cb_err *err)
{
    int r = 0;

    for (const char *at = argv[*i] + 1; *at && r == 0; at++) {
        if (strchr(WITHOUT, *at)) {
            r = set_flag(p, *at, err);
        } else if (strchr(WITH_VALUE, *at)) {
            const char *value = at[1] ? at + 1 : argv[++*i];

            return value ? set_value(p, *at, value, err) : need_value(argv[*i - 1], err);
        } else {
            r = cb_err_set(err, EINVAL, "unknown option '-%c' in '%.60s', see --help", *at,
                           argv[*i]);
        }
    }
    return r;
}

static int check_own(const char *arg, struct cb_err *err)
{
    size_t n = strcspn(arg, "=");

    for (size_t i = 0; i < sizeof(doubled) / sizeof(doubled[0]); i++)
        if (strlen(doubled[i].own) == n && strncmp(arg, doubled[i].own, n) == 0)
            return cb_err_set(err, EINVAL, "--%s does not go with hwpc-sensor's options: use %s",
                              doubled[i].own, doubled[i].theirs);
    return 0;
}

static int take_long(struct parser *p, char **argv, int *i, int *rest_argc, char **rest_argv,
                     struct cb_err *err)
{
    const char *arg = argv[*i] + 2;
    const char *equals = strchr(arg, '=');
    char key = long_key(arg);
    int r;

    if (key) {
        const char *value = equals ? equals + 1 : argv[++*i];

        return value ? set_value(p, key, value, err) : need_value(argv[*i - 1], err);
    }
    r = check_own(arg, err);
    if (r < 0)
        return r;
    rest_argv[(*rest_argc)++] = argv[*i];
    if (!equals && has_value_behind(arg) && argv[*i + 1])
        rest_argv[(*rest_argc)++] = argv[++*i];
    return 0;
}

int cb_hwpc_options_parse(int argc, char **argv, struct cb_hwpc_options *ret_options,
                          int *ret_rest_argc, char **rest_argv, struct cb_err *err)
{
    struct parser p = {.o = ret_options};
    int rest = 0;
    int r = 0;

    *ret_options = (struct cb_hwpc_options){
        .tick_ns = CB_NS_PER_S,
        .discovery_ns = DEFAULT_DISCOVERY_MS * NS_PER_MS,
    };
    rest_argv[rest++] = argv[0];
    for (int i = 1; r == 0 && i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0 && argv[i][2])
            r = take_long(&p, argv, &i, &rest, rest_argv, err);
        else if (argv[i][0] == '-' && (argv[i][1] == 'h' || argv[i][1] == 'V') && !argv[i][2])
            rest_argv[rest++] = argv[i];
        else if (argv[i][0] == '-' && argv[i][1] && argv[i][1] != '-')
            r = take_letters(&p, argv, &i, err);
        else
            r = cb_err_set(err, EINVAL, "unexpected argument '%.60s', see --help", argv[i]);
    }
    rest_argv[rest] = NULL;
    *ret_rest_argc = rest;
    return r;
}

static int check_groups(const struct cb_hwpc_groups *groups, struct cb_err *err)
{
    for (size_t i = 0; i < groups->n; i++)
        if (groups->at[i].n_events == 0)
            return cb_err_set(err, EINVAL, "group '%s' has no event: add -e EVENT after it",
                              groups->at[i].name);
    return 0;
}

/* What @o's storage cannot do without: a line, or NULL. */
static const char *missing_parameter(const struct cb_hwpc_options *o)
{
    switch (o->storage) {
    case CB_HWPC_CSV:
        return o->where && *o->where ? NULL : "-r csv needs -U DIRECTORY";
    case CB_HWPC_SOCKET:
        return o->where && *o->where && o->port && *o->port ? NULL
                                                            : "-r socket needs -U HOST and -P PORT";
    case CB_HWPC_MONGODB:
        return o->where && *o->where && o->database && *o->database && o->collection &&
                       *o->collection
                   ? NULL
                   : "-r mongodb needs -U URI, -D DATABASE and -C COLLECTION";
    default:
        return NULL;
    }
}

/* A name of a service is one, too. getaddrinfo(3) takes the last 16 bits of a larger number. */
static bool is_port(const char *text)
{
    uint64_t number;

    return text[strspn(text, "0123456789")] != '\0' ||
           (cb_parse_u64(text, &number) == 0 && number >= 1 && number <= 65535);
}

int cb_hwpc_options_check(const struct cb_hwpc_options *o, bool with_formula, struct cb_err *err)
{
    const char *missing = missing_parameter(o);
    int r;

    if (o->name && (!*o->name || strpbrk(o->name, "\r\n")))
        return cb_err_set(err, EINVAL, "-n needs a name of one line");
    if (o->storage == CB_HWPC_CSV && o->name && strchr(o->name, ','))
        return cb_err_set(err, EINVAL, "-n '%.60s': no comma in a name for CSV", o->name);
    if (o->base_path && !*o->base_path)
        return cb_err_set(err, EINVAL, "-p needs a directory");
    if (o->system.n + o->cgroups.n == 0)
        return cb_err_set(err, EINVAL,
                          "nothing to measure: give a group of events with -s or -c and -e");
    r = check_groups(&o->system, err);
    if (r == 0)
        r = check_groups(&o->cgroups, err);
    if (r == 0 && missing)
        r = cb_err_set(err, EINVAL, "%s", missing);
    if (r == 0 && o->storage == CB_HWPC_SOCKET && !is_port(o->port))
        r = cb_err_set(err, EINVAL, "-P '%.40s' is no port: 1 to 65535", o->port);
    if (r == 0 && o->storage == CB_HWPC_UNSET && !with_formula)
        r = cb_err_set(err, EINVAL,
                       "nowhere to write: give -r null, csv, socket or mongodb (or --formula)");
    return r;
}

static void fini_groups(struct cb_hwpc_groups *groups)
{
    for (size_t i = 0; i < groups->n; i++) {
        for (size_t e = 0; e < groups->at[i].n_events; e++)
            free(groups->at[i].events[e]);
        free(groups->at[i].name);
    }
}

void cb_hwpc_options_fini(struct cb_hwpc_options *options)
{
    fini_groups(&options->system);
    fini_groups(&options->cgroups);
    free(options->name);
    free(options->base_path);
    free(options->where);
    free(options->port);
    free(options->database);
    free(options->collection);
    *options = (struct cb_hwpc_options){0};
}
