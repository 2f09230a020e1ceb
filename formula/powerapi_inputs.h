/* SPDX-License-Identifier: Apache-2.0 */
/* powerapi_inputs.h - the inputs from PowerAPI's sensor that the server was asked for, together. */
#ifndef CB_FORMULA_POWERAPI_INPUTS_H
#define CB_FORMULA_POWERAPI_INPUTS_H

#include "formula/powerapi.h"

struct cb_powerapi_inputs;

struct cb_powerapi_config {
    const char *socket, *mongodb, *collection, *csv; /* NULL or "": not asked for */
    uint64_t deadline_ns, period_ns;
};

/* Everything that can be refused is refused here; nothing is read yet. *@ret_inputs stays NULL when
 * nothing is asked for. */
int cb_powerapi_inputs_open(const struct cb_powerapi_config *config, struct cb_store *store,
                            struct cb_powerapi_inputs **ret_inputs,
                            struct cb_err *err) cb_must_check;
/* For the receiver; NULL when @inputs is. */
struct cb_inbox *cb_powerapi_inputs_inbox(const struct cb_powerapi_inputs *inputs);
int cb_powerapi_inputs_start(struct cb_powerapi_inputs *inputs, struct cb_err *err) cb_must_check;
/* One line for each that is open. */
void cb_powerapi_inputs_tell(const struct cb_powerapi_inputs *inputs);

/* End the threads; what they have put into the inbox is still to be taken. Then free. */
void cb_powerapi_inputs_stop(struct cb_powerapi_inputs *inputs);
struct cb_powerapi_inputs *cb_powerapi_inputs_free(struct cb_powerapi_inputs *inputs);

#endif
