/* SPDX-License-Identifier: Apache-2.0 */
/* powerapi_inputs.c - see powerapi_inputs.h. */
#include "formula/powerapi_inputs.h"

#include <errno.h>
#include <stdlib.h>

#include "formula/powerapi_csv.h"
#include "formula/powerapi_mongodb.h"
#include "formula/powerapi_tcp.h"
#include "lib/err.h"
#include "lib/log.h"

#define CSV_WAIT 12 /* deadlines: its files come in pieces of 4 KiB, each at its own pace */

struct cb_powerapi_inputs {
    struct cb_powerapi_config config;
    struct cb_inbox *inbox;
    struct cb_powerapi *powerapi;
    struct cb_powerapi_tcp *tcp;
    struct cb_powerapi_mongodb *mongodb;
    struct cb_powerapi_csv *csv;
};

static bool is_asked(const char *text)
{
    return text && *text;
}

int cb_powerapi_inputs_open(const struct cb_powerapi_config *config, struct cb_store *store,
                            struct cb_powerapi_inputs **ret_inputs, struct cb_err *err)
{
    struct cb_powerapi_options options = {.join = {.nominal_ns = config->period_ns,
                                                   .deadline_ns = config->deadline_ns,
                                                   .package_event = "RAPL_ENERGY_PKG",
                                                   .dram_event = "RAPL_ENERGY_DRAM"}};
    struct cb_powerapi_inputs *inputs;
    int r;

    if (!is_asked(config->socket) && !is_asked(config->mongodb) && !is_asked(config->csv))
        return 0;
    inputs = calloc(1, sizeof(*inputs));
    if (!inputs)
        return cb_err_set(err, ENOMEM, "out of memory");
    inputs->config = *config;
    r = cb_inbox_new(&inputs->inbox, err);
    options.inbox = inputs->inbox;
    if (r == 0)
        r = cb_powerapi_new(&options, store, &inputs->powerapi, err);
    if (r == 0 && is_asked(config->socket))
        r = cb_powerapi_tcp_listen(config->socket, inputs->powerapi, &inputs->tcp, err);
    if (r < 0) {
        inputs = cb_powerapi_inputs_free(inputs);
        return r;
    }
    *ret_inputs = inputs;
    return 0;
}

struct cb_inbox *cb_powerapi_inputs_inbox(const struct cb_powerapi_inputs *inputs)
{
    return inputs ? inputs->inbox : NULL;
}

int cb_powerapi_inputs_start(struct cb_powerapi_inputs *inputs, struct cb_err *err)
{
    const struct cb_powerapi_config *config = inputs ? &inputs->config : NULL;
    int r = 0;

    if (!inputs)
        return 0;
    if (inputs->tcp)
        r = cb_powerapi_tcp_start(inputs->tcp, err);
    if (r == 0 && is_asked(config->mongodb))
        r = cb_powerapi_mongodb_start(config->mongodb, config->collection, inputs->powerapi,
                                      &inputs->mongodb, err);
    if (r == 0 && is_asked(config->csv))
        r = cb_powerapi_csv_start(config->csv, CSV_WAIT * config->deadline_ns, inputs->powerapi,
                                  &inputs->csv, err);
    return r;
}

void cb_powerapi_inputs_tell(const struct cb_powerapi_inputs *inputs)
{
    if (!inputs)
        return;
    if (inputs->tcp && !cb_powerapi_tcp_is_loopback(inputs->tcp))
        cb_log_warn("%s can be reached from other machines, and PowerAPI's sensor has no keys: "
                    "whoever can connect can send",
                    cb_powerapi_tcp_address(inputs->tcp));
    if (inputs->tcp)
        cb_log_info("PowerAPI socket %s", cb_powerapi_tcp_address(inputs->tcp));
    if (inputs->mongodb)
        cb_log_info("PowerAPI MongoDB, collection %s", inputs->config.collection);
    if (inputs->csv)
        cb_log_info("PowerAPI CSV %s", inputs->config.csv);
}

void cb_powerapi_inputs_stop(struct cb_powerapi_inputs *inputs)
{
    if (!inputs)
        return;
    cb_inbox_close(inputs->inbox);
    inputs->csv = cb_powerapi_csv_stop(inputs->csv);
    inputs->mongodb = cb_powerapi_mongodb_stop(inputs->mongodb);
    inputs->tcp = cb_powerapi_tcp_stop(inputs->tcp);
}

struct cb_powerapi_inputs *cb_powerapi_inputs_free(struct cb_powerapi_inputs *inputs)
{
    if (!inputs)
        return NULL;
    cb_powerapi_inputs_stop(inputs);
    inputs->powerapi = cb_powerapi_free(inputs->powerapi);
    inputs->inbox = cb_inbox_free(inputs->inbox);
    free(inputs);
    return NULL;
}
