/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_replay.c - `cbformula replay`: recorded input in, results as JSON lines out. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formula/cmd.h"
#include "formula/replay.h"
#include "formula/replay_config.h"
#include "formula/replay_input.h"
#include "formula/replay_out.h"
#include "lib/err.h"
#include "lib/log.h"

static int usage(FILE *out)
{
    (void)fputs("usage: cbformula replay --in INPUT [options]\n\n"
                "Recorded input through a model, results as JSON lines on standard output.\n\n",
                out);
    cb_config_help(out, cb_replay_options_table, NULL);
    return out == stderr ? CB_CMD_USAGE : 0;
}

static int flushed(struct cb_err *err)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return cb_err_set(err, EIO, "cannot write the output");
    return 0;
}

static int print_tick(void *context, const struct cb_replay_tick *tick, struct cb_err *err)
{
    const struct cb_replay_config *config = context;

    if (strcmp(config->out, "json") == 0)
        cb_replay_out_json(stdout, tick, config->idle, config->model == CB_REPLAY_CPUTIME);
    else
        cb_replay_out_powerapi(stdout, tick, config->idle, config->model_name);
    return ferror(stdout) ? flushed(err) : 0;
}

static void tell(uint64_t n, const char *what)
{
    if (n > 0)
        cb_log_warn("%" PRIu64 " %s", n, what);
}

static int replay(struct cb_replay_config *config, struct cb_err *err)
{
    struct cb_replay_options options;
    struct cb_replay_counts counts = {0};
    int r;

    cb_replay_config_replay(config, &options);
    r = cb_replay(&options, print_tick, config, &counts, err);
    tell(counts.skipped, "reports could not be read, skipped");
    tell(counts.join.duplicates, "reports or rows came twice for their tick and target, dropped");
    tell(counts.other_models, "snapshots in the recording are of another model, not used");
    tell(counts.join.late, "reports came after their tick was done, dropped (lines not in the "
                           "order of time? 'jq -s .' makes an array, which is sorted)");
    tell(counts.join.no_all, "ticks have no energy of the whole machine: nothing to attribute");
    return r;
}

static int print_power(void *context, const struct cb_smartwatts_power *power, struct cb_err *err)
{
    (void)context;
    cb_replay_out_smartwatts(stdout, power);
    return ferror(stdout) ? flushed(err) : 0;
}

static int add_report(void *context, struct cb_hwpc_report *report, struct cb_err *err)
{
    return cb_smartwatts_run_add(context, report, err);
}

static int replay_smartwatts(const struct cb_replay_config *config, struct cb_err *err)
{
    struct cb_smartwatts_run_options options;
    struct cb_smartwatts_run *run = NULL;
    const struct cb_smartwatts_run_counts *counts;
    struct cb_replay_reading reading = {0};
    int r;

    cb_replay_config_smartwatts(config, &options);
    r = cb_smartwatts_run_new(&options, print_power, NULL, &run, err);
    if (r < 0)
        return r;
    r = cb_replay_reports(config->in, config->skip_bad, true, add_report, run, &reading, err);
    if (r == 0 && config->flush)
        r = cb_smartwatts_run_flush(run, err);
    counts = cb_smartwatts_run_counted(run);
    tell(reading.skipped, "reports could not be read, skipped");
    if (counts->no_msr > 0)
        cb_log_warn("the input has no msr group: one layer at the base frequency");
    tell(counts->no_all, "socket ticks have no report of the whole machine, left out");
    tell(counts->bad_frequency, "socket ticks have an MPERF of 0, left out as the reference does");
    tell(counts->stopped, "actors of the reference would have died of their input, and stopped");
    tell(counts->long_metadata, "reports have more than 16 KiB of metadata, left out");
    run = cb_smartwatts_run_free(run);
    return r;
}

static int check(const struct cb_replay_config *config, struct cb_err *err)
{
    bool json = strcmp(config->out, "json") == 0;

    if (!config->in)
        return cb_err_set(err, EINVAL, "--in is missing, see --help");
    if (!json && strcmp(config->out, "powerapi-json") != 0)
        return cb_err_set(err, EINVAL, "--out '%.60s': use json or powerapi-json", config->out);
    if (config->model == CB_REPLAY_ALL)
        return cb_err_set(err, EINVAL, "--model all is for evaluate");
    if (config->model == CB_REPLAY_SMARTWATTS && json)
        return cb_err_set(err, EINVAL,
                          "--model smartwatts has no --out json: its parts do not sum "
                          "to the energy; use --out powerapi-json");
    return 0;
}

int cb_cmd_replay(int argc, char **argv)
{
    struct cb_replay_config config = {0};
    struct cb_err err = {0};
    int next = 0;
    int r = cb_replay_config_parse(argc, argv, &config, &next, &err);

    if (r == 0 && config.help)
        return usage(stdout);
    if (r == 0 && next < argc)
        r = cb_err_set(&err, EINVAL, "unexpected argument '%.60s', see --help", argv[next]);
    if (r == 0)
        r = check(&config, &err);
    if (r < 0)
        return cb_cmd_fail(CB_CMD_USAGE, &err);
    cb_log_init("cbformula", CB_LOG_INFO, false);
    r = config.model == CB_REPLAY_SMARTWATTS ? replay_smartwatts(&config, &err)
                                             : replay(&config, &err);
    if (r == 0)
        r = flushed(&err);
    return r < 0 ? cb_cmd_fail(CB_CMD_FAILED, &err) : 0;
}
