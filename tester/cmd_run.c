/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_run.c - cbtester [run] [options] image [args...]: run one container and show its energy. */
#include "tester/commands.h"

#include <errno.h>
#include <limits.h>

#include "lib/clock.h"
#include "lib/config.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/parse.h"
#include "tester/interrupt.h"
#include "tester/naming.h"
#include "tester/render.h"
#include "tester/report.h"
#include "tester/runner.h"
#include "tester/testlock.h"

#define CPUS_MAX 4096

struct options {
    bool help, version, json, quiet, pull, tty, lock;
    const char *name, *idle, *formula, *docker_host, *lock_file;
    const char *cpuset_cpus, *network, *memory;
    double cpus;
    uint64_t timeout_ns, recap_timeout_ns;
    struct cb_opt_list env, volumes;
};

#define AT(member) offsetof(struct options, member)

static const struct cb_opt table[] = {
    {.key = "name",
     .short_key = 'n',
     .type = CB_OPT_STRING,
     .offset = AT(name),
     .arg = "NAME",
     .help =
         "name of the test; by default the image's name without registry and path, :tag as _tag"},
    {.key = "json",
     .short_key = 'j',
     .type = CB_OPT_BOOL,
     .offset = AT(json),
     .help = "print the recap as JSON"},
    {.key = "idle",
     .type = CB_OPT_STRING,
     .offset = AT(idle),
     .def = "none",
     .arg = "POLICY",
     .help = "how the machine's idle energy is shared out: none, proportional, equal"},
    {.key = "timeout",
     .type = CB_OPT_DURATION,
     .offset = AT(timeout_ns),
     .arg = "DURATION",
     .help = "end the container after this time; the exit code is 124 then"},
    {.key = "cpus",
     .type = CB_OPT_DOUBLE,
     .offset = AT(cpus),
     .min = 0.01,
     .max = CPUS_MAX,
     .arg = "N",
     .help = "limit the container to this many CPUs"},
    {.key = "cpuset-cpus",
     .type = CB_OPT_STRING,
     .offset = AT(cpuset_cpus),
     .arg = "LIST",
     .help = "run the container on these CPUs only, such as 0-3,8"},
    {.key = "memory",
     .short_key = 'm',
     .type = CB_OPT_STRING,
     .offset = AT(memory),
     .arg = "SIZE",
     .help = "limit the container's memory, such as 512m or 2g"},
    {.key = "env",
     .short_key = 'e',
     .type = CB_OPT_LIST,
     .offset = AT(env),
     .arg = "NAME=VALUE",
     .help = "set a variable in the container; NAME alone takes the value from here"},
    {.key = "volume",
     .short_key = 'v',
     .type = CB_OPT_LIST,
     .offset = AT(volumes),
     .arg = "FROM:TO[:ro]",
     .help = "mount a folder or a volume"},
    {.key = "network",
     .type = CB_OPT_STRING,
     .offset = AT(network),
     .arg = "NAME",
     .help = "Docker network, such as none or host"},
    {.key = "tty",
     .short_key = 't',
     .type = CB_OPT_BOOL,
     .offset = AT(tty),
     .help = "give the container a terminal"},
    {.key = "pull",
     .type = CB_OPT_BOOL,
     .offset = AT(pull),
     .help = "fetch an image that is not there"},
    {.key = "quiet",
     .short_key = 'q',
     .type = CB_OPT_BOOL,
     .offset = AT(quiet),
     .help = "drop the container's output and all notices"},
    {.key = "lock",
     .type = CB_OPT_BOOL,
     .offset = AT(lock),
     .def = "yes",
     .help = "one test at a time on this machine; --no-lock lifts that"},
    {.key = "lock-file",
     .type = CB_OPT_STRING,
     .offset = AT(lock_file),
     .arg = "FILE",
     .help = "the lock; by default /run/lock/cbwatts-tester.lock"},
    {.key = "recap-timeout",
     .type = CB_OPT_DURATION,
     .offset = AT(recap_timeout_ns),
     .def = "30s",
     .arg = "DURATION",
     .help = "wait this long for the frame that covers the end"},
    {.key = "formula",
     .type = CB_OPT_STRING,
     .offset = AT(formula),
     .def = CB_DEFAULT_FORMULA_URL,
     .arg = "URL",
     .env = CB_ENV_FORMULA_URL,
     .help = "where cbformula listens"},
    {.key = "docker-host",
     .short_key = 'H',
     .type = CB_OPT_STRING,
     .offset = AT(docker_host),
     .def = CB_DEFAULT_DOCKER_HOST,
     .arg = "unix://SOCKET",
     .env = CB_ENV_DOCKER_HOST,
     .help = "where Docker listens"},
    {.key = "help", .short_key = 'h', .type = CB_OPT_BOOL, .offset = AT(help), .help = "this text"},
    {.key = "version", .type = CB_OPT_BOOL, .offset = AT(version), .help = "the version"},
    {.key = NULL},
};

