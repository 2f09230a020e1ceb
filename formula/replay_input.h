/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_input.h - what a replay reads, one piece after the other: PowerAPI's reports, or the
 * records of a recording.
 *
 * Input    hwpc-json:FILE|-   PowerAPI reports as JSON (lib/hwpc.h), plain, gzip or zstd
 *          hwpc-csv:DIR       the same as CSV
 *          frames:FILE|-      a recording (recording.h)
 * Bad      With @skip_bad what cannot be read is counted and left out; else it ends the reading
 *          with -EBADMSG or -EPROTONOSUPPORT and says where.
 */
#ifndef CB_FORMULA_REPLAY_INPUT_H
#define CB_FORMULA_REPLAY_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "formula/recording.h"
#include "lib/cleanup.h"
#include "lib/hwpc.h"

struct cb_err;

struct cb_replay_reading {
    uint64_t skipped, duplicates; /* duplicates: CSV rows */
};

/* @each owns the report. A negative value ends the reading with it. */
typedef int cb_replay_each_report(void *context, struct cb_hwpc_report *report, struct cb_err *err);

/* Every report of @input, in order, a JSON array by time; a recording's frames as the reports that
 * PowerAPI's sensor would have made of them (frame_reports.h). Of two CSV rows of the same CPU the
 * first is kept. With @last_wins, for the reference model, the last is, and an array keeps its order.
 */
int cb_replay_reports(const char *input, bool skip_bad, bool last_wins, cb_replay_each_report *each,
                      void *context, struct cb_replay_reading *ret_reading,
                      struct cb_err *err) cb_must_check;

/* The path of a recording, or NULL: @input is of reports. */
const char *cb_replay_recording(const char *input);

/* A negative value ends the reading, unless it is one of a bad record and these are skipped. */
typedef int cb_replay_each_record(void *context, const struct cb_recording_record *record,
                                  struct cb_err *err);

int cb_replay_records(const char *path, bool skip_bad, cb_replay_each_record *each, void *context,
                      uint64_t *ret_skipped, struct cb_err *err) cb_must_check;

#endif
