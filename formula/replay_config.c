/* SPDX-License-Identifier: Apache-2.0 */
/* replay_config.c - see replay_config.h. */
#include "formula/replay_config.h"

#include <errno.h>
#include <string.h>

#include "lib/err.h"

#define AT(member) .offset = offsetof(struct cb_replay_config, member)

const struct cb_opt cb_replay_options_table[] = {
    {.key = "in",
     .type = CB_OPT_STRING,
     AT(in),
     .arg = "INPUT",
     .help = "hwpc-json:FILE, hwpc-csv:DIR or frames:FILE; FILE may be - and .gz or .zst"},
    {.key = "model",
     .type = CB_OPT_STRING,
     AT(model_name),
     .def = "cbwatts",
     .arg = "MODEL",
     .help = "cbwatts, smartwatts or cputime"},
    {.key = "out",
     .type = CB_OPT_STRING,
     AT(out),
     .def = "json",
     .arg = "FORM",
     .help = "json: exact sums of energy; powerapi-json: power reports"},
    {.key = "idle",
     .type = CB_OPT_STRING,
     AT(idle_name),
     .def = "none",
     .arg = "POLICY",
     .help = "share idle out to containers: none, proportional or equal"},
    {.key = "flush",
     .type = CB_OPT_BOOL,
     AT(flush),
     .help = "smartwatts: also the last five ticks, which the reference keeps"},
    {.key = "skip-bad",
     .type = CB_OPT_BOOL,
     AT(skip_bad),
     .help = "count what cannot be read and go on"},
    {.key = "join-deadline",
     .type = CB_OPT_DURATION,
     AT(deadline_ns),
     .def = "5s",
     .min = 0,
     .max = 3600e9,
     .arg = "DURATION",
     .help = "a tick waits so long for late reports, in the recording's time"},
    {.key = "sensor-reports-frequency",
     .type = CB_OPT_U64,
     AT(period_ms),
     .def = "1000",
     .min = 1,
     .max = 3600000,
     .arg = "MS",
     .help = "nominal period: smartwatts divides by it, the others where no time is known"},
    {.key = "disable-cpu-formula",
     .type = CB_OPT_BOOL,
     AT(disable_cpu),
     .help = "no package power"},
    {.key = "disable-dram-formula", .type = CB_OPT_BOOL, AT(disable_dram), .help = "no DRAM power"},
    {.key = "cpu-rapl-ref-event",
     .type = CB_OPT_STRING,
     AT(cpu_event),
     .def = "RAPL_ENERGY_PKG",
     .arg = "EVENT",
     .help = "RAPL event of the package"},
    {.key = "dram-rapl-ref-event",
     .type = CB_OPT_STRING,
     AT(dram_event),
     .def = "RAPL_ENERGY_DRAM",
     .arg = "EVENT",
     .help = "RAPL event of the DRAM"},
    {.key = "cpu-base-freq",
     .type = CB_OPT_DOUBLE,
     AT(base_freq_mhz),
     .def = "2100",
     .min = 1,
     .max = 100000,
     .arg = "MHZ",
     .help = "smartwatts: nominal frequency"},
    {.key = "cpu-base-clock",
     .type = CB_OPT_DOUBLE,
     AT(base_clock_mhz),
     .def = "100",
     .min = 1,
     .max = 10000,
     .arg = "MHZ",
     .help = "smartwatts: width of a frequency layer"},
    {.key = "cpu-tdp",
     .type = CB_OPT_DOUBLE,
     AT(tdp_w),
     .def = "400",
     .min = 0,
     .max = 1e6,
     .arg = "WATTS",
     .help = "smartwatts: an intercept above it is refused"},
    {.key = "cpu-error-threshold",
     .type = CB_OPT_DOUBLE,
     AT(cpu_threshold_w),
     .def = "2",
     .min = 0,
     .max = 1e6,
     .arg = "WATTS",
     .help = "smartwatts: fit anew above this error"},
    {.key = "dram-error-threshold",
     .type = CB_OPT_DOUBLE,
     AT(dram_threshold_w),
     .def = "2",
     .min = 0,
     .max = 1e6,
     .arg = "WATTS",
     .help = "smartwatts: the same of the DRAM"},
    {.key = "learn-min-samples-required",
     .type = CB_OPT_U64,
     AT(min_samples),
     .def = "10",
     .min = 1,
     .max = 100000,
     .arg = "N",
     .help = "smartwatts: ticks before a layer's first fit"},
    {.key = "learn-history-window-size",
     .type = CB_OPT_U64,
     AT(window),
     .def = "60",
     .min = 1,
     .max = 100000,
     .arg = "N",
     .help = "smartwatts: ticks a layer remembers"},
    {.key = "learn-error-window-size",
     .type = CB_OPT_U64,
     AT(error_window),
     .def = "60",
     .min = 1,
     .max = 100000,
     .arg = "N",
     .help = "smartwatts: errors it looks at"},
    {.key = "learn-error-window-method",
     .type = CB_OPT_STRING,
     AT(error_method),
     .def = "median",
     .arg = "METHOD",
     .help = "smartwatts: median or mean of them"},
    {.key = "help", .short_key = 'h', .type = CB_OPT_BOOL, AT(help), .help = "this text"},
    {.key = NULL},
};