static bool quiet;

static void print_note(enum cb_runner_note_kind kind, const char *text)
{
    if (!quiet && (kind == CB_RUNNER_NOTICE || isatty(STDERR_FILENO)))
        (void)fprintf(stderr, "cbtester: %s\n", text);
}

static void print_help(void)
{
    (void)puts(
        CB_TESTER_USAGE
        "\n"
        "       cbtester run [options] image [args...]\n"
        "       cbtester show [--json] FILE...   recaps side by side, - for the input\n\n"
        "Run one container by Docker, measure it, and print its energy. The recap alone goes\n"
        "to the output; the container's output goes to the error output. Lines of the\n"
        "container that begin with --++ and ++-- begin the warm-up and the measured part.\n");
    cb_config_help(stdout, table, NULL);
    (void)puts(
        "\nThe exit code is the container's; 124 after --timeout, 125 when cbtester, Docker or\n"
        "cbformula fails, 126 and 127 when the command cannot be run or is not there, 130\n"
        "after Ctrl-C, 2 for a wrong option.");
}

/* "512m" to bytes: a number and one of b, k, m, g. */
static int parse_memory(const char *text, uint64_t *ret_bytes, struct cb_err *err)
{
    static const char units[] = "bkmg";
    char number[32];
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] ? strchr(units, text[digits] | 0x20) : units;
    uint64_t value;

    (void)snprintf(number, sizeof(number), "%.*s", (int)digits, text);
    if (!unit || (text[digits] && text[digits + 1]) || cb_parse_u64(number, &value) < 0 ||
        value == 0 || value > (UINT64_C(1) << 62) >> (10 * (unit - units)))
        return cb_err_set(err, EINVAL, "option --memory: '%.40s' is not a size such as 512m or 2g",
                          text);
    *ret_bytes = value << (10 * (unit - units));
    return 0;
}

static int check_cpuset(const char *text, struct cb_err *err)
{
    uint8_t set[CPUS_MAX];
    size_t n;

    if (cb_parse_cpulist(text, set, sizeof(set), &n) < 0 || n == 0 || strchr(text, '\n'))
        return cb_err_set(
            err, EINVAL, "option --cpuset-cpus: '%.60s' is not a list of CPUs such as 0-3,8", text);
    return 0;
}

static int check_idle(const char *text, struct cb_err *err)
{
    if (strcmp(text, "none") != 0 && strcmp(text, "proportional") != 0 &&
        strcmp(text, "equal") != 0)
        return cb_err_set(err, EINVAL,
                          "option --idle: '%.40s' is not one of none, proportional, equal", text);
    return 0;
}

/* "NAME" alone means the value that NAME has here, and nothing where it has none (as docker does).
 * The texts made are freed by free_env(). */
static int fill_env(const struct cb_opt_list *list, char **env, size_t *ret_n, struct cb_err *err)
{
    *ret_n = 0;
    for (size_t i = 0; i < list->n; i++) {
        const char *text = list->at[i];
        const char *value = strchr(text, '=') ? NULL : getenv(text);

        if (*text == '\0' || *text == '=')
            return cb_err_set(err, EINVAL, "option --env: '%.60s' has no name", text);
        if (!strchr(text, '=') && !value)
            continue;
        if (asprintf(&env[*ret_n], "%s%s%s", text, value ? "=" : "", value ? value : "") < 0)
            return cb_err_set(err, ENOMEM, "out of memory");
        (*ret_n)++;
    }
    return 0;
}

static int fill_spec(const struct options *o, struct cb_docker_client_spec *spec,
                     struct cb_err *err)
{
    int r = o->memory ? parse_memory(o->memory, &spec->memory_bytes, err) : 0;

