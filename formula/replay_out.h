/* SPDX-License-Identifier: Apache-2.0 */
/* replay_out.h - the lines that `replay` prints: JSON, one document a line. */
#ifndef CB_FORMULA_REPLAY_OUT_H
#define CB_FORMULA_REPLAY_OUT_H

#include <stdio.h>

#include "formula/recap.h"
#include "formula/replay.h"
#include "formula/smartwatts_run.h"

/* One line for each socket and domain: whole microjoules that sum exactly. */
void cb_replay_out_json(FILE *out, const struct cb_replay_tick *tick, enum cb_idle_policy idle,
                        bool name_weight);

/* PowerAPI power reports: rapl, global (when there is a prediction) and every target, for package
 * (scope cpu) and DRAM. @model names the formula. */
void cb_replay_out_powerapi(FILE *out, const struct cb_replay_tick *tick, enum cb_idle_policy idle,
                            const char *model);

void cb_replay_out_smartwatts(FILE *out, const struct cb_smartwatts_power *power);

#endif
