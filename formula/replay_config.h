/* SPDX-License-Identifier: Apache-2.0 */
/* replay_config.h - the options that `replay` and `evaluate` share; PowerAPI's names for its own.
 */
#ifndef CB_FORMULA_REPLAY_CONFIG_H
#define CB_FORMULA_REPLAY_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "formula/recap.h"
#include "formula/replay.h"
#include "formula/smartwatts_run.h"
#include "lib/config.h"

struct cb_err;

enum cb_replay_model {
    CB_REPLAY_CBWATTS,
    CB_REPLAY_CPUTIME,
    CB_REPLAY_SMARTWATTS,
    CB_REPLAY_ALL /* evaluate only */
};

struct cb_replay_config {
    const char *in, *model_name, *out, *idle_name;
    bool flush, skip_bad, help;
    bool disable_cpu, disable_dram;
    double base_freq_mhz, base_clock_mhz, tdp_w, cpu_threshold_w, dram_threshold_w;
    const char *cpu_event, *dram_event;
    uint64_t period_ms;
    uint64_t min_samples, window, error_window;
    const char *error_method;
    uint64_t deadline_ns;
    /* made of the texts by cb_replay_config_check() */
    enum cb_replay_model model;
    enum cb_idle_policy idle;
    bool error_mean;
};

extern const struct cb_opt cb_replay_options_table[];

/* Parse and check what belongs together: -EINVAL names the option. */
int cb_replay_config_parse(int argc, char **argv, struct cb_replay_config *config, int *ret_next,
                           struct cb_err *err) cb_must_check;

void cb_replay_config_replay(const struct cb_replay_config *config,
                             struct cb_replay_options *ret_options);
void cb_replay_config_smartwatts(const struct cb_replay_config *config,
                                 struct cb_smartwatts_run_options *ret_options);

#endif