static int check_model(struct cb_replay_config *config, struct cb_err *err)
{
    static const char *const names[] = {
        [CB_REPLAY_CBWATTS] = "cbwatts",
        [CB_REPLAY_CPUTIME] = "cputime",
        [CB_REPLAY_SMARTWATTS] = "smartwatts",
        [CB_REPLAY_ALL] = "all",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(config->model_name, names[i]) == 0) {
            config->model = (enum cb_replay_model)i;
            return 0;
        }
    }
    return cb_err_set(err, EINVAL, "--model '%.60s': use cbwatts, smartwatts or cputime",
                      config->model_name);
}

static int check(struct cb_replay_config *config, struct cb_err *err)
{
    int r = check_model(config, err);

    if (r < 0)
        return r;
    if (config->disable_cpu && config->disable_dram)
        return cb_err_set(err, EINVAL,
                          "--disable-cpu-formula and --disable-dram-formula together "
                          "leave nothing to compute");
    config->error_mean = strcmp(config->error_method, "mean") == 0;
    if (!config->error_mean && strcmp(config->error_method, "median") != 0)
        return cb_err_set(err, EINVAL, "--learn-error-window-method '%.60s': use median or mean",
                          config->error_method);
    if (cb_idle_parse(config->idle_name, &config->idle) < 0)
        return cb_err_set(err, EINVAL, "--idle '%.60s': use none, proportional or equal",
                          config->idle_name);
    return 0;
}

int cb_replay_config_parse(int argc, char **argv, struct cb_replay_config *config, int *ret_next,
                           struct cb_err *err)
{
    int r = cb_config_parse(cb_replay_options_table, NULL, argc, argv, config, ret_next, err);

    if (r < 0 || config->help)
        return r;
    return check(config, err);
}

void cb_replay_config_replay(const struct cb_replay_config *config,
                             struct cb_replay_options *ret_options)
{
    *ret_options = (struct cb_replay_options){
        .input = config->in,
        .skip_bad = config->skip_bad,
        .model = config->model == CB_REPLAY_CPUTIME ? CB_MODEL_CPUTIME : CB_MODEL_CBWATTS,
        .join =
            {
                .nominal_ns = config->period_ms * 1000000,
                .deadline_ns = config->deadline_ns,
                .package_event = config->disable_cpu ? NULL : config->cpu_event,
                .dram_event = config->disable_dram ? NULL : config->dram_event,
            },
    };
}

void cb_replay_config_smartwatts(const struct cb_replay_config *config,
                                 struct cb_smartwatts_run_options *ret_options)
{
    struct cb_smartwatts_options model = {
        .base_freq_mhz = config->base_freq_mhz,
        .base_clock_mhz = config->base_clock_mhz,
        .tdp_w = config->tdp_w,
        .threshold_w = config->cpu_threshold_w,
        .min_samples = config->min_samples,
        .window = config->window,
        .error_window = config->error_window,
        .error_mean = config->error_mean,
    };

    *ret_options = (struct cb_smartwatts_run_options){
        .model = {[CB_SMARTWATTS_CPU] = model, [CB_SMARTWATTS_DRAM] = model},
        .reference = {[CB_SMARTWATTS_CPU] = config->disable_cpu ? NULL : config->cpu_event,
                      [CB_SMARTWATTS_DRAM] = config->disable_dram ? NULL : config->dram_event},
        .period_s = (double)config->period_ms / 1000,
    };
    ret_options->model[CB_SMARTWATTS_DRAM].threshold_w = config->dram_threshold_w;
}
