/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_evaluate.c - `cbformula evaluate`: how far a model's one-step predictions are from the
 * reference power, walking forward through a recording: every tick is predicted by what was learnt
 * from earlier ones.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formula/cmd.h"
#include "formula/replay.h"
#include "formula/replay_config.h"
#include "formula/replay_input.h"
#include "lib/err.h"
#include "lib/log.h"

#define MOVES 0.05 /* a change of the power from tick to tick that counts as one */

/* The errors of one (machine, socket, domain). */
struct score {
    char *machine, *socket, *domain;
    double last_w;  /* reference of the tick before; NAN: none */
    double power_w; /* smartwatts: reference of the present tick; NAN: none */
    uint64_t n, n_moving;
    double sum_w, power_sum_w, sum_share, moving_w, moving_share;
};

struct scores {
    size_t n;
    struct score *at;
};

static void clear(struct scores *scores)
{
    for (size_t i = 0; i < scores->n; i++) {
        free(scores->at[i].machine);
        free(scores->at[i].socket);
        free(scores->at[i].domain);
    }
    free(scores->at);
}

static struct score *find(struct scores *scores, const char *machine, const char *socket,
                          const char *domain)
{
    struct score *at;

    for (size_t i = 0; i < scores->n; i++) {
        at = &scores->at[i];
        if (strcmp(at->machine, machine) == 0 && strcmp(at->socket, socket) == 0 &&
            strcmp(at->domain, domain) == 0)
            return at;
    }
    at = realloc(scores->at, (scores->n + 1) * sizeof(*at));
    if (!at)
        return NULL;
    scores->at = at;
    at += scores->n;
    *at = (struct score){.machine = strdup(machine),
                         .socket = strdup(socket),
                         .domain = strdup(domain),
                         .last_w = (double)NAN,
                         .power_w = (double)NAN};
    if (!at->machine || !at->socket || !at->domain) {
        free(at->machine);
        free(at->socket);
        free(at->domain);
        return NULL;
    }
    scores->n++;
    return at;
}

static void judge(struct score *score, double power_w, double predicted_w)
{
    double error_w = fabs(predicted_w - power_w);
    double share = power_w > 0 ? error_w / power_w : 0;

    if (isfinite(predicted_w)) {
        score->n++;
        score->sum_w += error_w;
        score->power_sum_w += power_w;
        score->sum_share += share;
        if (fabs(power_w - score->last_w) > MOVES * score->last_w) {
            score->n_moving++;
            score->moving_w += error_w;
            score->moving_share += share;
        }
    }
    score->last_w = power_w;
}

static int take_tick(void *context, const struct cb_replay_tick *tick, struct cb_err *err)
{
    const struct cb_result *result = tick->result;
    double seconds = (double)(result->t1_ns - result->t0_ns) / 1e9;

    for (size_t d = 0; d < result->n_domains; d++) {
        const struct cb_result_domain *domain = &result->domains[d];
        struct score *score;
        char socket[16];

        (void)snprintf(socket, sizeof(socket), "%u", domain->socket);
        score =
            find(context, tick->machine, socket, cb_domain_name((enum cb_domain)domain->domain));
        if (!score)
            return cb_err_set(err, ENOMEM, "out of memory");
        judge(score, (double)domain->energy_uj / 1e6 / seconds, domain->predicted_w);
    }
    return 0;
}

/* The reference says first what RAPL had, then perhaps what it predicted. */
static int take_power(void *context, const struct cb_smartwatts_power *power, struct cb_err *err)
{
    struct score *score = find(context, power->sensor, power->socket,
                               power->scope == CB_SMARTWATTS_DRAM ? "dram" : "package");

    if (!score)
        return cb_err_set(err, ENOMEM, "out of memory");
    if (strcmp(power->target, "rapl") == 0) {
        score->last_w = score->power_w;
        score->power_w = power->power_w;
    } else if (strcmp(power->target, "global") == 0) {
        judge(score, score->power_w, power->power_w);
    }
    return 0;
}

static int add_report(void *context, struct cb_hwpc_report *report, struct cb_err *err)
{
    return cb_smartwatts_run_add(context, report, err);
}

static int run_smartwatts(const struct cb_replay_config *config, struct scores *scores,
                          struct cb_err *err)
{
    struct cb_smartwatts_run_options options;
    struct cb_smartwatts_run *run = NULL;
    struct cb_replay_reading reading = {0};
    int r;

    cb_replay_config_smartwatts(config, &options);
    r = cb_smartwatts_run_new(&options, take_power, scores, &run, err);
    if (r < 0)
        return r;
    r = cb_replay_reports(config->in, config->skip_bad, true, add_report, run, &reading, err);
    if (r == 0)
        r = cb_smartwatts_run_flush(run, err);
    run = cb_smartwatts_run_free(run);
    return r;
}

