/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_doctor.c - see cmd_doctor.h. */
#include "sensor/cmd_doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/config.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/doctor.h"
#include "sensor/options.h"

#define EXIT_USAGE 2 /* a wrong command line */
#define WIDTH 100    /* of the table */
#define INDENT 22

struct options {
    const char *root;
    const char *docker_host;
    bool json;
    bool help;
};

#define AT(member) offsetof(struct options, member)

static const struct cb_opt opts[] = {
    {.key = "json",
     .cli_only = true,
     .type = CB_OPT_BOOL,
     .offset = AT(json),
     .help = "print the findings as JSON"},
    {.key = "root",
     .type = CB_OPT_STRING,
     .offset = AT(root),
     .def = "/",
     .arg = "DIR",
     .help = "look below DIR"},
    {.key = "docker-host",
     .type = CB_OPT_STRING,
     .offset = AT(docker_host),
     .def = CB_DEFAULT_DOCKER_HOST,
     .arg = "unix://PATH",
     .env = CB_ENV_DOCKER_HOST,
     .help = "the Docker engine's socket"},
    {.key = "help",
     .short_key = 'h',
     .cli_only = true,
     .type = CB_OPT_BOOL,
     .offset = AT(help),
     .help = "print this and exit"},
    {.key = NULL},
};

/* @text from column INDENT + @used on, broken at blanks. */
static void print_wrapped(const char *text, size_t used)
{
    size_t room = WIDTH - INDENT;

    while (strlen(text) > room - used) {
        size_t n = room - used;

        while (n > 0 && text[n] != ' ')
            n--;
        if (n == 0)
            n = strcspn(text, " ");
        used = 0;
        (void)printf("%.*s\n%*s", (int)n, text, INDENT, "");
        text += n + strspn(text + n, " ");
    }
    (void)printf("%s\n", text);
}

static void print_table(const struct cb_finding *findings, int n)
{
    for (int i = 0; i < n; i++) {
        const struct cb_finding *f = &findings[i];

        (void)printf("%-12s %-8s ", f->name, cb_finding_state_name(f->state));
        print_wrapped(f->found, 0);
        if (f->remedy[0]) {
            (void)printf("%*sremedy: ", INDENT, "");
            print_wrapped(f->remedy, strlen("remedy: "));
        }
    }
}

static int print_json(const struct cb_finding *findings, int n)
{
    json_t *list = json_array();
    json_t *report = json_pack("{s:s, s:o}", "version", CB_VERSION, "findings", list);
    int r = report ? 0 : -ENOMEM;

    for (int i = 0; r == 0 && i < n; i++) {
        const struct cb_finding *f = &findings[i];

        r = json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", f->name, "state",
                                                  cb_finding_state_name(f->state), "found",
                                                  f->found, "remedy", f->remedy));
    }
    if (r == 0)
        r = json_dumpf(report, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    (void)putchar('\n');
    json_decref(report);
    return r;
}

static int examine(const struct options *options, struct cb_err *err)
{
    static struct cb_finding findings[CB_DOCTOR_MAX_FINDINGS];
    struct cb_doctor_options doctor = {.docker_host = options->docker_host};
    cb_auto_close int root_fd = open(options->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int n;

    if (root_fd < 0)
        return cb_err_set(err, errno, "cannot open --root '%s': %s", options->root,
                          strerror(errno));
    doctor.root_fd = root_fd;
    n = cb_doctor_examine(&doctor, findings, err);
    if (n < 0)
        return n;
    if (!options->json) {
        print_table(findings, n);
        return 0;
    }
    return print_json(findings, n) < 0 ? cb_err_set(err, ENOMEM, "cannot write the report") : 0;
}

int cb_cmd_doctor(int argc, char **argv)
{
    struct options options = {0};
    struct cb_err err = {0};
    int next = argc;
    int r = cb_config_parse(opts, CB_SENSOR_ENV, argc, argv, &options, &next, &err);

    if (r == 0 && next < argc)
        r = cb_err_set(&err, EINVAL, "unexpected argument '%.60s', see cbsensor doctor --help",
                       argv[next]);
    if (r < 0) {
        cb_log_err("%s", err.text);
        return EXIT_USAGE;
    }
    if (options.help) {
        (void)printf(
            "usage: cbsensor doctor [option...]\n\n"
            "Says what this machine can measure, and for every gap why and what cures it.\n"
            "Changes nothing.\n\n");
        cb_config_help(stdout, opts, CB_SENSOR_ENV);
        return EXIT_SUCCESS;
    }
    r = examine(&options, &err);
    if (r < 0)
        cb_log_err("%s", err.text);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
