/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - cbsensor's command line: one table (lib/config.h), and the checks that need more than
 * one row of it. */
#ifndef CB_SENSOR_OPTIONS_H
#define CB_SENSOR_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/config.h"
#include "lib/frame.h"
#include "lib/log.h"
#include "sensor/synthetic.h"

struct cb_err;

#define CB_SENSOR_ENV "CBSENSOR"

struct cb_sensor_options {
    const char *config;
    const char *name;
    uint64_t tick_ns;
    const char *root;
    const char *state_dir;
    const char *formula;
    const char *formula_key;
    bool plain;
    bool insecure;
    uint64_t spool_max_bytes;
    const char *docker_host;
    const char *hierarchy;
    const char *hwpc_names;
    struct cb_opt_list events;
    const char *count;
    struct cb_opt_list cgroups;
    uint64_t metrics_ns;
    const char *energy;
    bool no_estimate;
    double idle_watts;
    double max_watts;
    uint64_t frames;
    const char *output;
    const char *synthetic;
    bool no_seccomp;
    const char *log_level;
    bool log_json;
    bool print_key;
    bool print_config;
    bool check_config;
    bool list_events;
    bool json;
    bool help;
    bool version;

    /* filled by cb_sensor_options_parse() */
    bool docker_names;
    enum cb_log_level level;
    char host_name[CB_NAME_SIZE];
    struct cb_synthetic_spec synthetic_spec;
    struct cb_config_file *file; /* of --config; strings point into it */
};

extern const struct cb_opt cb_sensor_opts[];

/* Parse and check. -EINVAL: one line that names the option, or the file's line, and what is
 * allowed;
 * @ret_options then still has `config` and `check_config`. Release by cb_sensor_options_fini(). */
int cb_sensor_options_parse(int argc, char **argv, struct cb_sensor_options *ret_options,
                            struct cb_err *err) cb_must_check;
void cb_sensor_options_fini(struct cb_sensor_options *options);

#endif