/* A mean of @n; of none there is none. */
static void print_mean(int width, int digits, double sum, uint64_t n)
{
    if (n > 0)
        (void)printf(" %*.*f", width, digits, sum / (double)n);
    else
        (void)printf(" %*s", width, "-");
}

static void print(const struct scores *scores, const char *model)
{
    for (size_t i = 0; i < scores->n; i++) {
        const struct score *s = &scores->at[i];

        (void)printf("%-24s %-6s %-8s %-10s %8" PRIu64, s->machine, s->socket, s->domain, model,
                     s->n);
        print_mean(9, 2, s->power_sum_w, s->n);
        print_mean(8, 3, s->sum_w, s->n);
        print_mean(7, 2, 100 * s->sum_share, s->n);
        (void)printf(" %8" PRIu64, s->n_moving);
        print_mean(8, 3, s->moving_w, s->n_moving);
        print_mean(7, 2, 100 * s->moving_share, s->n_moving);
        (void)putchar('\n');
    }
}

static int evaluate(const struct cb_replay_config *config, const char *name, struct cb_err *err)
{
    struct cb_replay_options options;
    struct cb_replay_counts counts = {0};
    struct scores scores = {0};
    int r;

    cb_replay_config_replay(config, &options);
    if (config->model == CB_REPLAY_SMARTWATTS)
        r = run_smartwatts(config, &scores, err);
    else
        r = cb_replay(&options, take_tick, &scores, &counts, err);
    if (r == 0)
        print(&scores, name);
    clear(&scores);
    return r;
}

/* A bare file name: a directory is CSV, *.cbrec a recording, anything else PowerAPI's JSON. */
static int complete_input(const char *name, char *input, size_t size, struct cb_err *err)
{
    static const char *const known[] = {"hwpc-json:", "hwpc-csv:", "frames:"};
    const char *kind = "hwpc-json:";
    struct stat status;
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strncmp(name, known[i], strlen(known[i])) == 0)
            kind = "";
    }
    if (*kind && stat(name, &status) == 0 && S_ISDIR(status.st_mode))
        kind = "hwpc-csv:";
    else if (*kind && n > 6 && strcmp(name + n - 6, ".cbrec") == 0)
        kind = "frames:";
    if ((size_t)snprintf(input, size, "%s%s", kind, name) >= size)
        return cb_err_set(err, ENAMETOOLONG, "'%.60s...': the name is too long", name);
    return 0;
}

static int usage(FILE *out)
{
    (void)fputs(
        "usage: cbformula evaluate [options] FILE\n\n"
        "One-step error of a model on a recording, per socket and domain: mean absolute error in\n"
        "watts and in percent, and the same where the power moves by more than 5 % in a tick.\n"
        "FILE: hwpc-json:FILE, hwpc-csv:DIR, frames:FILE, or a bare name (a directory is CSV,\n"
        "*.cbrec a recording, else JSON). --model all compares them; smartwatts wants the\n"
        "recording's period in --sensor-reports-frequency. \"-\": there is no such tick.\n\n",
        out);
    cb_config_help(out, cb_replay_options_table, NULL);
    return out == stderr ? CB_CMD_USAGE : 0;
}

static int run(struct cb_replay_config *config, struct cb_err *err)
{
    static const struct {
        enum cb_replay_model model;
        const char *name;
    } models[] = {{CB_REPLAY_CBWATTS, "cbwatts"},
                  {CB_REPLAY_SMARTWATTS, "smartwatts"},
                  {CB_REPLAY_CPUTIME, "cputime"}};
    enum cb_replay_model asked = config->model;
    int r = 0;

    (void)printf("%-24s %-6s %-8s %-10s %8s %9s %8s %7s %8s %8s %7s\n", "machine", "socket",
                 "domain", "model", "ticks", "mean W", "MAE W", "MAPE %", "moving", "MAE W",
                 "MAPE %");
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]) && r == 0; i++) {
        config->model = models[i].model;
        if (asked == CB_REPLAY_ALL || asked == config->model)
            r = evaluate(config, models[i].name, err);
    }
    return r;
}

int cb_cmd_evaluate(int argc, char **argv)
{
    struct cb_replay_config config = {0};
    struct cb_err err = {0};
    char input[4096];
    int next = 0;
    int r = cb_replay_config_parse(argc, argv, &config, &next, &err);

    if (r == 0 && config.help)
        return usage(stdout);
    if (r == 0 && next + (config.in ? 0 : 1) != argc)
        r = cb_err_set(&err, EINVAL, "one FILE is needed, see --help");
    if (r == 0)
        r = complete_input(config.in ? config.in : argv[next], input, sizeof(input), &err);
    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    cb_log_init("cbformula", CB_LOG_INFO, false);
    config.in = input;
    r = run(&config, &err);
    return r < 0 ? cb_cmd_fail(CB_CMD_FAILED, &err) : 0;
}