    if (r == 0 && o->cpuset_cpus)
        r = check_cpuset(o->cpuset_cpus, err);
    if (r == 0)
        r = check_idle(o->idle, err);
    spec->cpuset_cpus = o->cpuset_cpus;
    spec->nano_cpus = (uint64_t)(o->cpus * 1e9 + 0.5);
    spec->network = o->network;
    spec->n_binds = o->volumes.n;
    spec->binds = o->volumes.at;
    spec->tty = o->tty;
    return r;
}

/* The recap, checked, on stdout. */
static int print_recap(const char *json, bool as_json, struct cb_err *err)
{
    struct cb_report report;
    int r = cb_report_parse(json, strlen(json), &report, err);

    if (r < 0)
        return cb_err_prefix(err, r, "cbformula's recap");
    if (as_json)
        (void)printf("%s%s", json, json[strlen(json) - 1] == '\n' ? "" : "\n");
    else
        r = cb_render_reports(&report, 1, stdout, err);
    cb_report_clear(&report);
    if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        r = cb_err_set(err, EIO, "cannot write the recap: %s", strerror(errno));
    return r;
}

static int fail(int code, const struct cb_err *err)
{
    (void)fprintf(stderr, "cbtester: %s\n", err->text);
    return code;
}

static int run_and_print(const struct cb_runner_options *runner, bool as_json)
{
    struct cb_err err = {0};
    cb_auto_free char *recap = NULL;
    int code;

    if (cb_interrupt_open(&err) < 0)
        return fail(CB_TESTER_BROKEN, &err);
    code = cb_runner_run(runner, &recap, &err);
    cb_interrupt_close();
    if (!recap)
        return fail(code, &err);
    if (print_recap(recap, as_json, &err) < 0)
        return fail(CB_TESTER_BROKEN, &err);
    return code;
}

static int run_image(const struct options *o, int n_args, char **args)
{
    char name[CB_NAMING_TEST_SIZE];
    char *env[CB_OPT_LIST_MAX];
    struct cb_runner_options runner = {
        .docker_host = o->docker_host,
        .formula_url = o->formula,
        .test_name = o->name ? o->name : name,
        .spec = {.image = args[0], .n_args = (size_t)n_args - 1, .args = args + 1},
        .idle = o->idle,
        .timeout_ns = o->timeout_ns,
        .recap_timeout_ns = o->recap_timeout_ns,
        .pull = o->pull,
        .output_fd = o->quiet ? -1 : STDERR_FILENO,
        .note = print_note,
    };
    struct cb_err err = {0};
    int code = CB_TESTER_BAD_USAGE;
    int r = fill_spec(o, &runner.spec, &err);

    if (r < 0)
        return fail(CB_TESTER_BAD_USAGE, &err);
    if (o->lock)
        runner.lock_path = o->lock_file ? o->lock_file : cb_testlock_default_path();
    if (o->name)
        r = cb_naming_check(o->name, &err);
    if (r < 0)
        return fail(CB_TESTER_BAD_USAGE, &err);
    if (cb_naming_test(args[0], name, &err) < 0)
        return fail(CB_TESTER_BROKEN, &err);
    runner.spec.env = (const char *const *)env;
    r = fill_env(&o->env, env, &runner.spec.n_env, &err);
    if (r == 0)
        code = run_and_print(&runner, o->json);
    else
        (void)fail(code, &err);
    for (size_t i = 0; i < runner.spec.n_env; i++)
        free(env[i]);
    return code;
}

int cb_tester_run(int argc, char **argv)
{
    struct options o = {0};
    struct cb_err err = {0};
    int next = 0;

    if (cb_config_parse(table, NULL, argc, argv, &o, &next, &err) < 0)
        return fail(CB_TESTER_BAD_USAGE, &err);
    if (o.help || o.version) {
        if (o.help)
            print_help();
        else
            (void)puts("cbtester " CB_VERSION);
        return CB_TESTER_OK;
    }
    if (next == argc) {
        (void)fputs(CB_TESTER_USAGE "; see --help\n", stderr);
        return CB_TESTER_BAD_USAGE;
    }
    quiet = o.quiet;
    return run_image(&o, argc - next, argv + next);
}
